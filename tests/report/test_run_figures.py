"""Figures of a whole run: its p-values together, and hypotheses of several specifications."""

import random
import re
import xml.etree.ElementTree as ET

import msgspec
import pytest

from causaltest.records import ControlStrip, Interval, Shown, Specification
from causaltest.report import html
from causaltest.report.health import health_figure, too_few
from causaltest.report.reasons import what_would_change
from causaltest.report.specifications import specification_figures
from causaltest.report.strip import strip

SVG = "{http://www.w3.org/2000/svg}"


def with_p_values(sample, values):
    """Make a run of claims with these p-values of support."""
    claims = tuple(
        msgspec.structs.replace(sample.claims[0], id=f"a.py::test_{i}", p_support=p)
        for i, p in enumerate(values)
    )
    return msgspec.structs.replace(sample, claims=claims)


def specified(sample, *, registered="mean", logits=0):
    """Make a run of one hypothesis under four ablations, the last `logits` of them in logits."""
    claims = []
    for index, name in enumerate(("zero", "mean", "noise", "swap")):
        scale = "logits" if index >= 4 - logits else "fraction"
        part = msgspec.structs.replace(sample.claims[0].parts[0], scale=scale)
        claims.append(
            msgspec.structs.replace(
                sample.claims[0 if index else 5],
                id=f"a.py::test_a[{name}]",
                file="a.py",
                parts=(part,),
                deciding=0,
                estimate=[0.1, 0.9, 0.6, 0.7][index],
                specification=Specification(
                    "a.py::test_a", {"ablation": name, "metric": "m"}, name == registered
                ),
            )
        )
    return msgspec.structs.replace(sample, claims=tuple(claims))


def test_few_p_values_are_no_figure(sample):
    """Below twenty the report says why."""
    few = with_p_values(sample, [0.5] * 19)
    assert health_figure(few) is None
    assert too_few(few).startswith("The run has 19 p-values; their distribution is drawn from 20")
    assert "The run has 19 p-values" in html.render(few)


def bars(figure):
    """Read the heights of a histogram by what their titles say."""
    found = re.findall(r"<title>([\d,]+) claims? from ([\d.]+)</title>", figure.svg)
    return {float(start): int(count) for count, start in found}


def test_the_histogram_counts_every_p_value(sample):
    """Bars of a twentieth each; exploratory claims and errors have no part in them."""
    values = [0.0, 0.049, 0.05, 0.5, 1.0] * 5
    run = with_p_values(sample, values)
    odd = msgspec.structs.replace(run.claims[0], id="b", verdict="exploratory")
    figure = health_figure(msgspec.structs.replace(run, claims=(*run.claims, odd)))
    heights = {start: count for start, count in bars(figure).items() if count}
    assert heights == {0.0: 10, 0.05: 5, 0.5: 5, 0.95: 5}
    assert too_few(run) == ""
    assert "A pile at 0 (10 below 0.05; 1.25 by chance alone)" in figure.caption


def test_dots_and_band_stand_where_uniform_p_values_put_them(sample):
    """Dots stand at (i - 1/2) / n; the band reaches 1.358 / sqrt(n) from the diagonal."""
    rng = random.Random(1)
    values = sorted(rng.random() for _ in range(100))
    root = ET.fromstring(health_figure(with_p_values(sample, values)).svg)
    dots = [
        tuple(map(float, re.search(r"\(([\d.]+),([\d.]+)\)", node.get("transform")).groups()))
        for node in root.iter(f"{SVG}path")
        if node.get("fill") == "#0b5cad"
    ]
    read = [(x / 230, 1 - y / 190) for x, y in dots]
    assert [x for x, _ in read] == pytest.approx([(i + 0.5) / 100 for i in range(100)], abs=1e-3)
    assert [p for _, p in read] == pytest.approx(values, abs=1e-3)
    (band,) = (n.get("d") for n in root.iter(f"{SVG}path") if n.get("fill") == "#dcdcd6")
    points = [tuple(map(float, each)) for each in re.findall(r"([\d.]+),([\d.]+)", band)]
    ends = [1 - y / 190 for x, y in points if x == 0]
    assert max(ends) == pytest.approx(0.1358, abs=1e-3)


def with_placebos(sample, values):
    """Give the second claim of a run controls with these p-values."""
    strip = ControlStrip("effect", "random sites", 1.0, 0.8, 1.2, 0.95, (0.1,) * len(values))
    shown = Shown(controls=(msgspec.structs.replace(strip, placebo_p=tuple(values)),))
    claims = list(sample.claims)
    claims[1] = msgspec.structs.replace(claims[1], shown=shown)
    return msgspec.structs.replace(sample, claims=tuple(claims))


def test_placebos_are_drawn_beside_the_claims(sample):
    """A histogram and dots of their own, without the band that needs independent values."""
    rng = random.Random(2)
    claims, placebos = [rng.random() for _ in range(40)], [0.01] * 30 + [0.5] * 5 + [0.99] * 4
    figure = health_figure(with_placebos(with_p_values(sample, claims), placebos))
    found = re.findall(r"<title>([\d,]+) placebos? from ([\d.]+)</title>", figure.svg)
    heights = {float(start): int(count) for count, start in found if count != "0"}
    assert heights == {0.0: 30, 0.5: 5, 0.95: 4}
    assert sum(bars(figure).values()) == 40
    assert figure.svg.count('fill="#dcdcd6"') == 1
    root = ET.fromstring(figure.svg)
    dots = [node for node in root.iter(f"{SVG}path") if node.get("fill") == "#0b5cad"]
    assert len(dots) == 40 + 39
    assert "(30 below 0.05 and 4 above 0.95; 1.95 each by chance alone)" in figure.caption
    assert figure.numbers.heads == ("p", "claims", "placebos")
    assert figure.numbers.rows[0][2] == "30"


def test_placebos_are_drawn_where_claims_are_few(sample):
    """One claim with 39 controls has placebos enough; why its p-values are missing is said."""
    few = with_placebos(with_p_values(sample, [0.5] * 3), [i / 40 for i in range(1, 40)])
    figure = health_figure(few)
    assert figure.numbers.heads == ("p", "placebos")
    assert figure.caption.endswith("The run has 3 p-values; their distribution is drawn from 20 on,"
                                   " since that of fewer shows nothing but chance.")  # fmt: skip
    assert "for the claims" not in figure.caption
    assert "39 p-values of placebos, of which nothing is claimed" in html.render(few)


def test_specifications_are_sorted_and_the_registered_one_is_marked(sample):
    """Rows go by effect; the share in the claimed region and the registered one are said."""
    (figure,) = specification_figures(specified(sample))
    assert [row[0] for row in figure.numbers.rows] == ["zero", "noise", "swap", "mean"]
    assert figure.numbers.heads[:2] == ("ablation", "metric")
    assert figure.numbers.rows[-1][-1] == "supported, registered"
    assert figure.numbers.rows[0][-1] == "refuted"
    assert "3 of 4 estimates (75\N{NO-BREAK SPACE}%) lie where the claim is true" in figure.caption
    assert "The registered specification is ringed" in figure.caption
    root = ET.fromstring(figure.svg)
    names = ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]
    assert {"ablation: mean", "ablation: zero", "metric: m"} <= set(names)


def test_scales_of_specifications_never_share_an_axis(sample):
    """What is counted in logits has a curve of its own, without the registered one here."""
    drawn = specification_figures(specified(sample, logits=2))
    assert [figure.claims for figure in drawn] == [2, 2]
    assert {figure.scale for figure in drawn} == {"fraction", "logits"}
    assert "None of them is the registered one" in drawn[1].caption


def test_one_specification_is_no_curve(sample):
    """Neither is a run whose tests name none."""
    one = specified(sample)
    assert specification_figures(msgspec.structs.replace(one, claims=one.claims[:1])) == []
    assert specification_figures(sample) == []
    assert "otherwise specified" not in html.render(sample)
    assert "otherwise specified" in html.render(one)


def test_a_strip_shows_where_a_new_unit_would_lie(sample):
    """The prediction interval stands under the estimate, wider than the interval of the mean."""
    part = sample.claims[0].parts[0]
    assert "a new template" not in strip(part).svg
    sizes = msgspec.structs.replace(part.sizes, prediction=Interval(0.5, 1.1, 0.95))
    figure = strip(msgspec.structs.replace(part, sizes=sizes))
    assert ">a new template</text>" in figure.svg
    assert "The mean of a new template would lie in [+0.500, +1.100]." in figure.description
    line = r'd="M([\d.]+) [\d.]+H([\d.]+)" stroke='
    dashed = re.search(line + '"#5a5f66" stroke-dasharray', figure.svg)
    thick = re.search(line + '"[^"]*" stroke-width="4"', figure.svg)
    new, mean = (tuple(map(float, found.groups())) for found in (dashed, thick))
    assert new[0] < mean[0] < mean[1] < new[1]


@pytest.mark.parametrize(
    "relation, bound, told",
    [
        # 1.96 standard errors are 0.196; 80 % power takes 1.96 + 0.84 of them beyond the bound.
        (">", 0.4, "An effect of 0.68 or more would be supported"),
        ("<", 0.6, "An effect of 0.32 or less would be supported"),
        # Both bounds at once: 1.96 + 1.28 standard errors.
        ("within", 0.6, "An effect of 0 would be shown to lie within ±0.32"),
    ],
)
def test_the_smallest_effect_that_would_show_is_told(sample, relation, bound, told):
    """Inconclusive claims say what as many pairs can show."""
    part = msgspec.structs.replace(
        sample.claims[4].parts[0],
        relation=relation,
        bound=bound,
        estimate=0.5,
        adjusted_interval=Interval(0.304, 0.696, 0.95),
    )
    assert told in what_would_change(part)
