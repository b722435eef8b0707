"""A circuit among the components that were considered, by depth."""

from __future__ import annotations

import json
from typing import Any

from causaltest.records import CircuitGraph, CircuitNode
from causaltest.report import numbers
from causaltest.report.circuit_edges import COLUMN, ROW, Place, arrows
from causaltest.report.drawing import Figure, Numbers, figure_of, number, rows_of
from causaltest.report.palette import LIGHT
from causaltest.report.text import cut, visible

_MOST = 600
"""Components up to which those outside the circuit are drawn, too."""
_ALONE = (34, 46)
"""Pixels between neighbouring components, where nothing joins them."""
MOST_EDGES = 400
"""Edges that are drawn; beyond, arrows hide what they join."""
INPUT, LOGITS = "input", "logits"
_LAST = "other"
_CHANNELS = {"q": ["queries"], "k": ["keys"], "v": ["values"]}


def circuit_figure(graph: CircuitGraph) -> Figure:
    """Draw a circuit, the first layer at the bottom.

    Parameters
    ----------
    graph
        The components that were considered, and which of them are members.
    """
    members = [node for node in graph.nodes if node.member]
    among = numbers.plural(len(graph.nodes), "component")
    listed = ", ".join(_short(node) for node in members[:30])
    more = f" and {len(members) - 30} more" if len(members) > 30 else ""
    which = "member" if len(members) == 1 else f"{len(members)} members"
    title = f"A circuit of {len(members)} among {among}"
    caption = (
        f"Filled: the {which}. Hollow: the other components considered, which were "
        "ablated or are compared with. Circles are heads, squares MLPs, diamonds anything else; "
        f"depth grows upwards. {_said_of_edges(graph)}"
    )
    return figure_of(
        _chart(graph),
        title,
        f"Members: {listed}{more}.{_joined(graph)}",
        caption=caption,
        numbers=_table(graph),
    )


def _joined(graph: CircuitGraph) -> str:
    """List the first edges, for those who cannot see the arrows."""
    listed = [f"{visible(a)} to {visible(b)}" for a, b, _ in graph.edges]
    told = "; ".join(dict.fromkeys(listed[:10]))
    more = f"; and {len(listed) - 10} more" if len(listed) > 10 else ""
    return f" Arrows from {told}{more}." if told else ""


def _said_of_edges(graph: CircuitGraph) -> str:
    """Say what the arrows are, and that no claim about components tests them."""
    count = len(graph.edges)
    if not count:
        return (
            "The circuit is a set of components and names no edges: nothing is said of who reads "
            "whom."
        )
    drawn = f", the first {MOST_EDGES} of them drawn" if count > MOST_EDGES else ""
    return (
        f"Arrows: the {numbers.plural(count, 'edge')} that the circuit names, from who writes to "
        f"who reads{drawn}. The claim ablates components: it tests the members, not the arrows."
    )


def _short(node: CircuitNode) -> str:
    """Name a component in a few characters."""
    if node.layer is None:
        return cut(visible(node.name), 18)
    if node.head is not None:
        return f"{node.layer}.{node.head}"
    kinds = {"mlp": "m", "attention": "a"}
    found = (letter for word, letter in kinds.items() if word in node.component)
    return f"{next(found, 'b')}{node.layer}"


def _row(node: CircuitNode) -> str:
    if node.layer is not None:
        return str(node.layer)
    return INPUT if "embedding" in node.component else _LAST


def _shape(node: CircuitNode) -> str:
    if node.head is not None:
        return "circle"
    return "square" if node.component.startswith("mlp") else "diamond"


def _column(node: CircuitNode) -> tuple[str, int, str, int]:
    """Order the components of a layer: by position, then heads before the rest."""
    rank = 0 if node.head is not None else 2 if node.component.startswith("mlp") else 1
    return node.position, rank, node.component, -1 if node.head is None else node.head


def _places(graph: CircuitGraph, nodes: list[CircuitNode]) -> tuple[dict[str, Place], list[str]]:
    """Place components in columns and rows, the first row at the bottom; give the rows' names."""
    columns = {key: index for index, key in enumerate(sorted({_column(each) for each in nodes}))}
    found = {_row(each) for each in nodes}
    ends = {end for edge in graph.edges for end in edge[:2]}
    layers = sorted({each.layer for each in nodes if each.layer is not None})
    bottom = [INPUT] * (INPUT in found or INPUT in ends)
    top = [_LAST] * (_LAST in found) + [LOGITS] * (LOGITS in ends)
    rows = [*bottom, *map(str, layers), *top]
    loose = {_LAST: 0, INPUT: 0}
    places: dict[str, Place] = {}
    for each in nodes:
        row = _row(each)
        column = columns[_column(each)]
        if row in loose:
            column = loose[row]
            loose[row] += 1
        places[each.name] = (column, rows.index(row))
    widest = max(column for column, _ in places.values())
    for end in ends & {INPUT, LOGITS}:
        beside = loose.get(end, 0)
        places[end] = (beside or widest / 2, rows.index(end))
    return places, rows


def _chart(graph: CircuitGraph) -> Any:
    import altair

    nodes = [n for n in graph.nodes if n.member or len(graph.nodes) <= _MOST]
    places, rows = _places(graph, nodes)
    columns = 1 + max(column for column, _ in places.values())
    column, row = (COLUMN, ROW) if graph.edges else _ALONE
    held = {_row(node) for node in nodes}
    labels = [name if name in held else "" for name in rows]
    x = altair.X(
        "column:Q", axis=None, scale=altair.Scale(domain=[-0.7, columns - 0.3], nice=False)
    )
    axis = altair.Axis(
        grid=True,
        domain=False,
        ticks=False,
        values=list(range(len(rows))),
        labelExpr=f"{json.dumps(labels)}[datum.value]",
    )
    y = altair.Y(
        "row:Q",
        title="layer",
        axis=axis,
        scale=altair.Scale(domain=[-0.5, len(rows) - 0.5], nice=False),
    )
    layers = [
        *_lines(graph, places, x, y),
        *_ends(places, x, y, named={node.name for node in nodes}),
        *_marks(nodes, places, x, y),
    ]
    drawn = altair.layer(*layers)
    return drawn.properties(width=max(180, column * columns), height=row * len(rows))


def _lines(graph: CircuitGraph, places: dict[str, Place], x: Any, y: Any) -> list[Any]:
    """Draw the edges, each as a curve with a head."""
    import altair

    found = arrows((edge[:2] for edge in graph.edges[:MOST_EDGES]), places)
    if not found:
        return []
    points = [
        {"edge": number, "step": step, "column": column, "row": row}
        for number, each in enumerate(found)
        for step, (column, row) in enumerate(each.course)
    ]
    heads = [
        {"column": each.course[-1][0], "row": each.course[-1][1], "angle": each.angle}
        | {"told": visible(f"{each.sender} to {each.receiver}")}
        for each in found
    ]
    lines = altair.Chart(altair.Data(values=points)).mark_line(
        stroke=LIGHT["dot"], strokeWidth=1.2, opacity=1
    )
    tips = altair.Chart(altair.Data(values=heads)).mark_point(
        shape="triangle", filled=True, size=44, color=LIGHT["dot"], opacity=1, aria=True
    )
    return [
        lines.encode(x=x, y=y, detail="edge:N", order="step:Q"),
        tips.encode(x=x, y=y, angle=altair.Angle("angle:Q", scale=None), description="told:N"),
    ]


def _ends(places: dict[str, Place], x: Any, y: Any, *, named: set[str]) -> list[Any]:
    """Name the input and the logits, where edges lead there."""
    import altair

    rows = [
        {"column": places[end][0], "row": places[end][1], "end": end}
        for end in (INPUT, LOGITS)
        if end in places and end not in named
    ]
    if not rows:
        return []
    words = altair.Chart(altair.Data(values=rows)).mark_text(color=LIGHT["text"], fontSize=11)
    return [words.encode(x=x, y=y, text="end:N")]


def _marks(nodes: list[CircuitNode], places: dict[str, Place], x: Any, y: Any) -> list[Any]:
    """Draw the components."""
    import altair

    rows: list[dict[str, Any]] = []
    for node in nodes:
        column, row = places[node.name]
        told = visible(node.name)
        if node.effect is not None:
            told += f": {numbers.typeset(number(node.effect))}"
        rows.append(
            {"column": column, "row": row, "shape": _shape(node), "member": node.member}
            | {"told": told, "name": _short(node), "position": cut(visible(node.position), 14)}
        )
    shape = altair.Shape("shape:N", scale=None)
    base = altair.Chart(altair.Data(values=rows)).encode(x=x, y=y, description="told:N")
    members = base.transform_filter("datum.member")
    marks: list[Any] = [
        base.transform_filter("!datum.member")
        .mark_point(size=110, stroke=LIGHT["control"], strokeWidth=1, opacity=1, aria=True)
        .encode(shape=shape),
        members.mark_point(filled=True, size=560, color=LIGHT["link"], opacity=1, aria=True).encode(
            shape=shape
        ),
        members.transform_filter("length(datum.name) < 5")
        .mark_text(color=LIGHT["paper"], fontSize=10)
        .encode(text="name:N"),
        members.transform_filter("length(datum.name) == 5")
        .mark_text(color=LIGHT["paper"], fontSize=8)
        .encode(text="name:N"),
        # Names that a node has no room for stand beside it.
        members.transform_filter("length(datum.name) > 5")
        .mark_text(color=LIGHT["text"], fontSize=10, align="left", dx=16)
        .encode(text="name:N"),
    ]
    if len({node.position for node in nodes}) > 1:
        marks.append(
            members.mark_text(color=LIGHT["muted"], fontSize=9, dy=19).encode(text="position:N")
        )
    return marks


def _table(graph: CircuitGraph) -> Numbers:
    """List the members, what each adds, and what each reads, as far as the circuit says so."""
    members = [node for node in graph.nodes if node.member]
    measured = any(node.effect is not None for node in members)
    heads = ["member"] + (["adds"] if measured else []) + (["reads"] if graph.edges else [])
    rows: list[list[str]] = []
    for node in members:
        row = [visible(node.name)]
        if measured:
            row.append("" if node.effect is None else numbers.typeset(number(node.effect)))
        rows.append(row + _read_by(node.name, graph))
    if any(edge[1] == LOGITS for edge in graph.edges):
        rows.append([LOGITS] + [""] * measured + _read_by(LOGITS, graph))
    return rows_of(heads, rows)


def _read_by(name: str, graph: CircuitGraph) -> list[str]:
    """Say what a component reads, where the circuit names edges at all."""
    if not graph.edges:
        return []
    by: dict[str, list[str]] = {}
    for sender, receiver, channel in graph.edges:
        if receiver == name:
            by.setdefault(sender, []).extend(_CHANNELS.get(channel, ()))
    told = [
        f"{visible(each)} ({', '.join(how)})" if how else visible(each) for each, how in by.items()
    ]
    return ["; ".join(told)]
