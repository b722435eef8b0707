"""IntervenableModel: pyvene's declarative calls, made on causaltest's hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from causaltest.engine.hooks import AllRead, Operation, Side, announced, attached, evaluating
from causaltest.errors import InterventionError
from causaltest.pyvene import building, saving, training
from causaltest.pyvene.config import IntervenableConfig
from causaltest.pyvene.interventions import (
    CollectIntervention,
    Intervention,
    InterventionOutput,
    LambdaIntervention,
    VanillaIntervention,
)
from causaltest.pyvene.locations import Pairing, Spot, check_unit, parallel, serial
from causaltest.pyvene.subspaces import per_intervention
from causaltest.pyvene.units import NewTokens, Reader, Setter, Window
from causaltest.spelling import did_you_mean

Operations = list[tuple[str, Side, Operation]]
Inputs = Mapping[str, Any]


class IntervenableModelOutput(ModelOutput):
    """What a call returns with `return_dict=True`."""

    original_outputs: Any = None
    intervened_outputs: Any = None
    collected_activations: Any = None


class Generated(tuple[Any, Any]):  # noqa: SLOT001 - pyright counts no slots of tuples
    """(original, intervened); `[0]` is the first intervened text where no original is asked for.

    Unpacking always gives both, so `_, ids = model.generate(...)` and `model.generate(...)[1]` are
    as in pyvene; `tokenizer.decode(model.generate(...)[0])` decodes the first intervened row.
    """

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if index == 0 and found is None:
            return getattr(self[1], "sequences", self[1])[0]
        return found


class IntervenableModel(nn.Module):
    """A model with interventions; the model itself stays as it is.

    Its weights are constants while interventions are trained and dropout is off, without its flags
    being changed: `enable_model_gradients()` and `train()` say otherwise.

    Parameters
    ----------
    config
        An `IntervenableConfig`, or what makes one: a representation, a dict, or a list of them.
    model
        Any `torch.nn.Module`.
    use_fast
        Accepted; there is one way of placing edits, and it is exact.
    as_adaptor
        Give every intervention its module's input as `args`.

    Raises
    ------
    SiteError
        The model has no such component, layer or module.
    InterventionError
        The config does not fit itself or the model.

    Examples
    --------
    >>> import torch
    >>> class Toy(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer = torch.nn.Linear(2, 2)
    ...
    ...     def forward(self, x):
    ...         return self.layer(x)
    >>> each = {"component": "layer.output", "intervention_type": VanillaIntervention}
    >>> model = IntervenableModel(each, Toy())
    >>> base, source = {"x": torch.zeros(1, 2)}, {"x": torch.ones(1, 2)}
    >>> _, output = model(base, [source])
    >>> torch.equal(output, model.model(**source))
    True
    """

    def __init__(
        self, config: Any, model: nn.Module, use_fast: bool = False, as_adaptor: bool = False
    ) -> None:
        super().__init__()
        self.config = (
            config if isinstance(config, IntervenableConfig) else IntervenableConfig(config)
        )
        self.mode = self.config.mode
        self.as_adaptor = as_adaptor
        self.subject = building.subject_of(model)
        self.representations = self.config.representations
        for each in self.representations:
            check_unit(each)
        self.targets = building.targets_of(self.subject, self.config)
        building.remember(self.subject)
        self.keys = list(self.targets)
        made = building.interventions_of(
            self.subject, self.config, self.targets, VanillaIntervention
        )
        self.interventions = building.Interventions(made)
        self.groups = building.groups_of(self.config, self.keys)
        self.full_intervention_outputs: list[InterventionOutput] = []
        self._trains_model = False
        self._training_mode = False

    @property
    def model(self) -> nn.Module:
        """The caller's model."""
        return self.subject.network

    @property
    def sorted_keys(self) -> list[str]:
        """Keys of the interventions, in the order they apply."""
        return list(self.keys)

    @property
    def return_collect_activations(self) -> bool:
        """Whether any intervention collects."""
        return any(isinstance(each, CollectIntervention) for each in self.interventions.values())

    def __str__(self) -> str:
        lines = [f"IntervenableModel({self.subject.name}, {self.mode})"]
        lines += [f"    {key}: {each}" for key, each in self.interventions.items()]
        return "\n".join(lines)

    __repr__ = __str__

    def named_parameters(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *_args: Any, **_kwargs: Any
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield what is trained: interventions, and the model's weights once they are enabled."""
        yield from building.trained_once(dict(self.interventions.items()))
        if self._trains_model:
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    yield f"model.{name}", parameter

    def get_trainable_parameters(self) -> list[nn.Parameter]:
        """Return what is trained, each parameter once."""
        return [parameter for _, parameter in self.named_parameters()]

    def count_parameters(self, include_model: bool = False) -> int:
        """Return how many numbers of the interventions are trained.

        Parameters
        ----------
        include_model
            Count the model's weights that require gradients too.
        """
        found = building.trained_once(dict(self.interventions.items()))
        total = sum(each.numel() for _, each in found if each.requires_grad)
        if include_model:
            total += sum(each.numel() for each in self.model.parameters() if each.requires_grad)
        return total

    def enable_model_gradients(self) -> None:
        """Train the model's own weights too; they then require gradients."""
        self._trains_model = True
        self.model.requires_grad_(True)

    def disable_model_gradients(self) -> None:
        """Take the model's weights as constants again."""
        self._trains_model = False

    def disable_intervention_gradients(self) -> None:
        """Take the interventions' weights as constants."""
        for each in self.interventions.values():
            each.requires_grad_(False)

    def train(self, mode: bool = True) -> IntervenableModel:
        """Run the model in training mode from now on, for the length of each call."""
        self._training_mode = mode
        self.training = mode
        return self

    def eval(self) -> IntervenableModel:
        """Run the model in evaluation mode, which is the default."""
        return self.train(False)

    def set_device(self, device: Any, set_model: bool = True) -> None:
        """Move the interventions, and the model unless told otherwise."""
        self.interventions.to(device)
        if set_model:
            self.model.to(device)

    def get_device(self) -> torch.device:
        """Return where the model takes its inputs."""
        return self.subject.device

    def set_temperature(self, temp: Any) -> None:
        """Set the temperature of every intervention that has one."""
        for each in self.interventions.values():
            if hasattr(each, "set_temperature"):
                cast("Any", each).set_temperature(temp)

    def set_zero_grad(self) -> None:
        """Forget the gradients of everything that is trained."""
        for each in self.get_trainable_parameters():
            each.grad = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of everything that is trained."""
        self.set_zero_grad()

    def get_cached_activations(self) -> dict[str, Any]:
        """Return an empty dict: nothing outlives a call."""
        return {}

    def get_cached_hot_activations(self) -> dict[str, Any]:
        """Return an empty dict: nothing outlives a call."""
        return {}

    def forward(
        self,
        base: Any,
        sources: Any = None,
        unit_locations: Any = None,
        source_representations: Any = None,
        subspaces: Any = None,
        labels: Tensor | None = None,
        output_original_output: bool = False,
        return_dict: bool = False,
        use_cache: bool | None = None,
        intervention_additional_kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run base with the interventions in place.

        Parameters
        ----------
        base
            Keyword arguments of the model.
        sources
            One for all interventions, or a list of one for each group; None skips a group.
        unit_locations
            `{"sources->base": 3}`, `{"base": 3}`, `{"sources->base": (i, j)}` for i into
            j, or (source, base), each a list for each intervention, of a list for each row. None
            for everything. Negative positions count from the end of the row's text.
        source_representations
            Stored activations instead of source runs: one, a list, or a dict by key.
        subspaces
            Dims or groups of dims, see `causaltest.pyvene.subspaces.per_intervention`.
        labels, use_cache
            Passed on to the model.
        output_original_output
            Run base without interventions too.
        return_dict
            Return an `IntervenableModelOutput`.
        intervention_additional_kwargs
            Passed on to the interventions that take them.

        Returns
        -------
        tuple
            (original or None, intervened); with collecting interventions ((original or None,
            activations), intervened).

        Raises
        ------
        SiteError
            A position or head that does not exist.
        InterventionError
            Anything else that does not fit, or an edit that did not happen exactly once.
        """
        base = _inputs(base, "base")
        window = _window(base)
        more: dict[str, Any] = {} if labels is None else {"labels": labels}
        if use_cache is not None:
            more["use_cache"] = use_cache
        with self._quiet():
            original = self.model(**base) if output_original_output else None
            setters = self._setters(
                window, sources, unit_locations, source_representations, subspaces,
                intervention_additional_kwargs or {},
            )  # fmt: skip
            with attached(self.model, _operations(setters)):
                intervened = self.model(**base, **more)
        return self._answer(setters, original, intervened, return_dict)

    def generate(
        self,
        base: Any,
        sources: Any = None,
        unit_locations: Any = None,
        source_representations: Any = None,
        intervene_on_prompt: bool = False,
        subspaces: Any = None,
        output_original_output: bool = False,
        intervention_additional_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate text with the interventions in place; with and without KV cache the same.

        | intervene_on_prompt | unit_locations | what is edited |
        |---|---|---|
        | False | None | every new token that is fed back |
        | True | None | the prompt and every such token |
        | True | given | these places of the prompt |

        Parameters
        ----------
        base
            Keyword arguments of the model's `generate`.
        sources, unit_locations, source_representations, subspaces
            As for `forward`.
        intervene_on_prompt
            See the table.
        output_original_output
            Generate without interventions too.
        intervention_additional_kwargs
            As for `forward`.
        **kwargs
            Of the model's `generate`.

        Returns
        -------
        Generated
            (original or None, intervened); with collecting interventions the first is (original,
            activations), one activation for each pass.

        Raises
        ------
        InterventionError
            Locations without `intervene_on_prompt`, an edit that never happened, or as for
            `forward`.
        """
        base = _inputs(base, "base")
        window = _window(base)
        if not intervene_on_prompt and repr(unit_locations) == "{'base': 0}":
            # How pyvene itself writes "every new token".
            unit_locations = None
        if not intervene_on_prompt and unit_locations is not None:
            raise InterventionError(
                "unit_locations are places in the prompt, but intervene_on_prompt is False, which "
                "edits every new token; leave unit_locations out, or set intervene_on_prompt=True"
            )
        with self._quiet():
            original = self.model.generate(**base, **kwargs) if output_original_output else None  # pyright: ignore[reportCallIssue]
            setters = self._setters(
                window, sources, unit_locations, source_representations, subspaces,
                intervention_additional_kwargs or {},
            )  # fmt: skip
            for each in setters:
                if not intervene_on_prompt:
                    each.spot = NewTokens(heads=each.spot.heads)
            with announced(self.model, window.begin), attached(self.model, _operations(setters)):
                intervened = self.model.generate(**base, **kwargs)  # pyright: ignore[reportCallIssue]
        return self._answer(setters, original, intervened, False, Generated)

    def _answer(
        self,
        setters: Sequence[Setter],
        original: Any,
        intervened: Any,
        return_dict: bool,
        kind: Any = tuple,
    ) -> Any:
        for each in setters:
            each.check()
        self.full_intervention_outputs[:] = [each for one in setters for each in one.outputs]
        collected = [each for one in setters for each in one.collected]
        collects = self.return_collect_activations
        if return_dict:
            return IntervenableModelOutput(
                original_outputs=original,
                intervened_outputs=intervened,
                collected_activations=collected if collects else None,
            )
        return kind(((original, collected) if collects else original, intervened))

    def _setters(
        self,
        window: Window,
        sources: Any,
        unit_locations: Any,
        source_representations: Any,
        subspaces: Any,
        extra: Mapping[str, Any],
    ) -> list[Setter]:
        """Run the sources and return the edits of base, in the order they apply."""
        stored = self._stored(source_representations)
        given = self._sources(sources, stored)
        picked = per_intervention(subspaces, len(self.keys), window.rows)
        by_key = dict(zip(self.keys, picked, strict=True))
        if self.mode == "serial":
            return self._serial(window, given, unit_locations, stored, by_key, extra)
        pairings = dict(
            zip(
                self.keys,
                parallel(unit_locations, self.representations, window.rows),
                strict=True,
            )
        )
        read = self._read_all(given, pairings, stored, window)
        setters: list[Setter] = []
        for key in self.keys:
            pairing = pairings[key]
            if pairing.base is None or self._skipped(key, given, pairing, read, sources):
                continue
            setters.append(
                self._setter(key, pairing.base, window, read.get(key), by_key[key], extra)
            )
        if not setters:
            raise InterventionError(
                "no intervention would happen: every one is skipped by None in sources or "
                "unit_locations"
            )
        return setters

    def _skipped(
        self,
        key: str,
        given: Mapping[str, Any],
        pairing: Pairing,
        read: Mapping[str, Any],
        sources: Any,
    ) -> bool:
        """Return whether an intervention that needs a source is skipped on purpose."""
        each = self._intervention(key)
        if key in read or not _takes_source(each):
            return False
        if sources is None:
            raise InterventionError(
                f"{key}: {type(each).__name__} needs a source; give sources=[...], or "
                "source_representations="
            )
        if given.get(key) is not None and pairing.source is None:
            raise InterventionError(
                f"{key}: {type(each).__name__} needs a source, but unit_locations say nothing of "
                "where it is read: give 'sources->base', or source_representations="
            )
        return True

    def _setter(
        self,
        key: str,
        spot: Spot,
        window: Window,
        source: Tensor | None,
        subspaces: Any,
        extra: Mapping[str, Any],
    ) -> Setter:
        self._check_heads(key, spot)
        each = self._intervention(key)
        if isinstance(each, CollectIntervention):
            source = None
        return Setter(
            self.targets[key], spot, window, each, source, subspaces, extra,
            self.as_adaptor and not isinstance(each, CollectIntervention),
        )  # fmt: skip

    def _check_heads(self, key: str, spot: Spot) -> None:
        if spot.heads is not None:
            index = self.keys.index(key)
            building.check_heads(self.subject, self.representations[index], spot.heads)

    def _intervention(self, key: str) -> Intervention:
        return cast("Intervention", self.interventions[key])

    def _stored(self, given: Any) -> dict[str, Tensor]:
        """Return stored activations by key; what the caller gave is not touched."""
        if given is None:
            return {}
        if isinstance(given, Tensor):
            return dict.fromkeys(self.keys, given)
        if isinstance(given, Mapping):
            for key in given:
                if key not in self.keys:
                    raise InterventionError(
                        f"source_representations for unknown key {key!r}"
                        f"{did_you_mean(str(key), self.keys)}\nkeys: {', '.join(self.keys)}"
                    )
            return {key: value for key, value in given.items() if value is not None}
        if isinstance(given, (list, tuple)):
            if len(given) != len(self.keys):
                raise InterventionError(
                    f"{len(given)} source_representations for {len(self.keys)} interventions"
                )
            pairs = zip(self.keys, given, strict=True)
            return {key: value for key, value in pairs if value is not None}
        raise InterventionError(
            f"source_representations is a {type(given).__name__}; expected a tensor, a list or "
            "a dict"
        )

    def _sources(self, sources: Any, stored: Mapping[str, Tensor]) -> dict[str, Inputs | None]:
        """Return each key's source; one source serves every group."""
        if sources is None:
            return {}
        listed = list(sources) if isinstance(sources, (list, tuple)) else [sources]
        if len(listed) not in (1, len(self.groups)):
            raise InterventionError(
                f"{len(listed)} sources for {len(self.groups)} "
                f"{'groups' if len(self.groups) < len(self.keys) else 'interventions'}; give "
                "one for "
                "each (None to skip it), or one for all"
            )
        spread = len(listed) == 1 and len(self.groups) > 1
        listed = listed * len(self.groups) if spread else listed
        found: dict[str, Inputs | None] = {}
        known: dict[int, Inputs] = {}
        for source, keys in zip(listed, self.groups.values(), strict=True):
            if source is not None and id(source) not in known:
                known[id(source)] = _inputs(source, "a source")
            for key in keys:
                collects = isinstance(self._intervention(key), CollectIntervention)
                if collects and source is not None and len(keys) == 1 and not spread:
                    if len(self.groups) > 1:
                        raise InterventionError(
                            f"{key}: CollectIntervention takes no source; give None in its place"
                        )
                    continue
                if not collects:
                    found[key] = None if source is None else known[id(source)]
        return found

    def _read_all(
        self,
        given: Mapping[str, Inputs | None],
        pairings: Mapping[str, Pairing],
        stored: Mapping[str, Tensor],
        window: Window,
    ) -> dict[str, Tensor]:
        """Read what each intervention puts in, one pass for each different source."""
        read: dict[str, Tensor] = dict(stored)
        passes: dict[int, tuple[Inputs, dict[str, Reader]]] = {}
        for key, source in given.items():
            spot = pairings[key].source
            if source is None or key in read or not self._wants(key) or spot is None:
                continue
            readers = passes.setdefault(id(source), (source, {}))[1]
            readers[key] = self._reader(key, spot, source, window.rows)
        for source, readers in passes.values():
            read.update(self._read(source, readers, []))
        return read

    def _wants(self, key: str) -> bool:
        each = self._intervention(key)
        if isinstance(each, LambdaIntervention):
            return each.source_representation is None
        return _takes_source(each) or each.needs_input

    def _reader(self, key: str, spot: Spot, source: Inputs, rows: int) -> Reader:
        self._check_heads(key, spot)
        target, window = self.targets[key], _window(source)
        if window.rows != rows:
            raise InterventionError(
                f"a source has {window.rows} rows and base has {rows}; give one source row for each"
            )
        if self._intervention(key).needs_input and not _takes_source(self._intervention(key)):
            target = replace(target, access=target.entrance)
        return Reader(target, spot, window)

    def _read(
        self, source: Inputs, readers: Mapping[str, Reader], setters: Sequence[Setter]
    ) -> dict[str, Tensor]:
        """Run one source, with the edits of the source before it, until all is read."""
        operations = _operations(setters)
        # Only components are known to run once; anything else must be watched to the end.
        early = all(
            "." not in self.representations[self.keys.index(key)].component
            and reader.spot.times is None
            for key, reader in readers.items()
        )
        left = set(readers)

        def reading(key: str, reader: Reader) -> Operation:
            def operation(tensor: Tensor) -> None:
                reader(tensor)
                left.discard(key)
                if early and not left:
                    raise AllRead

            return operation

        for key, reader in readers.items():
            operations.append((*reader.target.place, reading(key, reader)))
        with suppress(AllRead), attached(self.model, operations):
            self.model(**source)
        for each in setters:
            each.check()
        return {key: reader.result() for key, reader in readers.items()}

    def _serial(
        self,
        window: Window,
        given: Mapping[str, Inputs | None],
        unit_locations: Any,
        stored: Mapping[str, Tensor],
        subspaces: Mapping[str, Any],
        extra: Mapping[str, Any],
    ) -> list[Setter]:
        """Run the chain of sources, each edited by the one before it; return the edits of base."""
        by_key = dict(zip(self.keys, self.representations, strict=True))
        groups = list(self.groups.values())
        steps = serial(
            unit_locations, [[by_key[key] for key in keys] for keys in groups], window.rows
        )
        setters: list[Setter] = []
        for keys, pairings in zip(groups, steps, strict=True):
            source = next((given[key] for key in keys if given.get(key) is not None), None)
            read = {key: stored[key] for key in keys if key in stored}
            readers = {
                key: self._reader(key, pairing.source, source, window.rows)
                for key, pairing in zip(keys, pairings, strict=True)
                if source is not None and key not in read and self._wants(key)
                and pairing.source is not None
            }  # fmt: skip
            if source is not None and readers:
                read.update(self._read(source, readers, setters))
            elif setters:
                raise InterventionError(
                    f"{', '.join(each.target.key for each in setters)}: the source after it in the "
                    "chain is missing, so it would edit nothing"
                )
            setters = []
            for key, pairing in zip(keys, pairings, strict=True):
                missing = key not in read and _takes_source(self._intervention(key))
                if missing and pairing.base is not None:
                    raise InterventionError(f"{key} needs a source, and the chain gives it none")
                if pairing.base is not None:
                    setters.append(
                        self._setter(
                            key, pairing.base, window, read.get(key), subspaces[key], extra
                        )
                    )
        return setters

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Run without dropout and with constant weights, and leave every flag as it was."""
        if self._training_mode:
            modules = self.model.modules()
            checkpointing = any(getattr(each, "gradient_checkpointing", False) for each in modules)
            if checkpointing and torch.is_grad_enabled():
                raise InterventionError(
                    "gradient checkpointing recomputes activations after the interventions are "
                    "gone, "
                    "which would give wrong gradients; call eval(), in which nothing is recomputed"
                )
        frozen: list[nn.Parameter] = []
        if torch.is_grad_enabled() and not self._trains_model:
            frozen = [each for each in self.model.parameters() if each.requires_grad]
        try:
            for each in frozen:
                each.requires_grad_(False)
            with _training(self.model) if self._training_mode else evaluating(self.model):
                yield
        finally:
            for each in frozen:
                each.requires_grad_(True)

    def save(self, save_directory: str | Path, **options: Any) -> None:
        """Write the interventions to a folder; see `causaltest.pyvene.saving.save`."""
        saving.save(self, save_directory, **options)

    def save_intervention(
        self, save_directory: str | Path, include_model: bool = False, **options: Any
    ) -> None:
        """Write the interventions to a folder, as `save` does."""
        saving.save(self, save_directory, include_model=include_model, **options)

    @staticmethod
    def load(load_directory: str | Path, model: nn.Module, **options: Any) -> IntervenableModel:
        """Read interventions from a folder or the Hub; see `causaltest.pyvene.saving.load`."""
        return saving.load(IntervenableModel, load_directory, model, **options)

    def load_intervention(self, load_directory: str | Path, include_model: bool = False) -> None:
        """Read the numbers of these interventions from a folder."""
        saving.load_numbers(self, load_directory, include_model=include_model)

    def train_alignment(
        self, train_dataloader: Any, compute_loss: Any, compute_metrics: Any, inputs_collator: Any,
        **options: Any,
    ) -> list[float]:  # fmt: skip
        """Train the interventions; see `causaltest.pyvene.training.train`."""
        return training.train(
            self, train_dataloader, compute_loss, compute_metrics, inputs_collator, **options
        )

    def eval_alignment(
        self, eval_dataloader: Any, compute_metrics: Any, inputs_collator: Any
    ) -> dict[str, float]:
        """Score the interventions; see `causaltest.pyvene.training.evaluate`."""
        return training.evaluate(self, eval_dataloader, compute_metrics, inputs_collator)


def build_intervenable_model(config: Any, model: nn.Module, **kwargs: Any) -> IntervenableModel:
    """Return an IntervenableModel."""
    return IntervenableModel(config, model, **kwargs)


def _takes_source(each: Intervention) -> bool:
    """Return whether an intervention cannot run without a source."""
    if isinstance(each, LambdaIntervention):
        return False
    return each.needs_source and not each.is_source_constant


def _inputs(given: Any, what: str) -> Inputs:
    if isinstance(given, Mapping) or hasattr(given, "keys"):
        return dict(given)
    raise InterventionError(
        f"{what} is a {type(given).__name__}; expected the model's keyword arguments as a dict, "
        "e.g. {'input_ids': ids} or what a tokenizer returns"
    )


def _window(inputs: Inputs) -> Window:
    tensors = [each for each in inputs.values() if isinstance(each, Tensor) and each.ndim]
    if not tensors:
        raise InterventionError(
            f"the inputs hold no tensors ({', '.join(inputs) or 'nothing'}); tokenise with "
            "return_tensors='pt'"
        )
    mask = inputs.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.ndim != 2 or bool(mask.all()):
        mask = None
    return Window(tensors[0].shape[0], mask)


def _operations(setters: Sequence[Setter]) -> Operations:
    operations: Operations = []
    for each in setters:
        operations.append((*each.target.place, each))
    # After all edits of inputs, so that what is noted is what the modules really get.
    for each in setters:
        if each.needs_input:
            operations.append((each.target.entrance.path, "input", each.note))
    return operations


@contextmanager
def _training(network: nn.Module) -> Iterator[None]:
    resting = [each for each in network.modules() if not each.training]
    try:
        for each in resting:
            each.training = True
        yield
    finally:
        for each in resting:
            each.training = False
