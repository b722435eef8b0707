"""Interchange intervention training: a network is made to hold variables where it is said to."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from causaltest.alignments.recipe import Loss, Recipe
from causaltest.engine.gradients import differentiable
from causaltest.engine.hooks import evaluating
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Row
from causaltest.engine.run import score
from causaltest.errors import InterventionError, PairError
from causaltest.fitted import Ids, Seen
from causaltest.interventions import Intervention
from causaltest.metrics import correctness
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Pos

Side = Literal["base", "source"]


@dataclass(frozen=True)
class Task:
    """What a network is trained on.

    Parameters
    ----------
    intervention
        An interchange, whose answers the causal model says.
    pairs
        Their base answers are those of plain runs, their source answers those under the exchange.
    at
        Where the answer is read.
    weight
        Of the interchange loss against the task loss; 0 trains the task alone.
    recipe
        Epochs, batch, learning rate, warm-up, loss and the first of its seeds.
    """

    intervention: Intervention
    pairs: Pairs
    at: Pos
    weight: float
    recipe: Recipe


@dataclass(frozen=True)
class Losses:
    """How the training went.

    Parameters
    ----------
    task, interchange
        Mean loss of each epoch: of plain runs, and under the exchange.
    """

    task: tuple[float, ...]
    interchange: tuple[float, ...]


def copied(model: Model, network: nn.Module | None = None) -> Model:
    """Return a model with a copy of the network, or with one that was trained."""
    return Model(
        copy.deepcopy(model.network) if network is None else network,
        tokenizer=model.prompts.tokenizer,
        name=f"{model.name} (trained by interchange)",
        forward=model._forward,  # noqa: SLF001 - a copy runs as its model does
    )


def check_task(task: Task, dev: Pairs, by: str, ids: Ids) -> tuple[Seen, Seen]:
    """Refuse what cannot be trained; return the splits.

    Raises
    ------
    EvidenceError
        Training and dev pairs share a value of the label, or a prompt.
    InterventionError
        The intervention takes nothing from a source, or the weight is negative.
    PairError
        A pair has no answer.
    """
    if not all(part.needs_source for part in task.intervention.parts):
        raise InterventionError(
            f"{task.intervention} takes nothing from a source prompt; train with interchange(...)"
        )
    if not 0.0 <= task.weight < float("inf"):
        raise InterventionError(f"weight is {task.weight!r}; expected a number from 0")
    for pair in (*task.pairs, *dev):
        for side in ("base_answer", "source_answer"):
            if getattr(pair, side) is None:
                raise PairError(f"pair {pair.id} has no {side}; training needs both answers")
    train, held = Seen.of(task.pairs, by, ids), Seen.of(dev, by, ids)
    train.check(dev, what="a training", by=by, ids=ids)
    return train, held


def train_network(model: Model, task: Task, *, tick: Callable[[], None]) -> Losses:
    """Train the weights of a network on a task and on what exchanges should give.

    Parameters
    ----------
    model
        Its weights that take gradients are changed. Dropout is off.
    task
        What on.
    tick
        Called after each step.

    Raises
    ------
    InterventionError
        All weights are frozen, or a loss is not finite.
    """
    weights = [each for each in model.network.parameters() if each.requires_grad]
    if not weights:
        raise InterventionError(f"every weight of {model.name} is frozen; unfreeze some to train")
    recipe, pairs = task.recipe, task.pairs
    optimiser = torch.optim.Adam(weights, lr=recipe.learning_rate)
    steps = recipe.epochs * -(-len(pairs) // recipe.batch)
    warmup = max(1.0, recipe.warmup * steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / warmup)
    )
    order = torch.Generator().manual_seed(recipe.seeds[0])
    losses: list[tuple[float, float]] = []
    for _ in range(recipe.epochs):
        sums = [0.0, 0.0]
        for indices in torch.randperm(len(pairs), generator=order).split(recipe.batch):
            chosen = [pairs[index] for index in indices.tolist()]
            optimiser.zero_grad()
            for which, loss in enumerate(_gradients(model, task, chosen)):
                sums[which] += loss * len(chosen)
            optimiser.step()
            schedule.step()
            tick()
        losses.append((sums[0] / len(pairs), sums[1] / len(pairs)))
    optimiser.zero_grad()
    plain, exchanged = zip(*losses, strict=True)
    return Losses(plain, exchanged)


def dev_accuracy(model: Model, task: Task, dev: Pairs) -> float:
    """Return the interchange-intervention accuracy on dev pairs."""
    metric = correctness("source_answer", at=task.at)
    return sum(score(model, task.intervention, dev, metric).values) / len(dev)


def _gradients(model: Model, task: Task, pairs: Sequence[Pair]) -> tuple[float, float]:
    """Add the gradients of both losses; return the losses."""
    loss_of = task.recipe.loss or torch.nn.functional.cross_entropy
    with torch.enable_grad(), evaluating(model.network):
        batch = model.batch([Row.of(pair, "base") for pair in pairs])
        plain = _loss(loss_of, model.run_batch(batch), pairs, "base", task.at)
        plain.backward()
        if not task.weight:
            return float(plain.detach()), 0.0
        some = Pairs(pairs, name=task.pairs.name, cluster=task.pairs.cluster)
        with differentiable(model, task.intervention, some, sources="live") as outputs:
            exchanged = _loss(loss_of, outputs, pairs, "source", task.at)
            (task.weight * exchanged).backward()
    return float(plain.detach()), float(exchanged.detach())


def _loss(
    loss_of: Loss, outputs: Sequence[Output], pairs: Sequence[Pair], side: Side, at: Pos
) -> Tensor:
    logits = torch.stack([output.at(at) for output in outputs]).float()
    answers: list[Any] = [
        output.answer_id(pair.base_answer if side == "base" else pair.source_answer)  # pyright: ignore[reportArgumentType]
        for output, pair in zip(outputs, pairs, strict=True)
    ]
    loss = loss_of(logits, torch.tensor(answers, device=logits.device))
    if not torch.isfinite(loss):
        raise InterventionError(
            f"the training loss is {float(loss.detach())}; use a lower learning_rate, or float32"
        )
    return loss
