"""Possible values of a variable: some, or any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from causaltest.errors import CausalModelError


class AnyValue(Sequence[Any]):
    """The domain of a variable that takes any value; it holds everything and lists nothing.

    Parameters
    ----------
    name
        The variable.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def _refusal(self) -> CausalModelError:
        return CausalModelError(
            f"{self._name!r} takes any value, so its values cannot be listed or drawn; give it a "
            "domain to choose from"
        )

    def __contains__(self, _value: object) -> bool:
        return True

    def __getitem__(self, _index: Any) -> Any:
        raise self._refusal()

    def __len__(self) -> int:
        raise self._refusal()

    def __repr__(self) -> str:
        return "any value"


def listed_domain(name: str, given: Iterable[Any]) -> tuple[Any, ...]:
    """Return the values that a variable may take.

    Raises
    ------
    CausalModelError
        There is none, or one stands twice.
    """
    domain = tuple(given)
    if len(set(domain)) < len(domain) or not domain:
        what = "is empty" if not domain else "holds a value twice"
        raise CausalModelError(f"the domain of {name!r} {what}")
    return domain
