"""Array: numbers with a shape inside frozen data, or a tensor that is being trained."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from causaltest.errors import InterventionError

_CODES = {"float32": "f", "float64": "d"}

Data = TypeVar("Data")


class Array:
    """Numbers with a shape: immutable, equal and hashable by content.

    A tensor with `requires_grad` is not copied but referred to, so that it can be trained: such an
    array is equal to itself alone until `frozen()` takes a snapshot of it.

    Parameters
    ----------
    values
        Numbers, nested lists of numbers, a NumPy array, or a torch tensor. Half-precision numbers
        are kept as float32, which is exact; whole numbers as float64.

    Raises
    ------
    InterventionError
        There are no numbers, rows are of unequal length, or a number is not finite.

    Examples
    --------
    >>> Array([[1.0, 2.0, 3.0]]).shape
    (1, 3)
    >>> Array([1, 2]) == Array([1.0, 2.0])
    True
    """

    __slots__ = ("_buffer", "_dtype", "_sha256", "_shape", "_tensor")

    _buffer: memoryview | None
    _dtype: str
    _sha256: str
    _shape: tuple[int, ...]
    _tensor: Any

    def __init__(self, values: Any) -> None:
        self._sha256 = ""
        self._tensor = None
        self._buffer = None
        if getattr(values, "requires_grad", False):
            self._tensor = values
            self._dtype = str(values.dtype).removeprefix("torch.")
            self._shape = tuple(map(int, values.shape))
            _check_finite(values.detach())
        elif hasattr(values, "detach") or hasattr(values, "__array_interface__"):
            self._hold(values)
        else:
            self._shape, listed = _flattened(values)
            self._dtype = "float64"
            self._buffer = memoryview(array("d", listed)).cast("B")
            _check_list(listed)

    def _hold(self, values: Any) -> None:
        """Copy a tensor or a NumPy array."""
        if hasattr(values, "detach"):
            values = values.detach().cpu()
            kind = str(values.dtype).removeprefix("torch.")
            if kind not in _CODES:
                values = values.float() if kind in ("bfloat16", "float16") else values.double()
            values = values.clone().contiguous().numpy()
        kind = str(values.dtype)
        if kind not in _CODES:
            values = values.astype("float32" if kind == "float16" else "float64")
        values = values.copy(order="C")
        if values.size:
            _check_finite(values)
        self._dtype = str(values.dtype)
        self._shape = tuple(map(int, values.shape))
        if 0 in self._shape:
            raise InterventionError(f"an array of shape {self._shape} holds no numbers")
        self._buffer = memoryview(values.reshape(-1)).cast("B")

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each axis."""
        return self._shape

    @property
    def dtype(self) -> str:
        """`float32` or `float64`; for a tensor that is trained, whatever it has."""
        return self._dtype

    @property
    def tensor(self) -> Any:
        """The tensor that is being trained; None where the numbers are fixed."""
        return self._tensor

    @property
    def trainable(self) -> bool:
        """Whether this refers to a tensor that is being trained."""
        return self._tensor is not None

    @property
    def buffer(self) -> memoryview:
        """The fixed numbers as bytes in row-major order; to be read, never to be written."""
        assert self._buffer is not None
        return self._buffer

    @property
    def sha256(self) -> str:
        """Hash of type, shape and fixed numbers."""
        if not self._sha256:
            digest = hashlib.sha256(f"{self._dtype} {self._shape} ".encode())
            digest.update(self.buffer)
            self._sha256 = digest.hexdigest()
        return self._sha256

    def frozen(self) -> Array:
        """Return a snapshot of the numbers as they are now."""
        return Array(self._tensor.detach()) if self.trainable else self

    def norm(self) -> float:
        """Return the Euclidean norm of all numbers."""
        return math.sqrt(math.fsum(value * value for value in self))

    def __iter__(self) -> Iterator[float]:
        """Yield all numbers in row-major order."""
        fixed = self.frozen()
        return iter(array(_CODES[fixed.dtype], fixed.buffer.tobytes()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Array):
            return NotImplemented
        if self.trainable or other.trainable:
            return self._tensor is other._tensor
        return self._shape == other._shape and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return id(self._tensor) if self.trainable else hash(self.sha256)

    def __len__(self) -> int:
        return self._shape[0] if self._shape else 1

    def __repr__(self) -> str:
        shape = "x".join(map(str, self._shape)) or "1"
        what = "trainable" if self.trainable else self.sha256[:8]
        return f"Array({shape}, {self._dtype}, {what})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.trainable:
            return Array, (self._tensor,)
        return _restored, (self._dtype, self._shape, bytes(self.buffer))


def _restored(dtype: str, shape: tuple[int, ...], data: bytes) -> Array:
    """Return an array that was pickled."""
    result = Array(0.0)
    result._dtype, result._shape = dtype, shape  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    result._buffer = memoryview(bytearray(data))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return result


def as_array(values: Any) -> Array:
    """Return numbers as an array; one that is an array already as it is."""
    return values if isinstance(values, Array) else Array(values)


def vector(values: Any, what: str) -> Array:
    """Return one-dimensional numbers.

    Raises
    ------
    InterventionError
        They are not one-dimensional, empty or not finite; `what` says what they were to be.
    """
    return shaped(values, what, 1)


def shaped(values: Any, what: str, axes: int) -> Array:
    """Return numbers with a given number of axes.

    Raises
    ------
    InterventionError
        They have another number of axes, are none, or are not finite.
    """
    try:
        if not isinstance(values, (Array, str)) and not hasattr(values, "shape"):
            values = _lists(values)
        result = as_array(values)
    except InterventionError as error:
        raise InterventionError(f"{what}: {error}") from None
    if len(result.shape) != axes:
        wanted = {0: "one number", 1: "one-dimensional", 2: "two-dimensional"}[axes]
        raise InterventionError(f"{what} must be {wanted}; got shape {result.shape}")
    return result


def _lists(values: Any) -> Any:
    """Return nested iterables as nested lists, with plain numbers in them."""
    if hasattr(values, "tolist"):
        return values.tolist()
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        return values
    return [_lists(each) for each in cast("Iterable[Any]", values)]


def _flattened(values: Any) -> tuple[tuple[int, ...], list[float]]:
    """Return shape and numbers of nested lists."""
    if not isinstance(values, (list, tuple)):
        if isinstance(values, (bool, str, bytes)) or not isinstance(values, (int, float)):
            raise InterventionError(f"expected numbers; got {values!r} ({type(values).__name__})")
        try:
            return (), [float(values)]
        except OverflowError:
            return (), [math.inf]
    parts = [_flattened(each) for each in cast("list[Any]", values)]
    shapes = {shape for shape, _ in parts}
    if not parts:
        raise InterventionError("expected numbers; got none")
    if len(shapes) > 1:
        raise InterventionError(f"rows are of unequal shape: {', '.join(map(str, sorted(shapes)))}")
    return (len(parts), *shapes.pop()), [number for _, each in parts for number in each]


def _check_list(values: list[float]) -> None:
    bad = next((value for value in values if not math.isfinite(value)), None)
    if bad is not None:
        raise InterventionError(f"expected finite numbers; one is {bad}")


def _check_finite(values: Any) -> None:
    """Refuse a tensor or a NumPy array that holds NaN or infinity."""
    # Both have abs and max, and both let NaN through to the maximum.
    largest = float(abs(values).max())
    if not math.isfinite(largest):
        raise InterventionError(f"expected finite numbers; one is {largest}")


def arrays_of(value: object) -> Iterator[Array]:
    """Yield the arrays inside frozen data, in the order of its fields."""
    if isinstance(value, Array):
        yield value
    elif isinstance(value, tuple):
        for each in cast("tuple[object, ...]", value):
            yield from arrays_of(each)
    elif is_dataclass(value) and getattr(value, "holds_arrays", False):
        for each in fields(value):
            if each.init:
                yield from arrays_of(getattr(value, each.name))


def snapshot(value: Data) -> Data:
    """Return frozen data with each trained tensor replaced by its numbers as they are now."""
    if not any(each.trainable for each in arrays_of(value)):
        return value
    if isinstance(value, Array):
        return cast("Data", value.frozen())
    if isinstance(value, tuple):
        return cast("Data", tuple(snapshot(each) for each in cast("tuple[object, ...]", value)))
    assert is_dataclass(value)
    kept = {each.name: snapshot(getattr(value, each.name)) for each in fields(value) if each.init}
    return cast("Data", replace(cast("Any", value), **kept))
