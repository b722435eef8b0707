"""Running a model without dropout and with constant weights, and leaving every flag as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from causaltest.engine.hooks import evaluating
from causaltest.engine.turns import turn
from causaltest.errors import InterventionError


@contextmanager
def quiet(network: nn.Module, *, trains_weights: bool, training_mode: bool) -> Iterator[None]:
    """Take a network's weights as constants and keep dropout off, for the length of the context.

    Parameters
    ----------
    network
        The model.
    trains_weights
        Leave its weights to be trained.
    training_mode
        Run in training mode instead.

    Raises
    ------
    InterventionError
        Activations would be recomputed without the interventions.
    """
    if training_mode and torch.is_grad_enabled():
        modules = network.modules()
        if any(getattr(each, "gradient_checkpointing", False) for each in modules):
            raise InterventionError(
                "gradient checkpointing recomputes activations after the interventions are gone, "
                "which would give wrong gradients; call eval(), in which nothing is recomputed"
            )
    with turn(network):
        frozen: list[nn.Parameter] = []
        if torch.is_grad_enabled() and not trains_weights:
            frozen = [each for each in network.parameters() if each.requires_grad]
        try:
            for each in frozen:
                each.requires_grad_(False)
            with _training(network) if training_mode else evaluating(network):
                yield
        finally:
            for each in frozen:
                each.requires_grad_(True)


@contextmanager
def _training(network: nn.Module) -> Iterator[None]:
    resting = [each for each in network.modules() if not each.training]
    try:
        for each in resting:
            each.training = True
        yield
    finally:
        for each in resting:
            each.training = False
