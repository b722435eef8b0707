"""The way from the residual stream to the logits: final norm and unembedding, found and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from causaltest.engine.access import Access
from causaltest.engine.hooks import evaluating
from causaltest.engine.survey import Place, Seen, survey, tensor_of
from causaltest.errors import ModelError
from causaltest.sites import Site

if TYPE_CHECKING:
    from causaltest.engine.model import Model

_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Readout:
    """Final norm and unembedding of a model.

    Parameters
    ----------
    norm
        Path of the module between the last block and the unembedding; empty where there is none.
    unembedding
        Path of the module that gives the logits.
    scale
        What normed states are multiplied by before the unembedding.
    factor
        What the logits are multiplied by afterwards.
    cap
        c of a soft cap c tanh(logits / c); 0 for none.
    """

    norm: str
    unembedding: str
    scale: float = 1.0
    factor: float = 1.0
    cap: float = 0.0

    def normed(self, network: nn.Module, states: Tensor) -> Tensor:
        """Return residual states after the final norm, as the unembedding takes them."""
        found = network.get_submodule(self.norm)(states) if self.norm else states
        return found * self.scale if self.scale != 1.0 else found

    def logits(
        self, network: nn.Module, states: Tensor, classes: Sequence[int] | None = None
    ) -> Tensor:
        """Return the logits of residual states, (..., width) to (..., classes).

        Parameters
        ----------
        network
            The network.
        states
            What the last block gave.
        classes
            Those that are wanted; None for all.
        """
        with evaluating(network), torch.no_grad():
            return self.unembedded(network, self.normed(network, states), classes)

    def unembedded(
        self, network: nn.Module, normed: Tensor, classes: Sequence[int] | None = None
    ) -> Tensor:
        """Return the logits of what comes out of the final norm; as for `logits`."""
        module = network.get_submodule(self.unembedding)
        if classes is None:
            return self.finished(module(normed))
        chosen = list(classes)
        if not isinstance(module, nn.Linear) or not _is_plain(module):
            return self.finished(module(normed))[..., chosen]
        bias = None if module.bias is None else module.bias[chosen]
        return self.finished(nn.functional.linear(normed, module.weight[chosen], bias))

    def finished(self, logits: Tensor) -> Tensor:
        """Return what the network makes of the unembedding's output."""
        if self.cap:
            return self.cap * torch.tanh(logits / self.cap)
        return logits * self.factor if self.factor != 1.0 else logits


def _is_plain(module: nn.Linear) -> bool:
    """Return whether a linear map is no subclass, and wrapped or hooked by nobody."""
    hooks = (module._forward_hooks, module._forward_pre_hooks)  # noqa: SLF001
    return type(module) is nn.Linear and "forward" not in vars(module) and not any(hooks)


def find_readout(model: Model) -> Readout:
    """Find the final norm and the unembedding by what they take and give, and check them.

    Raises
    ------
    ModelError
        There is no such module, or it does not give the logits.
    """
    if not model.n_layers:
        raise ModelError(
            f"{model.name} has no stack of blocks that is recognised, so no residual stream to "
            "read logits from"
        )
    last = model.access(Site("block_output", layer=model.n_layers - 1))
    said: list[Tensor] = []
    ids = torch.arange(3, device=model.device)[None]
    seen = survey(
        model.network, lambda given: said.append(model.forward(given, None)), ids, every=True
    )
    states, logits = tensor_of(seen, last), said[0]
    unembedding = _unembedding(model.network, seen, logits)
    norm = None if not unembedding else _norm(seen, last, states, unembedding)
    if norm is None:
        found = _head(model.network, seen, last, states, logits)
        unembedding, norm = found or (unembedding, None)
    if not unembedding or norm is None:
        what = f"{unembedding} takes" if unembedding else "a module that gives the logits takes"
        raise ModelError(
            f"{model.name}: the final norm and the unembedding were not found\n"
            f"looked for the network's output embeddings, and for one module that takes "
            f"{last.path}'s output and gives what {what}"
        )
    return _finish(model, replace(norm, unembedding=unembedding), states, logits)


def _unembedding(network: nn.Module, seen: Mapping[Place, Seen], logits: Tensor) -> str:
    getter = getattr(network, "get_output_embeddings", None)
    table = None
    if getter is not None:
        try:
            table = getter()
        except (NotImplementedError, AttributeError):
            table = None
    for path, module in network.named_modules():
        given = seen.get((path, "output"))
        if not path or given is None or given.tensor is None or given.calls != 1:
            continue
        if module is table or (table is None and _same(given.tensor, logits)):
            return path
    return ""


def _head(
    network: nn.Module, seen: Mapping[Place, Seen], last: Access, states: Tensor, logits: Tensor
) -> tuple[str, Readout] | None:
    """Return a module of several layers that gives the logits of each token, and the norm before.

    Masked language models have one: a dense layer, a norm and the output embeddings.
    """
    if logits.ndim != 3:
        return None
    for path, _ in network.named_modules():
        given = seen.get((path, "output"))
        if not path or given is None or given.tensor is None or given.calls != 1:
            continue
        if not _same(given.tensor, logits):
            continue
        norm = _norm(seen, last, states, path)
        if norm is None:
            continue
        alone = replace(norm, unembedding=path).logits(network, states[:, 1:2])
        if agree(alone, logits[:, 1:2]):
            return path, norm
    return None


def _norm(
    seen: Mapping[Place, Seen], last: Access, states: Tensor, unembedding: str
) -> Readout | None:
    """Return what is in between: a module, a number, or nothing; None where it is unknown."""
    wanted = seen[unembedding, "input"].tensor
    if wanted is None or wanted.shape != states.shape or wanted.device != states.device:
        return None
    if scale := _ratio(states, wanted):
        return Readout("", unembedding, scale=scale)
    for (path, side), found in seen.items():
        if side != "input" or path == last.path:
            continue
        # Of its last call: some norms run before the first block too.
        taken, given = found.tensors[-1], seen[path, "output"].tensors[-1]
        if taken is None or given is None or not _same(taken, states):
            continue
        if given.shape == wanted.shape and (scale := _ratio(given, wanted)):
            return Readout(path, unembedding, scale=scale)
    return None


def _ratio(one: Tensor, other: Tensor) -> float:
    """Return by what number one tensor is to be multiplied to give another; 0 where by none."""
    if torch.equal(one, other):
        return 1.0
    first, second = one.double(), other.double()
    ratio = float((first * second).sum() / first.square().sum())
    off = (first * ratio - second).abs().max() / second.abs().max()
    return ratio if off <= 4 * torch.finfo(other.dtype).eps else 0.0


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.device == other.device and torch.equal(one, other)


def _finish(model: Model, plain: Readout, states: Tensor, logits: Tensor) -> Readout:
    """Find out what is done to the logits after the unembedding, and check the whole way."""
    found = plain.logits(model.network, states)
    options = [plain]
    if found.shape == logits.shape:
        ratio = (found.double() * logits.double()).sum() / found.double().square().sum()
        options.append(replace(plain, factor=float(ratio)))
    for name in ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap"):
        cap = getattr(getattr(model.network, "config", None), name, None)
        if isinstance(cap, (int, float)) and cap > 0:
            options.append(replace(plain, cap=float(cap)))
    for option in options:
        if agree(option.finished(found), logits):
            return option
    raise ModelError(
        f"{model.name}: {plain.norm or 'no norm'} and {plain.unembedding} after the last block do "
        "not give the model's logits; what is done to them afterwards is not understood"
    )


def agree(found: Tensor, wanted: Tensor) -> bool:
    """Return whether logits agree, to 1e-5 of the largest or to the rounding of their type."""
    if found.shape != wanted.shape:
        return False
    tolerance = max(_TOLERANCE, 16 * torch.finfo(wanted.dtype).eps)
    off = (found.double() - wanted.double()).abs().max()
    return bool(off <= tolerance * max(1.0, float(wanted.double().abs().max())))
