"""A causal model as a picture: inputs on the left, outputs on the right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair

    from causaltest.causal_models.model import CausalModel

_STEP = 140
_ROW = 56


def drawn(model: CausalModel, setting: Mapping[str, Any] | None = None) -> altair.LayerChart:
    """Draw the variables of a model and what each is computed from.

    Parameters
    ----------
    model
        The causal model.
    setting
        Values to write below the names.

    Returns
    -------
    altair.LayerChart
        Save it with `chart.save("model.svg")`.

    Examples
    --------
    >>> from causaltest.causal_models import CausalModel
    >>> total = CausalModel({"a": range(9), "b": range(9)}, {"sum": lambda a, b: a + b})
    >>> sorted(point["variable"] for point in drawn(total).layer[1].data.values)
    ['a', 'b', 'sum']
    """
    import altair

    places = _places(model)
    nodes = [
        {"variable": name, "value": str((setting or {}).get(name, "")), "x": x, "y": y}
        for name, (x, y) in places.items()
    ]
    edges: list[dict[str, float]] = []
    for name, (x, y) in places.items():
        starts = [places[parent] for parent in model.parents[name]]
        edges += [{"x": start, "y": height, "x2": x, "y2": y} for start, height in starts]
    shape = {
        "x": altair.X("x:Q", axis=None, scale=altair.Scale(padding=40)),
        "y": altair.Y("y:Q", axis=None, scale=altair.Scale(padding=40)),
    }
    lines = (
        altair.Chart(altair.Data(values=edges))
        .mark_rule(color="#8a8f98", strokeWidth=1.5)
        .encode(**shape, x2="x2:Q", y2="y2:Q")
    )
    points = altair.Chart(altair.Data(values=nodes)).encode(**shape)
    circles = points.mark_circle(size=2200, color="#e8edf4", stroke="#3a5a85", opacity=1)
    names = points.mark_text(fontWeight="bold", color="#1c2733", dy=-5 if setting else 0)
    values = points.mark_text(color="#3a5a85", dy=9)
    layers = [lines, circles, names.encode(text="variable:N"), values.encode(text="value:N")]
    chart = altair.LayerChart(layer=layers).properties(
        width=_STEP * (1 + max(x for x, _ in places.values())),
        height=_ROW * len(model.variables),
    )
    return chart.configure_view(stroke=None)


def _places(model: CausalModel) -> dict[str, tuple[int, float]]:
    """Put each variable one column behind the last of its parents, columns centred."""
    column: dict[str, int] = {}
    for name in model.variables:
        column[name] = 1 + max((column[parent] for parent in model.parents[name]), default=-1)
    last = max(column.values())
    column.update(dict.fromkeys(model.outputs, last))
    places: dict[str, tuple[int, float]] = {}
    for index in range(last + 1):
        members = [name for name, at in column.items() if at == index]
        for row, name in enumerate(members):
            places[name] = (index, (len(members) - 1) / 2 - row)
    return places
