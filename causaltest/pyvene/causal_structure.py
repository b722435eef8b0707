"""Variables as pyvene declares them, run by causaltest's own causal model."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from causaltest.causal_models import CausalModel as Native
from causaltest.errors import CausalModelError
from causaltest.pyvene.domains import Domain
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
        self.equiv_classes: dict[str, dict[Any, list[Setting]]] = {
            name: dict(each) for name, each in (equiv_classes or {}).items()
        }

    def _settle(self) -> None:
        """Check names and order, and find children, inputs, outputs and times."""
        self._check_names()
        self._domains = {name: Domain(name, self.values[name]) for name in self.variables}
        self.children: dict[str, list[str]] = {
            name: [each for each in self.variables if name in self.parents[each]]
            for name in self.variables
        }
        self.inputs = [name for name in self.variables if not self.parents[name]]
        self.outputs = [name for name in self.variables if not self.children[name]]
        computed = [name for name in self.variables if self.parents[name]]
        self.native = Native(
            {name: self._domains[name].codes for name in self.inputs},
            {name: self._mechanism(name) for name in computed},
            domains={name: self._domains[name].codes for name in computed},
            parents={name: self.parents[name] for name in computed},
        )
        self._settle_times()
        place = {name: index for index, name in enumerate(self.native.variables)}
        self.variables.sort(key=lambda name: (self.timesteps[name], place[name]))
        self.run_forward()

    def _settle_times(self) -> None:
        depth: dict[str, int] = {}
        for name in self.native.variables:
            depth[name] = 1 + max((depth[each] for each in self.parents[name]), default=-1)
        last = max(depth.values())
        times = {name: last if name in self.outputs else depth[name] for name in depth}
        self.timesteps = times if self._given_times is None else self._given_times
        self.end_time = max(self.timesteps.values())
        for name in self.variables:
            for parent in self.parents[name]:
                if self.timesteps[parent] >= self.timesteps[name]:
                    raise CausalModelError(
                        f"{parent!r} is a parent of {name!r}, but its time is "
                        f"{self.timesteps[parent]} and not before {self.timesteps[name]}"
                    )

    def _mechanism(self, name: str) -> Callable[..., Any]:
        """Return a variable's function, of numbers of values and to such a number."""

        def compute(*codes: Any) -> Any:
            given = zip(self.parents[name], codes, strict=True)
            values = [self._domains[parent].value(code) for parent, code in given]
            return self._domains[name].code(self.functions[name](*values), "its function")

        return compute

    @property
    def between(self) -> list[str]:
        """Variables that are neither inputs nor outputs."""
        return [n for n in self.variables if n not in self.inputs and n not in self.outputs]

    def _check_names(self) -> None:
        if len(set(self.variables)) < len(self.variables):
            twice = next(each for each in self.variables if self.variables.count(each) > 1)
            raise CausalModelError(f"variable {twice!r} is named twice")
        tables: dict[str, Mapping[str, Any]] = {
            "values": self.values, "parents": self.parents, "functions": self.functions,
        }  # fmt: skip
        if self._given_times is not None:
            tables["timesteps"] = self._given_times
        for what, table in tables.items():
            for name in self.variables:
                if name not in table:
                    raise CausalModelError(f"variable {name!r} has no entry in {what}")
            self.known(table, what)
        for name in self.variables:
            self.known(self.parents[name], f"the parents of {name!r}")

    def known(self, names: Iterable[str], where: str) -> None:
        """Refuse a variable that does not exist."""
        for name in names:
            if name not in self.variables:
                raise CausalModelError(
                    f"unknown variable {name!r} in {where}{did_you_mean(str(name), self.variables)}"
                    f"\nvariables: {', '.join(self.variables)}"
                )

    def _split(self, setting: Mapping[str, Any]) -> tuple[Setting, Setting]:
        """Return a setting as numbers: of every input, by default if need be, and of the others."""
        self.known(setting, "the intervention")
        given = {name: self._domains[name].code(each) for name, each in setting.items()}
        inputs = {
            name: given[name]
            if name in given
            else self._domains[name].code(self.functions[name](), "its function")
            for name in self.inputs
        }
        return inputs, {name: each for name, each in given.items() if name not in inputs}

    def _values(self, codes: Mapping[str, Any]) -> Setting:
        known = [name for name in self.variables if name in codes]
        return {name: self._domains[name].value(codes[name]) for name in known}

    def run_forward(self, intervention: Mapping[str, Any] | None = None) -> Setting:
        """Return the value of every variable.

        Parameters
        ----------
        intervention
            Values that are set rather than computed.

        Raises
        ------
        CausalModelError
            An unknown variable, or a value out of its domain.
        """
        inputs, others = self._split(intervention or {})
        return self._values(self.native.run(inputs, do=others))

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
        taken = {
            name: self.run_forward(source)[name] for name, source in source_interventions.items()
        }
        return self.run_forward({**input, **taken})

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
            raise CausalModelError(f"variable {variable!r} is there already")
        self.known(parents, f"the parents of {variable!r}")
        self.known(children, f"the children of {variable!r}")
        kept = dict(vars(self))
        times = self._given_times
        if times is not None and timestep is not None:
            self._given_times = {**times, variable: timestep}
        self.variables = [*self.variables, variable]
        self.values = {**self.values, variable: values}
        self.functions = {**self.functions, variable: function}
        more = {child: [*self.parents[child], variable] for child in children}
        self.parents = {**self.parents, **more, variable: list(parents)}
        try:
            self._settle()
        except (CausalModelError, TypeError):
            vars(self).update(kept)
            raise

    def generate_equiv_classes(self) -> None:
        """Find, for each computed variable, the settings of its parents that give each value."""
        for name in self.variables:
            if name not in self.inputs and name not in self.equiv_classes:
                self.equiv_classes[name] = {
                    self._domains[name].value(code): [self._values(each) for each in settings]
                    for code, settings in self.native.equivalence_classes(name).items()
                }

    def find_live_paths(self, intervention: Mapping[str, Any]) -> dict[int, list[list[str]]]:
        """Return the paths along which a change is passed on, by their length.

        An edge is live where some other value of its start would change its end, all else equal.
        """
        inputs, others = self._split(intervention)
        paths: dict[int, list[list[str]]] = {}
        for path in self.native.live_paths(inputs, do=others):
            paths.setdefault(len(path), []).append(list(path))
        return paths

    def print_structure(self) -> Any:
        """Return a picture of the variables, to be shown or saved; see `causaltest.CausalModel`."""
        return self.native.draw()

    def print_setting(self, total_setting: Mapping[str, Any]) -> Any:
        """Return the picture with the values of a setting."""
        self.known(total_setting, "the setting")
        return self.native.draw(total_setting)

    def domain(self, name: str) -> Sequence[Any]:
        """Return the values that a variable takes, or refuse where any value may be."""
        return [self._domains[name].value(code) for code in self.native.domains[name]]
