"""Counterfactual pairs of inputs: what follows when one variable is exchanged between them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from causaltest.causal_models.sampling import TRIES, uniform
from causaltest.errors import CausalModelError

if TYPE_CHECKING:
    from causaltest.causal_models.model import CausalModel, Setting

Key = tuple[str, bool]
"""A kind of pair: the variable exchanged, and whether the output changes."""


@dataclass(frozen=True)
class Counterfactual:
    """A base and a source input, and what a causal model says of exchanging a variable.

    Parameters
    ----------
    model
        The causal model.
    variable
        What is taken from the source.
    base, source
        Values of the input variables.
    """

    model: CausalModel
    variable: str
    base: Setting
    source: Setting

    @cached_property
    def base_setting(self) -> Setting:
        """Every variable on the base input."""
        return self.model.run(self.base)

    @cached_property
    def source_setting(self) -> Setting:
        """Every variable on the source input."""
        return self.model.run(self.source)

    @cached_property
    def changed(self) -> Setting:
        """Every variable on the base input, with the exchanged one as on the source input."""
        return self.model.run(self.base, do={self.variable: self.source_setting[self.variable]})

    @property
    def differs(self) -> bool:
        """Whether the exchanged variable has another value on the source."""
        return self.base_setting[self.variable] != self.source_setting[self.variable]

    @property
    def changes_output(self) -> bool:
        """Whether any output changes."""
        return any(self.changed[name] != self.base_setting[name] for name in self.model.outputs)

    def key(self) -> tuple[str, tuple[Any, ...], tuple[Any, ...]]:
        """Return what makes two pairs the same."""
        return self.variable, tuple(self.base.items()), tuple(self.source.items())


def draw(
    model: CausalModel,
    variables: tuple[str, ...],
    count: int,
    *,
    seed: int,
    changing: float,
    where: Callable[[Counterfactual], bool] | None,
) -> list[Counterfactual]:
    """Draw counterfactuals; see `CausalModel.counterfactuals`."""
    _check(model, variables, count, changing)
    stream = random.Random(seed)
    wanted = _quotas(variables, count, changing)
    found: dict[Key, list[Counterfactual]] = {key: [] for key in wanted}
    seen: set[object] = set()
    misses = 0
    while any(len(found[key]) < many for key, many in wanted.items()):
        open_variables = [
            name for name in variables
            if any(len(found[name, kind]) < wanted[name, kind] for kind in (True, False))
        ]  # fmt: skip
        pair = Counterfactual(
            model, stream.choice(open_variables), uniform(model, stream), uniform(model, stream)
        )
        kind = (pair.variable, pair.changes_output)
        useless = len(found[kind]) >= wanted[kind] or pair.base == pair.source
        if useless or pair.key() in seen or not (where is None or where(pair)):
            misses += 1
            if misses > TRIES * len(wanted):
                raise CausalModelError(_too_few(wanted, found))
            continue
        misses = 0
        seen.add(pair.key())
        found[kind].append(pair)
    pairs = [pair for pairs in found.values() for pair in pairs]
    stream.shuffle(pairs)
    return pairs


def _check(model: CausalModel, variables: tuple[str, ...], count: int, changing: float) -> None:
    if not variables:
        raise CausalModelError("of= names no variable; name one that is exchanged")
    outputs = [name for name in variables if name in model.outputs]
    if outputs:
        raise CausalModelError(
            f"{outputs[0]!r} is an output; exchanging it says nothing of how it is computed. "
            f"Choose one of {', '.join(map(repr, (*model.inputs, *model.intermediate)))}"
        )
    if count < 1:
        raise CausalModelError(f"count is {count}; draw at least one pair")
    if not 0.0 <= changing <= 1.0:
        raise CausalModelError(f"changing is {changing!r}; expected a share from 0 to 1")


def _quotas(variables: tuple[str, ...], count: int, changing: float) -> dict[Key, int]:
    """Share the pairs out among variables, and within each among those that change the output."""
    quotas: dict[Key, int] = {}
    for index, name in enumerate(variables):
        many = count // len(variables) + (index < count % len(variables))
        moved = math.floor(changing * many + 0.5)
        quotas[name, True], quotas[name, False] = moved, many - moved
    return quotas


def _too_few(wanted: dict[Key, int], found: dict[Key, list[Counterfactual]]) -> str:
    name, kind = next(key for key, many in wanted.items() if len(found[key]) < many)
    does = "change" if kind else "keep"
    return (
        f"only {len(found[name, kind])} of {wanted[name, kind]} pairs were found in which "
        f"exchanging {name!r} would {does} the output\n"
        "ask for fewer pairs, or another share in changing="
    )
