"""Numbers that were fitted to pairs, which are therefore not judged on those pairs."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from torch import Tensor

from causaltest.errors import EvidenceError, InterventionError, PairError
from causaltest.interventions import Intervention
from causaltest.interventions.arrays import Array, arrays_of, as_array
from causaltest.pairs import Pair, Pairs, Prompt
from causaltest.spelling import did_you_mean, listed
from causaltest.stats.splits import check_unseen

Values = TypeVar("Values")
Ids = Callable[[Prompt], tuple[int, ...]]
"""What a model makes of a prompt: token ids."""

_SAME = 1e-5
"""By how much the cosine of two directions that are the same may miss 1, in half precision too."""
_MOST_DIRECTIONS = 4096
"""Matrices of more columns, such as whole autoencoders, are known again as they are only."""
_SHOWN = 60


@dataclass(frozen=True)
class Seen:
    """Pairs that something was fitted to or chosen on, as far as others need to know them.

    Parameters
    ----------
    name, sha256, pairs
        The pair set and its size.
    values
        The values of the label that keeps it apart from other pairs.
    prompts
        Fingerprints of each prompt, base or source: as it is written, and as the model reads it.
    """

    name: str
    sha256: str
    pairs: int
    values: tuple[str, ...]
    prompts: tuple[str, ...]

    @staticmethod
    def of(pairs: Pairs, by: str | None, ids: Ids | None = None) -> Seen:
        """Describe a pair set, kept apart by a label or by its prompts alone.

        With `ids`, what the model reads as the same tokens is the same prompt, however written.

        Raises
        ------
        PairError
            A pair lacks the label.
        """
        values = () if by is None else _values(pairs, by)
        prompts = {
            told
            for pair in pairs
            for _, each in _prompts(pair)
            for told in _fingerprints(each, ids)
        }
        return Seen(pairs.name, pairs.sha256, len(pairs), values, tuple(sorted(prompts)))

    def check(self, judged: Pairs, *, what: str, by: str | None, ids: Ids | None = None) -> None:
        """Refuse to judge something on pairs that share the label's values or a prompt with these.

        Also a prompt that stood on the other side counts: what was fitted to an activation knows it
        wherever it comes from.

        Raises
        ------
        EvidenceError
            They share one.
        PairError
            A pair lacks the label.
        """
        if by is not None:
            check_unseen(self.values, _values(judged, by), what=what, unit=by)
        known = set(self.prompts)
        for pair in judged:
            for side, prompt in _prompts(pair):
                if not known.isdisjoint(_fingerprints(prompt, ids)):
                    raise EvidenceError(
                        f"{what} cannot be judged on the data it rests on: the {side} prompt of "
                        f"pair {pair.id} of {judged.name} is also a prompt of {self.name}: "
                        f"{_shown(prompt)}\n"
                        "split by a label that keeps prompts apart, or draw each part of the "
                        "pairs from prompts of its own"
                    )


@dataclass(frozen=True)
class Chosen:
    """Pairs on which something was chosen, such as the members of a circuit.

    Parameters
    ----------
    seen
        The pairs.
    by
        The label that keeps them apart from others, if there is one.
    """

    seen: Seen
    by: str | None

    @staticmethod
    def of(pairs: Pairs, ids: Ids | None = None) -> Chosen:
        """Describe a pair set, kept apart by its cluster."""
        return Chosen(Seen.of(pairs, pairs.cluster, ids), pairs.cluster)

    def check(self, judged: Pairs, *, what: str, ids: Ids | None = None) -> None:
        """Refuse to judge the choice on pairs that share a prompt or cluster with these.

        Raises
        ------
        EvidenceError
            They share one.
        """
        labelled = self.by is not None and all(self.by in pair.labels for pair in judged)
        chosen = f"{what} chosen on {self.seen.name}"
        self.seen.check(judged, what=chosen, by=self.by if labelled else None, ids=ids)


@dataclass(frozen=True)
class Known:
    """Numbers, and pairs that they were fitted to."""

    what: str
    arrays: tuple[Array, ...] | None
    """None for the network itself."""
    seen: Seen
    by: str | None


class Fitted(ABC):
    """What measures effects remembers which numbers were fitted to which pairs."""

    _known: list[Known]

    @abstractmethod
    def _ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the tokens of a prompt."""

    @abstractmethod
    def _note(self, text: str) -> None:
        """Add a remark to what is reported."""

    def fitted(self, values: Values, *, on: Pairs) -> Values:
        """Say that numbers were fitted to pairs, so that they are not judged on them.

        `mean_difference` and `align` say so of what they give. Say it of what was made elsewhere: a
        probe, principal components, the features that were chosen. The numbers are known again
        inside interventions, scaled or negated too, though not after other arithmetic.

        Parameters
        ----------
        values
            A vector or matrix whose columns are directions, a subspace, or an intervention.
        on
            The pairs. Where they have a cluster, none of its values may be judged on; no prompt of
            theirs may in any case.

        Returns
        -------
        The values, as they are.

        Raises
        ------
        InterventionError
            There are no numbers in it.
        PairError
            It is no pair set.

        Examples
        --------
        >>> import torch
        >>> from causaltest import Causal, Pair, Pairs, add, module
        >>> toy = torch.nn.Sequential(torch.nn.Embedding.from_pretrained(torch.eye(3)))
        >>> pairs = Pairs([Pair((0,), (2,), 0, 2)], name="train", cluster=None)
        >>> causal = Causal(toy)
        >>> probe = causal.fitted(torch.tensor([-1.0, 0.0, 1.0]), on=pairs)
        >>> causal.effect(add(module("0", pos="end"), 2 * probe), on=pairs)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        causaltest.EvidenceError: what was fitted to train cannot be judged on the data ...
        """
        if not isinstance(on, Pairs):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PairError(f"on= takes a pair set (Pairs); got {type(on).__name__}")
        if next(_arrays(values), None) is None:
            raise InterventionError(
                "fitted() takes a vector, a matrix, a subspace or an intervention with numbers; "
                f"got {values!r:.80} ({type(values).__name__})"
            )
        seen = Seen.of(on, on.cluster, self._ids)
        self.remember(f"what was fitted to {on.name}", values, seen, by=on.cluster)
        self._note(f"numbers fitted to {len(on)} pairs of {on.name}, and judged on no pair of it")
        return values

    def remember(self, what: str, values: object, seen: Seen, *, by: str | None) -> None:
        """Remember what numbers were fitted to; `fitted` is the same in the user's words.

        Parameters
        ----------
        what
            What they are, for messages.
        values
            As for `fitted`.
        seen
            The pairs.
        by
            The label that keeps them apart from others, if there is one.
        """
        if arrays := tuple(_arrays(values)):
            known = Known(what, arrays, seen, by)
            if known not in self._known:
                self._known.append(known)

    def remember_training(self, what: str, seen: Seen, *, by: str) -> None:
        """Remember what the network itself was trained on, for this instrument alone."""
        self._known = [*self._known, Known(what, None, seen, by)]

    def check_unseen(self, intervention: Intervention, on: Pairs) -> None:
        """Refuse pairs that numbers of the intervention were fitted to.

        Raises
        ------
        EvidenceError
            They share a prompt, or a value of the label that keeps pairs apart.
        """
        used = list(_arrays(intervention)) if self._known else []
        for known in self._known:
            if known.arrays is not None and not used:
                continue
            labelled = all(known.by in pair.labels for pair in on)
            try:
                by = known.by if labelled else None
                known.seen.check(on, what=known.what, by=by, ids=self._ids)
            except EvidenceError:
                # Only now, as it takes long to compare large matrices.
                if known.arrays is None or any(
                    _same(one, other) for one in used for other in known.arrays
                ):
                    raise


def _values(pairs: Pairs, by: str) -> tuple[str, ...]:
    for pair in pairs:
        if by not in pair.labels:
            raise PairError(
                f"pair {pair.id} of {pairs.name} has no label {by!r}"
                f"{did_you_mean(by, pair.labels)}\nits labels: {listed(pair.labels)}"
            )
    return tuple(dict.fromkeys(pair.labels[by] for pair in pairs))


def _prompts(pair: Pair) -> Iterator[tuple[str, Prompt]]:
    yield "base", pair.base
    if pair.source is not None:
        yield "source", pair.source
    yield from pair.sources.items()


@lru_cache(maxsize=2**16)
def _fingerprint(prompt: Prompt) -> str:
    return hashlib.sha256(json.dumps(prompt).encode()).hexdigest()[:16]


def _fingerprints(prompt: Prompt, ids: Ids | None) -> set[str]:
    """Return the fingerprint of a prompt as it is written, and as a model reads it."""
    return {_fingerprint(each) for each in (prompt, *([] if ids is None else [ids(prompt)]))}


def _shown(prompt: Prompt) -> str:
    text = repr(prompt)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _arrays(values: object) -> Iterator[Array]:
    """Yield the fixed numbers in values; single numbers are no direction of anything."""
    parts: Sequence[object] = values.parts if isinstance(values, Intervention) else (values,)
    for part in parts:
        plain = part if getattr(part, "holds_arrays", False) else _as_array(part)
        for each in arrays_of(plain):
            if not each.trainable and len(each.buffer) > np.dtype(each.dtype).itemsize:
                yield each


def _as_array(values: object) -> Array | None:
    try:
        return as_array(values.detach() if isinstance(values, Tensor) else values)
    except (InterventionError, TypeError):
        return None


def _same(one: Array, other: Array) -> bool:
    """Return whether arrays are equal, or a direction of one is a direction of the other."""
    if one == other:
        return True
    first, second = _directions(one), _directions(other)
    if first is None or second is None or len(first) != len(second):
        return False
    return bool((np.abs(first.T @ second) > 1 - _SAME).any())


def _directions(values: Array) -> np.ndarray | None:
    """Return the columns of a vector or matrix, each of length 1; those of zeros stay as they are.

    None where they are not to be looked at one by one.
    """
    if len(values.shape) not in (1, 2) or (*values.shape, 1)[1] > _MOST_DIRECTIONS:
        return None
    held = np.frombuffer(values.buffer, dtype=values.dtype).reshape(values.shape[0], -1)
    lengths = np.linalg.norm(held, axis=0)
    return (held / np.where(lengths > 0, lengths, 1)).astype(np.float64)
