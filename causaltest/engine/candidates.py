"""Where components may live in a block, by the names that model authors give to its parts."""

from __future__ import annotations

from torch import nn

from causaltest.engine.access import Access
from causaltest.engine.calls import module_of
from causaltest.spelling import did_you_mean

# Names that model authors give to the same part, most common first; dots reach into submodules.
_ATTENTION = (
    "attn.attention", "attn", "self_attn", "attention", "self_attention", "layer.0.SelfAttention",
    "temporal_block",
)  # fmt: skip
_ATTENTION_PROJECTION = (
    "c_proj", "o_proj", "out_proj", "dense", "output.dense", "out_lin", "wo", "proj", "to_out",
    "o", "output", "attn_out", "dense_out", "projection_layer", "attention.out_proj", "o_b_proj",
    "mixer.o_proj", "self_attn.o_proj", "attn.out_proj", "post_proj",
)  # fmt: skip
_QUERY = (
    "q_proj", "query", "self.query", "q_lin", "wq", "to_q", "attention.query", "q", "q_b_proj",
    "self.query_proj", "query_proj", "attention.q_proj", "linear_q",
    "q_head",
)  # fmt: skip
_KEY = (
    "k_proj", "key", "self.key", "k_lin", "wk", "to_k", "attention.key", "k", "self.key_proj",
    "key_proj", "attention.k_proj", "linear_k", "k_head",
)  # fmt: skip
_VALUE = (
    "v_proj", "value", "self.value", "v_lin", "wv", "to_v", "attention.value", "v",
    "self.value_proj", "value_proj", "attention.v_proj", "linear_v", "v_head",
)  # fmt: skip
_FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "qkv", "in_proj", "att_proj")
_MIXER = (
    "mixer", "mamba", "mamba_mixer", "linear_attn", "linear_attention", "ssm", "conv",
    "short_conv", "temporal_block.mixer", "recurrent", "mlstm_layer", "attn.mixer",
)  # fmt: skip
MLP = (
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
    "mlp.output", "ffn.down_linear", "ff.2", "ffn_output", "ffn.linear_2",
)  # fmt: skip
_CROSS = ("cross", "encoder_attn", "encdec")


def block_candidates(network: nn.Module, path: str) -> dict[str, Access]:
    """Return where each component of a block would be, by name; nothing is checked."""
    block = network.get_submodule(module_of(path))
    found: dict[str, Access] = {
        "block_input": Access(path, "input"),
        "block_output": Access(path, "output"),
    }
    attention = attention_of(block)
    if attention:
        found |= _attention_candidates(block.get_submodule(attention), f"{path}.{attention}")
    if crossing := _crossing(block):
        inside = _attention_candidates(block.get_submodule(crossing), f"{path}.{crossing}")
        del inside["attention_input"]
        found |= {f"cross_{name}": access for name, access in inside.items()}
    if mixer := _first(block, _MIXER):
        found["mixer_input"] = Access(f"{path}.{mixer}", "input")
        found["mixer_output"] = Access(f"{path}.{mixer}", "output")
    if mlp := _first(block, MLP):
        found["mlp_input"] = Access(f"{path}.{mlp}", "input")
        found["mlp_output"] = Access(f"{path}.{mlp}", "output")
    elif first := _first(block, ("fc1", "linear1")):
        found["mlp_input"] = Access(f"{path}.{first}", "input")
    if projection := _first(block, _MLP_PROJECTION):
        found["mlp_activation"] = Access(f"{path}.{projection}", "input")
        found["mlp_output"] = Access(f"{path}.{projection}", "output")
    return found


def no_module(network: nn.Module, path: str) -> str:
    """Return a path that leads to no module, the nearest that does, and what there is on the way.

    Examples
    --------
    >>> print(no_module(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "0.weigth"))
    '0.weigth'
    0 (Linear) has no modules in it
    """
    known = [name for name, _ in network.named_modules() if name]
    start = path
    while start and start not in known:
        start, _, _ = start.rpartition(".")
    holder = network.get_submodule(start)
    parts = [part for part, _ in holder.named_children()]
    shown = ", ".join(parts[:12]) + (", ..." if len(parts) > 12 else "") or "no modules in it"
    where = f"{start} ({type(holder).__name__})" if start else "at the top it"
    return f"{path!r}{did_you_mean(path, known)}\n{where} has {shown}"


def attention_of(block: nn.Module) -> str:
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


def _first(module: nn.Module, names: tuple[str, ...]) -> str:
    for name in names:
        try:
            module.get_submodule(name)
        except AttributeError:
            continue
        return name
    return ""
