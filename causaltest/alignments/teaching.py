"""Training networks by interchange, as a call of a causal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from causaltest.alignments.aligning import Aligning, recipe_of
from causaltest.alignments.alignment import Alignment
from causaltest.alignments.fitting import check_variables
from causaltest.alignments.networks import (
    Losses,
    Task,
    check_task,
    copied,
    dev_accuracy,
    train_network,
)
from causaltest.alignments.origin import Fit, Origin
from causaltest.interventions import Intervention
from causaltest.pairs import Pairs
from causaltest.progress import progress
from causaltest.sites import Pos


@dataclass(frozen=True)
class Taught:
    """A network that was trained by interchange, and what it was trained to hold where.

    Parameters
    ----------
    causal
        Measures the trained network, which is a copy.
    alignment
        The exchange it was trained on, which refuses pairs that the training has seen.
    losses
        Of each epoch.
    """

    causal: Any
    alignment: Alignment
    losses: Losses


class Teaching(Aligning):
    """What measures accuracies can train networks to hold variables."""

    def train_by_interchange(
        self,
        intervention: Intervention,
        *,
        variable: str | Sequence[str],
        on: Pairs,
        dev: Pairs,
        by: str,
        weight: float = 1.0,
        seed: int = 0,
        at: Pos = "end",
        **recipe: Any,
    ) -> Taught:
        """Train a copy of the network so that it holds a variable where it is said to.

        Parameters
        ----------
        intervention
            Where: an interchange of sites, or of subspaces of them.
        variable
            Name of the causal variable, or several where a `partition` says which directions are
            whose.
        on
            Training pairs: base answers are what plain runs should give, source answers what the
            exchange should.
        dev
            Pairs on which the trained network is measured once.
        by
            The label that keeps training, dev and test pairs apart; there is no default.
        weight
            Of the interchange loss against the task loss; 0 trains the task alone, for comparison.
        seed
            Of the order of the pairs.
        at
            Where the answer is read, one token.
        **recipe
            epochs, batch, learning_rate, warmup, loss, as in `Recipe`.

        Returns
        -------
        Taught
            `taught.alignment.accuracy(on=test) > 0.9` is a claim about the trained copy; this
            causal and its model stay as they are.

        Raises
        ------
        EvidenceError
            Training and dev pairs share a value of the label, or a prompt.
        InterventionError, PairError, SiteError
            A setting, pair or site that does not fit, or a loss that is not finite.

        Notes
        -----
        Interchange intervention training, Geiger et al. 2022 (arXiv 2112.00826): gradients flow
        through base and source runs. Dropout is off.
        """
        how = recipe_of("train_by_interchange", seeds=(seed,), **recipe)
        task = Task(intervention.frozen(), on, at, weight, how)
        variables = (variable,) if isinstance(variable, str) else tuple(variable)
        for pairs in (on, dev):
            check_variables(variables, pairs)
        train, held = check_task(task, dev, by, self._ids)
        model = copied(self.model)
        steps = how.epochs * -(-len(on) // how.batch)
        done = 0
        with progress(f"interchange training of {self.model.name}") as advance:

            def tick() -> None:
                nonlocal done
                done += 1
                advance(done, steps)

            losses = train_network(model, task, tick=tick)
        # Its hash is that of the trained weights.
        model = copied(self.model, model.network)
        right = dev_accuracy(model, task, dev)
        fit = Fit(seed, right, losses.interchange[-1], how.epochs)
        plain = {**how.plain(), "method": "interchange training", "weight": weight}
        origin = Origin(
            variables, by, train, held, (fit,), seed, plain, model.name, model.sha256, at
        )
        causal = self._on(model)
        for seen in (train, held):
            causal.remember_training(model.name, seen, by=by)
        self._note(
            f"{model.name}: weights trained on {train.pairs} pairs of {train.name}, kept apart by "
            f"{by!r}; accuracy of {intervention} on {held.pairs} dev pairs: {right:.0%}"
        )
        return Taught(causal, Alignment(causal, task.intervention, origin), losses)
