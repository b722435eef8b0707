"""What an alignment was learned from, and how its fits went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from causaltest.fitted import Seen
from causaltest.sites import Pos


@dataclass(frozen=True)
class Fit:
    """One seed's fit.

    Parameters
    ----------
    seed
        Of the first guess and the order of the pairs.
    dev_accuracy
        Share of dev pairs answered as the source says.
    loss
        Training loss of the epoch that was kept.
    epochs
        How many were run.
    """

    seed: int
    dev_accuracy: float
    loss: float
    epochs: int


@dataclass(frozen=True)
class Origin:
    """What an alignment was learned from.

    Parameters
    ----------
    variables
        The causal variables.
    by
        The label by which train, dev and test pairs are kept apart.
    train, dev
        The pairs.
    fits
        One for each seed.
    kept
        Seed of the fit that was kept, the best on the dev pairs.
    recipe
        As JSON holds it.
    model, model_sha256
        The network.
    at
        Where the answer is read.
    """

    variables: tuple[str, ...]
    by: str
    train: Seen
    dev: Seen
    fits: tuple[Fit, ...]
    kept: int
    recipe: dict[str, Any]
    model: str
    model_sha256: str
    at: Pos = "end"
