"""Learning one alignment from one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from causaltest.alignments.course import Course, Curve, Keeper, temperature
from causaltest.alignments.directions import Learned
from causaltest.alignments.recipe import Recipe
from causaltest.engine.upper import Upper, frozen_weights
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


def train(
    learned: Sequence[Learned],
    build: Build,
    on: Examples,
    dev: Examples,
    recipe: Recipe,
    *,
    seed: int,
    keeper: Keeper | None = None,
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
    keeper
        Keeps how far it has got; the result is the same, bit for bit.
    tick
        Called after each batch, also those of an earlier call.

    Returns
    -------
    Curve

    Raises
    ------
    InterventionError
        The loss is not finite.
    """
    batches = -(-len(on) // recipe.batch)
    # Each epoch ends with a step, however few gradients are left for it.
    steps = recipe.epochs * -(-len(on) // (recipe.batch * recipe.accumulation))
    course = Course(learned, recipe, seed, steps)
    if keeper is not None:
        keeper.restore(course)
    for _ in range(course.epoch * batches + course.batches):
        tick()
    with frozen_weights(on.upper.network), torch.enable_grad():
        while not course.is_over:
            _learn_pass(course, learned, build, on, keeper=keeper, tick=tick)
            heat = temperature(recipe, course.epoch)
            course.end_pass(len(on), score(build(heat), dev, recipe))
    return course.finish()


def _learn_pass(
    course: Course,
    learned: Sequence[Learned],
    build: Build,
    on: Examples,
    *,
    keeper: Keeper | None,
    tick: Callable[[], None],
) -> None:
    """Go through the training pairs once, or through those that are left of them."""
    recipe = course.recipe
    heat = temperature(recipe, course.epoch)
    shuffled = course.shuffled(len(on))
    for count, indices in enumerate(shuffled[course.batches :], start=course.batches + 1):
        loss = _loss(learned, build(heat), on, indices.tolist(), recipe)
        course.take(loss, len(indices), last=count == len(shuffled))
        if keeper is not None and not count % recipe.accumulation:
            keeper.offer(course)
        tick()


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
    return loss


def _of(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    return recipe.loss or torch.nn.functional.cross_entropy
