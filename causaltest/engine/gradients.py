"""Interventions under autograd: what is trained is the intervention, or the network itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from causaltest.engine.applied import declared
from causaltest.engine.hooks import Operation, Side, attached, edited_now
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Row
from causaltest.engine.sources import means_for, reads_for
from causaltest.engine.turns import turn
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention
from causaltest.pairs import Pairs


@contextmanager
def differentiable(
    model: Model,
    intervention: Intervention,
    pairs: Pairs,
    *,
    over: Pairs | None = None,
    sources: Literal["constant", "live"] = "constant",
) -> Iterator[list[Output]]:
    """Run an intervention on the base prompts of a batch of pairs, with gradients.

    Call `backward` inside the context: a network that recomputes activations (gradient
    checkpointing) then recomputes them with the edits in place. Gradients flow to the tensors that
    the intervention refers to and to the weights of the network; what is read from source and
    reference prompts is a constant, unless sources are live. Runs of the model within the context
    are without these edits.

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
    sources
        `live`: gradients flow through the source runs too, as training the network on exchanges
        needs. Activations cannot be recomputed then.

    Yields
    ------
    list of Output
        In the order of the pairs; their logits require gradients.

    Raises
    ------
    InterventionError
        The pairs do not fit one batch, an edit did not happen exactly once, nothing can have a
        gradient, another such context is open for the network, or live sources are themselves
        intervened on or recomputed.

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
    if sources not in ("constant", "live"):
        raise InterventionError(f"sources is {sources!r}; expected 'constant' or 'live'")
    rows = [Row.of(pair, "base") for pair in pairs]
    batches = list(model.batches(rows, intervention.sites))
    if len(batches) != 1:
        raise InterventionError(
            f"{len(pairs)} pairs make {len(batches)} batches of {model.name}, but gradients are "
            "taken of one; give fewer pairs, or pairs of equal length where the network takes no "
            "padding"
        )
    ((indices, batch),) = batches
    chosen = [pairs[index] for index in indices]
    means = means_for(model, intervention, over or pairs)
    live = sources == "live"
    stored = reads_for(model, intervention, chosen, over or pairs, 0, gradients=live)
    edits, operations = declared(model, intervention, batch, draw=0, stored=stored, means=means)
    with _alone(model, intervention):
        outputs = dict(zip(indices, model.run_batch(batch, operations), strict=True))
        for edit in edits:
            edit.entry()
        _check_differentiable(model, intervention, list(outputs.values()))
        found = [outputs[index] for index in range(len(rows))]
        if live:
            with _not_recomputed(model, [(path, side) for path, side, _ in operations]):
                yield found
        else:
            # For what is computed anew in `backward`.
            with attached(model.network, operations, give_way=True):
                yield found


@contextmanager
def _not_recomputed(model: Model, places: Sequence[tuple[str, Side]]) -> Iterator[None]:
    """Refuse gradients of runs computed anew: whether a base or a source is run is not known."""

    def refuse(path: str) -> Operation:
        def operation(_: Tensor) -> None:
            raise InterventionError(
                f"{model.name} computed {path} anew for its gradients, where base and source runs "
                "cannot be told apart\nswitch gradient checkpointing off, or take sources as "
                "constants"
            )

        return operation

    watched: list[tuple[str, Side, Operation]] = [
        (path, side, refuse(path)) for path, side in places
    ]
    with attached(model.network, watched, give_way=True):
        yield


@contextmanager
def _alone(model: Model, intervention: Intervention) -> Iterator[None]:
    """Hold the network; refuse where the edits of two contexts would meet in one `backward`."""
    with turn(model.network):
        if edited_now(model.network):
            raise InterventionError(
                f"{intervention}: gradients of {model.name} are being taken under another "
                "intervention\n"
                "end that context first, or join both interventions with + in one"
            )
        yield


def _check_differentiable(
    model: Model, intervention: Intervention, outputs: Sequence[Output]
) -> None:
    if any(output.logits.requires_grad for output in outputs):
        return
    if not torch.is_grad_enabled():
        raise InterventionError(
            f"{intervention}: gradients are switched off here; leave torch.no_grad() or "
            "torch.inference_mode()"
        )
    trained = intervention.trained or [
        each for each in model.network.parameters() if each.requires_grad
    ]
    if not trained:
        raise InterventionError(
            f"{intervention} holds no trained tensor, and every weight of {model.name} is frozen, "
            "so there is nothing to take gradients of\n"
            "give a tensor with requires_grad=True, or unfreeze weights"
        )
    raise InterventionError(
        f"{intervention}: no gradient reaches the logits of {model.name}: some module behind the "
        "edit computes without gradients, as quantised layers may\n"
        "edit behind it, or load the model in float32 or bfloat16"
    )
