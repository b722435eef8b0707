"""Probes: running a network on a few tokens of nobody, to see what its modules do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from causaltest.engine.loading import device_of
from causaltest.engine.survey import Place, Seen, survey
from causaltest.errors import CausaltestError, ModelError

Forward = Callable[[Tensor], object]

# Lengths of the prompts of two probes. Networks that pool tokens take none of one or two.
_TOKENS = ((2, 1), (8, 6))


def embedding_path(network: nn.Module) -> str:
    """Return the path of the table of embeddings, empty where the network names none."""
    getter = getattr(network, "get_input_embeddings", None)
    try:
        table = getter() if getter is not None else None
    except (NotImplementedError, AttributeError):
        table = None
    if table is None:
        return ""
    return next((path for path, module in network.named_modules() if module is table), "")


def that_runs(network: nn.Module, embedding: str, several: Mapping[Place, Seen]) -> str:
    """Return the table of embeddings, or the first that shares its weights and runs instead."""
    if not embedding or (embedding, "output") in several:
        return embedding
    weight = getattr(network.get_submodule(embedding), "weight", None)
    for path, side in several:
        module = network.get_submodule(path) if side == "output" else None
        if isinstance(module, nn.Embedding) and module.weight is weight:
            return path
    return embedding


def vocabulary_of(network: nn.Module, embedding: str) -> int:
    """Return the number of token ids, as far as the table of embeddings shows it; else 2."""
    table = network.get_submodule(embedding) if embedding else None
    weight = getattr(table, "weight", None)
    return int(weight.shape[0]) if isinstance(weight, Tensor) and weight.ndim == 2 else 2


def probes(
    network: nn.Module, forward: Forward, rows: int, vocabulary: int, name: str
) -> tuple[dict[Place, Seen], dict[Place, Seen], tuple[int, int]]:
    """Run one row, and several rows of fewer tokens: as few tokens as the network takes.

    Parameters
    ----------
    network, forward, name
        As for `discover`.
    rows
        Number of rows in the second run.
    vocabulary
        Number of token ids.

    Returns
    -------
    several, single, tokens
        What was seen in each run, and how many tokens their rows had.

    Raises
    ------
    ModelError
        The network runs on none of these prompts.
    """
    failed: ModelError | None = None
    for most, fewest in _TOKENS:
        try:
            several = _probe(network, forward, some_ids(1, most, vocabulary), name)
            single = _probe(network, forward, some_ids(rows, fewest, vocabulary), name)
        except ModelError as error:
            failed = failed or error
        else:
            return several, single, (most, fewest)
    assert failed is not None
    raise failed


def _probe(network: nn.Module, forward: Forward, ids: Tensor, name: str) -> dict[Place, Seen]:
    """Run a few tokens and keep what every module takes and gives."""
    try:
        return survey(network, forward, ids.to(device_of(network)), every=True)
    except CausaltestError:
        raise
    except (
        Exception
    ) as error:  # these are the ids of nobody, on which a network may fail in any way
        raise ModelError(
            f"{name} could not run on token ids of shape {tuple(ids.shape)}: {error}\n"
            "pass Model(network, forward=...) with a function of (network, ids, mask)"
        ) from error


def some_ids(rows: int, tokens: int, vocabulary: int) -> Tensor:
    """Return token ids, all different as far as there are as many."""
    return torch.arange(rows * tokens).view(rows, tokens) % vocabulary
