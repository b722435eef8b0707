"""Running prompts one by one under an intervention: the context that `intervene` opens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn, Self

import torch

from causaltest.engine.applied import Applied, Target, declared, targets_of
from causaltest.engine.apply import has_source
from causaltest.engine.ledger import Done, Entry, check_changed, total
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Row
from causaltest.engine.rows import as_row
from causaltest.engine.sources import means_for, needs_reading, reads_for
from causaltest.errors import InterventionError
from causaltest.interventions import FromSource, Intervention, MeanAblation, ResampleAblation
from causaltest.pairs import Pair, Pairs, Prompt
from causaltest.sites import MODULE

if TYPE_CHECKING:
    from causaltest.engine.generation import Generation
    from causaltest.engine.steps import When


_adding = Lock()
"""Threads may share a context; what they add takes no time worth a lock for each."""


class Tally:
    """Adds up what the edits of one intervention do, run after run.

    The words for it, which take longer to find than a small network to run, are found when
    somebody looks.

    Attributes
    ----------
    begun
        Whether anything was added.
    """

    def __init__(self) -> None:
        self._sums: dict[object, tuple[Applied, Done | None]] = {}
        self._entries: list[Entry] = []
        self.begun = False

    @property
    def entries(self) -> tuple[Entry, ...]:
        """One entry for each edit so far."""
        with _adding:
            sums, entries = list(self._sums.values()), list(self._entries)
        return total([*(first.said(done or first.did()) for first, done in sums), *entries])

    def add(self, edits: Sequence[Applied], others: Sequence[Entry], what: object) -> None:
        """Add what the edits did in one run, and what is in words already.

        Raises
        ------
        InterventionError
            An edit did not happen exactly once, or all of them changed nothing.
        """
        changed = 0
        for edit in edits:
            edit.check()
            changed += edit.changed
        if not changed:
            check_changed([edit.did() for edit in edits], what)
        if others:
            check_changed(others, f"what {what} does to its sources")
            self.note(others)
        self.begun = True
        with _adding:
            for index, edit in enumerate(edits):
                # Edits of one call are told apart by how many calls there were.
                key = index if edit.access.call is None else (index, edit.turns.seen)
                first, done = self._sums.get(key, (edit, None))
                if first is not edit:
                    done = (done or first.did()).and_then(edit.did())
                self._sums[key] = first, done

    def note(self, entries: Iterable[Entry]) -> None:
        """Add what was done and is in words already."""
        self.begun = True
        with _adding:
            self._entries.extend(entries)


def _prepared(model: Model, intervention: Intervention) -> tuple[bool, list[Target]]:
    """Return whether an intervention reads anything, and where it is made.

    The last is remembered, for loops over prompts; but not modules by their paths, which the user
    may take out of the network.
    """
    known = model.prepared
    if known is not None and known[0] is intervention:
        return known[1], known[2]
    reads, targets = any(map(needs_reading, intervention.parts)), targets_of(model, intervention)
    if not any(site.component == MODULE for _, site, _ in targets):
        model.prepared = intervention, reads, targets
    return reads, targets


class Intervened:
    """Runs prompts under one intervention; given by `intervene`.

    Attributes
    ----------
    intervention
        What is edited.
    ledger
        What the edits did so far, one entry for each intervention and site.
    """

    _open: bool | None = None

    def __init__(self, model: Model, intervention: Intervention, pair: Pair | None) -> None:
        self.intervention = intervention
        self._model = model
        self._pair = pair
        self._reads, self._targets = _prepared(model, intervention)
        if self._reads:
            check_pair(intervention, pair)
        self._tally = Tally()

    def __enter__(self) -> Self:
        self._open = True
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._open = False
        if kind is None and not self._tally.begun:
            raise InterventionError(
                f"no prompt was run under {self.intervention}: call the value of "
                "`with ... as run:`, e.g. run(pair.base)"
            )

    @property
    def ledger(self) -> tuple[Entry, ...]:
        """What the edits did so far."""
        return self._tally.entries

    def __call__(self, prompt: Prompt | list[int]) -> Output:
        """Run one prompt with the edits in place.

        Parameters
        ----------
        prompt
            The pair's base or source, or any prompt if no site's position has a name of the pair.

        Returns
        -------
        Output

        Raises
        ------
        InterventionError
            The context has ended, or an edit did not happen.
        """
        if not self._open:
            self._refuse()
        each = self._model.batch([self._row(prompt)])
        stored = means = None
        graded = torch.is_grad_enabled()
        # What no_grad does, in a third of its time.
        torch._C._set_grad_enabled(False)  # noqa: FBT003, SLF001
        try:
            if self._reads:
                over = _alone(self._pair or each.rows[0].prompt)
                means = means_for(self._model, self.intervention, over)
                stored = reads_for(self._model, self.intervention, list(over), over, 0)
            edits, operations = declared(
                self._model, self.intervention, each,
                draw=0, stored=stored, means=means, targets=self._targets,
            )  # fmt: skip
            outputs = self._model.run_batch(each, operations)
        finally:
            torch._C._set_grad_enabled(graded)  # noqa: SLF001
        self._tally.add(edits, stored.ledger if stored else (), self.intervention)
        return outputs[0]

    def generate(
        self, prompt: Prompt | list[int], *, max_new_tokens: int, when: When, **settings: Any
    ) -> Generation:
        """Write on after one prompt with the edits in place.

        Parameters
        ----------
        prompt
            As for a call.
        max_new_tokens, when, settings
            As for `Model.generate`.

        Returns
        -------
        Generation

        Raises
        ------
        InterventionError
            The context has ended, or an edit did not happen.
        """
        from causaltest.engine.generation import generate

        if not self._open:
            self._refuse()
        written = generate(
            self._model,
            self._row(prompt),
            max_new_tokens=max_new_tokens,
            intervention=self.intervention,
            when=when,
            **settings,
        )
        self._tally.note(written.ledger)
        return written

    def _refuse(self) -> NoReturn:
        state = "not begun" if self._open is None else "ended"
        raise InterventionError(f"this intervention has {state}; run prompts inside its `with`")

    def _row(self, prompt: Prompt | list[int]) -> Row:
        prompt = tuple(prompt) if isinstance(prompt, list) else prompt
        pair = self._pair
        if pair is None:
            return as_row(prompt)
        side = "base" if prompt == pair.base else "source" if prompt == pair.source else None
        return as_row(prompt) if side is None else Row(prompt, pair, side)


@lru_cache(maxsize=64)
def _alone(pair: Pair | Prompt) -> Pairs:
    """Return one pair, or one prompt, as a pair set."""
    pair = pair if isinstance(pair, Pair) else Pair(pair)
    return Pairs([pair], name="one pair", cluster=None)


def intervene(model: Model, intervention: Intervention, pair: Pair | None = None) -> Intervened:
    """Run prompts under an intervention.

    Parameters
    ----------
    model
        The model.
    intervention
        What to edit.
    pair
        Gives the source run and the named positions; None where neither is needed.

    Returns
    -------
    Intervened
        A context; within it, call its value with a prompt to run that with the edits in place.

    Raises
    ------
    InterventionError
        The intervention needs a pair and there is none, or no prompt was run inside.

    Examples
    --------
    >>> import torch
    >>> from causaltest.interventions import zero_ablate
    >>> from causaltest.sites import module
    >>> toy = Model(torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5)))
    >>> with intervene(toy, zero_ablate(module("0", pos=-1))) as run:
    ...     same = torch.equal(run((0, 1)).at(), toy.network[1].bias)
    >>> same
    True
    """
    if not isinstance(intervention, Intervention):
        raise InterventionError(
            f"intervene takes an intervention such as interchange(block_output(0)); got "
            f"{intervention!r} ({type(intervention).__name__})"
        )
    return Intervened(model, intervention, pair)


def check_pair(intervention: Intervention, pair: Pair | None, over: Pairs | None = None) -> None:
    """Refuse an intervention on one prompt that needs a source, or prompts to draw from."""
    for part in intervention.parts:
        if isinstance(part, FromSource) and not part.optional and part.source != "base":
            name = part.source
            if pair is None or not has_source(pair, name):
                raise InterventionError(
                    f"{part} needs a prompt {name!r}: pass a pair that has it, e.g. "
                    f"Pair(base, sources={{{name!r}: prompt}})"
                )
        elif part.needs_source and (pair is None or pair.source is None):
            raise InterventionError(
                f"{part} needs a source run: pass a pair, e.g. intervene({part}, pair)"
            )
        if isinstance(part, (MeanAblation, ResampleAblation)) and (part.over or over) is None:
            raise InterventionError(
                f"{part} needs reference prompts for one pair: say over=<pair set>"
            )
