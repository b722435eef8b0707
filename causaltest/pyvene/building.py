"""From a config to modules: where each intervention sits, how wide it is, which share a module."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from causaltest.engine.access import Access
from causaltest.engine.architecture import Architecture
from causaltest.engine.model import Model
from causaltest.engine.seeing import forward_without_text
from causaltest.engine.survey import survey
from causaltest.errors import InterventionError, SiteError
from causaltest.pyvene.config import IntervenableConfig, RepresentationConfig
from causaltest.pyvene.interventions import Intervention, LambdaIntervention, LoRAIntervention
from causaltest.pyvene.places import Target
from causaltest.sites import MODULE, Site
from causaltest.spelling import did_you_mean

Groups = dict[Any, list[str]]

# What was found in a network, and the modules it was found with: sweeps wrap a network many times.
_FOUND: weakref.WeakKeyDictionary[nn.Module, tuple[list[weakref.ref[nn.Module]], Architecture]] = (
    weakref.WeakKeyDictionary()
)


def subject_of(network: nn.Module) -> Model:
    """Return a network as a model, with what is known of its structure if that is unchanged."""
    model = Model(network, forward=forward_without_text(network))
    modules, architecture = _FOUND.get(network, ([], None))
    present = list(network.modules())
    if len(modules) == len(present) and all(
        known() is module for known, module in zip(modules, present, strict=True)
    ):
        model.__dict__["architecture"] = architecture
    return model


def remember(model: Model) -> None:
    """Keep what was found in a model's network for as long as the network lives."""
    if "architecture" in model.__dict__:
        modules = [weakref.ref(module) for module in model.network.modules()]
        _FOUND[model.network] = modules, model.architecture


class Interventions(nn.ModuleDict):
    """Interventions by key; `layer.6.block_output` gives all of that layer and component."""

    def __getitem__(self, key: str) -> Any:
        if key in self._modules:
            return self._modules[key]
        parts = key.split(".")
        if len(parts) >= 3 and parts[0] == "layer":
            start = f"layer_{parts[1]}_comp_{parts[2]}_"
            found = [each for name, each in self._modules.items() if name.startswith(start)]
            if found:
                return found
        raise InterventionError(
            f"there is no intervention {key!r}{did_you_mean(key, self._modules)}\n"
            f"keys: {', '.join(self._modules)}"
        )


def keys_of(representations: Sequence[RepresentationConfig]) -> list[str]:
    """Return the key of each representation, as pyvene writes it."""
    seen: dict[str, int] = {}
    keys: list[str] = []
    for each in representations:
        unit = each.unit.replace(".", "_")
        place = f"comp_{each.component.replace('.', '_')}"
        if each.names_component or "." not in each.component:
            place = f"layer_{each.layer}_{place}"
        key = f"{place}_unit_{unit}_nunit_{each.max_number_of_units}"
        keys.append(f"{key}#{seen.get(key, 0)}")
        seen[key] = seen.get(key, 0) + 1
    return keys


def site_of(representation: RepresentationConfig) -> Site:
    """Return the site of a representation; heads are told apart later, so it is all of them.

    Raises
    ------
    SiteError
        There is no such component, or a module path that cannot be read.
    """
    if "." in representation.component and not representation.names_component:
        return Site.parse(representation.component)
    stack, component = representation.place
    if component == "attention_weight":
        raise SiteError(
            "unknown component 'attention_weight': say attention_pattern, of shape (rows, queries, "
            "heads * keys), or head_attention_pattern with unit 'h' or 'h.pos'"
        )
    layer = None if component == "embedding" else representation.layer
    if component.startswith("head_"):
        Site(component, layer=layer, head=0)
        component = component.removeprefix("head_")
    return Site(component, layer=layer, stack=stack)


def access_of(model: Model, site: Site) -> Access:
    """Return where a site lives; a module path asks nothing of the network's structure."""
    if site.component == MODULE:
        return Architecture().resolve(site, model.network, model.name)
    access = model.access(site)
    if site.component != "mlp_activation" or site.layer is None:
        return access
    # pyvene means what the activation function gives, which a gated MLP goes on to multiply.
    mlp = model.access(Site("mlp_input", layer=site.layer, stack=site.stack)).path
    parts = dict(model.network.get_submodule(mlp).named_children())
    if {"act_fn", "gate_proj", "up_proj"} <= set(parts):
        return Access(f"{mlp}.act_fn", "output", width=access.width)
    return access


def targets_of(model: Model, config: IntervenableConfig) -> dict[str, Target]:
    """Return where each intervention sits."""
    targets: dict[str, Target] = {}
    for key, each in zip(keys_of(config.representations), config.representations, strict=True):
        site = site_of(each)
        access = access_of(model, site)
        if each.headed:
            check_heads(model, each, [[0]])
        around = _around(model, site, access)
        targets[key] = Target(key, access, site, each.max_number_of_units, around)
    return targets


def _around(model: Model, site: Site, access: Access) -> str:
    """Return the path of the sublayer that a site is the output of."""
    inner = {"attention_output": "attention_input", "mlp_output": "mlp_input"}.get(site.component)
    if inner is None:
        return access.path
    return model.access(Site(inner, layer=site.layer, stack=site.stack)).path


def check_heads(model: Model, representation: RepresentationConfig, heads: Any) -> None:
    """Refuse heads that a component does not have.

    Raises
    ------
    SiteError
        With the heads there are.
    """
    stack, component = representation.place
    for head in sorted({head for row in heads for head in row}):
        model.access(Site(component, layer=representation.layer, head=head, stack=stack))


def width_of(model: Model, access: Access, name: str) -> int:
    """Return how wide a site is: measured, or read off a layer that says it.

    Raises
    ------
    InterventionError
        It cannot be told without data.
    """
    if access.width is not None:
        return access.width
    module = model.network.get_submodule(access.path)
    said = "out_features" if access.side == "output" else "in_features"
    for attribute in (said, "embedding_dim" if access.side == "output" else "", "nf"):
        size = getattr(module, attribute, None) if attribute else None
        if isinstance(size, int) and (attribute != "nf" or access.side == "output"):
            return size
    device = model.device
    try:
        ids = torch.zeros(1, 2, dtype=torch.long, device=device)
        found = survey(model.network, lambda given: model.forward(given, None), ids)
        tensor = found[access.path, access.side].tensor
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError):
        tensor = None
    if tensor is None:
        raise InterventionError(
            f"how wide {name} is cannot be told without data; pass an instance, "
            "intervention=SomeIntervention(embed_dim=...)"
        )
    return int(tensor.shape[-1])


def interventions_of(
    model: Model, config: IntervenableConfig, targets: Mapping[str, Target], default: Any
) -> dict[str, Intervention]:
    """Return one intervention for each representation; linked ones share theirs.

    Raises
    ------
    InterventionError
        Something that is no intervention, or linked representations of different kinds.
    """
    found: dict[str, Intervention] = {}
    linked: dict[Any, Intervention] = {}
    kinds = config.kinds(default)
    for (key, target), each, kind in zip(
        targets.items(), config.representations, kinds, strict=True
    ):
        link = each.intervention_link_key
        if link is not None and link in linked:
            shared = linked[link]
            if isinstance(kind, type) and type(shared) is not kind:
                raise InterventionError(
                    f"{key} is linked to a {type(shared).__name__}, but it is a {kind.__name__}; "
                    "linked representations share one intervention"
                )
            found[key] = shared
            continue
        found[key] = _made(model, each, kind, target)
        if link is not None:
            linked[link] = found[key]
    return found


def _made(
    model: Model, representation: RepresentationConfig, kind: Any, target: Target
) -> Intervention:
    if isinstance(kind, Intervention):
        if representation.source_representation is not None:
            kind.set_source_representation(representation.source_representation)
        return kind
    if not isinstance(kind, type):
        if callable(kind):
            return LambdaIntervention(
                kind, source_representation=representation.source_representation
            )
        raise InterventionError(
            f"{target.key}: {kind!r} is no intervention; give a class, an instance or a function "
            "of (base, source)"
        )
    if not issubclass(kind, Intervention):
        raise InterventionError(
            f"{target.key}: {kind.__name__} is no subclass of causaltest.pyvene.Intervention"
        )
    access = target.access
    width = width_of(model, access, str(target.site))
    if representation.headed:
        width //= access.heads or 1
    given: dict[str, Any] = {
        "embed_dim": width * representation.max_number_of_units,
        "low_rank_dimension": representation.low_rank_dimension,
        "subspace_partition": representation.subspace_partition,
        "source_representation": representation.source_representation,
        "latent_dim": representation.latent_dim,
    }
    if issubclass(kind, LoRAIntervention):
        given["input_dim"] = _width_in(model, target)
    return kind(**{name: value for name, value in given.items() if value is not None})


def _width_in(model: Model, target: Target) -> int:
    """Return the width of a module's input."""
    for name in ("block_input", "attention_input", "mlp_input"):
        known = [
            access.width
            for (component, _), access in model.architecture.accesses.items()
            if component == name and access.path == target.entrance.path
        ]
        if known and known[0] is not None:
            return known[0]
    return width_of(model, target.entrance, str(target.site))


def groups_of(config: IntervenableConfig, keys: Sequence[str]) -> Groups:
    """Return the keys of each group, in the order in which sources are given.

    Raises
    ------
    InterventionError
        A group key on some representations only, or numbers that do not count from 0.
    """
    names = [each.group_key for each in config.representations]
    if all(name is None for name in names):
        return {index: [key] for index, key in enumerate(keys)}
    if None in names:
        raise InterventionError(
            f"group_key is set on {len(names) - names.count(None)} of {len(names)} "
            "representations; "
            "set it on all or none"
        )
    kinds: list[Any] = list(dict.fromkeys(names))
    if all(isinstance(name, int) for name in kinds):
        if sorted(kinds) != list(range(len(kinds))):
            raise InterventionError(
                f"group_keys are {sorted(kinds)}; numbers say which source a group takes and count "
                f"from 0, here 0-{len(kinds) - 1}. Names are taken in the order they first appear"
            )
        kinds.sort()
    return {
        kind: [key for key, name in zip(keys, names, strict=True) if name == kind] for kind in kinds
    }
