"""Figures of claims: what is drawn stands where the numbers say, and can be read without seeing."""

import math
import re
import xml.etree.ElementTree as ET

import msgspec
import pytest

from causaltest.errors import RecordError
from causaltest.records import (
    Axis,
    CircuitGraph,
    CircuitNode,
    ControlStrip,
    DoseCurve,
    EvidencePath,
    Map,
    Shown,
)
from causaltest.report import html
from causaltest.report.circuit_graphs import MOST_EDGES
from causaltest.report.claim_figures import MOST_OF_MANY, claim_figures
from causaltest.report.gallery import drawn, figures_of, save_figures
from causaltest.report.maps import MOST_DRAWN
from causaltest.report.palette import LIGHT

SVG = "{http://www.w3.org/2000/svg}"
MEANS = (0.02, 0.4, -0.9, 0.01, 0.03, 0.8)
MAP = Map(
    "recovery of block_output",
    (Axis("layer", ("0", "1")), Axis("position", ("name", "verb", "end"))),
    MEANS,
    low=tuple(mean - 0.1 for mean in MEANS),
    high=tuple(mean + 0.1 for mean in MEANS),
    p_adjusted=tuple(0.001 if abs(mean) > 0.15 else 0.9 for mean in MEANS),
    margin=0.2,
    named=(5,),
    metric="recovery",
    scale="fraction",
    n_pairs=24,
    n_units=12,
    unit="template",
)
CURVE = DoseCurve(
    "logit_diff of doses",
    (0.0, 1.0, 4.0),
    (0.0, 0.7, 0.5),
    (0.0, 0.6, 0.6),
    (-0.1, 0.5, 0.3),
    (0.1, 0.9, 0.7),
    scale="logits",
    n_pairs=24,
    n_units=24,
)
STRIP = ControlStrip(
    "recovery", "random sites", 0.8, 0.7, 0.9, 0.95, tuple(0.03 * n for n in range(39))
)
PATH = EvidencePath(
    "accuracy", ">", 0.5, 1, (0.1, 0.9, 2.1), (-0.1, -0.4, -9.0), 1.6, 1.9,
    looks=(2, 3), available=12, unit="template",
)  # fmt: skip
SEQUENCE = EvidencePath(
    "logit_diff", "<", -2.0, 50, low=(None, -9.0), high=(-3.0, -4.0), looks=(51,), available=90
)
GRAPH = CircuitGraph(
    (
        CircuitNode(
            "head[0.1]@end", "attention_value_output", 0, 1, "end", member=True, effect=0.4
        ),
        CircuitNode("head[0.2]@end", "attention_value_output", 0, 2, "end"),
        CircuitNode("mlp_output[2]@end", "mlp_output", 2, None, "end", member=True, effect=-0.1),
        CircuitNode("embedding", "embedding"),
    ),
    (("head[0.1]@end", "mlp_output[2]@end", ""), ("mlp_output[2]@end", "logits", "")),
)
EVERYTHING = (MAP, CURVE, STRIP, PATH, SEQUENCE, GRAPH)


def root_of(figure):
    """Parse a figure."""
    return ET.fromstring(figure.svg)


def texts(figure):
    """List the words that are seen."""
    return ["".join(node.itertext()) for node in root_of(figure).iter(f"{SVG}text")]


def titles(figure):
    """List what a pointer on single marks tells."""
    return [n.text for p in root_of(figure).iter(f"{SVG}path") for n in p.findall(f"{SVG}title")]


def with_shown(sample, *shown):
    """Give the first claims of a run something to show."""
    claims = [
        msgspec.structs.replace(claim, shown=each)
        for claim, each in zip(sample.claims, shown, strict=False)
    ]
    return msgspec.structs.replace(sample, claims=(*claims, *sample.claims[len(claims) :]))


@pytest.mark.parametrize("picture", EVERYTHING, ids=lambda each: type(each).__name__)
def test_every_figure_speaks_and_loads_nothing(picture):
    """Title, description, a caption, a table; no script, no style, no reference outwards."""
    figure = drawn(picture)
    root = root_of(figure)
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == figure.title
    assert root.find(f"{SVG}desc").text == figure.description
    assert figure.caption.endswith(".")
    assert len({len(row) for row in figure.numbers.rows} | {len(figure.numbers.heads)}) == 1
    for absent in ("href", "<script", "style=", "NaN", "undefined"):
        assert absent not in figure.svg


def test_each_cell_of_a_map_tells_its_number():
    """The titles have labels, estimate and interval; nothing is rounded to a signed zero."""
    told = titles(drawn(MAP))
    assert len(told) == 6
    assert "layer 0, position verb: +0.400 [+0.300, +0.500], differs from 0" in told
    assert "layer 0, position name: +0.020 [−0.080, +0.120], within ±0.2" in told
    assert "layer 0, position end: −0.900 [−1.000, −0.800], differs from 0" in told


def marks(figure, colour):
    """Count the marks with outlines of a colour."""
    return sum(node.get("stroke") == colour for node in root_of(figure).iter(f"{SVG}path"))


def test_a_map_tells_unknown_from_none():
    """Three cells are outlined, three hatched; with wider limits the same cells are plain."""
    assert marks(drawn(MAP), "#101010") == 3
    assert marks(drawn(MAP), "#4d4d4d") == 3
    vague = msgspec.structs.replace(MAP, high=tuple(mean + 0.5 for mean in MEANS))
    assert marks(drawn(vague), "#4d4d4d") == 0
    assert "hatched: known to lie within ±0.2; neither: unknown" in drawn(MAP).caption
    assert "marked corner: the cells that the claim names" in drawn(MAP).caption


def test_colours_of_a_map_are_symmetric():
    """Opposite effects have colours of opposite ends, 0 the middle one."""
    even = msgspec.structs.replace(MAP, estimates=(-0.5, 0.0, 0.5, 0.5, 0.0, -0.5))
    cells = [
        node
        for node in root_of(drawn(even)).iter(f"{SVG}path")
        if node.find(f"{SVG}title") is not None
    ]
    fills = {round(even.estimates[i], 1): cells[i].get("fill") for i in range(6)}
    assert fills[-0.5] == "rgb(33, 102, 172)"
    assert fills[0.5] == "rgb(179, 88, 6)"
    assert fills[0.0] == "rgb(247, 247, 247)"


def test_the_table_of_a_map_begins_with_its_strongest_cell():
    """Rows go by the size of the effect, with limits and family-wise p."""
    numbers = drawn(MAP).numbers
    assert numbers.heads == (
        "layer", "position", "estimate", "simultaneous interval", "p, family-wise",
    )  # fmt: skip
    assert numbers.rows[0] == ("0", "end", "−0.900", "[−1.000, −0.800]", "0.0010")
    assert [row[:2] for row in numbers.rows[:3]] == [("0", "end"), ("1", "end"), ("0", "verb")]


def test_maps_of_estimates_mark_what_is_exact():
    """Gradient estimates are told from exact cells, and nothing is said of differences."""
    guessed = msgspec.structs.replace(MAP, low=(), high=(), p_adjusted=(), exact=(1, 2), remark="r")
    figure = drawn(guessed)
    assert figure.caption == "24 pairs, 12 templates; gradient estimates, dashed: exact (r)."
    dashed = [n for n in root_of(figure).iter(f"{SVG}path") if n.get("stroke-dasharray") == "3,2"]
    assert len(dashed) == 2


def test_four_axes_are_too_many():
    """The message names the axes and what to do."""
    axes = tuple(Axis(name, ("0", "1")) for name in "abcd")
    with pytest.raises(RecordError, match=r"at most three axes, this map has 4 \(a, b, c, d\)\.\n"):
        drawn(msgspec.structs.replace(MAP, axes=axes, estimates=(0.0,) * 16, low=(), high=(),
                                      p_adjusted=()))  # fmt: skip


def test_labels_of_cells_cannot_break_out():
    """Labels are text, whatever is in them, and hidden characters are spelled out."""
    axes = (Axis("layer", ("<script>alert(1)</script>", '"\x00')), MAP.axes[1])
    figure = drawn(msgspec.structs.replace(MAP, axes=axes, subject="</svg><b>"))
    assert "<script" not in figure.svg
    assert any("<script>alert(1)</script>" in told for told in titles(figure))
    assert root_of(figure).find(f"{SVG}title").text == "Map of </svg><b>"


def test_a_curve_that_falls_says_so():
    """The dots of the doses are told, the band and the best rising curve are drawn."""
    figure = drawn(CURVE)
    assert titles(figure) == ["dose 0: 0.000", "dose 1: +0.700", "dose 4: +0.500"]
    assert figure.numbers.rows[2] == ("4", "+0.500", "[+0.300, +0.700]")
    assert "where dots leave it, the curve falls" in figure.caption
    assert any(n.get("stroke-dasharray") == "5,4" for n in root_of(figure).iter(f"{SVG}path"))


def test_every_control_is_a_dot():
    """39 dots and the effect; those that reach it are counted."""
    figure = drawn(STRIP)
    assert len(titles(figure)) == 40
    assert "the effect: +0.800 [+0.700, +0.900]" in titles(figure)
    reach = sum(control >= 0.8 for control in STRIP.controls)
    assert f"{reach} of them reach the effect" in figure.caption
    assert len(figure.numbers.rows) == 40


def test_e_values_stand_at_their_looks():
    """The table has the looks; both thresholds are named where they differ."""
    figure = drawn(PATH)
    assert figure.numbers.rows == (("2", "7.94", "0.398"), ("3", "126", "1e-09"))
    assert "decided at 40 (supported) or 79 (refuted)" in figure.caption
    assert {"supported", "refuted", "for the claim", "against it"} <= set(texts(figure))
    one = drawn(msgspec.structs.replace(PATH, refuted_at=1.6))
    assert "decided at the dotted line at 40, which is 1 / α" in one.caption
    assert "1 / α" in texts(one)


def test_a_confidence_sequence_shows_its_bound():
    """Without e-values the limits are drawn, infinite ones left out."""
    figure = drawn(SEQUENCE)
    assert "51 of 90 pairs" in figure.caption
    assert figure.numbers.rows == (("51", "[−9.000, −4.000]"),)


def test_a_circuit_stands_by_depth():
    """Members are named; what is deeper stands higher; the logits stand above all."""
    figure = drawn(GRAPH)
    assert {"0.1", "m2"} <= set(texts(figure))
    assert "0.2" not in texts(figure)
    assert "layer" in texts(figure)
    names = {node.text: node for node in root_of(figure).iter(f"{SVG}text")}
    height = {
        name: float(re.search(r",([\d.]+)\)", names[name].get("transform"))[1])
        for name in ("0.1", "m2", "logits")
    }
    assert height["logits"] < height["m2"] < height["0.1"]


def test_edges_of_a_circuit_are_arrows(sample):
    """Each edge is drawn and listed once; the caption says that they are named and not tested."""
    figure = drawn(GRAPH)
    assert {"head[0.1]@end to mlp_output[2]@end", "mlp_output[2]@end to logits"} <= set(
        titles(figure)
    )
    assert figure.numbers.heads == ("member", "adds", "reads")
    assert figure.numbers.rows == (
        ("head[0.1]@end", "+0.400", ""),
        ("mlp_output[2]@end", "−0.100", "head[0.1]@end"),
        ("logits", "", "mlp_output[2]@end"),
    )
    assert "Arrows: the 2 edges that the circuit names" in figure.caption
    assert "it tests the members, not the arrows" in figure.caption
    assert "Arrows from head[0.1]@end to mlp_output[2]@end" in figure.description


def test_a_set_of_components_has_no_arrows():
    """Where the circuit names no edges, none are drawn and the caption says so."""
    silent = drawn(msgspec.structs.replace(GRAPH, edges=()))
    assert not [title for title in titles(silent) if " to " in title]
    assert "logits" not in texts(silent)
    assert silent.numbers.heads == ("member", "adds")
    assert "names no edges: nothing is said of who reads whom" in silent.caption


def test_queries_keys_and_values_are_told_apart():
    """Edges of one sender and receiver are one arrow, and the table says what reads."""
    ends = ("head[0.1]@end", "mlp_output[2]@end")
    edges = ((*ends, "q"), (*ends, "v"), ("input", ends[0], ""))
    figure = drawn(msgspec.structs.replace(GRAPH, edges=edges))
    assert [row[-1] for row in figure.numbers.rows] == ["input", "head[0.1]@end (queries, values)"]
    assert sum(" to " in title for title in titles(figure)) == 2
    assert "input" in texts(figure)


def test_only_some_of_very_many_edges_are_drawn():
    """Beyond a number arrows would hide what they join; the caption says how many are drawn."""
    nodes = tuple(
        CircuitNode(f"h{layer}.{head}", "attention_value_output", layer, head, member=True)
        for layer in range(2) for head in range(24)
    )  # fmt: skip
    edges = tuple((a.name, b.name, "") for a in nodes[:24] for b in nodes[24:])
    figure = drawn(CircuitGraph(nodes, edges))
    assert sum(" to " in title for title in titles(figure)) == MOST_EDGES
    assert "the 576 edges that the circuit names" in figure.caption
    assert f"the first {MOST_EDGES} of them drawn" in figure.caption


def test_a_circuit_of_a_large_model_is_readable():
    """Thirty members among 288 heads: each has a place of its own."""
    nodes = tuple(
        CircuitNode(f"h[{layer}.{head}]", "attention_value_output", layer, head,
                    member=(5 * layer + head) % 10 == 0)
        for layer in range(24) for head in range(12)
    )  # fmt: skip
    figure = drawn(CircuitGraph(nodes))
    members = [f"{node.layer}.{node.head}" for node in nodes if node.member]
    assert len(members) >= 24
    placed = {
        node.text: node.get("transform")
        for node in root_of(figure).iter(f"{SVG}text")
        if node.text in members and node.get("fill") == LIGHT["paper"]
    }
    assert sorted(placed) == sorted(members)
    assert len(set(placed.values())) == len(members)


def test_claims_that_are_not_supported_are_drawn_first(sample):
    """With many claims few figures are drawn; the rest say where to get them."""
    maps = [msgspec.structs.replace(MAP, subject=f"sweep {i}") for i in range(MOST_OF_MANY + 4)]
    claims = [
        msgspec.structs.replace(
            sample.claims[0 if i % 2 else 5], id=f"a.py::test_{i}", shown=Shown(maps=(each,))
        )
        for i, each in enumerate(maps)
    ]
    assert {claims[0].verdict, claims[1].verdict} == {"refuted", "supported"}
    empty = msgspec.structs.replace(sample.claims[0], shown=None)
    many = claims + [msgspec.structs.replace(empty, id=f"b.py::{i}") for i in range(200)]
    found = claim_figures(many, 10**7)
    shown = [claim for claim in claims if "<svg" in found.html[claim.id]]
    assert len(shown) == MOST_OF_MANY
    assert all("<svg" in found.html[c.id] for c in claims if c.verdict == "refuted")
    assert "4 figures of claims are left out. `causaltest report" in found.note
    hidden = next(claim for claim in claims if claim not in shown)
    assert "left out, to keep this page small" in found.html[hidden.id]
    assert claim_figures(claims, 10**7).note == ""


def test_figures_give_way_from_the_last(sample):
    """Made to take less, figures of supported claims go first; what is left out is counted."""
    claims = [
        msgspec.structs.replace(
            sample.claims[place],
            id=f"a.py::test_{index}",
            shown=Shown(maps=(msgspec.structs.replace(MAP, subject=f"sweep {index}"),)),
        )
        for index, place in enumerate((0, 5, 0))
    ]
    whole = claim_figures(claims, 10**7)
    assert whole.within(whole.size) == whole
    fewer = whole.within(whole.size // 2)
    assert fewer.size <= whole.size // 2
    drawn_still = [name for name, each in fewer.html.items() if "<svg" in each]
    assert drawn_still == ["a.py::test_1"]
    assert fewer.note.startswith("2 figures of claims are left out. `causaltest report")
    assert not any("<svg" in each for each in whole.within(0).html.values())


def test_figures_keep_within_their_bytes(sample):
    """Whatever is left over does not grow the page."""
    claims = [
        msgspec.structs.replace(
            sample.claims[0],
            id=f"a.py::test_{i}",
            shown=Shown(maps=(msgspec.structs.replace(MAP, subject=f"sweep {i}"),)),
        )
        for i in range(5)
    ]
    whole = claim_figures(claims, 10**7)
    tight = claim_figures(claims, whole.size // 2)
    assert tight.size < whole.size * 0.6
    assert "figures of claims are left out" in tight.note


def test_a_map_too_large_for_a_page_says_so(sample):
    """Its numbers are on record; the page says how to draw it."""
    side = math.isqrt(MOST_DRAWN) + 1
    axes = tuple(Axis(name, tuple(map(str, range(side)))) for name in ("layer", "position"))
    large = Map("sweep", axes, (0.1,) * side**2)
    claim = msgspec.structs.replace(sample.claims[0], shown=Shown(maps=(large,)))
    html = claim_figures([claim], 10**7).html[claim.id]
    assert f"a map of {side**2:,} cells, too many for this page" in html


def test_ids_on_a_page_are_unique(sample):
    """The same figure under two claims has ids of its own each time."""
    both = [msgspec.structs.replace(claim, shown=Shown(maps=(MAP,))) for claim in sample.claims[:2]]
    page = "".join(claim_figures(both, 10**7).html.values())
    ids = re.findall(r' id="([^"]*)"', page)
    assert ids
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)


def test_every_figure_of_a_run_has_a_name(sample):
    """Names are those of tests and kinds, each once."""
    run = with_shown(sample, Shown((MAP,), (CURVE,), (STRIP,), (PATH,), (GRAPH,)), Shown((MAP,)))
    names = [name for name, _ in figures_of(run)]
    assert len(set(names)) == len(names)
    first = "the-name-decides-the-pronoun"
    kinds = ("pairs", "map", "doses", "controls", "evidence", "circuit")
    assert {f"{first}-{kind}" for kind in kinds} <= set(names)
    assert {"forest-fraction", "forest-logits"} <= set(names)


def test_figures_are_files_in_three_formats(sample, tmp_path):
    """One file for each figure, on paper's white."""
    few = with_shown(msgspec.structs.replace(sample, claims=sample.claims[:1]), Shown((MAP,)))
    for form, magic in (("svg", b"<svg"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        paths = save_figures(few, tmp_path / form, form)
        assert [path.stem for path in paths] == [name for name, _ in figures_of(few)]
        assert all(path.read_bytes().startswith(magic) for path in paths)
    assert 'fill="#ffffff"' in (tmp_path / "svg" / "forest-fraction.svg").read_text()
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"file cannot be made: .*\nChoose another folder"):
        save_figures(few, tmp_path / "file", "svg")


def test_a_page_full_of_figures_keeps_within_its_bytes(sample):
    """Where the briefest cards leave no room for their figures, figures are what gives way."""
    claims = tuple(
        msgspec.structs.replace(
            sample.claims[index % 8],
            id=f"a.py::test_{index}",
            shown=Shown(maps=(MAP,)),
            notes=(f"what is told of claim {index} " * 20,),
        )
        for index in range(60)
    )
    results = msgspec.structs.replace(sample, claims=claims)
    bare = msgspec.structs.replace(
        sample, claims=tuple(msgspec.structs.replace(each, shown=None) for each in claims)
    )
    # What the briefest cards need without figures, and a tenth.
    budget = int(1.1 * len(html.render(bare, budget=1).encode()))
    page = html.render(results, budget=budget)
    assert len(page.encode()) <= budget
    assert "figures of claims are left out" in page
