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


def count_asserts(function: Callable[..., Any]) -> int:
    """Count the asserts written in a function, at least 1."""
    return max(1, len(asserts(function)))
