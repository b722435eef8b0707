"""Drawing inputs of a causal model, plainly or with every value of a variable equally often."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from causaltest.errors import CausalModelError

if TYPE_CHECKING:
    from causaltest.causal_models.model import CausalModel, Setting

TRIES = 2_000
"""Draws without a hit, for each that is wanted, after which there is taken to be none."""


def sample(
    model: CausalModel,
    count: int,
    *,
    seed: int,
    where: Callable[[Setting], bool] | None,
    balanced: str | None = None,
    tries: int = TRIES,
) -> list[Setting]:
    """Draw inputs; see `CausalModel.sample`."""
    stream = random.Random(seed)
    if balanced is not None:
        model.check_known([balanced], "balanced=")
    values = None if balanced is None else model.domains[balanced]
    drawn: list[Setting] = []
    for index in range(count):
        wanted = None if values is None else values[index % len(values)]
        drawn.append(_one(model, stream, where, balanced, wanted, tries=tries))
    stream.shuffle(drawn)
    return drawn


def uniform(model: CausalModel, stream: random.Random) -> Setting:
    """Draw one input, every value of every variable equally likely."""
    return {name: stream.choice(model.domains[name]) for name in model.inputs}


def _one(
    model: CausalModel,
    stream: random.Random,
    where: Callable[[Setting], bool] | None,
    balanced: str | None,
    wanted: Any,
    *,
    tries: int,
) -> Setting:
    for _ in range(tries):
        drawn = uniform(model, stream)
        setting = model.run(drawn)
        if (balanced is None or setting[balanced] == wanted) and (where is None or where(setting)):
            return drawn
    asked = "as where= asks" if balanced is None else f"with {balanced} = {wanted!r}"
    if balanced is not None and where is not None:
        asked += " as where= asks"
    raise CausalModelError(f"no input {asked} among {tries:,} random ones")
