"""Path patching: what senders do to receivers, and through these, all other paths held fixed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, cast

from causaltest.engine.model import Model
from causaltest.errors import InterventionError, SiteError
from causaltest.interventions import Intervention, abbreviate, freeze, from_source, interchange
from causaltest.sites import Site
from causaltest.spelling import did_you_mean

LOGITS = "logits"
Receivers = Site | Iterable[Site] | Literal["logits"]

_ATTENTION = ("attention_value_output", "attention_output", "mixer_output")
_SUBLAYERS = (*_ATTENTION, "head_attention_value_output", "mlp_output")
_ORDER = {
    "embedding": 0,
    "block_input": 0,
    "attention_input": 1,
    "mixer_input": 1,
    "query_output": 2,
    "key_output": 2,
    "value_output": 2,
    "attention_value_output": 3,
    "attention_output": 4,
    "mixer_output": 4,
    "mlp_input": 5,
    "mlp_activation": 6,
    "mlp_output": 7,
    "block_output": 8,
}
"""In which order a block computes its components."""
_READ_BY_ATTENTION = ("attention_input", "query_output", "key_output", "value_output")
_READ_BY_MLP = ("mlp_input", "mlp_activation")


@dataclass(frozen=True)
class PathTo:
    """Makes the intervention that leaves senders their paths to some receivers only.

    Parameters
    ----------
    model
        Says what is to be held fixed.
    receivers
        Where the paths lead; empty for the logits.
    through
        Sublayers that paths may lead through, as sites.
    """

    model: Model
    receivers: tuple[Site, ...]
    through: tuple[Site, ...] = ()

    @property
    def __name__(self) -> str:
        """What it is called in a grid."""
        return f"path to {abbreviate(list(map(str, self.receivers))) or LOGITS} from "

    def __call__(self, *senders: Site) -> Intervention:
        """Return the intervention of some senders."""
        for site in (*senders, *self.receivers):
            self.model.access(site)
        end = max(map(_order, self.receivers), default=(self.model.n_layers, 0))
        late = [str(site) for site in senders if _order(site) >= end]
        if late:
            raise InterventionError(
                f"no path leads from {late[0]} to {abbreviate(list(map(str, self.receivers)))}: it "
                "is computed no earlier"
            )
        held = tuple(self._held(senders, end))
        # The senders last: they stay changed at what is held elsewhere.
        changed = interchange(*senders)
        if held:
            changed = freeze(*held) + changed
        if not self.receivers:
            return changed
        return from_source("base", interchange(*self.receivers), under=changed)

    def _held(self, senders: tuple[Site, ...], end: tuple[int, int]) -> Iterator[Site]:
        """Yield everything before the end that writes to the residual stream and is not open."""
        opened = [*filter(None, map(_own_writer, senders)), *self.through]
        opened += [writer for site in self.receivers for writer in _recorded(site)]
        for layer in range(min(self.model.n_layers, end[0] + 1)):
            attention = self._first(_ATTENTION, layer)
            mlp = self._first(("mlp_output",), layer)
            if attention is None and mlp is None:
                raise InterventionError(
                    f"{self.model.name} has neither an attention nor an MLP in layer {layer} that "
                    "could be held fixed; a path is not defined there"
                )
            here = [site for site in opened if site.layer == layer]
            if attention is not None and (layer, _ORDER["attention_output"]) < end:
                yield from self._attention(attention, here)
            if mlp is None or (layer, _ORDER["mlp_output"]) >= end:
                continue
            if not any(site.component.startswith("mlp") for site in here):
                yield mlp

    def _attention(self, whole: Site, opened: list[Site]) -> Iterator[Site]:
        """Yield the attention of a layer, or the heads of it that are not open."""
        mine = [site for site in opened if not site.component.startswith("mlp")]
        if not mine:
            yield whole
            return
        heads = {site.head for site in mine}
        if None in heads or whole.component != "attention_value_output":
            return
        for head in range(self.model.n_heads(layer=whole.layer or 0)):
            if head not in heads:
                yield Site("head_attention_value_output", layer=whole.layer, head=head)

    def _first(self, components: tuple[str, ...], layer: int) -> Site | None:
        for component in components:
            site = Site(component, layer=layer)
            try:
                self.model.access(site)
            except SiteError:
                continue
            return site
        return None


def _order(site: Site) -> tuple[int, int]:
    """Return when a site is computed; refuse where that is not known."""
    name = site.component.removeprefix("head_")
    if name not in _ORDER or site.stack:
        raise InterventionError(
            f"{site} cannot be the end of a path: what lies before and behind it is known for "
            "components of one stack only, e.g. head_attention_value_output(2, 3) or mlp_input(2)"
        )
    return -1 if site.layer is None else site.layer, _ORDER[name]


def _own_writer(sender: Site) -> Site | None:
    """Return what a sender inside a sublayer is written by, which must not be held."""
    name = sender.component.removeprefix("head_")
    if name in _READ_BY_MLP:
        return Site("mlp_output", layer=sender.layer)
    if name not in _READ_BY_ATTENTION:
        return None
    if sender.component == "head_query_output":
        return Site("head_attention_value_output", layer=sender.layer, head=sender.head)
    return Site("attention_value_output", layer=sender.layer)


def _recorded(receiver: Site) -> list[Site]:
    """Return what must be recomputed for a receiver to be."""
    if receiver.component in ("head_attention_value_output", *_ATTENTION):
        return [Site("attention_value_output", layer=receiver.layer)] if receiver.head is None \
            else [receiver.at(None)]  # fmt: skip
    return [receiver.at(None)] if receiver.component == "mlp_output" else []


def paths_to(model: Model, receivers: Receivers, through: Site | Iterable[Site] = ()) -> PathTo:
    """Return what makes paths to receivers out of senders.

    Raises
    ------
    InterventionError
        A receiver is no site, or `through` names what is no attention and no MLP.
    SiteError
        The model has no such component.
    """
    opened = _sites(through, "through= takes sites of attentions and MLPs such as mlp_output(2)")
    for site in opened:
        model.access(site)
        if site.component not in _SUBLAYERS:
            raise InterventionError(
                f"through={site} is no attention and no MLP, which alone are held fixed; name e.g. "
                "attention_output(2), head_attention_value_output(2, 3) or mlp_output(2)"
            )
    if receivers == LOGITS:
        return PathTo(model, (), opened)
    if isinstance(receivers, str):
        raise InterventionError(
            f"no path leads to {receivers!r}{did_you_mean(receivers, [LOGITS])}\n"
            "receivers are sites such as head_query_output(2, 3), or 'logits'"
        )
    sites = _sites(receivers, "a path leads to sites such as head_query_output(2, 3), or 'logits'")
    if not sites:
        raise InterventionError("a path needs at least one receiver, or 'logits'")
    return PathTo(model, sites, opened)


def senders_of(senders: Site | Iterable[Site]) -> tuple[Site, ...]:
    """Return the senders of a path.

    Raises
    ------
    InterventionError
        There is none, or one is no site.
    """
    wanted = "senders are sites such as head_attention_value_output(1, 0)"
    if not (sites := _sites(senders, wanted)):
        raise InterventionError("a path needs at least one sender")
    return sites


def _sites(given: object, wanted: str) -> tuple[Site, ...]:
    several = isinstance(given, Iterable) and not isinstance(given, str)
    sites = tuple(cast("Iterable[object]", given)) if several else (given,)
    for site in sites:
        if not isinstance(site, Site):
            raise InterventionError(f"{wanted}; got {site!r} ({type(site).__name__})")
    return cast("tuple[Site, ...]", sites)
