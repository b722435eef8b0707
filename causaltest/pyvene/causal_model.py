"""CausalModel: a high-level model of named variables that can be run and intervened on."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from causaltest.errors import CausaltestError
from causaltest.spelling import did_you_mean

Setting = dict[str, Any]
Filter = Callable[[Setting], bool]


class CausalModel:
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

    Raises
    ------
    CausaltestError
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

    def __init__(
        self,
        variables: Sequence[str],
        values: Mapping[str, Sequence[Any] | None],
        parents: Mapping[str, Sequence[str]],
        functions: Mapping[str, Callable[..., Any]],
        timesteps: Mapping[str, int] | None = None,
        equiv_classes: Mapping[str, Mapping[Any, list[Setting]]] | None = None,
        pos: Mapping[str, Any] | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        self.variables = sorted(variables)
        self.values: dict[str, Sequence[Any] | None] = dict(values)
        self.parents: dict[str, list[str]] = {name: list(each) for name, each in parents.items()}
        self.functions: dict[str, Callable[..., Any]] = dict(functions)
        self.pos: dict[str, Any] = dict(pos or {})
        self.random = random.Random(seed)
        self._given_times = None if timesteps is None else dict(timesteps)
        self._settle()
        given = equiv_classes or {}
        self.equiv_classes: dict[str, dict[Any, list[Setting]]] = {
            name: dict(each) for name, each in given.items()
        }

    def _settle(self) -> None:
        """Check names and order, and find children, inputs, outputs and times."""
        self._check_names()
        self.children: dict[str, list[str]] = {name: [] for name in self.variables}
        for name in self.variables:
            for parent in self.parents[name]:
                self.children[parent].append(name)
        self.inputs = [name for name in self.variables if not self.parents[name]]
        self.outputs = [name for name in self.variables if not self.children[name]]
        depth = self._depths()
        self.end_time = max(depth.values())
        if self._given_times is None:
            self.timesteps = depth
            for name in self.outputs:
                self.timesteps[name] = self.end_time
        else:
            self.timesteps = self._given_times
            self._check_times()
        order = {name: (depth[name], name) for name in self.variables}
        self.variables.sort(key=lambda name: (self.timesteps[name], order[name]))
        self.run_forward()

    def _check_names(self) -> None:
        if len(set(self.variables)) < len(self.variables):
            twice = next(each for each in self.variables if self.variables.count(each) > 1)
            raise CausaltestError(f"variable {twice!r} is named twice")
        if not self.variables:
            raise CausaltestError("a causal model needs at least one variable")
        tables = {"values": self.values, "parents": self.parents, "functions": self.functions}
        if self._given_times is not None:
            tables["timesteps"] = self._given_times  # pyright: ignore[reportArgumentType]
        for what, table in tables.items():
            for name in self.variables:
                if name not in table:
                    raise CausaltestError(f"variable {name!r} has no entry in {what}")
            self._known(table, what)
        for name in self.variables:
            self._known(self.parents[name], f"the parents of {name!r}")

    def _known(self, names: Iterable[str], where: str) -> None:
        for name in names:
            if name not in self.variables:
                raise CausaltestError(
                    f"unknown variable {name!r} in {where}{did_you_mean(str(name), self.variables)}"
                    f"\nvariables: {', '.join(self.variables)}"
                )

    def _depths(self) -> dict[str, int]:
        """Return the longest way from an input to each variable."""
        depth: dict[str, int] = {}
        left = set(self.variables)
        while left:
            ready = [name for name in left if all(each in depth for each in self.parents[name])]
            if not ready:
                raise CausaltestError(
                    f"the variables {', '.join(sorted(left))} form a cycle, or follow from one"
                )
            for name in ready:
                depth[name] = 1 + max((depth[each] for each in self.parents[name]), default=-1)
            left -= set(ready)
        return depth

    def _check_times(self) -> None:
        for name in self.variables:
            for parent in self.parents[name]:
                if self.timesteps[parent] >= self.timesteps[name]:
                    raise CausaltestError(
                        f"{parent!r} is a parent of {name!r}, but its time is "
                        f"{self.timesteps[parent]} and not before {self.timesteps[name]}"
                    )

    def _check_value(self, name: str, value: Any, whence: str) -> None:
        domain = self.values[name]
        if domain is not None and value not in domain:
            shown = ", ".join(map(repr, list(domain)[:8])) + (", ..." if len(domain) > 8 else "")
            raise CausaltestError(f"{whence} gives {name!r} the value {value!r}; it takes {shown}")

    def run_forward(self, intervention: Mapping[str, Any] | None = None) -> Setting:
        """Return the value of every variable.

        Parameters
        ----------
        intervention
            Values that are set rather than computed.

        Raises
        ------
        CausaltestError
            An unknown variable, or a value out of its domain.
        """
        fixed = dict(intervention or {})
        self._known(fixed, "the intervention")
        setting: Setting = {}
        for name in self.variables:
            if name in fixed:
                setting[name] = fixed[name]
                self._check_value(name, fixed[name], "the intervention")
            else:
                given = [setting[parent] for parent in self.parents[name]]
                setting[name] = self.functions[name](*given)
                self._check_value(name, setting[name], "its function")
        return setting

    def run_interchange(
        self, input: Mapping[str, Any], source_interventions: Mapping[str, Mapping[str, Any]]
    ) -> Setting:
        """Run an input with some variables at the values that other inputs give them.

        Parameters
        ----------
        input
            The base input.
        source_interventions
            For each variable, the input whose value it takes.
        """
        self._known(source_interventions, "source_interventions")
        fixed = dict(input)
        for name, source in source_interventions.items():
            fixed[name] = self.run_forward(source)[name]
        return self.run_forward(fixed)

    def add_variable(
        self,
        variable: str,
        values: Sequence[Any] | None,
        parents: Sequence[str],
        children: Sequence[str],
        function: Callable[..., Any],
        timestep: int | None = None,
    ) -> None:
        """Add a variable; it becomes the last parent of its children."""
        if variable in self.variables:
            raise CausaltestError(f"variable {variable!r} is there already")
        self._known(parents, f"the parents of {variable!r}")
        self._known(children, f"the children of {variable!r}")
        kept = self.variables, dict(self.values), dict(self.parents), dict(self.functions)
        self.variables = [*self.variables, variable]
        self.values[variable], self.functions[variable] = values, function
        self.parents[variable] = list(parents)
        for child in children:
            self.parents[child] = [*self.parents[child], variable]
        if self._given_times is not None and timestep is not None:
            self._given_times[variable] = timestep
        try:
            self._settle()
        except (CausaltestError, TypeError):
            self.variables, self.values, self.parents, self.functions = kept
            if self._given_times is not None:
                self._given_times.pop(variable, None)
            self._settle()
            raise

    def generate_equiv_classes(self) -> None:
        """Find, for each computed variable, the settings of its parents that give each value."""
        for name in self.variables:
            if name in self.inputs or name in self.equiv_classes:
                continue
            found: dict[Any, list[Setting]] = {value: [] for value in self._domain(name)}
            for given in itertools.product(*(self._domain(each) for each in self.parents[name])):
                value = self.functions[name](*given)
                self._check_value(name, value, "its function")
                found[value].append(dict(zip(self.parents[name], given, strict=True)))
            self.equiv_classes[name] = found

    def _domain(self, name: str) -> Sequence[Any]:
        domain = self.values[name]
        if domain is None:
            raise CausaltestError(f"variable {name!r} has no domain; its values cannot be sampled")
        return domain

    def find_live_paths(self, intervention: Mapping[str, Any]) -> dict[int, list[list[str]]]:
        """Return the paths along which a change is passed on, by their length.

        An edge is live where some other value of its start would change its end, all else equal.
        """
        setting = self.run_forward(intervention)
        paths: dict[int, list[list[str]]] = {1: [[name] for name in self.variables]}
        length = 1
        while paths[length]:
            found: list[list[str]] = []
            for path in paths[length]:
                found += [
                    [*path, child]
                    for child in self.children[path[-1]]
                    if child not in intervention and self._live(path[-1], child, setting)
                ]
            length += 1
            paths[length] = found
        return {size: each for size, each in paths.items() if each and size > 1}

    def _live(self, parent: str, child: str, setting: Setting) -> bool:
        def value(at: Any) -> Any:
            given = [at if each == parent else setting[each] for each in self.parents[child]]
            return self.functions[child](*given)

        now = value(setting[parent])
        return any(value(other) != now for other in self._domain(parent))

    def sample_intervention(self, mandatory: str | None = None) -> Setting:
        """Return random values for a random, not empty, choice of intermediate variables.

        Raises
        ------
        CausaltestError
            There are no intermediate variables.
        """
        between = [n for n in self.variables if n not in self.inputs and n not in self.outputs]
        if not between:
            raise CausaltestError(
                "there are no variables between inputs and outputs to intervene on"
            )
        if mandatory is not None:
            self._known([mandatory], "mandatory")
        while True:
            chosen = [
                name for name in between if name == mandatory or self.random.choice((False, True))
            ]
            if chosen:
                return {name: self.random.choice(self._domain(name)) for name in chosen}

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
        for _ in range(100_000):
            chosen = {name: self.random.choice(self._domain(name)) for name in self.inputs}
            setting = self.run_forward(chosen)
            if output_var is not None and setting[output_var] != output_var_value:
                continue
            if mandatory is None or mandatory(setting):
                return chosen
        raise CausaltestError("no input among 100,000 random ones is as asked for")

    def sample_input_tree_balanced(
        self, output_var: str | None = None, output_var_value: Any = None
    ) -> Setting:
        """Return an input that makes every value of an output equally likely, as in a tree."""
        if not self.equiv_classes:
            self.generate_equiv_classes()
        name = output_var or self.random.choice(self.outputs)
        self._known([name], "output_var")
        if output_var_value is None:
            output_var_value = self.random.choice(self._reachable(name))
        wanted: Setting = {}

        def want(variable: str, value: Any) -> None:
            if wanted.get(variable, value) != value:
                raise CausaltestError(
                    f"{variable!r} would need two values at once; the model is no tree, use "
                    "sample_input"
                )
            wanted[variable] = value
            if variable in self.inputs:
                return
            settings = self.equiv_classes[variable][value]
            if not settings:
                raise CausaltestError(f"no setting of its parents gives {variable!r} {value!r}")
            for parent, each in self.random.choice(settings).items():
                want(parent, each)

        want(name, output_var_value)
        rest = {each: self.random.choice(self._domain(each)) for each in self.inputs}
        return {each: wanted.get(each, rest[each]) for each in self.inputs}

    def _reachable(self, name: str) -> list[Any]:
        if name in self.inputs:
            return list(self._domain(name))
        return [value for value, settings in self.equiv_classes[name].items() if settings]

    def get_path_maxlen_filter(self, lengths: Iterable[int]) -> Filter:
        """Return a filter of settings whose longest live path has one of these lengths."""
        wanted = set(lengths)
        return lambda setting: max(self.find_live_paths(self._given(setting)), default=0) in wanted

    def get_partial_filter(self, partial_setting: Mapping[str, Any]) -> Filter:
        """Return a filter of settings that agree with a partial one."""
        self._known(partial_setting, "the partial setting")
        return lambda setting: all(setting[n] == value for n, value in partial_setting.items())

    def get_specific_path_filter(self, start: str, end: str) -> Filter:
        """Return a filter of settings with a live path from one variable to another."""
        self._known([start, end], "the path")

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
        enter, leave = (
            input_function or self.input_to_tensor,
            output_function or self.output_to_tensor,
        )
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
        enter, leave = (
            input_function or self.input_to_tensor,
            output_function or self.output_to_tensor,
        )
        between = [n for n in self.variables if n not in self.inputs and n not in self.outputs]
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
    parts = [
        each.reshape(-1).float() if isinstance(each, Tensor) else torch.tensor([float(each)])
        for each in values
    ]
    return torch.cat(parts)
