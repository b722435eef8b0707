"""Interventions under autograd: what is trained is the intervention, or the network itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from causaltest.engine.hooks import attached
from causaltest.engine.model import Model, Output
from causaltest.engine.prompts import Row
from causaltest.engine.run import declared, means_for, reads_for
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention
from causaltest.pairs import Pairs


@contextmanager
def differentiable(
    model: Model, intervention: Intervention, pairs: Pairs, *, over: Pairs | None = None
) -> Iterator[list[Output]]:
    """Run an intervention on the base prompts of a batch of pairs, with gradients.

    Call `backward` inside the context: a network that recomputes activations (gradient
    checkpointing) then recomputes them with the edits in place. Gradients flow to the tensors that
    the intervention refers to and to the weights of the network; what is read from source and
    reference prompts is a constant.

    Parameters
    ----------
    model
        The model; dropout is off while it runs.
    intervention
        What to edit, e.g. `interchange(site, subspace=low_rank(tensor))`. Random draws are those
        of draw 0.
    pairs
        One batch. Where the network cannot take padding its prompts must be of equal length.
    over
        Where means and resampled prompts come from; None takes `pairs`.

    Yields
    ------
    list of Output
        In the order of the pairs; their logits require gradients.

    Raises
    ------
    InterventionError
        The pairs do not fit one batch, or an edit did not happen exactly once.

    Examples
    --------
    >>> import torch
    >>> from causaltest.interventions import add
    >>> from causaltest.pairs import Pair
    >>> from causaltest.sites import module
    >>> toy = Model(torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5)))
    >>> steer = torch.zeros(4, requires_grad=True)
    >>> pairs = Pairs([Pair((0, 1))], name="one", cluster=None)
    >>> with differentiable(toy, add(module("0"), steer), pairs) as (output,):
    ...     output.at()[3].backward()
    >>> torch.allclose(steer.grad, toy.network[1].weight[3])
    True
    """
    rows = [Row.of(pair, "base") for pair in pairs]
    batches = list(model.batches(rows))
    if len(batches) != 1:
        raise InterventionError(
            f"{len(pairs)} pairs make {len(batches)} batches of {model.name}, but gradients are "
            "taken of one; give fewer pairs, or pairs of equal length where the network takes no "
            "padding"
        )
    ((indices, batch),) = batches
    chosen = [pairs[index] for index in indices]
    means = means_for(model, intervention, over or pairs)
    stored = reads_for(model, intervention, chosen, over or pairs, 0)
    edits, operations = declared(model, intervention, batch, draw=0, stored=stored, means=means)
    with attached(model.network, operations):
        outputs = dict(zip(indices, model.run_batch(batch), strict=True))
        for edit in edits:
            edit.entry()
        yield [outputs[index] for index in range(len(rows))]
