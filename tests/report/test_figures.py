"""Figures: what is drawn stands where the numbers say."""

import re
import xml.etree.ElementTree as ET

import msgspec
import pytest

from causaltest.errors import RecordError
from causaltest.report import figures
from causaltest.report.axes import axis_range, round_numbers
from causaltest.report.drawing import save_figure
from causaltest.report.strip import strip

SVG = "{http://www.w3.org/2000/svg}"


def texts(figure):
    """List the words of a figure."""
    root = ET.fromstring(figure.svg)
    return ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]


def test_scales_never_share_an_axis(sample):
    """Fractions and logits have a figure each, and every measured claim is in one."""
    drawn = figures.forest(sample)
    assert [(f.scale, f.claims) for f in drawn] == [("fraction", 9), ("logits", 2)]
    logits = "Patching the name moves the logits"
    assert any(text.startswith(logits) for text in texts(drawn[1]))
    assert not any(text.startswith(logits) for text in texts(drawn[0]))


def test_figures_speak(sample):
    """A figure is one image with a title and a description, and loads nothing."""
    for figure in [*figures.forest(sample), strip(sample.claims[0].parts[0])]:
        root = ET.fromstring(figure.svg)
        assert root.get("role") == "img"
        assert root.find(f"{SVG}title").text == figure.title
        assert root.find(f"{SVG}desc").text == figure.description
        assert "href" not in figure.svg
        assert "<script" not in figure.svg
        assert "style=" not in figure.svg


def test_the_forest_has_the_numbers_and_verdicts(sample):
    """Estimate, interval and verdict stand beside each row."""
    first, second = figures.forest(sample)
    shown = texts(first) + texts(second)
    for claim in sample.claims:
        if claim.estimate is not None:
            numbers = (claim.estimate, claim.interval.low, claim.interval.high)
            text = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*numbers).replace("-", "−")
            assert text in shown
    assert sorted(t for t in shown if t in ("supported", "refuted", "inconclusive")) == (
        ["inconclusive"] + ["refuted"] * 2 + ["supported"] * 8
    )


def test_a_row_of_the_forest_has_pairs_units_and_p(sample):
    """What stands in the table stands beside the row: pairs, units, and the adjusted p."""
    claim = msgspec.structs.replace(sample.claims[0], p_adjusted=0.0123)
    (drawn,) = figures.forest(msgspec.structs.replace(sample, claims=(claim,)))
    assert {"24 / 12", "0.0123", "pairs / units", "p, adj."} <= set(texts(drawn))


def test_long_sentences_take_two_lines_and_name_their_model(sample):
    """No sentence that two lines can hold is cut; with several models each row says which."""
    sentence = "The head that was found on other pairs brings all of the gender to the last token."
    claims = tuple(
        msgspec.structs.replace(sample.claims[0], id=f"a.py::{i}", claim=sentence, model=model)
        for i, model in enumerate(("small", "large"))
    )
    (both,) = figures.forest(msgspec.structs.replace(sample, claims=claims))
    (alone,) = figures.forest(msgspec.structs.replace(sample, claims=claims[:1]))
    assert " ".join(texts(alone)).count("…") == 0
    lines = [text for text in texts(both) if "token." in text]
    assert sorted(line.rpartition(" ")[2] for line in lines) == ["(large)", "(small)"]
    assert sentence in " ".join(re.findall(r"[^<>]+(?=</t)", alone.svg)).replace("  ", " ")


def test_large_runs_draw_what_is_not_supported_first(sample):
    """With too many claims the figure leaves supported ones out, and says so."""
    drawn = figures.forest(sample, limit=4)
    assert sum(f.claims for f in drawn) == 4
    shown = [t for f in drawn for t in texts(f)]
    assert shown.count("refuted") == 2
    assert shown.count("inconclusive") == 1
    assert "7 supported claims of the run left out" in drawn[0].description


def test_a_run_without_numbers_has_no_figure(sample):
    """Errors alone are no figure."""
    only = tuple(c for c in sample.claims if c.verdict == "error")
    assert figures.forest(msgspec.structs.replace(sample, claims=only)) == []


def dots(figure):
    """Read the places of the dots of a strip."""
    path = next(p for p in ET.fromstring(figure.svg).iter(f"{SVG}path") if p.get("stroke-linecap"))
    return [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)h0", path.get("d"))]


def ticks(figure):
    """Read the axis of a strip: places and their numbers."""
    nodes = [
        n for n in ET.fromstring(figure.svg).iter(f"{SVG}text") if re.fullmatch(r"−?[\d.]+", n.text)
    ]
    return [(float(n.get("x")), float(n.text.replace("−", "-"))) for n in nodes]


def test_dots_stand_at_their_values(sample):
    """The axis of a strip, read off its ticks, gives back each pair's value."""
    part = sample.claims[0].parts[0]
    figure = strip(part)
    (x0, v0), *_, (x1, v1) = ticks(figure)
    read = [v0 + (x - x0) * (v1 - v0) / (x1 - x0) for x, _ in dots(figure)]
    assert read == pytest.approx(list(part.values), abs=0.002)


def test_pairs_of_a_unit_stand_in_one_row(sample):
    """24 pairs of 12 templates make 12 rows of two dots."""
    heights = [y for _, y in dots(strip(sample.claims[0].parts[0]))]
    assert sorted(heights.count(y) for y in set(heights)) == [2] * 12


def test_many_units_are_piled_up(sample):
    """Where each pair is a unit, dots are piled and none is lost or on top of another."""
    part = sample.claims[0].parts[0]
    alone = msgspec.structs.replace(part, units=tuple(str(i) for i in range(24)), n_units=24)
    places = dots(strip(alone))
    assert len(places) == len(set(places)) == 24


def test_pairs_beyond_the_axis_are_counted(sample):
    """Pairs a few ranges away stretch the axis; what lies farther stands at its edge, said so."""
    part = sample.claims[0].parts[0]
    near = msgspec.structs.replace(part, values=(*part.values[:-1], 2.0))
    assert "beyond" not in strip(near).svg
    assert max(x for x, _ in dots(strip(near))) < 640 - 14
    far = msgspec.structs.replace(part, values=(*part.values[:-1], 2000.0))
    assert "1 lies beyond the axis, drawn at its edge" in texts(strip(far))
    assert "1 pair beyond the axis stand at its edge" in strip(far).description


def test_no_values_no_strip(sample):
    """A part without values has no strip."""
    assert strip(msgspec.structs.replace(sample.claims[0].parts[0], values=(), units=())) is None


def test_an_outlier_does_not_squeeze_the_rest():
    """What must be seen keeps at least a third of the axis, whatever a single pair does."""
    low, high = axis_range([0.0, 1.0], [1e9, -1e9])
    assert 1 / (high - low) > 0.3


@pytest.mark.parametrize("ends", [(-0.04, 1.04), (0, 1e-9), (-3e5, 8e5), (0.61, 0.62)])
def test_ticks_are_few_and_inside(ends):
    """There are between two and eight ticks, all inside the axis."""
    found = round_numbers(*ends)
    assert 2 <= len(found) <= 8
    assert all(ends[0] <= tick <= ends[1] for tick in found)


def test_figures_are_saved_in_three_formats(sample, tmp_path):
    """The ending decides; each file begins as its format does."""
    figure = strip(sample.claims[0].parts[0])
    for ending, magic in ((".svg", b"<svg"), (".pdf", b"%PDF"), (".png", b"\x89PNG")):
        save_figure(figure, tmp_path / f"a{ending}")
        assert (tmp_path / f"a{ending}").read_bytes().startswith(magic)
    width = int.from_bytes((tmp_path / "a.png").read_bytes()[16:20], "big")
    assert width == pytest.approx(640 * 300 / 72, abs=2)
    with pytest.raises(RecordError, match=r"names no figure format.*'\.jpg'.*\n.*\.svg, \.pdf"):
        save_figure(figure, tmp_path / "a.jpg")
