"""Values of any kind, arrays among them, as numbers that can be compared and counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from causaltest.errors import CausalModelError


class Domain:
    """The values that a variable takes, each with its number.

    Parameters
    ----------
    name
        The variable.
    values
        In any order; None where any value may be, which then is its own number.
    """

    def __init__(self, name: str, values: Sequence[Any] | None) -> None:
        self._name = name
        self._values = None if values is None else list(values)

    @property
    def codes(self) -> range | None:
        """The numbers of the values; None where any value may be."""
        return None if self._values is None else range(len(self._values))

    def value(self, code: Any) -> Any:
        """Return the value with a number."""
        return code if self._values is None else self._values[code]

    def code(self, value: Any, whence: str = "the intervention") -> Any:
        """Return the number of a value.

        Parameters
        ----------
        value
            One of the domain, or equal to one.
        whence
            Where it comes from, for the message.

        Raises
        ------
        CausalModelError
            It is none of the domain.
        """
        if self._values is None:
            return value
        for code, each in enumerate(self._values):
            if each is value or _equal(each, value):
                return code
        shown = ", ".join(map(repr, self._values[:8])) + (", ..." if len(self._values) > 8 else "")
        raise CausalModelError(
            f"{whence} gives {self._name!r} the value {value!r}; it takes {shown}"
        )


def _equal(one: Any, other: Any) -> bool:
    """Return whether values are equal; of arrays, in every number."""
    shapes = [tuple(getattr(each, "shape", ())) for each in (one, other)]
    if shapes == [(), ()]:
        return bool(one == other)
    return shapes[0] == shapes[1] and bool((one == other).all())
