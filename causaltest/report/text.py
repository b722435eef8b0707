"""Text from outside, made safe to look at: visible controls, honest widths, cuts that show."""

from __future__ import annotations

import unicodedata

from causaltest.records import Claim

# Characters that reorder, hide or join text: a reader could not see what a prompt really holds.
_HIDDEN = (
    *(0x00AD, 0x034F, 0x061C, 0x180E, 0xFEFF),
    *range(0x200B, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFFF9, 0xFFFC),
    *range(0xE0000, 0xE0080),
)


def _spelled(point: int) -> str:
    """Spell one character that cannot be seen."""
    return f"\\x{point:02x}" if point < 0x100 else f"⟨U+{point:04X}⟩"


_VISIBLE: dict[int, str] = {
    point: _spelled(point)
    for point in [*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000), *_HIDDEN]
}
_VISIBLE[0x0A] = "\\n"
_VISIBLE[0x0D] = "\\r"
_VISIBLE[0x09] = "\\t"
_VISIBLE_BLOCK = {point: text for point, text in _VISIBLE.items() if point not in (0x09, 0x0A)}


def visible(text: str, *, block: bool = False) -> str:
    r"""Spell out control characters, bidirectional marks and other text that hides itself.

    Parameters
    ----------
    text
        Text from outside: a prompt, a docstring, a model's name.
    block
        Keep line ends and tabs, for text shown as a block.

    Returns
    -------
    str
        Text in which every character can be seen.

    Examples
    --------
    >>> visible("a\tb")
    'a\\tb'
    """
    return text.translate(_VISIBLE_BLOCK if block else _VISIBLE)


def width_of(text: str) -> int:
    """Count the terminal columns of a text; East Asian wide characters take two.

    Parameters
    ----------
    text
        Text without control characters.

    Returns
    -------
    int
        Columns.

    Examples
    --------
    >>> width_of("猫 cat")
    6
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def cut(text: str, width: int, *, mark: str = "…") -> str:
    """Cut a text to a number of columns and show that it was cut.

    Parameters
    ----------
    text
        Text without control characters.
    width
        Most columns to use.
    mark
        What stands at the end of a cut text.

    Returns
    -------
    str
        The text, or its beginning and the mark. Parameters in brackets at its end are kept, since
        they are what tells a test from its siblings.

    Examples
    --------
    >>> cut("the_last_mlp_is_necessary", 12)
    'the_last_ml…'
    >>> cut("each_head_is_necessary[0.2]", 16)
    'each_head_…[0.2]'
    """
    if width_of(text) <= width:
        return text
    if text.endswith("]") and 0 < width_of(text[text.rfind("[") :]) < width // 2:
        bracket = text.rfind("[")
        return cut(text[:bracket], width - width_of(text[bracket:]), mark=mark) + text[bracket:]
    room = max(0, width - width_of(mark))
    kept = ""
    for character in text:
        room -= width_of(character)
        if room < 0:
            break
        kept += character
    return kept + mark


def shortened(text: str, limit: int) -> str:
    """Keep the first `limit` characters and say how many are left out.

    Parameters
    ----------
    text
        Any text.
    limit
        Most characters to keep.

    Returns
    -------
    str
        The text, or its beginning and the number of characters left out.

    Examples
    --------
    >>> shortened("abcdef", 4)
    'abcd … (2 more characters; all of it is in results.json)'
    """
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit:,} more characters; all of it is in results.json)"


def short_name(claim: Claim, *, several_models: bool) -> str:
    """Name a claim's test without its file, and without its model where there is only one.

    Parameters
    ----------
    claim
        The claim.
    several_models
        Keep the model in the name.

    Returns
    -------
    str
        The test's name, e.g. `the_name_decides_the_pronoun[layer2]`.
    """
    name = claim.id.split("::", 1)[-1]
    head, bracket, inside = name.partition("[")
    head = "::".join(part.removeprefix("test_") for part in head.split("::"))
    if not bracket:
        return head
    inside = inside.removesuffix("]")
    if claim.model and not several_models:
        if inside == claim.model:
            return head
        inside = inside.removeprefix(f"{claim.model}-").removesuffix(f"-{claim.model}")
    return f"{head}[{inside}]"
