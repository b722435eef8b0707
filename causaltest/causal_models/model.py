"""CausalModel: a hypothesis about what a network computes, as variables and mechanisms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from causaltest.causal_models.domains import AnyValue, listed_domain
from causaltest.causal_models.structure import check_names, in_order, parents_of
from causaltest.errors import CausalModelError
from causaltest.spelling import did_you_mean, listed

if TYPE_CHECKING:
    import altair

    from causaltest.causal_models.counterfactuals import Counterfactual

Setting: TypeAlias = dict[str, Any]
"""A value for each of some variables."""

MOST_SETTINGS = 200_000
"""How many settings are looked at one by one, at most."""


class CausalModel:
    """Variables with finite domains, each computed from others by a mechanism.

    Parameters
    ----------
    inputs
        Each input variable's domain, its possible values; None where any value may be. Those can
        be run, but not listed or drawn.
    mechanisms
        Each computed variable's function; its parameters are named after the variables it is
        computed from.
    domains
        Possible values of computed variables, which their mechanisms are held to; None for any.
        Those left out are found by running the mechanisms on all values of their parents.
    parents
        What variables are computed from, where the parameters of their mechanisms have other names:
        the values are then passed in this order.

    Raises
    ------
    CausalModelError
        A cycle, an unknown name, an empty domain, or a mechanism that leaves its domain.

    Notes
    -----
    An acyclic structural causal model (Pearl 2009, chapter 7) with interchange interventions as in
    Geiger et al. 2021 (arXiv 2106.02997), definition 2.

    Examples
    --------
    >>> equality = CausalModel(
    ...     inputs={"w": range(3), "x": range(3), "y": range(3), "z": range(3)},
    ...     mechanisms={
    ...         "left": lambda w, x: w == x,
    ...         "right": lambda y, z: y == z,
    ...         "answer": lambda left, right: left == right,
    ...     },
    ... )
    >>> equality.run({"w": 1, "x": 1, "y": 0, "z": 2})["answer"]
    False
    >>> equality.run({"w": 1, "x": 1, "y": 0, "z": 2}, do={"left": False})["answer"]
    True
    """

    def __init__(
        self,
        inputs: Mapping[str, Iterable[Any] | None],
        mechanisms: Mapping[str, Callable[..., Any]],
        *,
        domains: Mapping[str, Iterable[Any] | None] | None = None,
        parents: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._mechanisms = dict(mechanisms)
        check_names(inputs, self._mechanisms, domains or {}, "domains=")
        check_names(inputs, self._mechanisms, parents or {}, "parents=")
        self._by_order = frozenset(parents or ())
        self._parents = parents_of(inputs, self._mechanisms, parents or {})
        self.variables: tuple[str, ...] = tuple(in_order(self._parents))
        self._domains: dict[str, Sequence[Any]] = {}
        for name in self.variables:
            known = inputs if name in inputs else domains or {}
            self._domains[name] = self._read_domain(name, known)

    def __repr__(self) -> str:
        arrows = ", ".join(
            f"{name}({', '.join(self._parents[name])})" for name in self.variables if name in
            self._mechanisms
        )  # fmt: skip
        return f"<CausalModel of {', '.join(self.inputs)}: {arrows}>"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Variables that are given, not computed."""
        return tuple(name for name in self.variables if name not in self._mechanisms)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Computed variables from which nothing else is computed."""
        used = {parent for parents in self._parents.values() for parent in parents}
        return tuple(name for name in self._mechanisms if name not in used)

    @property
    def intermediate(self) -> tuple[str, ...]:
        """Computed variables between inputs and outputs, in the order they are computed."""
        return tuple(
            name for name in self.variables if name in self._mechanisms and name not in self.outputs
        )

    @property
    def parents(self) -> Mapping[str, tuple[str, ...]]:
        """What each variable is computed from; nothing, for inputs."""
        return MappingProxyType(self._parents)

    @property
    def domains(self) -> Mapping[str, Sequence[Any]]:
        """Possible values of each variable."""
        return MappingProxyType(self._domains)

    @property
    def n_inputs(self) -> int:
        """Number of different inputs."""
        return math.prod(len(self._domains[name]) for name in self.inputs)

    def run(self, inputs: Mapping[str, Any], *, do: Mapping[str, Any] | None = None) -> Setting:
        """Compute every variable.

        Parameters
        ----------
        inputs
            A value for each input variable.
        do
            Variables that are set, inputs included, rather than computed.

        Returns
        -------
        dict
            The value of each variable, in the order they are computed.

        Raises
        ------
        CausalModelError
            An input is missing, a variable is unknown, or a value is out of its domain.
        """
        fixed = do or {}
        self._check_setting(inputs, "the input", self.inputs)
        self._check_setting(fixed, "do=", self.variables)
        missing = [name for name in self.inputs if name not in inputs and name not in fixed]
        if missing:
            raise CausalModelError(
                f"the input gives no value to {listed(missing)}\n"
                f"a model of {', '.join(self.inputs)} needs a value for each"
            )
        setting: Setting = {}
        for name in self.variables:
            if name in fixed:
                setting[name] = fixed[name]
            elif name in self._mechanisms:
                setting[name] = self._compute(name, setting)
            else:
                setting[name] = inputs[name]
        return setting

    def interchange(
        self, base: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]
    ) -> Setting:
        """Run an input with some variables at the values they take on other inputs.

        Parameters
        ----------
        base
            The base input.
        sources
            For each variable that is exchanged, the input it takes its value from.

        Returns
        -------
        dict
            The value of each variable.

        Raises
        ------
        CausalModelError
            As for `run`.

        Examples
        --------
        >>> carry = CausalModel({"a": range(10), "b": range(10)}, {"sum": lambda a, b: a + b})
        >>> carry.interchange({"a": 1, "b": 2}, {"a": {"a": 7, "b": 0}})["sum"]
        9
        """
        self.check_known(sources, "the sources")
        taken = {name: self.run(source)[name] for name, source in sources.items()}
        return self.run(base, do=taken)

    def settings(self) -> Iterator[Setting]:
        """Run every possible input, in the order of the domains.

        Raises
        ------
        CausalModelError
            There are too many to look at one by one.
        """
        if self.n_inputs > MOST_SETTINGS:
            raise CausalModelError(
                f"there are {self.n_inputs:,} inputs, too many to look at one by one (at most "
                f"{MOST_SETTINGS:,}); draw a sample"
            )
        values = (self._domains[name] for name in self.inputs)
        for chosen in itertools.product(*values):
            yield self.run(dict(zip(self.inputs, chosen, strict=True)))

    def equivalence_classes(self, variable: str) -> dict[Any, tuple[Setting, ...]]:
        """Group the settings of a variable's parents by the value they give it.

        Raises
        ------
        CausalModelError
            The variable is unknown or an input.
        """
        self.check_known([variable], "the variable")
        if variable not in self._mechanisms:
            raise CausalModelError(f"{variable!r} is an input; it is not computed from anything")
        classes: dict[Any, list[Setting]] = {value: [] for value in self._domains[variable]}
        for setting in self._parent_settings(variable):
            classes[self._compute(variable, setting)].append(setting)
        return {value: tuple(settings) for value, settings in classes.items()}

    def live_paths(
        self, inputs: Mapping[str, Any], *, do: Mapping[str, Any] | None = None
    ) -> tuple[tuple[str, ...], ...]:
        """Find the paths along which a change would be passed on, all else equal.

        Parameters
        ----------
        inputs, do
            As for `run`. A variable that is set passes nothing on from its parents.

        Returns
        -------
        tuple of paths
            Each a tuple of at least two variables; an edge is live where another value of its
            start would change its end. Shorter paths come first.
        """
        setting = self.run(inputs, do=do)
        live = {
            name: [
                child
                for child, parents in self._parents.items()
                if name in parents and child not in (do or {}) and self._live(name, child, setting)
            ]
            for name in self.variables
        }
        paths: list[tuple[str, ...]] = []
        longest = [(name,) for name in self.variables]
        while longest:
            longest = [(*path, child) for path in longest for child in live[path[-1]]]
            paths += longest
        return tuple(paths)

    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        where: Callable[[Setting], bool] | None = None,
        balanced: str | None = None,
    ) -> list[Setting]:
        """Draw inputs.

        Parameters
        ----------
        count
            How many.
        seed
            Same seed, same inputs.
        where
            What the whole setting of an input must fulfil.
        balanced
            A variable whose values shall be equally frequent, to within one.

        Returns
        -------
        list of dict
            Values of the input variables only. The same input may come twice.

        Raises
        ------
        CausalModelError
            No input is as asked for.
        """
        from causaltest.causal_models.sampling import sample

        return sample(self, count, seed=seed, where=where, balanced=balanced)

    def counterfactuals(
        self,
        of: str | Sequence[str],
        count: int,
        *,
        seed: int = 0,
        changing: float = 0.5,
        where: Callable[[Counterfactual], bool] | None = None,
    ) -> list[Counterfactual]:
        """Draw pairs of inputs between which a variable is exchanged, with what then follows.

        Parameters
        ----------
        of
            The variable that is exchanged; of several, each pair exchanges one, all equally often.
        count
            How many pairs, no two alike.
        seed
            Same seed, same pairs.
        changing
            Share of pairs whose output changes under the exchange. A network that ignores the
            exchange is right on the others, so that this share is what can be told apart.
        where
            What a pair must fulfil.

        Returns
        -------
        list of Counterfactual
            In a random order.

        Raises
        ------
        CausalModelError
            A variable is unknown, or there are not that many pairs of a kind.
        """
        from causaltest.causal_models.counterfactuals import draw

        names = (of,) if isinstance(of, str) else tuple(of)
        self.check_known(names, "of=")
        return draw(self, names, count, seed=seed, changing=changing, where=where)

    def draw(self, setting: Mapping[str, Any] | None = None) -> altair.LayerChart:
        """Draw the variables, inputs on the left.

        Parameters
        ----------
        setting
            Values to write below the names.

        Returns
        -------
        altair.LayerChart
            Save it with `chart.save("model.svg")`.
        """
        from causaltest.causal_models.drawing import drawn

        return drawn(self, setting)

    # What follows serves the methods above

    def _read_domain(self, name: str, known: Mapping[str, Iterable[Any] | None]) -> Sequence[Any]:
        if name in known:
            given = known[name]
            return AnyValue(name) if given is None else listed_domain(name, given)
        found: dict[Any, None] = {}
        for setting in self._parent_settings(name):
            found[self._apply(name, setting)] = None
        return tuple(found)

    def _parent_settings(self, name: str) -> Iterator[Setting]:
        parents = self._parents[name]
        many = math.prod(len(self._domains[parent]) for parent in parents)
        if many > MOST_SETTINGS:
            raise CausalModelError(
                f"{name!r} has {many:,} settings of its parents, too many to run one by one; give "
                f"its values in domains={{{name!r}: ...}}"
            )
        for values in itertools.product(*(self._domains[parent] for parent in parents)):
            yield dict(zip(parents, values, strict=True))

    def _apply(self, name: str, setting: Mapping[str, Any]) -> Any:
        values = {each: setting[each] for each in self._parents[name]}
        mechanism = self._mechanisms[name]
        return mechanism(*values.values()) if name in self._by_order else mechanism(**values)

    def _compute(self, name: str, setting: Mapping[str, Any]) -> Any:
        value = self._apply(name, setting)
        if value not in self._domains[name]:
            raise CausalModelError(_outside(name, value, self._domains[name], "its mechanism"))
        return value

    def _live(self, parent: str, child: str, setting: Setting) -> bool:
        now = self._apply(child, setting)
        others = ({**setting, parent: value} for value in self._domains[parent])
        return any(self._apply(child, other) != now for other in others)

    def check_known(self, names: Iterable[str], where: str) -> None:
        """Refuse names of no variable."""
        for name in names:
            if name not in self._parents:
                raise CausalModelError(
                    f"{where} names {name!r}, which is no variable"
                    f"{did_you_mean(str(name), self.variables)}\n"
                    f"variables: {', '.join(self.variables)}"
                )

    def _check_setting(
        self, values: Mapping[str, Any], where: str, allowed: tuple[str, ...]
    ) -> None:
        self.check_known(values, where)
        for name, value in values.items():
            if name not in allowed:
                raise CausalModelError(
                    f"{where} sets {name!r}, which is computed; set it with do={{{name!r}: ...}}"
                )
            if value not in self._domains[name]:
                raise CausalModelError(_outside(name, value, self._domains[name], where))


def _outside(name: str, value: Any, domain: Sequence[Any], whence: str) -> str:
    shown = ", ".join(map(repr, domain[:8])) + (", ..." if len(domain) > 8 else "")
    return f"{whence} gives {name!r} the value {value!r}; it takes {shown}"
