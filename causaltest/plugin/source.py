"""Reading hypotheses as they are written."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=4096)
def source_of(function: Callable[..., Any]) -> str:
    """Return the text of a function, or an empty string where there is none."""
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    except (OSError, TypeError):
        return ""


def asserts(function: Callable[..., Any]) -> list[tuple[int, str]]:
    """List (line in the file, text of the condition) of each assert in a function."""
    text = source_of(function)
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    first = inspect.unwrap(function).__code__.co_firstlineno
    return [
        (first + node.lineno - 1, ast.get_source_segment(text, node.test) or "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]


@lru_cache(maxsize=4096)
def count_comparisons(function: Callable[..., Any]) -> int:
    """Count the comparisons that a function makes, at least 1.

    `assert 0.5 < effect < 1.5` makes two, `assert grid.localised(hot)` and `if effect > 0.5` one
    each. A comparison inside a loop counts once: how often it will be made is not written.
    """
    try:
        tree = ast.parse(source_of(function))
    except SyntaxError:
        return 1
    asserted = sum(max(1, _compared(node.test)) for node in _asserts(tree))
    branches = (node for node in ast.walk(tree) if isinstance(node, (ast.If, ast.IfExp, ast.While)))
    return max(1, asserted + sum(_compared(node.test) for node in branches))


@lru_cache(maxsize=4096)
def has_loop(function: Callable[..., Any]) -> bool:
    """Return whether the number of a function's comparisons is not written in it.

    Its asserts stand in a loop or loop themselves, it has none, so that others ask for it, or it
    is a property that hypothesis runs many times.
    """
    if getattr(function, "is_hypothesis_test", False):
        return True
    try:
        tree = ast.parse(source_of(function))
    except SyntaxError:
        return True
    loops = (ast.For, ast.AsyncFor, ast.While)
    found = list(_asserts(tree))
    return (
        not found
        or any(isinstance(node, ast.comprehension) for each in found for node in ast.walk(each))
        or any(
            isinstance(inner, ast.Assert)
            for node in ast.walk(tree)
            if isinstance(node, loops)
            for inner in ast.walk(node)
        )
    )


def _asserts(tree: ast.AST) -> Iterator[ast.Assert]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Assert))


def _compared(condition: ast.expr) -> int:
    return sum(len(node.ops) for node in ast.walk(condition) if isinstance(node, ast.Compare))
