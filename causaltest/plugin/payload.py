"""What travels with a test report: one claim, and what it was measured on."""

from __future__ import annotations

from typing import cast

import msgspec

from causaltest.records import Claim, ModelRecord, PairSetRecord


class Payload(msgspec.Struct, frozen=True):
    """One claim with the model and the pair sets behind it; from an xdist worker too."""

    claim: Claim
    models: tuple[ModelRecord, ...] = ()
    pair_sets: tuple[PairSetRecord, ...] = ()
    share: float | None = None
    """Of its family's level by its weight alone; a process that only controls cannot know it."""


def encode(payload: Payload) -> str:
    """Return a payload as text; reports carry only plain values between processes."""
    try:
        return msgspec.json.encode(payload).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole(cast(object, msgspec.to_builtins(payload)))).decode()


def _whole(tree: object) -> object:
    """Spell out halves of surrogate pairs, which have no UTF-8 form, as the records do."""
    if isinstance(tree, dict):
        entries = cast("dict[str, object]", tree)
        return {_whole(key): _whole(entry) for key, entry in entries.items()}
    if isinstance(tree, list):
        return [_whole(entry) for entry in cast("list[object]", tree)]
    if isinstance(tree, str):
        return tree.encode("utf-8", "backslashreplace").decode("utf-8")
    return tree


def decode(text: str) -> Payload:
    """Read a payload back."""
    return msgspec.json.decode(text, type=Payload)
