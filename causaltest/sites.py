"""Sites: named places inside a network where activations are read and edited."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from causaltest.errors import SiteError
from causaltest.spelling import did_you_mean

Pos = str | int | tuple[int, ...] | None

END = "end"

LAYER_COMPONENTS: dict[str, str] = {
    "block_input": "residual stream entering the block",
    "block_output": "residual stream leaving the block",
    "attention_input": "what the attention sublayer reads, after its norm",
    "attention_output": "what the attention sublayer writes to the residual stream",
    "attention_value_output": "all heads' mixed values, concatenated, before the output projection",
    "query_output": "all heads' queries, concatenated, before any rotary embedding",
    "key_output": "all key-value heads' keys, concatenated, before any rotary embedding",
    "value_output": "all key-value heads' values, concatenated",
    "attention_scores": "all query heads' scores before the softmax, one for each key",
    "attention_pattern": "all query heads' attention probabilities, one for each key",
    "cross_attention_output": "what the cross-attention writes to the residual stream",
    "cross_attention_value_output": "cross-attention: all heads' mixed values, before the output "
    "projection",
    "cross_query_output": "cross-attention: all heads' queries, concatenated",
    "cross_key_output": "cross-attention: all heads' keys, concatenated; tokens of the encoder",
    "cross_value_output": "cross-attention: all heads' values, concatenated; tokens of the encoder",
    "mlp_input": "what the MLP reads, after its norm",
    "mlp_activation": "the MLP's neurons, before the output projection",
    "mlp_output": "what the MLP writes to the residual stream",
    "mixer_input": "what the state-space, recurrent or convolution mixer reads, after its norm",
    "mixer_output": "what the mixer gives",
    "router_output": "each expert's score, before any expert is chosen or weights are normalised",
}
HEAD_COMPONENTS: dict[str, str] = {
    "head_attention_value_output": "one head's mixed values, before the output projection",
    "head_query_output": "one head's queries, before any rotary embedding",
    "head_key_output": "one key-value head's keys, before any rotary embedding",
    "head_value_output": "one key-value head's values",
    "head_attention_scores": "one query head's scores before the softmax, one for each key",
    "head_attention_pattern": "one query head's attention probabilities, one for each key",
    "head_cross_attention_value_output": "cross-attention: one head's mixed values, before the "
    "output projection",
    "head_cross_query_output": "cross-attention: one head's queries",
    "head_cross_key_output": "cross-attention: one key-value head's keys; tokens of the encoder",
    "head_cross_value_output": "cross-attention: one key-value head's values; tokens of the "
    "encoder",
}
EXPERT_COMPONENTS: dict[str, str] = {
    "expert_output": "what one expert adds, its routing weight included; 0 where it is not chosen",
}
MODEL_COMPONENTS: dict[str, str] = {"embedding": "token embeddings, before positions are added"}
COMPONENTS: dict[str, str] = {
    **LAYER_COMPONENTS, **HEAD_COMPONENTS, **EXPERT_COMPONENTS, **MODEL_COMPONENTS,
}  # fmt: skip
MODULE = "module"

KEYED = frozenset(
    f"{head}{name}" for head in ("", "head_") for name in ("attention_scores", "attention_pattern")
)
"""Components with one number for each key, and so as wide as the prompt is long."""

_DIMS = r"(?:\{(\d+(?:,\d+)*)\})?"
_STACK = r"[\w.]*[A-Za-z_][\w.]*"
_INDICES = r"-?\d+(,-?\d+)*"

# The output is what most people mean by a bare name such as `mlp`.
_OUTPUTS_FIRST = sorted(COMPONENTS, key=lambda name: not name.endswith("_output"))

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


@dataclass(frozen=True)
class Site:
    """One place in a network: a component, its layer and head, and optionally positions and dims.

    Build sites with the functions of this module (`block_output(2, pos="name")`) rather than
    directly; `str(site)` is the form that reports print and `Site.parse` reads.

    Parameters
    ----------
    component
        A name in `COMPONENTS`, or `module` for a module addressed by its path.
    layer
        Block index from 0; None for `embedding` and modules.
    head
        Head index from 0 for `head_*` components. Keys and values count key-value heads.
    pos
        Position: the name of a position of the pair (all its tokens; a suffix `.first` or `.last`
        picks one), a token index (negative from the end of the unpadded prompt), several
        indices, or None for every token.
    dims
        Indices into the component's last axis; None for all of it.
    path
        For `module`: dotted module path.
    side
        For `module`: whether its input or its output is meant.
    call
        For `module`: which of its calls in one forward pass, from 0, where it runs several times.
    stack
        Which stack of blocks, in a network with several (`encoder`, `decoder`); empty for the one
        that leads to the answer.
    expert
        Expert index from 0 for `expert_output`.

    Raises
    ------
    SiteError
        The component is unknown, or layer, head, position or dims do not fit it.

    Examples
    --------
    >>> str(Site("mlp_output", layer=5, pos="end"))
    'mlp_output[5]@end'
    >>> Site.parse("head_attention_value_output[9.6]@end").head
    6
    """

    component: str
    layer: int | None = None
    head: int | None = None
    pos: Pos = None
    dims: tuple[int, ...] | None = None
    path: str = ""
    side: Literal["input", "output"] = "output"
    stack: str = ""
    expert: int | None = None
    call: int | None = None

    def __post_init__(self) -> None:
        if self.component != MODULE and self.component not in COMPONENTS:
            meant = did_you_mean(self.component, _OUTPUTS_FIRST)
            raise SiteError(
                f"unknown component {self.component!r}{meant}\n"
                f"components: {', '.join(COMPONENTS)}; any other module: module('path.to.it')"
            )
        takes_layer = self.component not in (*MODEL_COMPONENTS, MODULE)
        _check_index("layer", self.layer, self.component, wanted=takes_layer)
        _check_index("head", self.head, self.component, wanted=self.component in HEAD_COMPONENTS)
        routed = self.component in EXPERT_COMPONENTS
        _check_index("expert", self.expert, self.component, wanted=routed)
        if self.component == MODULE and not self.path:
            raise SiteError("a module site needs a path, e.g. module('transformer.h.3.mlp')")
        if self.component != MODULE and (self.path or self.side != "output"):
            raise SiteError(
                f"{self.component} takes no path and no side; any module: module('path.to.it')"
            )
        if self.component == MODULE:
            _check_call(self.call)
        elif self.call is not None:
            raise SiteError(f"{self.component} takes no call; got call={self.call!r}")
        if self.side not in ("input", "output"):
            raise SiteError(f"side is {self.side!r}; a module has an 'input' and an 'output'")
        if self.stack and not takes_layer:
            raise SiteError(f"{self.component} takes no stack; got stack={self.stack!r}")
        if not re.fullmatch(_STACK + r"|", self.stack):
            raise SiteError(
                f"stack is {self.stack!r}; expected the name of a stack of blocks, e.g. 'encoder'"
            )
        object.__setattr__(self, "pos", _normalise_pos(self.pos))
        object.__setattr__(self, "dims", _normalise_dims(self.dims))

    def __str__(self) -> str:
        if self.component == MODULE:
            call = "" if self.call is None else f"#{self.call}"
            name = f"{self.path}.{self.side}{call}"
        elif self.layer is None:
            name = self.component
        else:
            inner = self.expert if self.head is None else self.head
            within = "" if inner is None else f".{inner}"
            stack = f"{self.stack}." if self.stack else ""
            name = f"{stack}{self.component}[{self.layer}{within}]"
        dims = "" if self.dims is None else "{" + ",".join(map(str, self.dims)) + "}"
        if self.pos is None:
            return name + dims
        pos = ",".join(map(str, self.pos)) if isinstance(self.pos, tuple) else str(self.pos)
        return f"{name}{dims}@{pos}"

    def at(self, pos: Pos) -> Site:
        """Return the same site at another position."""
        return replace(self, pos=pos)

    @staticmethod
    def parse(text: str) -> Site:
        """Read a site from text.

        Parameters
        ----------
        text
            causaltest's own form (`mlp_output[5]@end`), a TransformerLens hook name
            (`blocks.8.hook_resid_post`), or a module path ending in `.input` or `.output`; each may
            be followed by `@position`.

        Returns
        -------
        Site

        Raises
        ------
        SiteError
            The text is none of these.

        Examples
        --------
        >>> Site.parse("blocks.8.hook_resid_post@end") == block_output(8, pos="end")
        True
        """
        name, at, pos_text = text.partition("@")
        pos = _parse_pos(pos_text) if at else None
        if name in ("hook_embed", "embed.hook_out"):
            return embedding(pos=pos)
        stacked = re.fullmatch(rf"(?:({_STACK})\.)?(\w+)(?:\[(\d+)(?:\.(\d+))?\])?{_DIMS}", name)
        if stacked and (stacked[1] is None or (stacked[2] in COMPONENTS and stacked[3])):
            stack, component, layer, inner, dims = stacked.groups()
            index = None if inner is None else int(inner)
            routed = component in EXPERT_COMPONENTS
            return Site(
                component,
                layer=None if layer is None else int(layer),
                head=None if routed else index,
                pos=pos,
                dims=_parse_dims(dims),
                stack=stack or "",
                expert=index if routed else None,
            )
        # Before the names of TransformerLens: a network may have modules called hook_something.
        if end := re.fullmatch(rf"(.+)\.(input|output)(?:#(\d+))?{_DIMS}", name):
            path, side, turn, dims = end.groups()
            path = re.sub(r"\[(\d+)\]", r".\1", path)
            call = None if turn is None else int(turn)
            where: dict[str, Any] = {"pos": pos, "dims": _parse_dims(dims), "call": call}
            return module(path, side=cast("Literal['input', 'output']", side), **where)
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


def _check_index(what: str, value: object, component: str, *, wanted: bool) -> None:
    if value is None and wanted:
        raise SiteError(
            f"{component} needs {'an' if what == 'expert' else 'a'} {what}, e.g. "
            f"{component}(0{', 0' * (what != 'layer')})"
        )
    if value is None:
        return
    if not wanted:
        raise SiteError(f"{component} takes no {what}; got {what}={value!r}")
    if isinstance(value, bool) or not isinstance(value, int):
        raise SiteError(f"{what} of {component} is {value!r}; expected a whole number from 0")
    if value < 0:
        raise SiteError(f"{what} of {component} is {value}; {what}s count from 0, never negative")


def _check_call(call: object) -> None:
    if call is None:
        return
    if isinstance(call, bool) or not isinstance(call, int) or call < 0:
        raise SiteError(
            f"call is {call!r}; the calls of a module in one forward pass are counted from 0"
        )


def _normalise_pos(pos: object) -> Pos:
    if pos is None or (isinstance(pos, int) and not isinstance(pos, bool)):
        return pos
    if isinstance(pos, str):
        if not pos or "@" in pos:
            raise SiteError(f"pos is {pos!r}; expected a position's name such as 'end'")
        if re.fullmatch(_INDICES, pos):
            raise SiteError(f"pos is the text {pos!r}; a token index is a number: pos={pos}")
        return pos
    if isinstance(pos, (list, tuple)) and pos:
        indices = tuple(cast("Sequence[object]", pos))
        if all(isinstance(index, int) and not isinstance(index, bool) for index in indices):
            if len(set(indices)) < len(indices):
                raise SiteError(f"pos {list(indices)} names a token twice")
            # One index in a list is that token; one form of it makes equal sites equal.
            first, *others = cast("tuple[int, ...]", indices)
            return (first, *others) if others else first
    raise SiteError(
        f"pos is {pos!r}; expected a name of the pair's positions, a token index, "
        "several token indices, or None for every token"
    )


def _normalise_dims(dims: object) -> tuple[int, ...] | None:
    if dims is None:
        return None
    values = (dims,) if isinstance(dims, int) else dims
    if isinstance(values, (list, tuple, range)) and values:
        indices = tuple(cast("Sequence[object]", values))
        if all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in indices):
            if len(set(indices)) < len(indices):
                raise SiteError(f"dims {list(indices)} name a dimension twice")
            return cast("tuple[int, ...]", indices)
    raise SiteError(f"dims is {dims!r}; expected indices from 0, e.g. dims=(3, 17) or range(64)")


def _parse_pos(text: str) -> Pos:
    if re.fullmatch(_INDICES, text):
        return tuple(int(part) for part in text.split(","))
    return text


def _parse_dims(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else tuple(int(dim) for dim in text.split(","))


Dims = tuple[int, ...] | range | list[int] | int | None


def _site(
    component: str, layer: int, head: int | None, pos: Pos, dims: Dims, *, stack: str
) -> Site:
    return Site(component, layer=layer, head=head, pos=pos, dims=_normalise_dims(dims), stack=stack)


def embedding(*, pos: Pos = None, dims: Dims = None) -> Site:
    """Token embeddings, before position embeddings are added."""
    return Site("embedding", pos=pos, dims=_normalise_dims(dims))


def block_input(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """Residual stream entering block `layer`."""
    return _site("block_input", layer, None, pos, dims, stack=stack)


def block_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """Residual stream leaving block `layer`."""
    return _site("block_output", layer, None, pos, dims, stack=stack)


def attention_input(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """What the attention sublayer of block `layer` reads, after its norm."""
    return _site("attention_input", layer, None, pos, dims, stack=stack)


def attention_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """What the attention sublayer of block `layer` writes to the residual stream."""
    return _site("attention_output", layer, None, pos, dims, stack=stack)


def attention_value_output(
    layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """All heads' mixed values in block `layer`, concatenated, before the output projection."""
    return _site("attention_value_output", layer, None, pos, dims, stack=stack)


def query_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """All heads' queries in block `layer`, before any rotary embedding."""
    return _site("query_output", layer, None, pos, dims, stack=stack)


def key_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """All key-value heads' keys in block `layer`, before any rotary embedding."""
    return _site("key_output", layer, None, pos, dims, stack=stack)


def value_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """All key-value heads' values in block `layer`."""
    return _site("value_output", layer, None, pos, dims, stack=stack)


def mlp_input(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """What the MLP of block `layer` reads, after its norm."""
    return _site("mlp_input", layer, None, pos, dims, stack=stack)


def mlp_activation(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """The MLP neurons of block `layer`, before the output projection; `dims` picks neurons."""
    return _site("mlp_activation", layer, None, pos, dims, stack=stack)


def mlp_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """What the MLP of block `layer` writes to the residual stream."""
    return _site("mlp_output", layer, None, pos, dims, stack=stack)


def head_attention_value_output(
    layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Mixed values of one attention head, before the output projection."""
    return _site("head_attention_value_output", layer, head, pos, dims, stack=stack)


def head_query_output(
    layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Queries of one attention head, before any rotary embedding."""
    return _site("head_query_output", layer, head, pos, dims, stack=stack)


def head_key_output(
    layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Keys of one key-value head, before any rotary embedding."""
    return _site("head_key_output", layer, head, pos, dims, stack=stack)


def head_value_output(
    layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Values of one key-value head."""
    return _site("head_value_output", layer, head, pos, dims, stack=stack)


def attention_scores(
    layer: int,
    head: int | None = None,
    *,
    pos: Pos = None,
    dims: Dims = None,
    stack: str = "",
) -> Site:
    """Attention scores of block `layer` before the softmax, masks and biases included.

    Attention is computed eagerly in runs that read or edit them, and the ledger says so. Keys that
    a mask hides from a query read -inf and stay hidden, whatever is put in.

    Parameters
    ----------
    layer
        Block index.
    head
        Query head; None for all, one after another.
    pos
        Queries.
    dims
        Keys, as token indices from 0; one head only.
    stack
        As for every site.

    Returns
    -------
    Site

    Examples
    --------
    >>> str(attention_scores(9, 6, pos="end"))
    'head_attention_scores[9.6]@end'
    """
    component = "attention_scores" if head is None else "head_attention_scores"
    return _site(component, layer, head, pos, dims, stack=stack)


def attention_pattern(
    layer: int,
    head: int | None = None,
    *,
    pos: Pos = None,
    dims: Dims = None,
    stack: str = "",
) -> Site:
    """Attention probabilities of block `layer`, after the softmax.

    What is edited is not normalised again: where one key's probability is set to zero, the others
    stay as they are, and the head mixes less. To have the softmax share it out anew, edit
    `attention_scores`. Attention is computed eagerly in runs that read or edit patterns, and the
    ledger says so. Keys that a mask hides from a query keep probability 0, whatever is put in.

    Parameters
    ----------
    layer
        Block index.
    head
        Query head; None for all, one after another.
    pos
        Queries.
    dims
        Keys, as token indices from 0; one head only.
    stack
        As for every site.

    Returns
    -------
    Site

    Examples
    --------
    >>> str(attention_pattern(9, 6, pos="end", dims=3))
    'head_attention_pattern[9.6]{3}@end'
    >>> Site.parse("blocks.9.attn.hook_pattern") == attention_pattern(9)
    True
    """
    component = "attention_pattern" if head is None else "head_attention_pattern"
    return _site(component, layer, head, pos, dims, stack=stack)


def head_attention_scores(
    layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Scores of one query head, before the softmax; see `attention_scores`."""
    return _site("head_attention_scores", layer, head, pos, dims, stack=stack)


def head_attention_pattern(
    layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Attention probabilities of one query head; see `attention_pattern`."""
    return _site("head_attention_pattern", layer, head, pos, dims, stack=stack)


def cross_attention_output(
    layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """What the cross-attention of block `layer` writes to the residual stream."""
    return _site("cross_attention_output", layer, None, pos, dims, stack=stack)


def cross_attention_value_output(
    layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """All cross-attention heads' mixed values in block `layer`, before the output projection."""
    return _site("cross_attention_value_output", layer, None, pos, dims, stack=stack)


def cross_query_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """All cross-attention queries of block `layer`; positions are tokens of the decoder."""
    return _site("cross_query_output", layer, None, pos, dims, stack=stack)


def cross_key_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """All cross-attention keys of block `layer`; positions are tokens of the encoder."""
    return _site("cross_key_output", layer, None, pos, dims, stack=stack)


def cross_value_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """All cross-attention values of block `layer`; positions are tokens of the encoder."""
    return _site("cross_value_output", layer, None, pos, dims, stack=stack)


def head_cross_attention_value_output(
    layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Mixed values of one cross-attention head, before the output projection."""
    return _site("head_cross_attention_value_output", layer, head, pos, dims, stack=stack)


def head_cross_query_output(
    layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Queries of one cross-attention head; positions are tokens of the decoder."""
    return _site("head_cross_query_output", layer, head, pos, dims, stack=stack)


def head_cross_key_output(
    layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Keys of one cross-attention key-value head; positions are tokens of the encoder."""
    return _site("head_cross_key_output", layer, head, pos, dims, stack=stack)


def head_cross_value_output(
    layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Values of one cross-attention key-value head; positions are tokens of the encoder."""
    return _site("head_cross_value_output", layer, head, pos, dims, stack=stack)


def module(
    path: str,
    *,
    side: Literal["input", "output"] = "output",
    pos: Pos = None,
    dims: Dims = None,
    call: int | None = None,
) -> Site:
    """Input or output of any module, by its dotted path.

    Parameters
    ----------
    path
        As in `network.named_modules()`, e.g. `transformer.h.3.mlp`.
    side
        Which end of the module is meant.
    pos, dims
        As for every site.
    call
        Which of its calls in one forward pass, from 0; needed where it runs several times, as a
        recurrent cell or a block whose weights are shared does.

    Returns
    -------
    Site

    Examples
    --------
    >>> str(module("lstm", pos=-1))
    'lstm.output@-1'
    >>> str(module("cell", call=2))
    'cell.output#2'
    """
    return Site(MODULE, path=path, side=side, pos=pos, dims=_normalise_dims(dims), call=call)


def mixer_input(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """What the state-space, recurrent or convolution mixer of block `layer` reads."""
    return _site("mixer_input", layer, None, pos, dims, stack=stack)


def mixer_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """What the state-space, recurrent or convolution mixer of block `layer` gives."""
    return _site("mixer_output", layer, None, pos, dims, stack=stack)


def router_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """Score of each expert of block `layer`, as the router computes it; `dims` picks experts.

    The score is the number that comes out of the router's linear map, for most models a logit:
    before softmax or sigmoid, before a correction, before experts are chosen. An edit of it
    changes which experts are chosen and their weights as the model itself computes them.
    """
    return _site("router_output", layer, None, pos, dims, stack=stack)


def expert_output(
    layer: int, expert: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """What one expert of block `layer` adds to the mixture: its output times its routing weight.

    Tokens that are not routed to the expert have zeros there, and an edit adds to them what it
    puts in. All experts of a block sum to what the mixture gives, but for experts that are shared
    by all tokens.
    """
    return Site(
        "expert_output",
        layer=layer,
        expert=expert,
        pos=pos,
        dims=_normalise_dims(dims),
        stack=stack,
    )
