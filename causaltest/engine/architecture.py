"""Finding components by structure: alias tables, measured sizes, places verified by a probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from causaltest.engine.access import Access
from causaltest.engine.survey import Place, Seen, survey, tensor_of
from causaltest.engine.verify import settle_attention, settle_residual
from causaltest.errors import ModelError, SiteError
from causaltest.sites import COMPONENTS, HEAD_COMPONENTS, LAYER_COMPONENTS, MODULE, Site
from causaltest.spelling import did_you_mean

# Names that model authors give to the same part, most common first; dots reach into submodules.
_ATTENTION = ("attn.attention", "attn", "self_attn", "attention", "self_attention")
_ATTENTION_PROJECTION = (
    "c_proj", "o_proj", "out_proj", "dense", "output.dense", "out_lin", "wo", "proj", "to_out",
)  # fmt: skip
_QUERY = ("q_proj", "query", "self.query", "q_lin", "wq", "to_q", "attention.query")
_KEY = ("k_proj", "key", "self.key", "k_lin", "wk", "to_k", "attention.key")
_VALUE = ("v_proj", "value", "self.value", "v_lin", "wv", "to_v", "attention.value")
_FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "qkv", "in_proj")
_MLP = ("mlp", "feed_forward", "ffn", "intermediate")
_MLP_PROJECTION = (
    "mlp.c_proj", "mlp.down_proj", "mlp.dense_4h_to_h", "mlp.fc2", "mlp.fc_out", "mlp.w2",
    "feed_forward.w2", "ffn.lin2", "output.dense", "fc2",
)  # fmt: skip

Forward = Callable[[Tensor], object]


@dataclass(frozen=True)
class Architecture:
    """What was found in a network.

    Parameters
    ----------
    blocks
        Module path of each block, in order; empty where no stack of blocks was recognised.
    accesses
        Component and layer (None for `embedding`) to its place.
    key_value_heads
        Number of key-value heads; None without attention.
    missing
        Component to the reason why it is not offered.
    """

    blocks: tuple[str, ...] = ()
    accesses: Mapping[tuple[str, int | None], Access] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def components(self) -> tuple[str, ...]:
        """Components this network has, in the order of `COMPONENTS`."""
        present = {name for name, _ in self.accesses}
        heads = {
            name for name in HEAD_COMPONENTS if name.removeprefix("head_") in present
            and self._headed(name)
        }  # fmt: skip
        return tuple(name for name in COMPONENTS if name in present or name in heads)

    def _headed(self, name: str) -> bool:
        whole = name.removeprefix("head_")
        return any(
            access.heads is not None
            for (component, _), access in self.accesses.items()
            if component == whole
        )

    def resolve(self, site: Site, network: nn.Module, name: str) -> Access:
        """Return where a site lives.

        Parameters
        ----------
        site
            Any site; its position is not looked at.
        network, name
            The model, and what to call it in messages.

        Returns
        -------
        Access

        Raises
        ------
        SiteError
            The network has no such component, layer, head, dim or module.
        """
        if site.component == MODULE:
            access = self._module(site, network, name)
        else:
            access = self._component(site, name)
        if site.head is not None:
            access = _head_of(access, site, name)
        if site.dims is not None:
            if access.width is not None and max(site.dims) >= access.width:
                raise SiteError(
                    f"{site.at(None)} does not exist: {name} has dims 0-{access.width - 1} there"
                )
            access = access.dims(site.dims)
        return access

    def _module(self, site: Site, network: nn.Module, name: str) -> Access:
        try:
            network.get_submodule(site.path)
        except AttributeError as error:
            paths = [path for path, _ in network.named_modules() if path]
            raise SiteError(
                f"{name} has no module {site.path!r}{did_you_mean(site.path, paths)}"
            ) from error
        return Access(site.path, site.side)

    def _component(self, site: Site, name: str) -> Access:
        whole = site.component
        if whole in HEAD_COMPONENTS:
            whole = whole.removeprefix("head_")
        access = self.accesses.get((whole, site.layer))
        if access is not None:
            return access
        layers = sorted(
            layer for component, layer in self.accesses
            if component == whole and layer is not None
        )  # fmt: skip
        if layers:
            gap = "" if len(layers) == layers[-1] + 1 else f" (of these only {layers})"
            raise SiteError(
                f"{site.at(None)} does not exist: {name} has layers 0-{layers[-1]}{gap}"
            )
        reason = self.missing.get(whole)
        raise SiteError(
            f"{name} has no {site.component}{f': {reason}' if reason else ''}\n"
            f"it has {', '.join(self.components) or 'no named components'}; "
            "any module: module('path.to.it')"
        )


def _head_of(access: Access, site: Site, name: str) -> Access:
    assert site.head is not None
    if access.heads is None:
        raise SiteError(
            f"{site.at(None)}: how {site.component.removeprefix('head_')} splits into heads could "
            f"not be verified for {name}; use the whole component, or dims="
        )
    if site.head >= access.heads:
        kind = "heads"
        if site.component in ("head_key_output", "head_value_output"):
            kind = "key-value heads"
        raise SiteError(f"{site.at(None)} does not exist: {name} has {kind} 0-{access.heads - 1}")
    return access.head(site.head)


def discover(network: nn.Module, forward: Forward, name: str) -> Architecture:
    """Find the components of a network by structure and check them with two small forward passes.

    Sizes are measured, not read from the configuration. The layout of fused projections and the
    split into heads are accepted only if, for a prompt of one token, where attention can only copy,
    the mixed values equal the values; what the sublayers write to the residual stream only if the
    stream is the sum of it.

    Parameters
    ----------
    network
        Any module.
    forward
        Runs it on token ids of shape (rows, tokens).
    name
        What to call the model in messages.

    Returns
    -------
    Architecture
        Empty where no stack of blocks is recognised: modules are then addressed by path.
    """
    blocks, reason = _find_blocks(network)
    if not blocks:
        return Architecture(missing=dict.fromkeys(COMPONENTS, reason))
    candidates: dict[tuple[str, int | None], Access] = {}
    embedding = _embedding_path(network)
    if embedding:
        candidates["embedding", None] = Access(embedding, "output")
    for layer, path in enumerate(blocks):
        for component, access in _block_candidates(network, path).items():
            candidates[component, layer] = access
    vocabulary = _vocabulary(network, embedding)
    several = _probe(network, forward, torch.arange(2)[None] % vocabulary, name)
    single = _probe(network, forward, torch.arange(min(8, vocabulary))[:, None], name)
    accesses: dict[tuple[str, int | None], Access] = {}
    missing: dict[str, str] = {}
    for key, access in candidates.items():
        place = (access.path, access.side)
        unfit = _unfit(several.get(place), 1, 2) or _unfit(single.get(place), None, 1)
        if unfit:
            missing[key[0]] = f"{access.path} {unfit}"
        else:
            accesses[key] = replace(access, width=tensor_of(several, access).shape[-1])
    for layer, path in enumerate(blocks):
        settle_residual(accesses, several, path, layer, missing)
    settle_attention(network, accesses, single, len(blocks), missing)
    for component in LAYER_COMPONENTS:
        if not any(found == component for found, _ in accesses):
            missing.setdefault(component, "no module of a known name and shape computes it")
    return Architecture(blocks, accesses, missing)


def _unfit(seen: Seen | None, rows: int | None, tokens: int) -> str:
    """Return why an activation cannot be a component, or an empty string."""
    if seen is None:
        return "did not run in a plain forward pass"
    if seen.calls != 1:
        return f"runs {seen.calls} times in one forward pass"
    shape = () if seen.tensor is None else tuple(seen.tensor.shape)
    if len(shape) != 3 or shape[1] != tokens or shape[0] != (rows or shape[0]):
        return "is not of shape (rows, tokens, width)"
    return ""


def _find_blocks(network: nn.Module) -> tuple[tuple[str, ...], str]:
    stacks = {
        path: module for path, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 0
        and all(_first(block, _ATTENTION) for block in module)
    }  # fmt: skip
    outermost = [
        path for path in stacks if not any(path.startswith(f"{other}.") for other in stacks)
    ]
    if len(outermost) > 1:
        return (), f"it has several stacks of blocks ({', '.join(outermost)})"
    if not outermost:
        return (), "no stack of blocks with attention was recognised"
    path = outermost[0]
    return tuple(f"{path}.{index}" for index in range(len(stacks[path]))), ""


def _first(module: nn.Module, names: tuple[str, ...]) -> str:
    for name in names:
        try:
            module.get_submodule(name)
        except AttributeError:
            continue
        return name
    return ""


def _embedding_path(network: nn.Module) -> str:
    getter = getattr(network, "get_input_embeddings", None)
    try:
        table = getter() if getter is not None else None
    except (NotImplementedError, AttributeError):
        table = None
    if table is None:
        return ""
    return next((path for path, module in network.named_modules() if module is table), "")


def _vocabulary(network: nn.Module, embedding: str) -> int:
    table = getattr(network.get_submodule(embedding), "weight", None) if embedding else None
    return 2 if table is None else int(table.shape[0])


def _block_candidates(network: nn.Module, path: str) -> dict[str, Access]:
    block = network.get_submodule(path)
    found: dict[str, Access] = {
        "block_input": Access(path, "input"),
        "block_output": Access(path, "output"),
    }
    attention = _first(block, _ATTENTION)
    attention_path = f"{path}.{attention}"
    found["attention_input"] = Access(attention_path, "input")
    module = block.get_submodule(attention)
    if projection := _first(module, _ATTENTION_PROJECTION):
        # The projection rather than the attention module: some models add the residual inside.
        found["attention_output"] = Access(f"{attention_path}.{projection}", "output")
        found["attention_value_output"] = Access(f"{attention_path}.{projection}", "input")
    if fused := _first(module, _FUSED):
        for component in ("query_output", "key_output", "value_output"):
            found[component] = Access(f"{attention_path}.{fused}", "output")
    else:
        for component, names in (
            ("query_output", _QUERY), ("key_output", _KEY), ("value_output", _VALUE),
        ):  # fmt: skip
            if name := _first(module, names):
                found[component] = Access(f"{attention_path}.{name}", "output")
    if mlp := _first(block, _MLP):
        found["mlp_input"] = Access(f"{path}.{mlp}", "input")
        found["mlp_output"] = Access(f"{path}.{mlp}", "output")
    if projection := _first(block, _MLP_PROJECTION):
        found["mlp_activation"] = Access(f"{path}.{projection}", "input")
        found["mlp_output"] = Access(f"{path}.{projection}", "output")
    return found


def _probe(network: nn.Module, forward: Forward, ids: Tensor, name: str) -> dict[Place, Seen]:
    """Run a few tokens and keep what every module takes and gives."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    try:
        return survey(network, forward, ids.to(device))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ModelError(
            f"{name} could not run on token ids of shape {tuple(ids.shape)}: {error}\n"
            "pass Model(network, forward=...) with a function of (network, ids, mask)"
        ) from error
