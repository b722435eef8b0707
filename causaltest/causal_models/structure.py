"""What is computed from what in a causal model, and in which order."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from causaltest.errors import CausalModelError
from causaltest.spelling import did_you_mean, listed

Parents = dict[str, tuple[str, ...]]
Mechanisms = Mapping[str, Callable[..., Any]]


def check_names(
    inputs: Iterable[str], mechanisms: Mechanisms, given: Iterable[str], where: str
) -> None:
    """Refuse a model without inputs or mechanisms, and a table of other variables.

    Raises
    ------
    CausalModelError
        With the names.
    """
    inputs = list(inputs)
    if not inputs or not mechanisms:
        raise CausalModelError(
            f"a causal model needs inputs and mechanisms; got {len(inputs)} and {len(mechanisms)}"
        )
    twice = sorted(set(inputs) & set(mechanisms))
    if twice:
        raise CausalModelError(f"{listed(twice)} cannot be input and computed at once")
    for name in given:
        if name not in mechanisms:
            what = "an input" if name in inputs else "no variable of the model"
            raise CausalModelError(
                f"{where} names {name!r}, which is {what}{did_you_mean(name, mechanisms)}"
            )


def parents_of(
    inputs: Iterable[str], mechanisms: Mechanisms, given: Mapping[str, Sequence[str]]
) -> Parents:
    """Return what each variable is computed from: as is given, or by names of parameters.

    Raises
    ------
    CausalModelError
        A mechanism takes other things than variables, or none.
    """
    found: Parents = dict.fromkeys(inputs, ())
    known = [*found, *mechanisms]
    for name, mechanism in mechanisms.items():
        if not callable(mechanism):
            raise CausalModelError(
                f"the mechanism of {name!r} is {mechanism!r}; expected a function of variables"
            )
        if name in given:
            found[name] = _in_given_order(name, mechanism, given[name], known)
        else:
            found[name] = _by_name(name, mechanism, known)
    return found


def _by_name(name: str, mechanism: Callable[..., Any], known: list[str]) -> tuple[str, ...]:
    parents: list[str] = []
    for parameter in inspect.signature(mechanism).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise CausalModelError(
                f"the mechanism of {name!r} takes {parameter}; name each variable it uses"
            )
        if parameter.name in known:
            parents.append(parameter.name)
        elif parameter.default is parameter.empty:
            raise CausalModelError(
                f"the mechanism of {name!r} takes {parameter.name!r}, which is no variable"
                f"{did_you_mean(parameter.name, known)}\nvariables: {', '.join(known)}"
            )
    if not parents:
        raise CausalModelError(
            f"the mechanism of {name!r} takes no variable; a constant explains nothing"
        )
    return tuple(parents)


def _in_given_order(
    name: str, mechanism: Callable[..., Any], given: Sequence[str], known: list[str]
) -> tuple[str, ...]:
    for parent in given:
        if parent not in known:
            raise CausalModelError(
                f"parents= computes {name!r} from {parent!r}, which is no variable"
                f"{did_you_mean(parent, known)}\nvariables: {', '.join(known)}"
            )
    if not given:
        raise CausalModelError(f"parents= computes {name!r} from nothing; make it an input")
    try:
        inspect.signature(mechanism).bind(*given)
    except TypeError as error:
        raise CausalModelError(
            f"the mechanism of {name!r} does not take the values of {listed(given)}: {error}"
        ) from error
    except ValueError:  # a builtin that tells no signature
        pass
    return tuple(given)


def in_order(parents: Parents) -> Iterator[str]:
    """Give the variables so that each comes after its parents.

    Raises
    ------
    CausalModelError
        There is a cycle.
    """
    left = dict.fromkeys(parents)
    done: set[str] = set()
    while left:
        ready = [name for name in left if done.issuperset(parents[name])]
        if not ready:
            raise CausalModelError(
                f"the variables {', '.join(left)} form a cycle, or follow from one"
            )
        for name in ready:
            del left[name]
            yield name
        done.update(ready)
