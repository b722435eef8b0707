"""Twins: the same network without what training put into it."""

from __future__ import annotations

import copy
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

from causaltest.engine.model import Model
from causaltest.errors import ModelError
from causaltest.spelling import did_you_mean, listed

Weights = Literal["shuffled", "untrained"]


def twin(model: Model, weights: Weights = "shuffled", *, seed: int = 0) -> Model:
    """Return a copy of a model whose weights carry nothing it learned.

    Parameters
    ----------
    model
        The model; it stays as it is.
    weights
        `shuffled`: the numbers within each weight tensor change places, so that every tensor keeps
        its distribution. `untrained`: every module initialises itself anew.
    seed
        Seed of the shuffle, or of the initialisation.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        `weights` is unknown, or a module with parameters cannot initialise itself.

    Notes
    -----
    An interpretation that holds as well in a network that learned nothing explains nothing:
    Meloux et al. 2025, Dead Salmons of AI Interpretability (arXiv 2512.18792).

    Examples
    --------
    >>> toy = Model(
    ...     torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5)), name="toy"
    ... )
    >>> twin(toy).name
    'toy (weights shuffled)'
    """
    known = cast("tuple[str, ...]", get_args(Weights))
    if weights not in known:
        raise ModelError(
            f"weights is {weights!r}{did_you_mean(str(weights), known)}; "
            f"expected one of {listed(known)}"
        )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = _shuffled(model.network, seed) if weights == "shuffled" else _untrained(model)
    return Model(
        network,
        tokenizer=model.prompts.tokenizer,
        name=f"{model.name} (weights {weights})",
        forward=model._forward,  # noqa: SLF001 - a twin runs as its model does
    )


def _shuffled(trained: nn.Module, seed: int) -> nn.Module:
    network = copy.deepcopy(trained)
    generator = torch.Generator().manual_seed(seed)
    # Tied tensors come once.
    for parameter in network.parameters():
        flat = parameter.detach().reshape(-1)
        order = torch.randperm(flat.numel(), generator=generator).to(flat.device)
        parameter.copy_(flat[order].reshape(parameter.shape))
    return network


def _untrained(model: Model) -> nn.Module:
    """Build a network anew from its configuration, or let every module draw its weights anew."""
    trained = model.network
    if hasattr(trained, "from_pretrained") and hasattr(trained, "config"):
        build: Any = type(trained)
        network: nn.Module = build(copy.deepcopy(trained.config))
        return network.to(device=model.device, dtype=model.dtype).train(trained.training)
    network = copy.deepcopy(trained)
    for path, module in network.named_modules():
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        reset = getattr(module, "reset_parameters", None)
        if not callable(reset):
            raise ModelError(
                f"{model.name}: {path or 'the network'} ({type(module).__name__}) has parameters "
                "but no reset_parameters(), so it has no untrained form; use weights='shuffled'"
            )
        reset()
    return network
