"""What else than the residual stream blocks take: side inputs that depend on the prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from causaltest.engine.access import put
from causaltest.engine.hooks import Operation, Side, evaluating
from causaltest.engine.model import Model
from causaltest.engine.prompts import Batch
from causaltest.engine.reading import read_batch
from causaltest.engine.rows import as_row
from causaltest.pairs import Prompt
from causaltest.sites import Site

_STREAM = "the residual stream"


def other_inputs(
    model: Model, sites: Sequence[Site], base: Prompt, source: Prompt
) -> tuple[str, ...]:
    """Name what later blocks take beside the residual stream, and is not the source's.

    The base is run with the source's stream put in behind a block of each stack; whatever
    argument of a later block then still differs from its value in the source run reaches it by
    another way.

    Parameters
    ----------
    model
        The model.
    sites
        The block outputs that are replaced, in one stack each.
    base, source
        Two prompts of equal length.

    Returns
    -------
    tuple of str
        Names of arguments, without repeats.
    """
    architecture = model.architecture
    later: list[str] = []
    for site in sites:
        found = architecture.others[site.stack] if site.stack else architecture
        later.extend(found.blocks[(site.layer or 0) + 1 :])
    one, other = (model.batch([as_row(prompt)]) for prompt in (base, source))
    with torch.no_grad():
        streams = read_batch(model, sites, other)
        swaps: list[tuple[str, Side, Operation]] = []
        for site in sites:
            access = model.access(site)
            swaps.append((access.path, access.side, _swap(model, site, one, streams[site][0])))
        wanted = _arguments(model, later, other, ())
        got = _arguments(model, later, one, swaps)
    differ = [
        name for (path, name), value in wanted.items()
        if name != _STREAM and not _close(got.get((path, name)), value)
    ]  # fmt: skip
    return tuple(dict.fromkeys(differ))


def _swap(model: Model, site: Site, rows: Batch, stream: Tensor) -> Operation:
    access = model.access(site)

    def operation(tensor: Tensor) -> Tensor:
        where, _ = model.places(site, access, tensor, rows)
        return put(tensor, where, access, stream)

    return operation


def _close(one: Tensor | None, other: Tensor) -> bool:
    return (
        one is not None
        and one.shape == other.shape
        and torch.allclose(one.double(), other.double(), atol=1e-5, rtol=1e-4)
    )


def _arguments(
    model: Model,
    paths: Sequence[str],
    rows: Batch,
    operations: Sequence[tuple[str, Side, Operation]],
) -> dict[tuple[str, str], Tensor]:
    """Run a batch and return every tensor among the arguments of some modules."""
    found: dict[tuple[str, str], Tensor] = {}
    handles: list[Any] = []

    def watch(path: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            named = {f"argument {index}": value for index, value in enumerate(args)}
            first = next(iter(named), "hidden_states")
            for key, value in {**named, **kwargs}.items():
                for inner, tensor in _tensors(key, value):
                    name = _STREAM if inner == first else inner
                    found[path, name] = tensor.detach().clone()

        return hook

    with evaluating(model.network):
        try:
            for path in paths:
                target = model.network.get_submodule(path)
                handles.append(target.register_forward_pre_hook(watch(path), with_kwargs=True))
            model.run_batch(rows, operations)
        finally:
            for handle in handles:
                handle.remove()
    return found


def _tensors(name: str, value: object) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in an argument, with a name each."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from _tensors(f"{name}[{index}]", each)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _tensors(f"{name}[{key!r}]", each)
