"""Adapters that are trained beside a frozen network, as a call of a causal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from causaltest.alignments.aligning import recipe_of
from causaltest.alignments.course import Course
from causaltest.alignments.directions import Moved
from causaltest.alignments.origin import Fit
from causaltest.alignments.recipe import Recipe
from causaltest.alignments.teaching import Teaching
from causaltest.engine.gradients import differentiable
from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.engine.run import score
from causaltest.engine.upper import frozen_weights
from causaltest.errors import InterventionError, PairError
from causaltest.fitted import Seen
from causaltest.interventions import Intervention, adapter
from causaltest.metrics import correctness
from causaltest.pairs import Pair, Pairs
from causaltest.progress import progress
from causaltest.sites import Pos, Site

Answer = Literal["base_answer", "source_answer"]


@dataclass(frozen=True)
class Adapted:
    """An adapter that was trained beside a frozen network.

    Parameters
    ----------
    intervention
        The adapter, as any other intervention.
    fit
        How it went: its score on the dev pairs, and the loss of the epoch that was kept.
    losses
        Mean training loss of each epoch.
    """

    intervention: Intervention
    fit: Fit
    losses: tuple[float, ...]


class Adapting(Teaching):
    """What measures accuracies can train adapters."""

    def train_adapter(
        self,
        site: Site,
        *,
        rank: int,
        on: Pairs,
        dev: Pairs,
        by: str,
        expect: Answer = "base_answer",
        scale: float = 1.0,
        seed: int = 0,
        at: Pos = "end",
        **recipe: Any,
    ) -> Adapted:
        """Train low-rank weights beside a module, so that base prompts get the expected answer.

        Parameters
        ----------
        site
            The output of a module, as for `adapter`.
        rank
            Of the weights.
        on
            Training pairs.
        dev
            Pairs that say when to stop and which epoch to keep.
        by
            The label that keeps training, dev and test pairs apart; there is no default.
        expect
            Which answer of a pair its base prompt should get.
        scale
            Factor, often written alpha / rank.
        seed
            Of the first guess and the order of the pairs.
        at
            Where the answer is read, one token.
        **recipe
            epochs, patience, batch, accumulation, learning_rate, warmup, loss, as in `Recipe`.

        Returns
        -------
        Adapted
            `causal.accuracy(adapted.intervention, on=test, expect="base_answer") > 0.9` is a
            claim; on the pairs that the training has seen it is an error.

        Raises
        ------
        EvidenceError
            Training and dev pairs share a value of the label, or a prompt.
        InterventionError, PairError, SiteError
            A setting, pair or site that does not fit, or a loss that is not finite.

        Notes
        -----
        LoRA, Hu et al. 2021 (arXiv 2106.09685); its weights are an intervention here, and those
        of the network stay as they are. Dropout is off.
        """
        how = recipe_of("train_adapter", seeds=(seed,), **recipe)
        seen = train, held = Seen.of(on, by, self._ids), Seen.of(dev, by, self._ids)
        train.check(dev, what="an adapter", by=by, ids=self._ids)
        given, found = _widths(self.model, site, on)
        weights = _Weights(given, found, rank, seed)
        task = _Task(self.model, site, weights, scale, on, dev, expect, at, how)
        with progress(f"adapter at {site}") as advance:
            course = task.learn(advance)
        curve = course.finish()
        edit = weights.adapter(site, scale).frozen()
        for each in seen:
            self.remember("an adapter", edit, each, by=by)
        fit = Fit(seed, curve.dev[curve.best], curve.losses[curve.best], len(curve.dev))
        self._note(
            f"{edit} trained on {train.pairs} pairs of {train.name}, kept apart by {by!r}; "
            f"accuracy on {held.pairs} dev pairs: {fit.dev_accuracy:.0%}"
        )
        return Adapted(edit, fit, curve.losses)


class _Weights(Moved):
    """The two matrices; the second begins at 0, so that nothing is changed at first."""

    def __init__(self, given: int, found: int, rank: int, seed: int) -> None:
        most = min(given, found)
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= most:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InterventionError(f"rank is {rank!r}; expected a whole number from 1 to {most}")
        stream = torch.Generator().manual_seed(seed)
        down = torch.randn(given, rank, generator=stream) / given**0.5
        self.parameters = [down.requires_grad_(), torch.zeros(rank, found, requires_grad=True)]

    def adapter(self, site: Site, scale: float) -> Intervention:
        """Return the adapter as it is now."""
        return adapter(site, *self.parameters, scale=scale)


@dataclass(frozen=True)
class _Task:
    """What is trained, and on what."""

    model: Model
    site: Site
    weights: _Weights
    scale: float
    train: Pairs
    dev: Pairs
    expect: Answer
    at: Pos
    recipe: Recipe

    def learn(self, advance: Any) -> Course:
        """Train until the dev score no longer rises."""
        recipe, pairs = self.recipe, self.train
        batches = -(-len(pairs) // recipe.batch)
        steps = recipe.epochs * -(-batches // recipe.accumulation)
        course = Course([self.weights], recipe, recipe.seeds[0], steps)
        edit = self.weights.adapter(self.site, self.scale)
        done = 0
        with frozen_weights(self.model.network), torch.enable_grad():
            while not course.is_over:
                shuffled = course.shuffled(len(pairs))
                for indices in shuffled:
                    chosen = [pairs[index] for index in indices.tolist()]
                    some = Pairs(chosen, name=pairs.name, cluster=pairs.cluster)
                    last = course.batches + 1 == len(shuffled)
                    with differentiable(self.model, edit, some) as outputs:
                        course.take(self._loss(outputs, chosen), len(chosen), last=last)
                    done += 1
                    advance(done, recipe.epochs * batches)
                course.end_pass(len(pairs), self._score(course.total))
        return course

    def _loss(self, outputs: Sequence[Any], pairs: Sequence[Pair]) -> Tensor:
        logits = torch.stack([output.at(self.at) for output in outputs]).float()
        answers: list[int] = []
        for output, pair in zip(outputs, pairs, strict=True):
            answer = getattr(pair, self.expect)
            if answer is None:
                raise PairError(f"pair {pair.id} has no {self.expect}, which it is trained to give")
            answers.append(output.answer_id(answer))
        loss_of = self.recipe.loss or nn.functional.cross_entropy
        return loss_of(logits, torch.tensor(answers, device=logits.device))

    def _score(self, total: float) -> tuple[float, float]:
        """Return the share of dev pairs that are right, and minus the loss, which breaks ties."""
        metric = correctness(self.expect, at=self.at)
        edit = self.weights.adapter(self.site, self.scale).frozen()
        # Weights that have hardly moved may change nothing in half precision.
        right = score(self.model, edit, self.dev, metric, allow_inert=True).values
        return sum(right) / len(right), -total


def _widths(model: Model, site: Site, pairs: Pairs) -> tuple[int, int]:
    """Return how wide the input of a site's module is, and how wide the site, on one prompt."""
    row = [Row.of(pairs[0], "base")]
    found = int(model.read(site, row)[site][0].shape[-1])
    module = model.network.get_submodule(model.access(site).path)
    widths: list[int] = []

    def look(_: nn.Module, args: tuple[Any, ...]) -> None:
        widths.extend(each.shape[-1] for each in args[:1] if isinstance(each, Tensor))

    handle = module.register_forward_pre_hook(look)
    try:
        with torch.no_grad():
            model.run_batch(model.batch(row))
    finally:
        handle.remove()
    if not widths:
        raise InterventionError(
            f"{site}: the module is given no tensor first, so an adapter has nothing to work on"
        )
    return widths[0], found
