"""Steps of generation: which forward pass is running, and edits of the tokens that it computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from causaltest.engine.access import Places
from causaltest.engine.applied import Applied
from causaltest.engine.apply import Edit
from causaltest.engine.given import Given
from causaltest.engine.keys import check_unpadded, switched
from causaltest.engine.ledger import Entry
from causaltest.engine.prompts import Batch
from causaltest.errors import InterventionError, ModelError, SiteError
from causaltest.interventions import FromSource, Intervention, ResampleAblation
from causaltest.sites import END, KEYED
from causaltest.spelling import did_you_mean

When = Literal["prompt", "every step"] | Sequence[int]

_WHENS = ("prompt", "every step")


@dataclass
class Clock:
    """Says which step of generation runs, and which tokens of the text it computes.

    Step 0 is the forward pass over the prompt, whose last token gives the first new token; step k
    is the pass over the k-th new token. Columns count the tokens of the longest row, padding
    included, whether or not a pass computes them all: with a cache, step k computes one column.

    Parameters
    ----------
    lengths
        Unpadded length of each prompt; 0 where the first pass is to tell, as that of a decoder
        does, which begins with tokens of its own.
    left
        Whether short rows are padded on the left.
    """

    lengths: tuple[int, ...]
    left: bool
    step: int = -1
    start: int = 0
    width: int = 0
    copies: int = 1

    def tick(self, ids: Tensor) -> None:
        """Take note of a forward pass over some token ids, (rows, tokens).

        Raises
        ------
        ModelError
            The pass is over neither the whole text nor its last token.
        """
        self.step += 1
        rows, self.width = int(ids.shape[0]), int(ids.shape[1])
        if not any(self.lengths):
            self.lengths = (self.width,) * len(self.lengths)
        whole = max(self.lengths) + self.step
        last_only = self.step > 0 and self.width == 1
        if (self.width != whole and not last_only) or rows % len(self.lengths):
            raise ModelError(
                f"step {self.step} of generation ran on {rows} rows of {self.width} tokens; "
                f"expected {len(self.lengths)} prompts, and {whole} tokens or the last one\n"
                "Edits cannot be placed in chunked or assisted generation; leave those settings out"
            )
        self.copies = rows // len(self.lengths)
        self.start = whole - self.width

    def first(self, prompt: int) -> int:
        """Return the column of a prompt's first token."""
        return max(self.lengths) - self.lengths[prompt] if self.left else 0

    def reads(self, prompt: int, step: int) -> int:
        """Return the column at which a step reads the next token."""
        return self.first(prompt) + self.lengths[prompt] - 1 + step


def check_when(when: object, intervention: Intervention, most: int) -> tuple[int, ...] | str:
    """Return the steps that are edited: `prompt`, `every step`, or their numbers in order.

    Raises
    ------
    InterventionError
        It is none of these, a step can never happen, or an edit cannot be made there.
    """
    if when is None:
        raise InterventionError(
            f"{intervention}: say when to edit: when='prompt' (the prompt's own positions, once), "
            "'every step' (the last token of the prompt and each new one) or steps, e.g. [0, 3]"
        )
    if when == "prompt":
        return "prompt"
    chosen: tuple[int, ...] | str
    if isinstance(when, str):
        if when != "every step":
            raise InterventionError(
                f"when is {when!r}{did_you_mean(when, _WHENS)}\n"
                "expected 'prompt', 'every step' or a list of steps from 0"
            )
        chosen = when
    else:
        chosen = _numbers(when, most)
    for part in intervention.parts:
        _check_stepwise(part)
    return chosen


def _numbers(when: object, most: int) -> tuple[int, ...]:
    steps = tuple(when) if isinstance(when, (list, tuple, range, set, frozenset)) else ()
    whole = [step for step in steps if isinstance(step, int) and not isinstance(step, bool)]
    if not whole or len(whole) < len(steps) or len(set(whole)) < len(whole):
        raise InterventionError(
            f"when is {when!r}; expected 'prompt', 'every step' or a list of different steps from 0"
        )
    for step in whole:
        if not 0 <= step < most:
            raise InterventionError(
                f"step {step} never happens: with max_new_tokens={most} the steps are 0-{most - 1} "
                "(step k reads the k-th new token and gives the next; step 0 reads the prompt)"
            )
    return tuple(sorted(whole))


def _check_stepwise(part: Intervention) -> None:
    if part.needs_source or isinstance(part, (ResampleAblation, FromSource)):
        raise InterventionError(
            f"{part} takes activations of another prompt, which has no new tokens; "
            "edit the prompt only: when='prompt'"
        )
    for site in part.sites:
        if site.pos not in (None, END, -1):
            raise SiteError(
                f"{site}: position {site.pos!r} names tokens of the prompt, but steps are edited "
                "at the token they read; leave pos out, or say when='prompt'"
            )


@dataclass
class StepEdit(Applied):
    """An edit in action over the forward passes of one generation.

    Every token is edited in each pass that computes it: once with a cache, and again in every
    later pass without one. What is counted does not depend on that.

    Parameters
    ----------
    clock
        Which pass runs.
    steps
        As `check_when` gives them; for rows that are no prompts also `every token`, those of the
        prompt at once and each new one, or `every new token`, none of the prompt.
    """

    clock: Clock = field(default_factory=lambda: Clock((), left=True))
    steps: tuple[int, ...] | str = "prompt"
    done: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    edited_tokens: int = 0
    passed: int = -1

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return the activation with the edits of the pass that runs."""
        clock = self.clock
        if self.passed != clock.step:
            self.passed, self.turns.seen = clock.step, 0
        if not self.turns.comes():
            return tensor
        tokens = tensor.ndim >= 3 and tensor.shape[1] == clock.width
        if not tokens or tensor.shape[0] != clock.copies * len(clock.lengths):
            raise InterventionError(
                f"{self.site}: {self.access.path}.{self.access.side} has shape "
                f"{tuple(tensor.shape)} in generation; expected (rows, tokens, ...) = "
                f"{(clock.copies * len(clock.lengths), clock.width)} and a width"
            )
        if self.site.component in KEYED and "cross" not in self.site.component:
            check_unpadded(self.site, self.rows)
            self._check_keys(tensor)
        if self.steps == "prompt":
            return self._prompt(tensor)
        reached = range(clock.step + 1)
        first = 1 if self.steps == "every new token" else 0
        for step in reached[first:] if isinstance(self.steps, str) else self.steps:
            if step in reached:
                tensor = self._write(tensor, self._columns(step), step)
        return tensor

    def _columns(self, step: int) -> list[list[int]]:
        """Return the columns of each prompt that are edited at one step."""
        clock = self.clock
        if step == 0 and self.steps == "every token":
            return [list(range(max(clock.lengths)))] * len(clock.lengths)
        return [[clock.reads(prompt, step)] for prompt in range(len(clock.lengths))]

    def _check_keys(self, tensor: Tensor) -> None:
        """Refuse keys that are not the tokens of each text from its first."""
        clock = self.clock
        keys = tensor.shape[-1] // (self.access.heads or 1)
        if keys != clock.start + clock.width:
            raise InterventionError(
                f"{self.site}: there are {keys} keys at step {clock.step} of generation, where the "
                f"text has {clock.start + clock.width} tokens; say use_cache=False"
            )

    def _prompt(self, tensor: Tensor) -> Tensor:
        columns: list[list[int]] = []
        if isinstance(self.rows, Given):
            columns = self.rows.indices(self.site, max(self.clock.lengths))
        for index, row in enumerate(self.rows.rows):
            found = () if self.skips(index) else self.model.prompts.positions(row, self.site.pos)
            columns.append([self.clock.first(index) + position for position in found])
        self.counts = [len(each) for each in columns]
        self.check_spans()
        if not any(self.counts):
            self.done.add(0)
            return tensor
        return self._write(tensor, columns, 0)

    def _write(self, tensor: Tensor, columns: Sequence[Sequence[int]], step: int) -> Tensor:
        """Edit some columns of each prompt, as they are edited at one step."""
        clock = self.clock
        if self.steps == "prompt":
            if clock.start > 0:  # the prompt stands in the cache, edited
                return tensor
        elif columns[0][0] < clock.start:
            return tensor
        copies = range(clock.copies)
        rows = [
            index * clock.copies + copy
            for index, each in enumerate(columns)
            for copy in copies
            for _ in each
        ]
        flat = [column - clock.start for each in columns for _ in copies for column in each]
        where = Places(
            torch.tensor(rows, device=tensor.device), torch.tensor(flat, device=tensor.device)
        )
        counts = tuple(len(each) for each in columns for _ in copies)
        repeated = tuple(row for row in self.rows.rows for _ in copies)
        edit = Edit(self.site, repeated, counts, step, self._spread())
        new, changed = self.rewritten(tensor, where, edit)
        if step == clock.step:
            self.done.add(step)
            self.edited_tokens += sum(len(each) for each in columns)
            self.moved |= {row // clock.copies for row in changed}
        return new

    def _spread(self) -> Tensor | None:
        """Return the stored numbers once for each copy of a row, as beams and samples are."""
        if self.values is None or self.value_counts is None or self.clock.copies == 1:
            return self.values
        parts = torch.split(self.values, self.value_counts)
        return torch.cat([part for part in parts for _ in range(self.clock.copies)])

    def entry(self) -> Entry:
        """Return what was done, or refuse to go on if nothing was."""
        if wrong := self.turns.missed(self.site, self.access.path, self.model.name):
            raise InterventionError(f"{self.part} did not happen in generation\n{wrong}")
        if not self.done and self.passed >= 0 and self.steps == "every new token":
            raise InterventionError(
                f"{self.site.at(None)} was never edited in {self.passed + 1} passes of generation; "
                "the prompt's own pass gives the first new token, so that edits of new tokens need "
                "max_new_tokens above 1"
            )
        if not self.done:
            raise InterventionError(
                f"{self.part} did not happen: {self.access.path} was never reached in generation "
                f"by {self.model.name}"
            )
        return Entry(
            str(self.part),
            str(self.site),
            f"{self.access.path}.{self.access.side}{self.turns}",
            note=switched(self.access, self.site, self.model.network),
            fired=len(self.done),
            rows=sum(map(bool, self.counts)) or len(self.clock.lengths),
            positions=self.edited_tokens,
            dims=self.width,
            changed=len(self.moved),
        )


def check_reached(
    steps: tuple[int, ...] | str, written: Sequence[int], rows: Batch, what: Intervention | None
) -> None:
    """Refuse texts that ended before a step at which they were to be edited.

    Raises
    ------
    InterventionError
        Names the prompt and the step.
    """
    if isinstance(steps, str):
        return
    for index, count in enumerate(written):
        if count <= steps[-1]:
            row = rows.rows[index * len(rows.rows) // len(written)]
            prompt = row.prompt if row.pair is None or not row.pair.id else f"pair {row.pair.id}"
            raise InterventionError(
                f"{what} did not happen at step {steps[-1]} for {prompt!r}: the text ended after "
                f"{count} tokens\n"
                "choose earlier steps, or say min_new_tokens= or eos_token_id=None"
            )
