"""CausalModel: pyvene's causal model as an adapter of causaltest's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from causaltest.causal_models.sampling import sample
from causaltest.errors import CausalModelError
from causaltest.pyvene.causal_structure import Setting, Structure

Filter = Callable[[Setting], bool]

_TRIES = 100_000


class CausalModel(Structure):
    """Variables with finite domains, each computed from its parents.

    Parameters
    ----------
    variables
        Names; the caller's list is not touched.
    values
        The domain of each variable: a sequence, or None where any value may be.
    parents
        The parents of each variable, in the order of its function's arguments.
    functions
        The function of each variable; that of an input takes nothing and gives its default.
    timesteps
        When each variable is computed; by default inputs at 0, each other one step after its last
        parent, outputs together at the end.
    equiv_classes
        For each variable and value, the settings of the parents that give it.
    pos
        Places for drawings, kept as given.
    seed
        Of the samplers; None for another sequence each time.

    Attributes
    ----------
    native
        The `causaltest.CausalModel` that does the work; its values are numbers of the domains'.

    Raises
    ------
    CausalModelError
        A cycle, an unknown or missing name, or times out of order.

    Examples
    --------
    >>> both = CausalModel(
    ...     ["a", "b", "c"],
    ...     {name: [False, True] for name in "abc"},
    ...     {"a": [], "b": [], "c": ["a", "b"]},
    ...     {"a": lambda: True, "b": lambda: False, "c": lambda a, b: a and b},
    ... )
    >>> both.run_forward({"b": True})["c"]
    True
    """

    def sample_intervention(self, mandatory: str | None = None) -> Setting:
        """Return random values for a random, not empty, choice of intermediate variables.

        Raises
        ------
        CausalModelError
            There are no intermediate variables.
        """
        between = self.between
        if not between:
            raise CausalModelError(
                "there are no variables between inputs and outputs to intervene on"
            )
        if mandatory is not None:
            self.known([mandatory], "mandatory")
        while True:
            chosen = [
                name for name in between if name == mandatory or self.random.choice((False, True))
            ]
            if chosen:
                return {name: self.random.choice(self.domain(name)) for name in chosen}

    def sample_input(
        self,
        mandatory: Filter | None = None,
        output_var: str | None = None,
        output_var_value: Any = None,
    ) -> Setting:
        """Return a random input.

        Parameters
        ----------
        mandatory
            What the input's whole setting must fulfil.
        output_var, output_var_value
            A variable and the value that the input must give it.
        """
        wanted: Any = None
        if output_var is not None:
            self.known([output_var], "output_var")
            wanted = self._domains[output_var].code(output_var_value)

        def fits(codes: Setting) -> bool:
            if output_var is not None and codes[output_var] != wanted:
                return False
            return mandatory is None or mandatory(self._values(codes))

        seed = self.random.getrandbits(64)
        (codes,) = sample(self.native, 1, seed=seed, where=fits, tries=_TRIES)
        return self._values(codes)

    def sample_input_tree_balanced(
        self, output_var: str | None = None, output_var_value: Any = None
    ) -> Setting:
        """Return an input that makes every value of an output equally likely, as in a tree."""
        if not self.equiv_classes:
            self.generate_equiv_classes()
        name = output_var or self.random.choice(self.outputs)
        self.known([name], "output_var")
        if output_var_value is None:
            output_var_value = self.random.choice(self._reachable(name))
        wanted: Setting = {}

        def want(variable: str, value: Any) -> None:
            domain = self._domains[variable]
            if domain.code(wanted.get(variable, value)) != domain.code(value):
                raise CausalModelError(
                    f"{variable!r} would need two values at once; the model is no tree, use "
                    "sample_input"
                )
            wanted[variable] = value
            if variable in self.inputs:
                return
            settings = self.equiv_classes[variable][value]
            if not settings:
                raise CausalModelError(f"no setting of its parents gives {variable!r} {value!r}")
            for parent, each in self.random.choice(settings).items():
                want(parent, each)

        want(name, output_var_value)
        return {
            each: wanted[each] if each in wanted else self.random.choice(self.domain(each))
            for each in self.inputs
        }

    def _reachable(self, name: str) -> Sequence[Any]:
        if name in self.inputs:
            return self.domain(name)
        return [value for value, settings in self.equiv_classes[name].items() if settings]

    def get_path_maxlen_filter(self, lengths: Iterable[int]) -> Filter:
        """Return a filter of settings whose longest live path has one of these lengths."""
        wanted = set(lengths)
        return lambda setting: max(self.find_live_paths(self._given(setting)), default=0) in wanted

    def get_partial_filter(self, partial_setting: Mapping[str, Any]) -> Filter:
        """Return a filter of settings that agree with a partial one."""
        self.known(partial_setting, "the partial setting")
        wanted = {n: self._domains[n].code(value) for n, value in partial_setting.items()}
        return lambda setting: all(
            self._domains[name].code(setting[name]) == code for name, code in wanted.items()
        )

    def get_specific_path_filter(self, start: str, end: str) -> Filter:
        """Return a filter of settings with a live path from one variable to another."""
        self.known([start, end], "the path")

        def check(setting: Setting) -> bool:
            paths = self.find_live_paths(self._given(setting))
            return any(p[0] == start and p[-1] == end for each in paths.values() for p in each)

        return check

    def _given(self, setting: Mapping[str, Any]) -> Setting:
        return {name: setting[name] for name in self.inputs if name in setting}

    def input_to_tensor(self, setting: Mapping[str, Any]) -> Tensor:
        """Return an input's values as one vector, in the order of `inputs`."""
        return _vector([setting[name] for name in self.inputs])

    def output_to_tensor(self, setting: Mapping[str, Any]) -> Tensor:
        """Return a setting's outputs as one vector, in the order of `outputs`."""
        return _vector([setting[name] for name in self.outputs])

    def generate_factual_dataset(
        self,
        size: int,
        sampler: Callable[[], Setting] | None = None,
        filter: Filter | None = None,
        device: str = "cpu",
        input_function: Callable[[Setting], Any] | None = None,
        output_function: Callable[[Setting], Any] | None = None,
        return_tensors: bool = True,
    ) -> list[dict[str, Any]]:
        """Return random inputs with the outputs that they give.

        Parameters
        ----------
        size
            Number of examples.
        sampler
            Gives an input; by default `sample_input`.
        filter
            What an input must fulfil.
        device, input_function, output_function
            Where tensors go, and how inputs and outputs become tensors.
        return_tensors
            Give tensors; else the settings themselves.

        Returns
        -------
        list of dict
            `input_ids` and `labels`.
        """
        draw = sampler or self.sample_input
        enter = input_function or self.input_to_tensor
        leave = output_function or self.output_to_tensor
        examples: list[dict[str, Any]] = []
        while len(examples) < size:
            given = draw()
            if filter is not None and not filter(given):
                continue
            output = self.run_forward(given)
            if return_tensors:
                example = {"input_ids": enter(given).to(device), "labels": leave(output).to(device)}
            else:
                example = {"input_ids": given, "labels": output}
            examples.append(example)
        return examples

    def generate_counterfactual_dataset(
        self,
        size: int,
        intervention_id: Callable[[Setting], int],
        batch_size: int,
        sampler: Callable[..., Setting] | None = None,
        intervention_sampler: Callable[[], Setting] | None = None,
        filter: Filter | None = None,
        device: str = "cpu",
        input_function: Callable[[Setting], Any] | None = None,
        output_function: Callable[[Setting], Any] | None = None,
        return_tensors: bool = True,
    ) -> list[dict[str, Any]]:
        """Return random bases and sources with the outputs under interchange.

        Parameters
        ----------
        size, batch_size
            Number of examples; that many in a row share their intervened variables.
        intervention_id
            A number for the intervened variables.
        sampler
            Gives an input; called with `output_var` and `output_var_value` where a variable must
            have a value. By default `sample_input`.
        intervention_sampler
            Gives the intervened variables and their values.
        filter
            What an intervention must fulfil.
        device, input_function, output_function, return_tensors
            As for `generate_factual_dataset`.

        Returns
        -------
        list of dict
            `input_ids`, `source_input_ids` (one for each intermediate variable, zeros where it is
            left alone), `labels`, `base_labels`, `intervention_id`.
        """
        draw = sampler or self.sample_input
        draw_intervention = intervention_sampler or self.sample_intervention
        enter = input_function or self.input_to_tensor
        leave = output_function or self.output_to_tensor
        between = self.between
        examples: list[dict[str, Any]] = []
        while len(examples) < size:
            intervention = draw_intervention()
            if filter is not None and not filter(intervention):
                continue
            for _ in range(min(batch_size, size - len(examples))):
                base = draw()
                sources = {
                    name: draw(output_var=name, output_var_value=intervention[name])
                    for name in between
                    if name in intervention
                }
                changed = self.run_interchange(base, sources)
                listed: list[Any] = list(sources.values())
                example: dict[str, Any] = {
                    "input_ids": base,
                    "source_input_ids": listed + [{}] * (len(between) - len(listed)),
                    "labels": changed,
                    "base_labels": self.run_forward(base),
                    "intervention_id": [intervention_id(intervention)],
                }
                examples.append(
                    self._tensors(example, enter, leave, device) if return_tensors else example
                )
        return examples

    @staticmethod
    def _tensors(example: dict[str, Any], enter: Any, leave: Any, device: str) -> dict[str, Any]:
        base = enter(example["input_ids"])
        sources = [
            enter(each) if each else torch.zeros_like(base) for each in example["source_input_ids"]
        ]
        return {
            "input_ids": base.to(device),
            "source_input_ids": torch.stack(sources).to(device),
            "labels": leave(example["labels"]).to(device),
            "base_labels": leave(example["base_labels"]).to(device),
            "intervention_id": torch.tensor(example["intervention_id"]).to(device),
        }


def _vector(values: Sequence[Any]) -> Tensor:
    return torch.cat([torch.as_tensor(each).reshape(-1).float() for each in values])
