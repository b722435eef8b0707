"""Pair sets whose sources are exchanged, so that they carry the same answer, or any."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from causaltest.engine.apply import random_stream
from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.errors import InterventionError, PairError
from causaltest.interventions import Intervention
from causaltest.pairs import Pair, Pairs, Position

Donor = Callable[[Pair, Pair], bool]


def same_answer_sources(
    model: Model, intervention: Intervention, pairs: Pairs, *, seed: int = 0
) -> Pairs:
    """Give each pair the base prompt of another pair with the same base answer as its source.

    What is put in then differs from what was there, but asks for the same answer: an effect of
    it is damage, not transfer.

    Parameters
    ----------
    model, intervention
        Say how many tokens each site covers; a source covers as many as the pair's own.
    pairs
        The tested pairs, with base answers.
    seed
        Root of the draw.

    Returns
    -------
    Pairs
        Pair by pair: base, answers, labels and id as before.

    Raises
    ------
    PairError
        A pair has no answer, or there is no other pair that fits it.
    """
    for pair in pairs:
        if pair.base_answer is None:
            raise PairError(f"pair {pair.id} has no base_answer, so none has the same answer")

    def fits(pair: Pair, other: Pair) -> bool:
        return other.base_answer == pair.base_answer and other.base != pair.base

    return _exchanged(
        model, intervention, pairs, fits, side="base", seed=seed, what="has the same base answer"
    )


def shuffled_sources(
    model: Model, intervention: Intervention, pairs: Pairs, *, seed: int = 0
) -> Pairs:
    """Give each pair the source of another pair, drawn at random.

    Parameters
    ----------
    model, intervention, pairs, seed
        As for `same_answer_sources`.

    Raises
    ------
    PairError
        A pair has no source, or there is no other pair that fits it.
    """
    for pair in pairs:
        if pair.source is None:
            raise PairError(f"pair {pair.id} has no source, so sources cannot be shuffled")

    def fits(pair: Pair, other: Pair) -> bool:
        return other.source not in (pair.source, pair.base)

    return _exchanged(
        model, intervention, pairs, fits, side="source", seed=seed, what="has another source"
    )


def _exchanged(
    model: Model,
    intervention: Intervention,
    pairs: Pairs,
    fits: Donor,
    *,
    side: str,
    seed: int,
    what: str,
) -> Pairs:
    if not intervention.needs_source:
        raise InterventionError(
            f"{intervention} takes nothing from the source, so exchanging sources changes "
            "nothing; this control is for interchange()"
        )
    sizes = [_sizes(model, intervention, pair, side) for pair in pairs]
    wanted = [_sizes(model, intervention, pair, "base") for pair in pairs]
    exchanged: list[Pair] = []
    for pair, size in zip(pairs, wanted, strict=True):
        donors = [
            other
            for other, other_size in zip(pairs, sizes, strict=True)
            if other is not pair and other_size == size and fits(pair, other)
        ]
        if not donors:
            raise PairError(
                f"no other pair of {pairs.name} {what} and covers as many tokens at "
                f"{', '.join(str(site.pos) for site in intervention.sites)} as pair {pair.id}"
            )
        stream = random_stream("sources", side, seed, pair.id, pairs.sha256)
        exchanged.append(_with_source(pair, donors[int(stream.integers(len(donors)))], side))
    return Pairs(exchanged, name=f"{pairs.name}/{side}s exchanged", cluster=pairs.cluster)


def _sizes(model: Model, intervention: Intervention, pair: Pair, side: str) -> Sequence[int]:
    row = Row.of(pair, "source" if side == "source" else "base")
    return [len(model.prompts.positions(row, site.pos)) for site in intervention.sites]


def _with_source(pair: Pair, donor: Pair, side: str) -> Pair:
    """Return a pair whose source, and the places in it, are those of a side of another pair."""
    places = {
        name: Position(
            base=position.base,
            source=donor.positions[name].source if side == "source" else donor.positions[name].base,
        )
        for name, position in pair.positions.items()
        if name in donor.positions
    }
    return Pair(
        pair.base,
        donor.source if side == "source" else donor.base,
        pair.base_answer,
        pair.source_answer,
        positions=places,
        labels=pair.labels,
        id=pair.id,
    )
