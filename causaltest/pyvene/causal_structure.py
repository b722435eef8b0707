"""Variables, what they are computed from, and how they are run, intervened on and traced."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from causaltest.errors import CausaltestError
from causaltest.spelling import did_you_mean

Setting = dict[str, Any]


class Structure:
    """Variables with finite domains, each computed from its parents; see `CausalModel`."""

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

    @property
    def between(self) -> list[str]:
        """Variables that are neither inputs nor outputs."""
        return [n for n in self.variables if n not in self.inputs and n not in self.outputs]

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
            self.known(table, what)
        for name in self.variables:
            self.known(self.parents[name], f"the parents of {name!r}")

    def known(self, names: Iterable[str], where: str) -> None:
        """Refuse a variable that does not exist."""
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
        self.known(fixed, "the intervention")
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
        self.known(source_interventions, "source_interventions")
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
        self.known(parents, f"the parents of {variable!r}")
        self.known(children, f"the children of {variable!r}")
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
            found: dict[Any, list[Setting]] = {value: [] for value in self.domain(name)}
            for given in itertools.product(*(self.domain(each) for each in self.parents[name])):
                value = self.functions[name](*given)
                self._check_value(name, value, "its function")
                found[value].append(dict(zip(self.parents[name], given, strict=True)))
            self.equiv_classes[name] = found

    def domain(self, name: str) -> Sequence[Any]:
        """Return the values that a variable takes, or refuse where any value may be."""
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
        return any(value(other) != now for other in self.domain(parent))
