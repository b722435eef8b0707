"""The site: a component, its layer and head, and optionally positions and dims."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from causaltest.errors import SiteError
from causaltest.sites.checks import Pos, check_call, check_index, normalise_dims, normalise_pos
from causaltest.sites.components import (
    COMPONENTS,
    EXPERT_COMPONENTS,
    HEAD_COMPONENTS,
    MODEL_COMPONENTS,
    MODULE,
)
from causaltest.spelling import did_you_mean

END = "end"

STACK = r"[\w.]*[A-Za-z_][\w.]*"

# The output is what most people mean by a bare name such as `mlp`.
_OUTPUTS_FIRST = sorted(COMPONENTS, key=lambda name: not name.endswith("_output"))


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
        check_index("layer", self.layer, self.component, wanted=takes_layer)
        check_index("head", self.head, self.component, wanted=self.component in HEAD_COMPONENTS)
        routed = self.component in EXPERT_COMPONENTS
        check_index("expert", self.expert, self.component, wanted=routed)
        if self.component == MODULE and not self.path:
            raise SiteError("a module site needs a path, e.g. module('transformer.h.3.mlp')")
        if self.component != MODULE and (self.path or self.side != "output"):
            raise SiteError(
                f"{self.component} takes no path and no side; any module: module('path.to.it')"
            )
        if self.component == MODULE:
            check_call(self.call)
        elif self.call is not None:
            raise SiteError(f"{self.component} takes no call; got call={self.call!r}")
        if self.side not in ("input", "output"):
            raise SiteError(f"side is {self.side!r}; a module has an 'input' and an 'output'")
        if self.stack and not takes_layer:
            raise SiteError(f"{self.component} takes no stack; got stack={self.stack!r}")
        if not re.fullmatch(STACK + r"|", self.stack):
            raise SiteError(
                f"stack is {self.stack!r}; expected the name of a stack of blocks, e.g. 'encoder'"
            )
        object.__setattr__(self, "pos", normalise_pos(self.pos))
        object.__setattr__(self, "dims", normalise_dims(self.dims))

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
        >>> str(Site.parse("blocks.8.hook_resid_post@end"))
        'block_output[8]@end'
        """
        from causaltest.sites.text import read

        return read(text)
