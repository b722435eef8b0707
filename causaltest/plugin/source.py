"""Reading hypotheses as they are written."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, TypeGuard


@lru_cache(maxsize=4096)
def source_of(function: Callable[..., Any]) -> str:
    """Return the text of a function, or an empty string where there is none."""
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    except (OSError, TypeError):
        return ""


def code_of(function: Callable[..., Any]) -> types.CodeType | None:
    """Return the code that runs as the body of a function; None where there is none in Python."""
    return getattr(inspect.unwrap(function), "__code__", None)


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


@dataclass(frozen=True)
class Span:
    """Where something is written in a file: (line, column in bytes) of its start and its end."""

    start: tuple[int, int]
    end: tuple[int, int]

    def holds(self, other: Span) -> bool:
        """Whether something else is written inside."""
        return self.start <= other.start and other.end <= self.end


@dataclass(frozen=True)
class Alternative:
    """An assert in which one comparison may stand in for another.

    Parameters
    ----------
    text
        The assert as written.
    whole
        The whole assert: pytest rewrites it, and asks every truth in it from its first line.
    parts
        The `or`s and `any(...)`s in it that compare.
    """

    text: str
    whole: Span
    parts: tuple[Span, ...]


@lru_cache(maxsize=4096)
def alternatives(function: Callable[..., Any]) -> tuple[Alternative, ...]:
    """List the asserts in which one comparison may stand in for another.

    `assert a > 1 or b > 1` and `assert any(effect > 1 for effect in effects)` are such. Whether it
    compares effects or plain numbers shows when it is asked: a verdict comes from there.
    """
    text = source_of(function)
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ()
    code = code_of(function)
    above = 0 if code is None else code.co_firstlineno - 1
    left = _indentation(function)

    def span(node: ast.expr | ast.stmt) -> Span:
        last, column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return Span((above + node.lineno, left + node.col_offset), (above + last, left + column))

    found = [
        (each, tuple(span(node) for node in ast.walk(each.test) if _is_alternative(node)))
        for each in _asserts(tree)
    ]
    return tuple(
        Alternative(ast.get_source_segment(text, each) or "assert", span(each), parts)
        for each, parts in found
        if parts
    )


def span_at(code: types.CodeType, instruction: int) -> Span | None:
    """Return where in its file the instruction at an offset is written; None where nobody knows."""
    places = next(islice(code.co_positions(), instruction // 2, None), (None,) * 4)
    line, last, column, end = places
    if line is None or last is None or column is None or end is None:
        return None
    return Span((line, column), (last, end))


def _indentation(function: Callable[..., Any]) -> int:
    """Return how far the text of a function is indented in its file."""
    lines, _ = inspect.getsourcelines(inspect.unwrap(function))
    return len(lines[0]) - len(lines[0].lstrip())


@lru_cache(maxsize=4096)
def negates(function: Callable[..., Any]) -> bool:
    """Return whether an assert holds where a comparison does not; True where nobody can tell."""
    try:
        found = list(_asserts(ast.parse(source_of(function))))
    except SyntaxError:
        return True
    return not found or any(
        isinstance(node, (ast.Not, ast.Is, ast.IsNot, ast.Eq, ast.NotEq))
        for each in found
        for node in ast.walk(each.test)
    )


def _is_alternative(node: ast.AST) -> TypeGuard[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        return sum(map(_bounds, node.values)) > 1
    called_any = (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "any"
    )
    return called_any and _bounds(node)


def _bounds(node: ast.AST) -> bool:
    """Whether something is compared by size, as effects are with bounds."""
    return any(
        isinstance(operator, (ast.Lt, ast.Gt))
        for each in ast.walk(node)
        if isinstance(each, ast.Compare)
        for operator in each.ops
    )


def _asserts(tree: ast.AST) -> Iterator[ast.Assert]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Assert))


def _compared(condition: ast.expr) -> int:
    return sum(len(node.ops) for node in ast.walk(condition) if isinstance(node, ast.Compare))
