"""The courses of claims over the runs of a suite."""

import re
import xml.etree.ElementTree as ET

import msgspec
import pytest
from click.testing import CliRunner

from causaltest import records
from causaltest.baseline import keep
from causaltest.baseline import write as write_baseline
from causaltest.cli import main
from causaltest.records import Interval, history
from causaltest.report import html
from causaltest.report.drift import MOST, Past, drift_figures

SVG = "{http://www.w3.org/2000/svg}"
ESTIMATES = (0.8, 0.82, 0.4)


def runs(sample, estimates=ESTIMATES, changed=2):
    """Make a run of the sample's first claim for each estimate; the test changes in one of them."""
    made = []
    for index, estimate in enumerate(estimates):
        claim = msgspec.structs.replace(
            sample.claims[0],
            estimate=estimate,
            interval=Interval(estimate - 0.1, estimate + 0.1, 0.95),
            verdict="supported" if estimate > 0.5 else "refuted",
            source="new" if index >= changed else "old",
        )
        run = msgspec.structs.replace(sample.run, started=f"2026-01-{index + 1:02d}T09:00:00")
        made.append(msgspec.structs.replace(sample, claims=(claim,), run=run))
    return made


def past_of(made, **more):
    """Make the history of runs."""
    return Past(history.History(tuple(history.past(each) for each in made)), **more)


def test_each_run_stands_at_its_estimate(sample):
    """Runs go from old to new; verdicts differ in shape, and what changed is named."""
    made = runs(sample)
    (figure,), left_out = drift_figures(past_of(made), made[-1].claims)
    assert left_out == ""
    assert [row[0] for row in figure.numbers.rows] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert [row[2] for row in figure.numbers.rows] == ["+0.800", "+0.820", "+0.400"]
    assert [row[5] for row in figure.numbers.rows] == ["", "", "test"]
    assert "so that it is not quite the same" in figure.caption
    root = ET.fromstring(figure.svg)
    points = [n for n in root.iter(f"{SVG}path") if n.find(f"{SVG}title") is not None]
    assert [p.find(f"{SVG}title").text.split(": ")[1] for p in points] == [
        "+0.800, supported", "+0.820, supported", "+0.400, refuted",
    ]  # fmt: skip
    places = [re.search(r"\(([\d.]+),([\d.]+)\)", p.get("transform")).groups() for p in points]
    (x1, y1), (x2, y2), (x3, y3) = (tuple(map(float, place)) for place in places)
    assert x2 - x1 == pytest.approx(x3 - x2)
    # Heights go as the estimates do.
    assert (y3 - y1) / (y2 - y1) == pytest.approx((0.4 - 0.8) / (0.82 - 0.8), rel=0.02)
    assert points[0].get("d") != points[2].get("d")


def test_one_run_is_no_course(sample):
    """A claim that was seen once has nothing to compare with."""
    made = runs(sample, (0.8,))
    assert drift_figures(past_of(made), made[-1].claims) == ([], "")
    assert "Over the runs" not in html.render(made[-1], past=past_of(made))
    assert "Over the runs" not in html.render(made[-1])


def test_claims_that_moved_most_come_first(sample):
    """Of many claims the page shows a dozen, and says so."""
    steady, moved = runs(sample, (0.8, 0.8)), runs(sample, (0.8, 0.2))
    both = []
    for one, other in zip(steady, moved, strict=True):
        claims = [
            msgspec.structs.replace((one if i else other).claims[0], id=f"a.py::test_{i}")
            for i in range(MOST + 2)
        ]
        both.append(msgspec.structs.replace(one, claims=tuple(reversed(claims))))
    drawn, left_out = drift_figures(past_of(both), both[-1].claims)
    assert len(drawn) == MOST
    assert drawn[0].numbers.rows[-1][2] == "+0.200"
    assert left_out.startswith(f"The {MOST} claims that moved most are shown, of {MOST + 2}")


def test_the_command_shows_history_and_baseline(sample, tmp_path):
    """The band of the baseline is drawn, and asked for only with a history."""
    made = runs(sample)
    for each in made:
        history.append(history.past(each), tmp_path / "history.jsonl")
    records.write(made[-1], tmp_path / "results.json")
    write_baseline(keep(made[0]), tmp_path / "baseline.json")
    given = ["report", tmp_path / "results.json"]
    known = ["--history", tmp_path / "history.jsonl", "--baseline", tmp_path / "baseline.json"]
    done = CliRunner().invoke(main, list(map(str, [*given, *known])))
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Over the runs" in page
    assert "estimate, less and more what matters." in page
    refused = CliRunner().invoke(main, list(map(str, [*given, *known[2:]])))
    assert refused.exit_code == 2
    assert "--baseline marks the runs of a history: give it" in refused.output


def test_runs_are_counted_in_whole_numbers(sample):
    """Ticks are runs, and the name of the claim is told once."""
    made = runs(sample, (0.8, 0.4))
    (figure,), _ = drift_figures(past_of(made), made[-1].claims)
    shown = ["".join(node.itertext()) for node in ET.fromstring(figure.svg).iter(f"{SVG}text")]
    assert {"1", "2"} <= set(shown)
    assert not {"1.5", "2.5"} & set(shown)
    assert figure.caption.startswith("Estimates and intervals of 2 runs")
    assert sample.claims[0].claim in figure.title
