"""Sites: named places inside a network where activations are read and edited."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

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
    "mlp_input": "what the MLP reads, after its norm",
    "mlp_activation": "the MLP's neurons, before the output projection",
    "mlp_output": "what the MLP writes to the residual stream",
    "mixer_input": "what the state-space, recurrent or convolution mixer reads, after its norm",
    "mixer_output": "what the mixer gives",
}
HEAD_COMPONENTS: dict[str, str] = {
    "head_attention_value_output": "one head's mixed values, before the output projection",
    "head_query_output": "one head's queries, before any rotary embedding",
    "head_key_output": "one key-value head's keys, before any rotary embedding",
    "head_value_output": "one key-value head's values",
}
MODEL_COMPONENTS: dict[str, str] = {"embedding": "token embeddings, before positions are added"}
COMPONENTS: dict[str, str] = {**LAYER_COMPONENTS, **HEAD_COMPONENTS, **MODEL_COMPONENTS}
MODULE = "module"

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
    stack
        Which stack of blocks, in a network with several (`encoder`, `decoder`); empty for the one
        that leads to the answer.

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

    def __post_init__(self) -> None:
        if self.component != MODULE and self.component not in COMPONENTS:
            meant = did_you_mean(self.component, _OUTPUTS_FIRST)
            raise SiteError(
                f"unknown component {self.component!r}{meant}\n"
                f"components: {', '.join(COMPONENTS)}; any other module: module('path.to.it')"
            )
        takes_layer = self.component in LAYER_COMPONENTS or self.component in HEAD_COMPONENTS
        _check_index("layer", self.layer, self.component, wanted=takes_layer)
        _check_index("head", self.head, self.component, wanted=self.component in HEAD_COMPONENTS)
        if self.component == MODULE and not self.path:
            raise SiteError("a module site needs a path, e.g. module('transformer.h.3.mlp')")
        if self.component != MODULE and (self.path or self.side != "output"):
            raise SiteError(
                f"{self.component} takes no path and no side; any module: module('path.to.it')"
            )
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
            name = f"{self.path}.{self.side}"
        elif self.layer is None:
            name = self.component
        else:
            head = "" if self.head is None else f".{self.head}"
            stack = f"{self.stack}." if self.stack else ""
            name = f"{stack}{self.component}[{self.layer}{head}]"
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
            stack, component, layer, head, dims = stacked.groups()
            return Site(
                component,
                layer=None if layer is None else int(layer),
                head=None if head is None else int(head),
                pos=pos,
                dims=_parse_dims(dims),
                stack=stack or "",
            )
        # Before the names of TransformerLens: a network may have modules called hook_something.
        if end := re.fullmatch(rf"(.+)\.(input|output){_DIMS}", name):
            path, side, dims = end.groups()
            path = re.sub(r"\[(\d+)\]", r".\1", path)
            return module(path, side=side, pos=pos, dims=_parse_dims(dims))  # pyright: ignore[reportArgumentType]
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
            f"{component} needs a {what}, e.g. {component}(0{', 0' * (what == 'head')})"
        )
    if value is None:
        return
    if not wanted:
        raise SiteError(f"{component} takes no {what}; got {what}={value!r}")
    if isinstance(value, bool) or not isinstance(value, int):
        raise SiteError(f"{what} of {component} is {value!r}; expected a whole number from 0")
    if value < 0:
        raise SiteError(f"{what} of {component} is {value}; {what}s count from 0, never negative")


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


def module(
    path: str,
    *,
    side: Literal["input", "output"] = "output",
    pos: Pos = None,
    dims: Dims = None,
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

    Returns
    -------
    Site

    Examples
    --------
    >>> str(module("lstm", pos=-1))
    'lstm.output@-1'
    """
    return Site(MODULE, path=path, side=side, pos=pos, dims=_normalise_dims(dims))


def mixer_input(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """What the state-space, recurrent or convolution mixer of block `layer` reads."""
    return _site("mixer_input", layer, None, pos, dims, stack=stack)


def mixer_output(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
    """What the state-space, recurrent or convolution mixer of block `layer` gives."""
    return _site("mixer_output", layer, None, pos, dims, stack=stack)
