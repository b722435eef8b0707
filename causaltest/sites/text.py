"""Sites from text: causaltest's own form, names of TransformerLens, paths of modules."""

from __future__ import annotations

import re
from typing import Literal, cast

from causaltest.errors import SiteError
from causaltest.sites.checks import INDICES, Pos
from causaltest.sites.components import COMPONENTS, EXPERT_COMPONENTS, MODULE
from causaltest.sites.site import STACK, Site
from causaltest.spelling import did_you_mean

_DIMS = r"(?:\{(\d+(?:,\d+)*)\})?"

# Spelling of the same places in TransformerLens, so that its users can paste names.
_TRANSFORMER_LENS: dict[str, str] = {
    "hook_resid_pre": "block_input",
    "hook_in": "block_input",
    "hook_resid_post": "block_output",
    "hook_out": "block_output",
    "hook_attn_out": "attention_output",
    "attn.hook_out": "attention_output",
    "attn.hook_z": "attention_value_output",
    "attn.o.hook_in": "attention_value_output",
    "attn.hook_q": "query_output",
    "attn.q.hook_out": "query_output",
    "attn.hook_k": "key_output",
    "attn.k.hook_out": "key_output",
    "attn.hook_v": "value_output",
    "attn.v.hook_out": "value_output",
    "attn.hook_attn_scores": "attention_scores",
    "attn.hook_pattern": "attention_pattern",
    "mlp.hook_post": "mlp_activation",
    "mlp.hook_out": "mlp_output",
    "hook_mlp_out": "mlp_output",
}


def read(text: str) -> Site:
    """Read a site from text; see `Site.parse`."""
    name, at, pos_text = text.partition("@")
    pos = _pos(pos_text) if at else None
    if name in ("hook_embed", "embed.hook_out"):
        return Site("embedding", pos=pos)
    stacked = re.fullmatch(rf"(?:({STACK})\.)?(\w+)(?:\[(\d+)(?:\.(\d+))?\])?{_DIMS}", name)
    if stacked and (stacked[1] is None or (stacked[2] in COMPONENTS and stacked[3])):
        stack, component, layer, inner, dims = stacked.groups()
        index = None if inner is None else int(inner)
        routed = component in EXPERT_COMPONENTS
        return Site(
            component,
            layer=None if layer is None else int(layer),
            head=None if routed else index,
            pos=pos,
            dims=_dims(dims),
            stack=stack or "",
            expert=index if routed else None,
        )
    # Before the names of TransformerLens: a network may have modules called hook_something.
    if end := re.fullmatch(rf"(.+)\.(input|output)(?:#(\d+))?{_DIMS}", name):
        path, side, turn, dims = end.groups()
        path = re.sub(r"\[(\d+)\]", r".\1", path)
        call = None if turn is None else int(turn)
        end_of = cast("Literal['input', 'output']", side)
        return Site(MODULE, path=path, side=end_of, pos=pos, dims=_dims(dims), call=call)
    if lens := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        layer, hook = lens.groups()
        if hook in _TRANSFORMER_LENS:
            return Site(_TRANSFORMER_LENS[hook], layer=int(layer), pos=pos)
        if "hook_" in hook:
            raise SiteError(
                f"no site for the hook name {name!r}{did_you_mean(hook, _TRANSFORMER_LENS)}\n"
                f"hook names that are understood: {', '.join(_TRANSFORMER_LENS)}"
            )
    raise SiteError(
        f"cannot read {text!r} as a site\n"
        "expected component[layer]@position (mlp_output[5]@end), "
        "blocks.5.hook_mlp_out, or a module path that ends in .input or .output"
    )


def _pos(text: str) -> Pos:
    if re.fullmatch(INDICES, text):
        return tuple(int(part) for part in text.split(","))
    return text


def _dims(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else tuple(int(dim) for dim in text.split(","))
