"""Reading while text is written: the activation at the token that each step reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from causaltest.engine.access import Access, Places, take
from causaltest.engine.calls import Turns
from causaltest.engine.hosts import Host
from causaltest.engine.model import Model
from causaltest.engine.steps import Clock
from causaltest.engine.writing import Generated
from causaltest.errors import InterventionError, SiteError
from causaltest.sites import END, KEYED, Site


@dataclass
class StepRead:
    """Keeps what a site carries at the token that each step of one generation reads."""

    site: Site
    access: Access
    clock: Clock
    passed: int = -1
    turns: Turns = field(default_factory=Turns)
    steps: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turns.call = self.access.call

    def __call__(self, tensor: Tensor) -> None:
        """Note the activation, where the token of this step is computed."""
        clock = self.clock
        if self.passed != clock.step:
            self.passed, self.turns.seen = clock.step, 0
        if not self.turns.comes():
            return
        if len(self.steps) > clock.step:
            raise InterventionError(
                f"{self.site} cannot be read: {self.access.path} runs several times in one step; "
                f"say which: module({self.access.path!r}, call=0)"
            )
        rows = clock.copies * len(clock.lengths)
        if tensor.ndim < 3 or tuple(tensor.shape[:2]) != (rows, clock.width):
            raise InterventionError(
                f"{self.site}: {self.access.path}.{self.access.side} has shape "
                f"{tuple(tensor.shape)} in generation; expected (rows, tokens, ...) = "
                f"{(rows, clock.width)} and a width"
            )
        columns = [
            clock.reads(row // clock.copies, clock.step) - clock.start for row in range(rows)
        ]
        where = Places(torch.arange(rows), torch.tensor(columns))
        self.steps.append(take(tensor, where, self.access).clone())


def check_reads(
    model: Model, host: Host | None, sites: Sequence[Site], settings: Mapping[str, Any]
) -> None:
    """Refuse sites that have no one activation for each step.

    Raises
    ------
    SiteError
        A position in the prompt, or scores and patterns, as wide as the text is long.
    InterventionError
        A site that runs once, before the first step, or beams, whose rows change places.
    """
    for site in sites:
        access = model.access(site)
        if site.pos not in (None, END, -1):
            raise SiteError(
                f"{site}: position {site.pos!r} names tokens of the prompt, but each step is read "
                "at the token it reads; leave pos out, or read the prompt with model.read"
            )
        if site.component in KEYED:
            raise SiteError(
                f"{site} has another number of keys at each step; read it in a run over the whole "
                "text, with model.read"
            )
        if host is not None and host.runs_once(access.path):
            raise InterventionError(
                f"{site} is in the encoder of {model.name}, which reads the prompt once, before "
                "the first step; read it with model.read"
            )
    if sites and int(settings.get("num_beams") or 1) > 1:
        raise InterventionError(
            "beams change places from step to step, so what is read cannot be told apart; leave "
            "num_beams out, or read=()"
        )


def with_reads(written: Sequence[Generated], reads: Sequence[StepRead]) -> list[Generated]:
    """Return texts with what was read while they were written.

    Raises
    ------
    InterventionError
        A module did not run in some step.
    """
    texts: list[Generated] = []
    for row, text in enumerate(written):
        found: dict[Site, Tensor] = {}
        for each in reads:
            if len(each.steps) < len(text.ids):
                raise InterventionError(
                    f"{each.site} could not be read: {each.access.path} ran in {len(each.steps)} "
                    f"of {len(text.ids)} steps"
                )
            found[each.site] = torch.stack([step[row] for step in each.steps[: len(text.ids)]])
        texts.append(replace(text, read=found) if reads else text)
    return texts
