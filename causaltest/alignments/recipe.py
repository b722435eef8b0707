"""Recipe: how an alignment is learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

from causaltest.errors import InterventionError
from causaltest.spelling import did_you_mean, listed

Method = Literal["rotation", "boundless", "mask"]
Loss: TypeAlias = Callable[[Any, Any], Any]
"""(logits (rows, classes), answers (rows,)) to a scalar tensor."""


@dataclass(frozen=True)
class Recipe:
    """How an alignment is learned.

    Parameters
    ----------
    method
        `rotation`: the span of `width` orthonormal directions (distributed alignment search).
        `boundless`: the leading directions of a full rotation, up to a learned boundary. `mask`: a
        learned soft mask on the dims of the site as they are.
    seeds
        One fit each; the one that is best on the dev set is kept, and all are reported.
    epochs, patience
        Passes over the training pairs, and how many of them without a better dev score end a fit.
    batch, accumulation
        Pairs to one gradient, and gradients to one step.
    learning_rate, warmup
        Of Adam: a linear rise over this share of the steps, then a linear fall to 0.
    temperature
        Of boundless and mask: first and last, falling exponentially.
    boundary_weight
        Of boundless and mask: what each share of the width costs.
    loss
        A function of (logits, answers); None for the cross-entropy of the source answer.

    Raises
    ------
    InterventionError
        A value that makes no sense.
    """

    method: Method = "rotation"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    epochs: int = 20
    patience: int = 4
    batch: int = 32
    accumulation: int = 1
    learning_rate: float = 0.005
    warmup: float = 0.1
    temperature: tuple[float, float] = (50.0, 0.1)
    boundary_weight: float = 0.1
    loss: Loss | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.method not in (known := get_args(Method)):
            raise InterventionError(
                f"method is {self.method!r}{did_you_mean(str(self.method), known)}; "
                f"expected one of {listed(known)}"
            )
        object.__setattr__(self, "seeds", tuple(self.seeds))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InterventionError(f"seeds are {self.seeds}; expected different whole numbers")
        for name in ("epochs", "patience", "batch", "accumulation"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InterventionError(f"{name} is {value!r}; expected a whole number from 1")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InterventionError(
                f"learning_rate is {self.learning_rate!r}; expected a positive number"
            )
        if not 0.0 <= self.warmup <= 1.0:
            raise InterventionError(f"warmup is {self.warmup!r}; expected a share from 0 to 1")
        if len(self.temperature) != 2 or min(self.temperature) <= 0:
            raise InterventionError(
                f"temperature is {self.temperature!r}; expected two positive numbers"
            )

    def plain(self) -> dict[str, Any]:
        """Return the recipe as JSON holds it; a loss by its name."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        found["loss"] = "cross_entropy" if self.loss is None else _name(self.loss)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
