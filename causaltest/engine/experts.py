"""Places within mixtures of experts: the scores of a router, and what each expert adds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from causaltest.engine.access import Access, primary
from causaltest.engine.hooks import Inside, Operation
from causaltest.errors import InterventionError, SiteError
from causaltest.sites import Site


@dataclass(frozen=True)
class RouterScores(Inside):
    """The numbers that a router gives the experts, before anything is chosen or normalised.

    The router is run once more with them changed, so that all that follows from them, which
    experts are chosen and with what weights, is computed by the router itself.

    Parameters
    ----------
    mixture
        Path of the module around the router, whose input has (rows, tokens, width) axes.
    """

    mixture: str

    def __str__(self) -> str:
        return "scores"

    def attach(self, network: nn.Module, path: str, operation: Operation) -> Sequence[Any]:
        """Register the hooks; see `Inside`."""
        shape, noting = _noting_shape(network, self.mixture)

        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> Any:
            rerun = _Rescored(lambda scores: _reshaped(scores, shape, path, operation))
            with rerun:
                again = module.forward(*args, **kwargs)
            if rerun.calls != 1:
                raise InterventionError(
                    f"{path} computes its scores in {rerun.calls} linear maps; expected one"
                )
            if not rerun.changed:
                return None
            if not _equal(module.forward(*args, **kwargs), output):
                raise InterventionError(
                    f"{path}: another hook changes what this router gives, so that its scores "
                    "cannot be edited; remove one of the two"
                )
            return again

        return [noting, network.get_submodule(path).register_forward_hook(hook, with_kwargs=True)]


class _Rescored(TorchFunctionMode):
    """Applies an operation to the result of every linear map that is computed meanwhile."""

    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._operation = operation
        self.calls = 0
        self.changed = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # the name is torch's
        result = func(*args, **(kwargs or {}))
        if func is not functional.linear:
            return result
        self.calls += 1
        new = self._operation(result)
        self.changed |= new is not result
        return new


@dataclass(frozen=True)
class ExpertPart(Inside):
    """What one expert adds to the output of its mixture: its own output times its routing weight.

    Zero for tokens that are not routed to it. The module of all experts is run once more on the
    tokens of this one alone.

    Parameters
    ----------
    mixture
        Path of the module around the experts, whose input has (rows, tokens, width) axes.
    count
        Number of experts.
    expert
        Index from 0.
    """

    mixture: str
    count: int
    expert: int = 0

    def __str__(self) -> str:
        return f"expert {self.expert}"

    def attach(self, network: nn.Module, path: str, operation: Operation) -> Sequence[Any]:
        """Register the hooks; see `Inside`."""
        shape, noting = _noting_shape(network, self.mixture)

        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> Any:
            whole = primary(output, f"{path}.output")
            old = expert_part(module, routed(module, args, kwargs, path), self.expert, whole)
            new = _reshaped(old, shape, path, operation)
            # What does not change must stay bit for bit what it was.
            return None if new is old else whole + (new - old)

        return [noting, network.get_submodule(path).register_forward_hook(hook, with_kwargs=True)]


@dataclass(frozen=True)
class Routed:
    """What a module of experts takes: states, and for each which experts with what weights."""

    states: Tensor
    indices: Tensor
    weights: Tensor


def expert_part(module: nn.Module, routed: Routed, expert: int, whole: Tensor) -> Tensor:
    """Return what one expert adds, in the shape of the output of all."""
    token = (routed.indices == expert).any(dim=1).nonzero()[:, 0]
    part = torch.zeros_like(whole)
    if not len(token):
        return part
    added = module.forward(
        routed.states[token],
        routed.indices[token],
        routed.weights[token] * (routed.indices[token] == expert),
    )
    return part.index_add(0, token, added.to(part.dtype))


def of_expert(access: Access, site: Site, name: str) -> Access:
    """Return the access to the expert that a site means.

    Raises
    ------
    SiteError
        There are fewer experts.
    """
    assert isinstance(access.side, ExpertPart)
    assert site.expert is not None
    count = access.side.count
    if site.expert >= count:
        raise SiteError(f"{site.at(None)} does not exist: {name} has experts 0-{count - 1} there")
    return replace(access, side=replace(access.side, expert=site.expert))


def routed(module: nn.Module, args: Any, kwargs: Any, path: str) -> Routed:
    """Return what a module of experts was called with."""
    given = list(inspect.signature(module.forward).bind(*args, **kwargs).arguments.values())
    if len(given) == 3 and all(isinstance(each, Tensor) for each in given):
        states, indices, weights = cast("list[Tensor]", given)
        flat = all(each.ndim == 2 for each in (states, indices, weights))
        if flat and indices.shape == weights.shape and not indices.is_floating_point():
            return Routed(states, indices, weights)
    raise InterventionError(
        f"{path} does not take states, indices of experts and their weights, so that one expert's "
        "part cannot be told from the others'"
    )


def _noting_shape(network: nn.Module, path: str) -> tuple[list[int], Any]:
    """Return a list that holds the (rows, tokens) of a module's input while it runs."""
    shape: list[int] = []

    def note(_module: Any, args: Any, kwargs: Any) -> None:
        value = args[0] if args else kwargs.get("hidden_states")
        shape[:] = primary(value, f"{path}.input").shape[:2]

    handle = network.get_submodule(path).register_forward_pre_hook(note, with_kwargs=True)
    return shape, handle


def _reshaped(tensor: Tensor, shape: Sequence[int], path: str, operation: Operation) -> Tensor:
    """Apply an operation to an activation whose rows and tokens are merged."""
    if shape[0] * shape[1] * tensor.shape[-1] != tensor.numel():
        raise InterventionError(
            f"{path} gives numbers of shape {tuple(tensor.shape)} for {shape[0]} rows of "
            f"{shape[1]} tokens; expected one row of numbers for each token"
        )
    before = tensor.reshape(*shape, tensor.shape[-1])
    after = operation(before)
    return tensor if after is None or after is before else after.reshape(tensor.shape)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other
