"""The content hash of a pair set: equal content, equal hash, on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from causaltest.pairs.pair import Pair
from causaltest.pairs.positions import Place, Tokens

_HASHED_FORM = "causaltest pairs 1"
"""Goes into every hash; raise the number when what is hashed changes."""


def content_hash(pairs: Iterable[Pair], cluster: str | None) -> str:
    """Return the SHA-256, in hexadecimal, of the pairs in order and of their cluster.

    It covers prompts, answers, positions and labels, and no ids.
    """
    digest = hashlib.sha256(_canonical([_HASHED_FORM, cluster]))
    for pair in pairs:
        digest.update(_canonical(_content(pair)))
    return digest.hexdigest()


def _content(pair: Pair) -> list[object]:
    """Return what a pair's hash covers."""
    # Further sources are appended where there are any, so that other pairs keep their hash.
    further: list[object] = []
    if pair.sources:
        others = {
            name: {source: _hashed_place(place) for source, place in position.others}
            for name, position in pair.positions.items()
        }
        further = [dict(pair.sources), others]
    return [
        pair.base,
        pair.source,
        pair.base_answer,
        pair.source_answer,
        {
            name: [_hashed_place(position.base), _hashed_place(position.source)]
            for name, position in pair.positions.items()
        },
        dict(pair.labels),
        *further,
    ]


def _hashed_place(place: Place) -> list[object]:
    """Return what a place's hash covers."""
    if isinstance(place, Tokens):
        return ["tokens", *place.indices]
    return ["characters", place.start, place.stop]


def _canonical(value: object) -> bytes:
    """Return the same bytes for the same value on every machine, one line of JSON."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return text.encode() + b"\n"
