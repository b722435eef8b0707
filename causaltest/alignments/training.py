"""Learning one alignment from one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from causaltest.alignments.directions import Learned
from causaltest.alignments.recipe import Recipe
from causaltest.engine.upper import Upper, frozen_weights
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention

Build = Callable[[float], Intervention]
"""Temperature to the intervention as it is now."""


@dataclass(frozen=True)
class Examples:
    """Pairs to learn from, or to choose by.

    Parameters
    ----------
    upper
        Runs them.
    answers
        (pairs,), the class that the network should answer with.
    """

    upper: Upper
    answers: Tensor

    def __len__(self) -> int:
        return len(self.upper)


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

    @property
    def rank(self) -> tuple[float, float]:
        """What the best of several fits has most of: dev score, then a small loss."""
        return self.dev[self.best], -self.losses[self.best]


def train(
    learned: Sequence[Learned],
    build: Build,
    on: Examples,
    dev: Examples,
    recipe: Recipe,
    *,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> Curve:
    """Learn until the dev score no longer rises, and leave what scored best.

    Parameters
    ----------
    learned
        What is moved.
    build
        Makes the intervention of it.
    on, dev
        Training pairs, and pairs that say when to stop.
    recipe
        How.
    seed
        Of the order of the pairs.
    tick
        Called after each step.

    Returns
    -------
    Curve

    Raises
    ------
    InterventionError
        The loss is not finite.
    """
    parameters = [each for part in learned for each in part.parameters]
    optimiser = torch.optim.Adam(parameters, lr=recipe.learning_rate)
    # Each epoch ends with a step, however few gradients are left for it.
    steps = recipe.epochs * -(-len(on) // (recipe.batch * recipe.accumulation))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _ramp(steps, recipe.warmup))
    order = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    scores: list[tuple[float, float]] = []
    kept: list[list[Tensor]] = []
    with frozen_weights(on.upper.network), torch.enable_grad():
        for epoch in range(recipe.epochs):
            heat = _temperature(recipe, epoch)
            sums = 0.0
            shuffled = torch.randperm(len(on), generator=order).split(recipe.batch)
            for count, indices in enumerate(shuffled, start=1):
                loss = _loss(learned, build(heat), on, indices.tolist(), recipe)
                _accumulate(loss, parameters, recipe.accumulation)
                sums += float(loss.detach()) * len(indices)
                if not count % recipe.accumulation or count == len(shuffled):
                    _step(optimiser, schedule)
                tick()
            losses.append(sums / len(on))
            scores.append(score(build(heat), dev, recipe))
            if _best(scores, recipe) == epoch:
                kept = [each.state() for each in learned]
            if epoch - _best(scores, recipe) >= recipe.patience:
                break
    for each, state in zip(learned, kept, strict=True):
        each.restore(state)
    best = _best(scores, recipe)
    dev_scores = tuple(right for right, _ in scores)
    return Curve(tuple(losses), dev_scores, best, _temperature(recipe, best))


def score(intervention: Intervention, examples: Examples, recipe: Recipe) -> tuple[float, float]:
    """Return the share of pairs answered as wanted, and minus the loss, which breaks ties."""
    right = 0
    loss = 0.0
    with torch.no_grad():
        for indices in torch.arange(len(examples)).split(max(64, recipe.batch)):
            logits = examples.upper.logits(indices.tolist(), intervention)
            answers = examples.answers[indices].to(logits.device)
            right += int((logits.argmax(-1) == answers).sum())
            loss += float(_of(recipe)(logits.float(), answers)) * len(indices)
    return right / len(examples), -loss / len(examples)


def _best(scores: Sequence[tuple[float, float]], recipe: Recipe) -> int:
    """Return the epoch to keep: the best so far; the last, where a soft edge is still hardening."""
    if recipe.method != "rotation":
        return len(scores) - 1
    return max(range(len(scores)), key=lambda epoch: (scores[epoch], epoch))


def _loss(
    learned: Sequence[Learned],
    intervention: Intervention,
    on: Examples,
    indices: list[int],
    recipe: Recipe,
) -> Tensor:
    logits = on.upper.logits(indices, intervention)
    answers = on.answers[indices].to(logits.device)
    loss = _of(recipe)(logits.float(), answers)
    for part in learned:
        loss = loss + recipe.boundary_weight * part.cost()
    if not torch.isfinite(loss):
        raise InterventionError(
            f"the training loss is {float(loss.detach())}; use a lower learning_rate, or float32"
        )
    return loss


def _of(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    return recipe.loss or torch.nn.functional.cross_entropy


def _accumulate(loss: Tensor, parameters: Sequence[Tensor], count: int) -> None:
    # Of these alone: whatever else takes gradients is left as it is.
    for each, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        each.grad = gradient / count if each.grad is None else each.grad + gradient / count


def _step(optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
    optimiser.step()
    schedule.step()
    optimiser.zero_grad()


def _ramp(steps: int, warmup: float) -> Callable[[int], float]:
    rise = max(1.0, warmup * steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return max(0.0, (steps - step) / max(1.0, steps - rise))

    return factor


def _temperature(recipe: Recipe, epoch: int) -> float:
    first, last = recipe.temperature
    share = epoch / (recipe.epochs - 1) if recipe.epochs > 1 else 1.0
    return first * (last / first) ** share
