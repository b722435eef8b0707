"""Reading hypotheses as they are written."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
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
    """Count the comparisons that a function's asserts make, at least 1.

    `0.5 < effect < 1.5` makes two. A comparison inside a loop counts once: how often it will be
    made is not written.
    """
    try:
        tree = ast.parse(source_of(function))
    except SyntaxError:
        return 1
    conditions = [node.test for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    compared = [
        len(node.ops)
        for condition in conditions
        for node in ast.walk(condition)
        if isinstance(node, ast.Compare)
    ]
    return max(1, sum(compared))


def has_loop(function: Callable[..., Any]) -> bool:
    """Return whether an assert of a function may be made more than once."""
    try:
        tree = ast.parse(source_of(function))
    except SyntaxError:
        return True
    loops = (ast.For, ast.While, ast.comprehension)
    return any(
        isinstance(inner, ast.Assert)
        for node in ast.walk(tree)
        if isinstance(node, loops)
        for inner in ast.walk(node)
    )
