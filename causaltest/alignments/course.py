"""The course of a fit: steps, passes, what is kept, and all that the rest of it depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from causaltest.alignments.directions import Moved
from causaltest.alignments.recipe import Recipe
from causaltest.errors import InterventionError

_COUNTED = ("epoch", "batches", "taken", "total", "losses", "scores")
_ADAM = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Curve:
    """How a fit went.

    Parameters
    ----------
    losses
        Mean training loss of each epoch.
    dev
        Share of dev pairs answered as the source says, after each epoch.
    best
        Index of the epoch that was kept.
    temperature
        At that epoch.
    """

    losses: tuple[float, ...]
    dev: tuple[float, ...]
    best: int
    temperature: float


class Course:
    """A fit on its way: all that the rest of it depends on.

    Parameters
    ----------
    learned
        What is moved.
    recipe
        How.
    seed
        Of the order of the pairs.
    steps
        How many there will be.

    Attributes
    ----------
    epoch, batches, taken
        Passes that are finished, batches of this one that are, and steps in all.
    total
        Sum of the losses of this pass.
    losses, scores
        Of each pass.
    """

    def __init__(self, learned: Sequence[Moved], recipe: Recipe, seed: int, steps: int) -> None:
        self.learned = learned
        self.recipe = recipe
        self.parameters = [each for part in learned for each in part.parameters]
        self.epoch = self.batches = self.taken = 0
        self.total = 0.0
        self.losses: list[float] = []
        self.scores: list[tuple[float, float]] = []
        self._kept: list[list[Tensor]] = []
        self._factor = _ramp(steps, recipe.warmup)
        self._optimiser = torch.optim.Adam(self.parameters, lr=recipe.learning_rate)
        self._order = torch.Generator().manual_seed(seed)
        self._before = self._order.get_state()

    def shuffled(self, count: int) -> tuple[Tensor, ...]:
        """Return the batches of this pass, indices of so many pairs."""
        self._order.set_state(self._before)
        return torch.randperm(count, generator=self._order).split(self.recipe.batch)

    def take(self, loss: Tensor, pairs: int, *, last: bool) -> None:
        """Take the gradients of a batch, and a step where enough of them are there.

        Raises
        ------
        InterventionError
            The loss is not finite.
        """
        if not torch.isfinite(loss):
            raise InterventionError(
                f"the training loss is {float(loss.detach())}; use a lower learning_rate, or "
                "float32"
            )
        _accumulate(loss, self.parameters, self.recipe.accumulation)
        self.total += float(loss.detach()) * pairs
        self.batches += 1
        if not self.batches % self.recipe.accumulation or last:
            self._step()

    def _step(self) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * self._factor(self.taken)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.taken += 1

    def end_pass(self, pairs: int, score: tuple[float, float]) -> None:
        """Note how a pass went, and keep what is learned if it is the best so far."""
        self.losses.append(self.total / pairs)
        self.scores.append(score)
        if self.best == self.epoch:
            self._kept = [each.state() for each in self.learned]
        self.epoch, self.batches, self.total = self.epoch + 1, 0, 0.0
        self._before = self._order.get_state()

    @property
    def best(self) -> int:
        """The pass to keep: the best so far; the last, where a soft edge is still hardening."""
        if self.recipe.method != "rotation":
            return len(self.scores) - 1
        return max(range(len(self.scores)), key=lambda epoch: (self.scores[epoch], epoch))

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be learned."""
        late = bool(self.scores) and self.epoch - 1 - self.best >= self.recipe.patience
        return late or self.epoch >= self.recipe.epochs

    def finish(self) -> Curve:
        """Leave what scored best."""
        for each, state in zip(self.learned, self._kept, strict=True):
            each.restore(state)
        dev = tuple(right for right, _ in self.scores)
        heat = temperature(self.recipe, self.best)
        return Curve(tuple(self.losses), dev, self.best, heat)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors, and numbers as JSON holds them, from which `go_on` goes on.

        Between two steps only: gradients that no step has taken yet are not in it.
        """
        tensors = {"order": self._before}
        for index, each in enumerate(self.parameters):
            tensors[f"learned.{index}"] = each.detach().clone()
            for name, value in self._optimiser.state[each].items():
                tensors[f"adam.{index}.{name}"] = value
        for index, state in enumerate(self._kept):
            tensors.update({f"kept.{index}.{i}": each for i, each in enumerate(state)})
        return tensors, {name: getattr(self, name) for name in _COUNTED}

    def go_on(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises
        ------
        LookupError, RuntimeError
            It is not the state of such a fit.
        """
        for name in _COUNTED:
            setattr(self, name, numbers[name])
        self.scores = [(right, loss) for right, loss in self.scores]
        self._before = tensors["order"]
        with torch.no_grad():
            for index, each in enumerate(self.parameters):
                each.copy_(tensors[f"learned.{index}"])
                found = {name: tensors[f"adam.{index}.{name}"] for name in _ADAM}
                self._optimiser.state[each] = found
        if self.scores:
            self._kept = [
                [tensors[f"kept.{index}.{i}"] for i in range(len(each.parameters))]
                for index, each in enumerate(self.learned)
            ]


class Keeper(Protocol):
    """Keeps how far a fit has got."""

    def restore(self, course: Course) -> None:
        """Go on from what was kept, if anything was."""
        ...

    def offer(self, course: Course) -> None:
        """Keep how far the fit has got, if it is time to."""
        ...


def temperature(recipe: Recipe, epoch: int) -> float:
    """Return how soft edges are in an epoch."""
    first, last = recipe.temperature
    share = epoch / (recipe.epochs - 1) if recipe.epochs > 1 else 1.0
    return first * (last / first) ** share


def _accumulate(loss: Tensor, parameters: Sequence[Tensor], count: int) -> None:
    # Of these alone: whatever else takes gradients is left as it is.
    for each, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        each.grad = gradient / count if each.grad is None else each.grad + gradient / count


def _ramp(steps: int, warmup: float) -> Callable[[int], float]:
    rise = max(1.0, warmup * steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return max(0.0, (steps - step) / max(1.0, steps - rise))

    return factor
