"""Writing interventions to a folder, and reading them back, pyvene's own folders too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from causaltest.errors import InterventionError, RecordError
from causaltest.pyvene.building import width_of
from causaltest.pyvene.config import (
    IntervenableConfig,
    RepresentationConfig,
    as_representation,
)
from causaltest.pyvene.interventions import Intervention, LambdaIntervention
from causaltest.sharing.hub import fetch, upload
from causaltest.sharing.pyvene_files import read_folder

if TYPE_CHECKING:
    from causaltest.pyvene.model import IntervenableModel

FORMAT, VERSION = "causaltest.pyvene", 1
_CONFIG, _NUMBERS, _WEIGHTS = "config.json", "interventions.safetensors", "model.safetensors"
# What is fetched from the Hub: what is written here, and what pyvene writes.
_FILES = (_CONFIG, _NUMBERS, _WEIGHTS, "intkey_*.bin", "pytorch_model.bin")

# Fields of a representation that are written as they are.
_PLAIN = (
    "layer", "component", "unit", "max_number_of_units", "low_rank_dimension",
    "subspace_partition", "group_key", "intervention_link_key", "latent_dim",
)  # fmt: skip
# What pyvene's weights hold beside parameters.
_NOT_NUMBERS = ("embed_dim", "interchange_dim", "intervention_population", "source_representation")


def save(
    model: IntervenableModel,
    folder: str | Path,
    *,
    include_model: bool = False,
    save_to_hf_hub: bool = False,
    hf_repo_name: str | None = None,
    client: Any = None,
) -> None:
    """Write a model's interventions to a folder: JSON, and numbers as safetensors.

    Parameters
    ----------
    model
        Whose interventions.
    folder
        Where; made if it is not there.
    include_model
        Write those of the model's weights that require gradients too.
    save_to_hf_hub, hf_repo_name
        Upload the folder to this repository afterwards.
    client
        A `huggingface_hub.HfApi`; None for one with the account of this machine.

    Raises
    ------
    InterventionError
        An intervention cannot be written, such as a function, or the Hub refuses.
    """
    written: dict[int, str] = {}
    numbers: dict[str, Tensor] = {}
    entries: list[dict[str, Any]] = []
    for key, each in zip(model.keys, model.representations, strict=True):
        intervention: Intervention = model.interventions[key]
        entry = {name: getattr(each, name) for name in _PLAIN if getattr(each, name) is not None}
        first = written.setdefault(id(intervention), key)
        entry["key"] = key
        if first != key:
            entry["shares"] = first
        else:
            entry.update(_written(key, intervention))
            for name, value in intervention.state_dict().items():
                numbers[f"{key}/{name}"] = value.detach().cpu().contiguous().clone()
        entries.append(entry)
    said = {
        "format": FORMAT,
        "version": VERSION,
        "model": type(model.model).__name__,
        "mode": model.mode,
        "as_adaptor": model.as_adaptor,
        "interventions": entries,
    }
    try:
        text = json.dumps(said, indent=2)
    except TypeError as error:
        raise InterventionError(f"the config cannot be written as JSON: {error}") from error
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    (path / _CONFIG).write_text(text + "\n", encoding="utf-8")
    save_file(numbers, path / _NUMBERS)
    if include_model:
        weights = {
            n: p.detach().cpu().clone()
            for n, p in model.model.named_parameters()
            if p.requires_grad
        }
        save_file(weights, path / _WEIGHTS)
    if save_to_hf_hub:
        _on_hub(lambda: upload(path, hf_repo_name or str(folder), client=client))


def _written(key: str, intervention: Intervention) -> dict[str, Any]:
    kind = type(intervention)
    if isinstance(intervention, LambdaIntervention):
        raise InterventionError(
            f"{key}: {intervention} cannot be saved, because a function is code; write a "
            "subclass of "
            "Intervention, whose parameters can be"
        )
    settings = intervention.made_with
    if settings is None:
        raise InterventionError(
            f"{key}: this {kind.__name__} was built with positional arguments, which cannot be "
            "written down; build it with keyword arguments"
        )
    plain = {
        name: value
        for name, value in settings.items()
        if value is None or isinstance(value, (bool, int, float, str, list, tuple))
    }
    chosen = intervention.interchange_dim
    return {
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "settings": plain,
        "interchange_dim": chosen.tolist() if isinstance(chosen, Tensor) else chosen,
        "constant": intervention.source_representation is not None,
    }


def load(
    kind: type[IntervenableModel],
    folder: str | Path,
    model: nn.Module,
    *,
    local_directory: str | None = None,
    from_huggingface_hub: bool = False,
    include_model: bool = False,
    client: Any = None,
) -> IntervenableModel:
    """Read interventions from a folder, or from the Hub where there is no such folder.

    Nothing in the folder is run: classes are looked up among those that are imported already.

    Parameters
    ----------
    kind
        The class to make.
    folder
        A folder written here or by pyvene, or a repository on the Hub.
    model
        The model that they are for.
    local_directory, from_huggingface_hub
        Where to download to; download even where there is such a folder.
    include_model
        Load the model's weights that were saved too.
    client
        As for `save`.

    Returns
    -------
    IntervenableModel

    Raises
    ------
    InterventionError
        There is no such folder, it is damaged, or it does not fit the model.
    """
    path = Path(folder)
    if from_huggingface_hub or not path.exists():
        path = _on_hub(lambda: fetch(str(folder), _FILES, into=local_directory, client=client))
    said = _said(path)
    as_adaptor = False
    if said.get("format") == FORMAT:
        config, as_adaptor = _own(path, said)
        saved_with = str(said.get("model"))
    else:
        config, saved_with = _foreign(path)
    made = kind(config, model, as_adaptor=as_adaptor)
    _check_fits(made, saved_with)
    if include_model:
        _load_weights(model, path)
    return made


def load_numbers(model: IntervenableModel, folder: str | Path, *, include_model: bool) -> None:
    """Read the numbers of a model's own interventions from a folder.

    Raises
    ------
    InterventionError
        The folder holds other interventions.
    """
    path = Path(folder)
    other = load(type(model), path, model.model)
    if other.keys != model.keys:
        raise InterventionError(
            f"{folder} holds {', '.join(other.keys)}; this model has {', '.join(model.keys)}"
        )
    for key in model.keys:
        model.interventions[key].load_state_dict(other.interventions[key].state_dict())
    if include_model:
        _load_weights(model.model, path)


def _on_hub(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except RecordError as error:
        raise InterventionError(str(error)) from error


def _said(path: Path) -> dict[str, Any]:
    try:
        said = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InterventionError(f"{path / _CONFIG} cannot be read: {error}") from error
    if not isinstance(said, dict) or not ({"interventions", "representations"} & set(said)):
        raise InterventionError(f"{path / _CONFIG} describes no interventions")
    return said


def _kinds(kind: type[Intervention] = Intervention) -> Iterator[type[Intervention]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds(each)


def _class(name: str) -> type[Intervention]:
    """Return an imported intervention class by `module:name`, or pyvene's by its last name."""
    home, _, short = name.rpartition(":")
    for each in _kinds():
        if each.__qualname__ == short and (not home or each.__module__ == home):
            return each
    where = f"import {home} first" if home else "define or import it first"
    raise InterventionError(f"the folder holds a {short}, and no such class is known; {where}")


def _own(path: Path, said: Mapping[str, Any]) -> tuple[IntervenableConfig, bool]:
    if said["version"] != VERSION:
        raise InterventionError(
            f"{path} is of version {said['version']}; this causaltest reads version {VERSION}"
        )
    numbers = load_file(path / _NUMBERS)
    known: dict[str, Intervention] = {}
    representations: list[RepresentationConfig] = []
    for entry in said["interventions"]:
        key = entry["key"]
        if "shares" in entry:
            known[key] = known[entry["shares"]]
        else:
            state = {
                name.removeprefix(f"{key}/"): value
                for name, value in numbers.items()
                if name.startswith(f"{key}/")
            }
            known[key] = _restored(_class(entry["class"]), dict(entry["settings"]), state)
            known[key].set_interchange_dim(entry["interchange_dim"])
        plain = {name: entry[name] for name in _PLAIN if name in entry}
        representations.append(RepresentationConfig(**plain, intervention=known[key]))
    return IntervenableConfig(representations, mode=said["mode"]), bool(said["as_adaptor"])


def _restored(
    kind: type[Intervention], settings: dict[str, Any], state: dict[str, Tensor]
) -> Intervention:
    """Return an intervention with its numbers."""
    if "pca_components" in state:
        names = {"pca": "pca_components", "pca_mean": "pca_mean", "pca_std": "pca_std"}
        settings.update({name: state[buffer] for name, buffer in names.items()})
    made = kind(**settings)
    stored = state.pop("source_representation", None)
    if stored is not None:
        made.set_source_representation(stored)
    try:
        made.load_state_dict(state, strict=stored is None)
    except RuntimeError as error:
        raise InterventionError(
            f"the numbers of a {kind.__name__} do not fit it: {error}"
        ) from error
    return made


def _foreign(path: Path) -> tuple[IntervenableConfig, str]:
    """Return the config of a folder that pyvene wrote, and the model that it names."""
    try:
        saved = read_folder(path)
    except RecordError as error:
        raise InterventionError(str(error)) from error
    representations: list[RepresentationConfig] = []
    linked: dict[Any, Intervention] = {}
    for part in saved.parts:
        each = as_representation(part.entry)
        link = each.intervention_link_key
        made = linked.get(link) if link is not None else None
        if made is None:
            made = _from_pyvene(_class(part.kind), each, dict(part.tensors), part.width)
            if link is not None:
                linked[link] = made
        if part.constant and made.needs_source and made.source_representation is None:
            raise InterventionError(
                f"{path} has no intkey_{part.key}.bin, which holds its stored source"
            )
        representations.append(
            each._replace(
                intervention=made, intervention_type=None, hidden_source_representation=None
            )
        )
    return IntervenableConfig(representations, mode=saved.mode), saved.model_type


def _from_pyvene(
    kind: type[Intervention], each: RepresentationConfig, state: dict[str, Tensor], dims: Any
) -> Intervention:
    width = state.get("embed_dim")
    settings: dict[str, Any] = {
        "embed_dim": int(width) if width is not None else dims if isinstance(dims, int) else None,
        "low_rank_dimension": each.low_rank_dimension,
        "subspace_partition": each.subspace_partition,
        "latent_dim": each.latent_dim,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    numbers = {name: value for name, value in state.items() if name not in _NOT_NUMBERS}
    if "source_representation" in state:
        numbers["source_representation"] = state["source_representation"]
    made = _restored(kind, settings, numbers)
    # pyvene writes the whole width where nothing was chosen.
    made.set_interchange_dim(None if dims == made.embed_dim else dims)
    return made


def _check_fits(made: IntervenableModel, saved_with: str) -> None:
    for key, target in made.targets.items():
        each: Intervention = made.interventions[key]
        if each.embed_dim is None:
            continue
        width = width_of(made.subject, target.access, str(target.site))
        if made.parts.representations[key].headed:
            width //= target.access.heads or 1
        wanted = width if each.keep_last_dim else width * target.units
        if each.embed_dim not in (wanted, width):
            raise InterventionError(
                f"{key} was saved for a site {each.embed_dim} wide (model {saved_with}), but "
                f"{target.site} of {made.subject.name} is {wanted} wide"
            )


def _load_weights(model: nn.Module, path: Path) -> None:
    weights = path / _WEIGHTS
    if weights.exists():
        state = load_file(weights)
    else:
        try:
            state = torch.load(path / "pytorch_model.bin", map_location="cpu", weights_only=True)
        except OSError as error:
            raise InterventionError(f"{path} holds no weights of the model: {error}") from error
    unknown = set(state) - set(dict(model.named_parameters()))
    if unknown:
        raise InterventionError(
            f"{path} holds weights that the model has not: {', '.join(sorted(unknown)[:4])}"
        )
    model.load_state_dict(state, strict=False)
