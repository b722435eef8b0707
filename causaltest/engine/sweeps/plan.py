"""Plans of sweeps: which way was taken and why, what it cost, and how it was checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Name = Literal["growing", "batched", "loop"]
Choice = Literal["auto", "growing", "batched", "loop"]

_WORDS: dict[Name, str] = {
    "growing": "one walk down the blocks; rows join where they are first edited",
    "batched": "rows of many cells share forward passes",
    "loop": "each cell by forward passes of its own",
}


@dataclass(frozen=True)
class Job:
    """Work that depends on no other job: some pairs under some cells.

    Parameters
    ----------
    pairs, cells
        Indices into the sweep's pairs and cells.
    plan
        How they are run.
    """

    pairs: tuple[int, ...]
    cells: tuple[int, ...]
    plan: Name


@dataclass(frozen=True)
class Plan:
    """How a sweep was run.

    Parameters
    ----------
    name
        `growing`, `batched` or `loop`.
    reasons
        Why this plan, and why no faster one.
    pairs, cells
        Size of the sweep.
    jobs
        What was run.
    rows
        Most rows in one pass.
    forward_equivalents
        Arithmetic in units of one prompt through all blocks; base and source runs and the check
        included.
    known
        (pair, cell) values that equal the base value because base and source agree up to the edit.
    checked
        Cells that were compared with a plain forward pass.
    difference
        Largest difference of their logits, relative to the largest logit; None without a check.
    largest
        That logit, the largest of all that were checked.
    inert
        Cells that changed no activation in any pair.
    draws
        Base runs of each pair, where these are edited at random; a job's pairs are such runs.
    """

    name: Name
    reasons: tuple[str, ...]
    pairs: int
    cells: int
    jobs: tuple[Job, ...] = ()
    rows: int = 0
    forward_equivalents: float = 0.0
    known: int = 0
    checked: tuple[int, ...] = ()
    difference: float | None = None
    largest: float = 0.0
    inert: tuple[int, ...] = ()
    draws: int = 1

    def __str__(self) -> str:
        values = self.pairs * self.draws * self.cells
        pairs = f"{self.pairs} pairs" + (f" x {self.draws} draws" if self.draws > 1 else "")
        lines = [f"{self.name}: {_WORDS[self.name]}", *(f"  {each}" for each in self.reasons[:2])]
        lines.append(
            f"  {self.cells} cells on {pairs}, {self.known} of {values} values known to "
            "be those of the base run"
        )
        lines.append(
            f"  at most {self.rows} rows in a pass; arithmetic of {self.forward_equivalents:.1f} "
            f"forward passes, where one for each value takes {values}"
        )
        if self.difference is not None:
            lines.append(
                f"  {len(self.checked)} cells checked by a plain forward pass: within "
                f"{self.difference:.1g} of the largest logit"
            )
        return "\n".join(lines) + _inert(self.inert)


def _inert(cells: tuple[int, ...]) -> str:
    if not cells:
        return ""
    shown = ", ".join(map(str, cells[:8])) + (", ..." if len(cells) > 8 else "")
    return f"\n  {len(cells)} cells changed nothing in any pair: {shown}"
