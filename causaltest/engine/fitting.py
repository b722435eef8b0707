"""Which candidates for components carry an activation for each row and token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from causaltest.engine.access import Access
from causaltest.engine.residual import Findings
from causaltest.engine.survey import Place, Seen, tensor_of

_OF_ENCODER = ("cross_key_output", "cross_value_output")


def fitting(
    candidates: Mapping[tuple[str, int | None], Access],
    several: Mapping[Place, Seen],
    single: Mapping[Place, Seen],
    first: str,
) -> Findings:
    """Keep the candidates that carry one number of tokens or the other, as the first block does.

    Parameters
    ----------
    candidates
        Component and layer to where it would be, by name.
    several, single
        A run of a row of several tokens, and one of rows of one token.
    first
        The first block.
    """
    stream, one = several[first, "input"].tensor, single.get((first, "input"), Seen(0, None)).tensor
    assert stream is not None
    rows, length = stream.shape[:2]
    findings = Findings({})
    for key, access in candidates.items():
        place = (access.path, access.side)
        lengths: tuple[int | None, int | None] = (length, length if one is None else one.shape[1])
        if key[0] in _OF_ENCODER:  # which may be of frames or patches
            lengths = (None, None)
        unfit = _unfit(several.get(place), rows, lengths[0]) or _unfit(
            single.get(place), None, lengths[1]
        )
        if unfit:
            findings.missing[key[0]] = f"{access.path} {unfit}"
        else:
            width = tensor_of(several, access).shape[-1]
            findings.accesses[key] = replace(access, width=width)
    return findings


def _unfit(seen: Seen | None, rows: int | None, tokens: int | None) -> str:
    """Return why an activation cannot be a component, or an empty string."""
    if seen is None:
        return "did not run in a plain forward pass"
    if seen.calls != 1:
        return f"runs {seen.calls} times in one forward pass"
    if seen.tensor is None:
        return "takes or gives no tensor, or several of which none is known to be the activation"
    shape = tuple(seen.tensor.shape)
    if len(shape) != 3 or shape[1] != (tokens or shape[1]) or shape[0] != (rows or shape[0]):
        return "is not of shape (rows, tokens, width)"
    return ""
