"""IntervenableModel: pyvene's declarative calls, made on causaltest's hooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from causaltest.engine.applied import Applied, operations_of
from causaltest.engine.hooks import announced, attached
from causaltest.engine.hosts import Host, host_of
from causaltest.engine.steps import Clock
from causaltest.errors import InterventionError
from causaltest.pyvene import building, saving, training
from causaltest.pyvene.calls import Call
from causaltest.pyvene.config import IntervenableConfig
from causaltest.pyvene.edits import Called
from causaltest.pyvene.given import inputs_of, rows_of
from causaltest.pyvene.interventions import (
    CollectIntervention,
    InterventionOutput,
    VanillaIntervention,
)
from causaltest.pyvene.locations import check_unit
from causaltest.pyvene.outputs import Generated, IntervenableModelOutput
from causaltest.pyvene.parameters import Trained
from causaltest.pyvene.parts import Parts
from causaltest.pyvene.quiet import quiet


class IntervenableModel(Trained):
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
        self.parts = Parts(
            self.subject,
            host_of(model),
            self.mode,
            as_adaptor,
            dict(zip(self.keys, self.representations, strict=True)),
            self.targets,
            self.interventions,
            list(building.groups_of(self.config, self.keys).values()),
        )
        self.full_intervention_outputs: list[InterventionOutput] = []
        self._training_mode = False

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

    def train(self, mode: bool = True) -> IntervenableModel:
        """Run the model in training mode from now on, for the length of each call."""
        self._training_mode = mode
        self.training = mode
        return self

    def eval(self) -> IntervenableModel:
        """Run the model in evaluation mode, which is the default."""
        return self.train(False)

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
        call = Call(
            self.parts, inputs_of(base, "base"), sources, unit_locations, source_representations,
            subspaces, intervention_additional_kwargs or {},
        )  # fmt: skip
        more: dict[str, Any] = {} if labels is None else {"labels": labels}
        if use_cache is not None:
            more["use_cache"] = use_cache
        with self._quiet():
            original = self.model(**call.base) if output_original_output else None
            setters = call.setters()
            with attached(self.model, operations_of(setters)):
                intervened = self.model(**call.base, **more)
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
        if not intervene_on_prompt and repr(unit_locations) == "{'base': 0}":
            # How pyvene itself writes "every new token".
            unit_locations = None
        if not intervene_on_prompt and unit_locations is not None:
            raise InterventionError(
                "unit_locations are places in the prompt, but intervene_on_prompt is False, which "
                "edits every new token; leave unit_locations out, or set intervene_on_prompt=True"
            )
        host = self._host()
        base = inputs_of(base, "base")
        clock = Clock((0,) * rows_of(base), left=True)
        call = Call(
            self.parts, base, sources, unit_locations, source_representations, subspaces,
            intervention_additional_kwargs or {}, clock, intervene_on_prompt,
        )  # fmt: skip
        generate = cast("Any", self.model).generate
        with self._quiet():
            original = generate(**base, **kwargs) if output_original_output else None
            setters = call.setters()
            with announced(host.steps, clock.tick), attached(self.model, operations_of(setters)):
                intervened = generate(**base, **kwargs)
        return self._answer(setters, original, intervened, False, Generated)

    def _host(self) -> Host:
        if self.parts.host is not None:
            return self.parts.host
        if not hasattr(self.model, "generate"):
            raise InterventionError(
                f"{self.subject.name} writes no text: it has no generate(); call the model on a "
                "whole text instead"
            )
        return Host(self.model, self.model)

    def _answer(
        self,
        setters: Sequence[Applied],
        original: Any,
        intervened: Any,
        return_dict: bool,
        kind: Any = tuple,
    ) -> Any:
        for each in setters:
            each.entry()
        made = [each.part for each in setters if isinstance(each.part, Called)]
        self.full_intervention_outputs[:] = [each for one in made for each in one.outputs]
        collected = [each for one in made for each in one.collected]
        collects = self.return_collect_activations
        if return_dict:
            return IntervenableModelOutput(
                original_outputs=original,
                intervened_outputs=intervened,
                collected_activations=collected if collects else None,
            )
        return kind(((original, collected) if collects else original, intervened))

    def _quiet(self) -> Any:
        return quiet(
            self.model, trains_weights=self.trains_model, training_mode=self._training_mode
        )

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
