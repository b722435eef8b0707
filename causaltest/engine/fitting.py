"""Which candidates for components carry an activation for each row and token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from causaltest.engine.access import Access
from causaltest.engine.residual import Findings
from causaltest.engine.survey import Place, Seen, tensor_of

# Frames or patches of an encoder; and what a block takes may be more positions than it gives.
_OF_ANY_LENGTH = ("cross_key_output", "cross_value_output", "block_input")


def fitting(
    candidates: Mapping[tuple[str, int | None], Access],
    several: Mapping[Place, Seen],
    single: Mapping[Place, Seen],
    blocks: Sequence[str],
) -> Findings:
    """Keep the candidates that carry as many tokens as their block gives.

    Parameters
    ----------
    candidates
        Component and layer to where it would be, by name.
    several, single
        A run of a row of several tokens, and one of rows of one token.
    blocks
        The blocks. What a component of none carries is compared with what the first takes.
    """
    findings = Findings({})
    for key, access in candidates.items():
        place = (access.path, access.side)
        stream: Place = (blocks[0], "input") if key[1] is None else (blocks[key[1]], "output")
        most, fewest = several[stream].tensor, single.get(stream, Seen(0, None)).tensor
        assert most is not None
        rows, length = most.shape[:2]
        lengths: tuple[int | None, int | None] = (
            length, length if fewest is None else fewest.shape[1]
        )  # fmt: skip
        if key[0] in _OF_ANY_LENGTH:
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
