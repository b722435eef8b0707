"""What travels with a test report: one claim, and what it was measured on."""

from __future__ import annotations

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
    return msgspec.json.encode(payload).decode()


def decode(text: str) -> Payload:
    """Read a payload back."""
    return msgspec.json.decode(text, type=Payload)
