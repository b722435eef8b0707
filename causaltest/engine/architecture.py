"""Finding components by structure: alias tables, measured sizes, places verified by a probe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from torch import nn

from causaltest.engine.access import Access
from causaltest.engine.axes import layouts_of, of_attention, turned
from causaltest.engine.calls import inner_blocks, module_of, settled, unrolled
from causaltest.engine.candidates import MLP, attention_of, block_candidates, no_module
from causaltest.engine.experts import of_expert
from causaltest.engine.fitting import fitting
from causaltest.engine.grids import grids_of
from causaltest.engine.heads import (
    drop_unmixed,
    settle_attention,
    settle_crossing_heads,
    suppose_heads,
)
from causaltest.engine.hooks import Inside
from causaltest.engine.layouts import Layout, Turned
from causaltest.engine.loading import device_of
from causaltest.engine.mixtures import Found, find_mixtures, with_experts
from causaltest.engine.patterns import Probe, settle_patterns
from causaltest.engine.probing import (
    Forward,
    embedding_path,
    probes,
    some_ids,
    that_runs,
    vocabulary_of,
)
from causaltest.engine.residual import settle_crossing, settle_residual
from causaltest.engine.softmax import Softmax
from causaltest.engine.stacks import Stack, find_stacks, no_stack
from causaltest.engine.survey import Place, Seen
from causaltest.errors import ModelError, SiteError
from causaltest.sites import COMPONENTS, HEAD_COMPONENTS, KEYED, LAYER_COMPONENTS, MODULE, Site
from causaltest.spelling import did_you_mean


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
    layouts
        Places in which rows and tokens are not the first axes, as far as a probe shows them.
    """

    blocks: tuple[str, ...] = ()
    accesses: Mapping[tuple[str, int | None], Access] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    vocabulary: int = 2
    stack: str = ""
    others: Mapping[str, Architecture] = field(default_factory=dict)
    layouts: Mapping[Place, Layout] = field(default_factory=dict)

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
            raise SiteError(f"{name} has no module {no_module(network, site.path)}") from error
        access = Access(site.path, site.side, call=site.call)
        layout = self.layouts.get((site.path, site.side))
        # Where rows come first, whole activations are edited with the axes that they have.
        return access if layout is None or not layout.rows else _as_it_is(access, self.layouts)

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
    """Find the components of a network by structure and check them with a few small forward passes.

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
    embedding = embedding_path(network)
    vocabulary = vocabulary_of(network, embedding)
    rows = min(8, vocabulary)
    try:
        several, single, tokens = probes(network, forward, rows, vocabulary, name)
    except ModelError as error:
        if _has_attention(network):
            raise
        plain = not any(isinstance(module, nn.ModuleList) for module in network.modules())
        reason = no_stack(network, {}) if plain else str(error).splitlines()[0]
        return _without(vocabulary, reason)
    layouts = layouts_of(several, single, rows, tokens)
    several, single = turned(several, layouts), turned(single, layouts)
    stacks = find_stacks(network, several, 1)
    if not stacks:
        grids, reason = grids_of(network, several), no_stack(network, several)
        several, single = turned(several, grids), turned(single, grids)
        stacks = find_stacks(network, several, 1, stages=True)
        if not stacks:
            return replace(_without(vocabulary, reason), layouts=layouts)
        layouts |= grids
    ids = some_ids(1, tokens[0], vocabulary).to(device_of(network))
    blocks = [path for stack in stacks for path in stack.blocks]
    probe = Probe(network, forward, ids, layouts)
    embedding = that_runs(network, embedding, several)
    mixtures = find_mixtures(network, lambda: forward(ids), blocks, MLP)
    found = {
        stack.name: replace(
            _of_stack(probe, stack, several, single, embedding, mixtures=mixtures),
            vocabulary=vocabulary,
        )
        for stack in stacks
    }
    answering = _with_embedding(found.pop(stacks[-1].name), found.values())
    return replace(answering, stack=stacks[-1].name, others=found, layouts=layouts)


def _has_attention(network: nn.Module) -> bool:
    """Return whether some list of modules has attention in each, and so should be understood."""
    return any(
        isinstance(module, nn.ModuleList) and len(module) > 0 and all(map(attention_of, module))
        for module in network.modules()
    )


def _without(vocabulary: int, reason: str) -> Architecture:
    return Architecture(missing=dict.fromkeys(COMPONENTS, reason), vocabulary=vocabulary)


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
        for component, access in block_candidates(probe.network, path).items():
            candidates[component, layer] = access
    one = single.get((blocks[0], "input"), Seen(0, None)).tensor
    findings = fitting(candidates, several, single, blocks)
    for layer, path in enumerate(blocks):
        settle_residual(findings, several, path, layer)
        settle_crossing(findings, several, path, layer)
    copies = one is not None and one.shape[1] == 1
    if copies:
        settle_attention(probe.network, findings, single, len(blocks))
    else:
        suppose_heads(probe.network, findings, len(blocks))
    drop_unmixed(findings, (several, single), len(blocks))
    settle_crossing_heads(probe.network, findings, single, len(blocks))
    accesses, missing = findings.accesses, findings.missing
    with_experts(accesses, blocks, mixtures, missing, probe.layouts)
    for component in LAYER_COMPONENTS:
        if not any(found == component for found, _ in accesses):
            missing.setdefault(component, "no module of a known name and shape computes it")
    patterns = settle_patterns(probe, several, blocks, accesses, missing)
    if not copies:
        settle_attention(probe.network, findings, several, len(blocks), patterns)
    found = {key: _as_it_is(access, probe.layouts) for key, access in accesses.items()}
    return Architecture(tuple(map(module_of, blocks)), found, missing)


def _as_it_is(access: Access, layouts: Mapping[Place, Layout]) -> Access:
    """Return an access by path and call, and by the axes that the network itself has there."""
    access = settled(access)
    side = access.side
    if isinstance(side, Softmax):
        return replace(access, side=replace(side, layout=of_attention(access.path, layouts)))
    layout = layouts.get((access.path, side))
    if layout is None or isinstance(side, Inside):
        return access
    return replace(access, side=Turned(side, layout))


def _with_embedding(answering: Architecture, others: Iterable[Architecture]) -> Architecture:
    """Return the answering stack with the embedding of the prompt, which an encoder may read."""
    key = "embedding", None
    given = [other.accesses[key] for other in others if key in other.accesses]
    if key in answering.accesses or not given:
        return answering
    missing = {name: why for name, why in answering.missing.items() if name != "embedding"}
    return replace(answering, accesses={key: given[0], **answering.accesses}, missing=missing)
