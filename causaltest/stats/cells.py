"""Cells of a sweep: named by the labels of their axes, and who chose them on which data."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import MetricError
from causaltest.spelling import did_you_mean
from causaltest.stats.splits import check_unseen

Label = Hashable
Axes = Mapping[str, Sequence[Label]]


@dataclass(frozen=True)
class Cells:
    """Some cells of a sweep, in the order of the grid.

    Cells that were chosen by their effects remember the units they were chosen on: no claim
    about them can be judged on these units again.

    Examples
    --------
    >>> Cells(("layer", "pos"), ((3, "name"), (4, "name")))
    <2 cells: layer=3 pos='name', layer=4 pos='name'>
    """

    axes: tuple[str, ...]
    labels: tuple[tuple[Label, ...], ...]
    chosen_on: frozenset[str] = frozenset()
    """Units whose values the choice rests on; empty for cells named beforehand."""
    unit: str = ""
    chosen_by: str = ""
    pairs: frozenset[str] = frozenset()
    """Ids of the pairs whose values the choice rests on."""

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Label, ...]]:
        return iter(self.labels)

    def __contains__(self, cell: object) -> bool:
        return (cell if isinstance(cell, tuple) else (cell,)) in self.labels

    def __repr__(self) -> str:
        shown = ", ".join(self.name(each) for each in self.labels[:4])
        more = f", ... and {len(self) - 4} more" if len(self) > 4 else ""
        count = f"{len(self)} cell{'s' if len(self) != 1 else ''}"
        return f"<{count}: {shown}{more}>" if shown else f"<{count}>"

    def name(self, cell: tuple[Label, ...]) -> str:
        """Write one cell: `layer=3 pos='name'`."""
        return cell_name(self.axes, cell)


def labels_at(
    axes: Mapping[str, tuple[Label, ...]], flat: Iterable[int]
) -> tuple[tuple[Label, ...], ...]:
    """Return the labels of cells by their flat indices.

    Examples
    --------
    >>> labels_at({"layer": (3, 4), "pos": ("name", "end")}, [1, 2])
    ((3, 'end'), (4, 'name'))
    """
    shape = tuple(len(labels) for labels in axes.values())
    places = (np.unravel_index(int(each), shape) for each in flat)
    return tuple(
        tuple(labels[i] for labels, i in zip(axes.values(), place, strict=True)) for place in places
    )


def cell_name(axes: Iterable[str], cell: Iterable[Label]) -> str:
    """Write one cell: `layer=3 pos='name'`."""
    return " ".join(f"{axis}={label!r}" for axis, label in zip(axes, cell, strict=True))


def check_axes(axes: Axes, shape: tuple[int, ...], subject: str) -> dict[str, tuple[Label, ...]]:
    """Check that labels are unique and fit the array.

    Raises
    ------
    MetricError
        If an axis has another length than its labels, or a label occurs twice.
    """
    checked = {name: tuple(labels) for name, labels in axes.items()}
    lengths = tuple(len(labels) for labels in checked.values())
    if lengths != shape:
        written = ", ".join(f"{name}: {len(labels)}" for name, labels in checked.items())
        raise MetricError(
            f"{subject}: the axes have {written or 'no'} labels, but each pair has values of "
            f"shape {shape}\nexpected values of shape (pairs, {', '.join(map(str, lengths))})"
        )
    for name, labels in checked.items():
        if len(set(labels)) < len(labels):
            twice = next(label for i, label in enumerate(labels) if label in labels[:i])
            raise MetricError(f"{subject}: axis {name!r} has the label {twice!r} twice")
    return checked


def select(
    axes: Mapping[str, tuple[Label, ...]], chosen: object, named: Mapping[str, object]
) -> NDArray[np.intp]:
    """Find the flat indices of cells, sorted.

    Parameters
    ----------
    axes
        Labels by axis.
    chosen
        `Cells`, a mapping from axis to labels, cells as tuples of labels, or None.
    named
        Labels by axis, one or several each; axes not named are taken whole.

    Raises
    ------
    MetricError
        If an axis, a label or a cell does not exist, or none is left.
    """
    if chosen is not None and named:
        raise MetricError("name cells either as one argument or by axis, not both")
    if chosen is None or isinstance(chosen, Mapping):
        picked = cast("Mapping[str, object]", chosen or named)
        found = list(itertools.product(*_by_axis(axes, picked)))
    else:
        found = [_one(axes, each) for each in _iterated(axes, chosen)]
    if not found:
        raise MetricError("no cell is named; give at least one")
    shape = tuple(len(labels) for labels in axes.values())
    flat = np.ravel_multi_index(tuple(np.array(found).T), shape) if shape else np.zeros(1, np.intp)
    return np.unique(flat).astype(np.intp)


def refuse_seen(
    chosen: object, units: Iterable[str], unit: str, pair_ids: Iterable[str] = ()
) -> None:
    """Refuse to judge chosen cells on the units they were chosen on.

    Raises
    ------
    EvidenceError
        If a unit was seen by the choice; or a pair, where pairs now make other units.
    """
    if isinstance(chosen, Cells):
        count = f"{len(chosen)} cell{'s' if len(chosen) != 1 else ''}"
        what = f"{count} chosen by {chosen.chosen_by}"
        check_unseen(chosen.chosen_on, units, what=what, unit=unit)
        if chosen.unit != unit:
            check_unseen(chosen.pairs, pair_ids, what=what, unit="pair")


def _by_axis(
    axes: Mapping[str, tuple[Label, ...]], picked: Mapping[str, object]
) -> list[list[int]]:
    for name in picked:
        if name not in axes:
            known = ", ".join(axes) or "none"
            raise MetricError(
                f"the sweep has no axis {name!r} (it has {known}){did_you_mean(name, axes)}"
            )
    return [
        list(range(len(labels)))
        if name not in picked
        else [_index(name, labels, each) for each in _several(labels, picked[name])]
        for name, labels in axes.items()
    ]


def _several(labels: tuple[Label, ...], given: object) -> list[object]:
    """Take a label as one label, even where it is a tuple; anything else as several."""
    if isinstance(given, Hashable) and given in labels:
        return [given]
    if isinstance(given, (list, tuple, range, set, frozenset)):
        return list(cast("Iterable[object]", given))
    return [given]


def _index(axis: str, labels: tuple[Label, ...], label: object) -> int:
    if label in labels:
        return labels.index(cast("Label", label))
    shown = ", ".join(repr(each) for each in labels[:6]) + (", ..." if len(labels) > 6 else "")
    near = did_you_mean(str(label), [each for each in labels if isinstance(each, str)])
    raise MetricError(f"axis {axis!r} has no label {label!r} (it has {shown}){near}")


def _iterated(axes: Mapping[str, tuple[Label, ...]], chosen: object) -> Iterable[object]:
    if isinstance(chosen, Cells) and chosen.axes != tuple(axes):
        raise MetricError(
            f"these cells have the axes {', '.join(chosen.axes)}, the sweep has {', '.join(axes)}"
        )
    if isinstance(chosen, tuple) and len(axes) > 1 and not isinstance(chosen[:1], Cells):
        parts = cast("tuple[object, ...]", chosen)
        if parts and not any(isinstance(part, tuple) for part in parts):
            return [parts]
    if isinstance(chosen, str) or not isinstance(chosen, Iterable):
        return [chosen]
    return cast("Iterable[object]", chosen)


def _one(axes: Mapping[str, tuple[Label, ...]], cell: object) -> tuple[int, ...]:
    parts = cast("tuple[object, ...]", cell if isinstance(cell, tuple) else (cell,))
    if len(parts) != len(axes):
        raise MetricError(
            f"a cell of this sweep has {len(axes)} labels ({', '.join(axes)}), got {cell!r}"
        )
    return tuple(
        _index(name, labels, part) for (name, labels), part in zip(axes.items(), parts, strict=True)
    )
