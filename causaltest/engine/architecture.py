"""Finding components by structure: alias tables, measured sizes, places verified by a probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from causaltest.engine.access import Access
from causaltest.engine.calls import inner_blocks, module_of, settled, unrolled
from causaltest.engine.experts import of_expert
from causaltest.engine.loading import device_of
from causaltest.engine.mixtures import Found, find_mixtures, with_experts
from causaltest.engine.patterns import Probe, settle_patterns
from causaltest.engine.stacks import Stack, find_stacks
from causaltest.engine.survey import Place, Seen, survey, tensor_of
from causaltest.engine.verify import (
    forget_fused,
    settle_attention,
    settle_crossing,
    settle_crossing_heads,
    settle_residual,
)
from causaltest.errors import ModelError, SiteError
from causaltest.sites import COMPONENTS, HEAD_COMPONENTS, KEYED, LAYER_COMPONENTS, MODULE, Site
from causaltest.spelling import did_you_mean

# Names that model authors give to the same part, most common first; dots reach into submodules.
_ATTENTION = (
    "attn.attention", "attn", "self_attn", "attention", "self_attention", "layer.0.SelfAttention",
    "temporal_block",
)  # fmt: skip
_ATTENTION_PROJECTION = (
    "c_proj", "o_proj", "out_proj", "dense", "output.dense", "out_lin", "wo", "proj", "to_out",
    "o", "output", "attn_out", "dense_out", "projection_layer", "attention.out_proj", "o_b_proj",
    "mixer.o_proj", "self_attn.o_proj", "attn.out_proj",
)  # fmt: skip
_QUERY = (
    "q_proj", "query", "self.query", "q_lin", "wq", "to_q", "attention.query", "q", "q_b_proj",
    "self.query_proj", "query_proj", "attention.q_proj", "linear_q",
)  # fmt: skip
_KEY = (
    "k_proj", "key", "self.key", "k_lin", "wk", "to_k", "attention.key", "k", "self.key_proj",
    "key_proj", "attention.k_proj", "linear_k",
)  # fmt: skip
_VALUE = (
    "v_proj", "value", "self.value", "v_lin", "wv", "to_v", "attention.value", "v",
    "self.value_proj", "value_proj", "attention.v_proj", "linear_v",
)  # fmt: skip
_FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "qkv", "in_proj", "att_proj")
_MIXER = (
    "mixer", "mamba", "mamba_mixer", "linear_attn", "linear_attention", "ssm", "conv",
    "short_conv", "temporal_block.mixer", "recurrent", "mlstm_layer", "attn.mixer",
)  # fmt: skip
_MLP = (
    "mlp", "feed_forward", "ffn", "intermediate", "layer.1.DenseReluDense",
    "layer.2.DenseReluDense", "block_sparse_moe", "moe", "mlp_block", "feedforward",
    "channel_mixing", "shared_mlp", "mlp_layer", "ff", "ff_layer",
)  # fmt: skip
_MLP_PROJECTION = (
    "mlp.c_proj", "mlp.down_proj", "mlp.dense_4h_to_h", "mlp.fc2", "mlp.fc_out", "mlp.w2",
    "feed_forward.w2", "ffn.lin2", "output.dense", "fc2", "layer.1.DenseReluDense.wo",
    "layer.2.DenseReluDense.wo", "mlp.dense_out", "feed_forward.down_proj", "ff.layer_2",
    "mlp_block.down_proj", "feed_forward.output_dense", "mlp.dense2", "mlp.wo", "mlp.Wo",
    "feed_forward.proj_down", "feedforward.down_proj", "mlp.proj_out", "mlp.output_linear",
    "output.dense", "ffn.down_proj", "mlp.c_proj", "feed_forward.fc2", "ffn.fc2", "mlp.proj",
    "mlp.output", "ffn.down_linear", "ff.2", "ffn_output",
)  # fmt: skip
_CROSS = ("cross", "encoder_attn", "encdec")
_OF_ENCODER = ("cross_key_output", "cross_value_output")

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
    missing
        Component to the reason why it is not offered.
    vocabulary
        Number of token ids, as far as the table of embeddings shows it.
    stack
        Name of the stack of blocks where there are several: the one that leads to the answer.
    others
        What was found in the other stacks, by their names, in the order they run.
    """

    blocks: tuple[str, ...] = ()
    accesses: Mapping[tuple[str, int | None], Access] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    vocabulary: int = 2
    stack: str = ""
    others: Mapping[str, Architecture] = field(default_factory=dict)

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
        if site.expert is not None:
            access = of_expert(access, site, name)
        if site.dims is not None:
            if access.width is not None and max(site.dims) >= access.width:
                raise SiteError(
                    f"{site.at(None)} does not exist: {name} has dims 0-{access.width - 1} there"
                )
            if site.component in KEYED and site.head is None:
                raise SiteError(
                    f"{site.at(None)}: dims are keys of one head; say which, e.g. "
                    f"{site.component}({site.layer}, 0, dims=...)"
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
        return Access(site.path, site.side, call=site.call)

    def _component(self, site: Site, name: str) -> Access:
        whole = site.component
        if whole in HEAD_COMPONENTS:
            whole = whole.removeprefix("head_")
        if site.stack and site.stack != self.stack:
            return self._of_stack(site.stack, site, name)
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

    def _of_stack(self, stack: str, site: Site, name: str) -> Access:
        if stack in self.others:
            return self.others[stack]._component(replace(site, stack=""), f"{stack} of {name}")  # noqa: SLF001 - its own class
        known = [*self.others, self.stack]
        has = f"it has {', '.join(known)}" if self.stack else "it has one stack, without a name"
        raise SiteError(f"{name} has no stack {stack!r}{did_you_mean(stack, known)}; {has}")


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
    embedding = _embedding_path(network)
    vocabulary = _vocabulary(network, embedding)
    if not any(isinstance(module, nn.ModuleList) for module in network.modules()):
        return _without(vocabulary, "no stack of blocks was recognised")
    try:
        several = _probe(network, forward, _some_ids(1, 2, vocabulary), name)
    except ModelError as error:
        if _has_attention(network):
            raise
        return _without(vocabulary, str(error).splitlines()[0])
    stacks = find_stacks(network, several, 1)
    if not stacks:
        return _without(vocabulary, "no stack of blocks was recognised")
    single = _probe(network, forward, _some_ids(min(8, vocabulary), 1, vocabulary), name)
    ids = _some_ids(1, 2, vocabulary).to(device_of(network))
    blocks = [path for stack in stacks for path in stack.blocks]
    probe = Probe(network, forward, ids)
    mixtures = find_mixtures(network, lambda: forward(ids), blocks, _MLP)
    found = {
        stack.name: replace(
            _of_stack(probe, stack, several, single, embedding, mixtures=mixtures),
            vocabulary=vocabulary,
        )
        for stack in stacks
    }
    answering = found.pop(stacks[-1].name)
    return replace(answering, stack=stacks[-1].name, others=found)


def _has_attention(network: nn.Module) -> bool:
    """Return whether some list of modules has attention in each, and so should be understood."""
    return any(
        isinstance(module, nn.ModuleList) and len(module) > 0 and all(map(_attention, module))
        for module in network.modules()
    )


def _without(vocabulary: int, reason: str) -> Architecture:
    return Architecture(missing=dict.fromkeys(COMPONENTS, reason), vocabulary=vocabulary)


def _some_ids(rows: int, tokens: int, vocabulary: int) -> Tensor:
    """Return token ids, all different as far as there are as many."""
    return torch.arange(rows * tokens).view(rows, tokens) % vocabulary


def _of_stack(
    probe: Probe,
    stack: Stack,
    several: Mapping[Place, Seen],
    single: Mapping[Place, Seen],
    embedding: str,
    *,
    mixtures: Mapping[str, Found],
) -> Architecture:
    """Find and check the components of one stack."""
    inner = inner_blocks(probe.network, stack.blocks)
    several, blocks = unrolled(several, inner)
    single, _ = unrolled(single, inner)
    candidates: dict[tuple[str, int | None], Access] = {}
    if embedding:
        candidates["embedding", None] = Access(embedding, "output")
    for layer, path in enumerate(blocks):
        for component, access in _block_candidates(probe.network, path).items():
            candidates[component, layer] = access
    one = single.get((blocks[0], "input"), Seen(0, None)).tensor
    accesses, missing = _fitting(probe, candidates, several, single, blocks[0])
    for layer, path in enumerate(blocks):
        settle_residual(accesses, several, path, layer, missing)
        settle_crossing(accesses, several, path, layer, missing)
    if one is not None and one.shape[1] == 1:
        settle_attention(probe.network, accesses, single, len(blocks), missing)
        settle_crossing_heads(probe.network, accesses, single, len(blocks), missing)
    else:
        forget_fused(accesses, len(blocks), missing)
    with_experts(accesses, blocks, mixtures, missing)
    for component in LAYER_COMPONENTS:
        if not any(found == component for found, _ in accesses):
            missing.setdefault(component, "no module of a known name and shape computes it")
    settle_patterns(probe, several, blocks, accesses, missing)
    found = {key: settled(access) for key, access in accesses.items()}
    return Architecture(tuple(map(module_of, blocks)), found, missing)


def _fitting(
    probe: Probe,
    candidates: Mapping[tuple[str, int | None], Access],
    several: Mapping[Place, Seen],
    single: Mapping[Place, Seen],
    first: str,
) -> tuple[dict[tuple[str, int | None], Access], dict[str, str]]:
    """Keep the candidates that carry one number of tokens or the other, as the first block does."""
    stream, one = several[first, "input"].tensor, single.get((first, "input"), Seen(0, None)).tensor
    assert stream is not None
    rows, length = stream.shape[:2]
    accesses: dict[tuple[str, int | None], Access] = {}
    missing: dict[str, str] = {}
    for key, access in candidates.items():
        place = (access.path, access.side)
        lengths = (length, length if one is None else one.shape[1])
        if key[0] in _OF_ENCODER:
            lengths = (probe.ids.shape[1], 1)
        unfit = _unfit(several.get(place), rows, lengths[0]) or _unfit(
            single.get(place), None, lengths[1]
        )
        if unfit:
            missing[key[0]] = f"{access.path} {unfit}"
        else:
            accesses[key] = replace(access, width=tensor_of(several, access).shape[-1])
    return accesses, missing


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
    table = network.get_submodule(embedding) if embedding else None
    weight = getattr(table, "weight", None)
    return int(weight.shape[0]) if isinstance(weight, Tensor) and weight.ndim == 2 else 2


def _block_candidates(network: nn.Module, path: str) -> dict[str, Access]:
    block = network.get_submodule(module_of(path))
    found: dict[str, Access] = {
        "block_input": Access(path, "input"),
        "block_output": Access(path, "output"),
    }
    attention = _attention(block)
    if attention:
        found |= _attention_candidates(block.get_submodule(attention), f"{path}.{attention}")
    if crossing := _crossing(block):
        inside = _attention_candidates(block.get_submodule(crossing), f"{path}.{crossing}")
        del inside["attention_input"]
        found |= {f"cross_{name}": access for name, access in inside.items()}
    if mixer := _first(block, _MIXER):
        found["mixer_input"] = Access(f"{path}.{mixer}", "input")
        found["mixer_output"] = Access(f"{path}.{mixer}", "output")
    if mlp := _first(block, _MLP):
        found["mlp_input"] = Access(f"{path}.{mlp}", "input")
        found["mlp_output"] = Access(f"{path}.{mlp}", "output")
    elif first := _first(block, ("fc1", "linear1")):
        found["mlp_input"] = Access(f"{path}.{first}", "input")
    if projection := _first(block, _MLP_PROJECTION):
        found["mlp_activation"] = Access(f"{path}.{projection}", "input")
        found["mlp_output"] = Access(f"{path}.{projection}", "output")
    return found


def _attention(block: nn.Module) -> str:
    """Return the path in a block of its self-attention: a known name, or a holder of queries."""
    names = [name for name in _ATTENTION if _first(block, (name,))]
    holders = [
        path for path, module in block.named_modules()
        if path and not any(word in path.lower() for word in _CROSS) and not _scans(module)
        and (_first(module, _FUSED) or all(_first(module, part) for part in (_QUERY, _KEY, _VALUE)))
    ]  # fmt: skip
    for name in names:
        if any(holder == name or holder.startswith(f"{name}.") for holder in holders):
            return name
    if holders:
        return holders[0]
    known = [
        name for name in names
        if _first(block.get_submodule(name), _ATTENTION_PROJECTION)
        and not _scans(block.get_submodule(name))
    ]  # fmt: skip
    return known[0] if known else ""


def _crossing(block: nn.Module) -> str:
    """Return the path in a block of its cross-attention, which has queries, keys and values."""
    return next(
        (
            path for path, module in block.named_modules()
            if any(word in path.lower() for word in _CROSS)
            and all(_first(module, part) for part in (_QUERY, _KEY, _VALUE))
        ),
        "",
    )  # fmt: skip


def _scans(module: nn.Module) -> bool:
    """Return whether a module is a state-space or convolution mixer, which too has an in_proj."""
    return hasattr(module, "A_log") or any(
        isinstance(part, nn.Conv1d) for part in module.children()
    )


def _attention_candidates(module: nn.Module, path: str) -> dict[str, Access]:
    found = {"attention_input": Access(path, "input")}
    if projection := _first(module, _ATTENTION_PROJECTION):
        # The projection rather than the attention module: some models add the residual inside.
        found["attention_output"] = Access(f"{path}.{projection}", "output")
        found["attention_value_output"] = Access(f"{path}.{projection}", "input")
    fused = _first(module, _FUSED)
    apart = {
        component: _first(module, names)
        for component, names in (
            ("query_output", _QUERY), ("key_output", _KEY), ("value_output", _VALUE),
        )
    }  # fmt: skip
    if fused and not all(apart.values()):
        apart = dict.fromkeys(apart, fused)
    for component, name in apart.items():
        if name:
            found[component] = Access(f"{path}.{name}", "output")
    return found


def _probe(network: nn.Module, forward: Forward, ids: Tensor, name: str) -> dict[Place, Seen]:
    """Run a few tokens and keep what every module takes and gives."""
    try:
        return survey(network, forward, ids.to(device_of(network)), every=True)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ModelError(
            f"{name} could not run on token ids of shape {tuple(ids.shape)}: {error}\n"
            "pass Model(network, forward=...) with a function of (network, ids, mask)"
        ) from error
