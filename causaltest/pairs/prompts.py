"""Prompts and whole numbers, checked where they enter."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TypeAlias, cast

from causaltest.errors import PairError

Prompt: TypeAlias = str | tuple[int, ...]
"""Text, or token ids for models without a tokenizer."""


def whole_number(value: object, what: str) -> int:
    """Return `value` as an int; a bool or a float is an error, even 2.0."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise PairError(f"{what} is {value!r} ({type(value).__name__}); expected a whole number")
    return int(value)


def whole_numbers(values: object, what: str) -> tuple[int, ...]:
    """Return a list or tuple of whole numbers as a tuple of ints."""
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise PairError(
            f"{what} are {values!r} ({type(values).__name__}); expected a list of whole numbers"
        )
    return tuple(
        whole_number(value, f"number {index} of the {what}")
        for index, value in enumerate(cast("Sequence[object]", values))
    )


def read_prompt(value: object, side: str) -> Prompt:
    """Return a prompt, checked: text that is not empty, or token ids that are not negative."""
    if isinstance(value, str):
        if not value:
            raise PairError(f"the {side} prompt is empty")
        check_unicode(value, f"the {side} prompt")
        return value
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise PairError(
            f"the {side} prompt is {value!r} ({type(value).__name__}); "
            "expected text or a list of token ids"
        )
    ids = whole_numbers(cast("Sequence[object]", value), f"{side} token ids")
    if not ids:
        raise PairError(f"the {side} prompt has no token ids")
    if min(ids) < 0:
        raise PairError(f"the {side} prompt holds token id {min(ids)}; token ids start at 0")
    return ids


def check_unicode(text: str, what: str) -> None:
    """Refuse text that no file can hold (half of a surrogate pair)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PairError(
            f"{what} is not valid Unicode: character {error.start} is {text[error.start]!r}, "
            "half of a surrogate pair"
        ) from None


def occurrences(text: str, prompt: str) -> list[int]:
    """Return where a text begins in a prompt, overlapping occurrences included.

    Examples
    --------
    >>> occurrences("ana", "banana")
    [1, 3]
    """
    starts: list[int] = []
    start = prompt.find(text) if text else -1
    while start >= 0:
        starts.append(start)
        start = prompt.find(text, start + 1)
    return starts


def shortened(prompt: Prompt, width: int = 60) -> str:
    """Return a prompt as shown in messages, cut to about `width` characters."""
    shown = repr(prompt if isinstance(prompt, str) else list(prompt))
    return shown if len(shown) <= width else f"{shown[: width - 4]}...{shown[-1]}"
