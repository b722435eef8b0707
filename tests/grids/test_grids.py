"""Grids as tables, pictures and files say what the numbers are, and what is not known."""

from __future__ import annotations

import csv
import json
import re
import sys

import numpy as np
import pytest

from causaltest.errors import EvidenceError, RecordError
from causaltest.grids import EstimatedGrid, SweepGrid
from causaltest.stats import Grid

AXES = {"layer": range(3), "pos": ["name", "end"]}


def values(shape=(3, 2), n=30):
    """Noise with one strong cell, the second layer's at the end."""
    made = np.random.default_rng(0).normal(0.0, 0.1, (n, *shape))
    made[(slice(None), 1, -1)] += 1.0
    return made


def grid_of(given=None, axes=AXES, kind=SweepGrid, **more):
    """Return a grid of thirty pairs, each its own unit."""
    given = values() if given is None else given
    names = [f"pair {i:02d}" for i in range(len(given))]
    facts = {"subject": "recovery of a sweep", "metric": "recovery", "counted_in": "fraction"}
    return kind(given, axes=axes, units=names, pair_ids=names, **{**facts, **more})


def drawn(grid, **given):
    """Return the data of a picture, by cell."""
    spec = grid.plot(**given).to_dict()
    text = json.dumps(spec)
    rows = spec.get("data", {}).get("values") or next(iter(spec.get("datasets", {}).values()))
    return {(row.get("panel"), row["down"], row["across"]): row for row in rows}, text


def test_a_table_marks_what_differs():
    """Estimates stand under their labels, with a star where they differ from 0."""
    lines = grid_of().table().splitlines()
    assert lines[0].split() == ["layer", "\\", "pos", "name", "end"]
    mean = values().mean(axis=0)
    assert lines[2].split() == ["1", f"{mean[1, 0]:.2f}", f"{mean[1, 1]:.2f}*"]
    assert sum(line.count("*") for line in lines[:-1]) == 1
    assert lines[-1] == "* differs from 0, all 6 cells considered, at level 0.05"


def test_a_table_says_when_it_cannot_tell():
    """Three units are too few for any star."""
    assert "too few pairs to tell" in grid_of(values()[:3]).table()


def test_three_axes_are_blocks():
    """Each label of the first axis has a table of its own."""
    axes = {"component": ["a", "b"], **AXES}
    text = grid_of(values((2, 3, 2)), axes).table()
    assert text.count("layer \\ pos") == 2
    assert "component=b" in text


def test_rows_by_cell_and_by_pair():
    """Data frames hold what the grid holds."""
    grid = grid_of(scale=np.full(30, 2.0))
    cells = grid.to_pandas()
    assert list(cells["layer"]) == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(cells["estimate"], grid.estimate.ravel())
    np.testing.assert_allclose(cells["low"], grid.significant().lower.ravel())
    assert list(cells["significant"]) == [False, False, False, True, False, False]
    pairs = grid.to_pandas(pairs=True)
    assert len(pairs) == 30 * 6
    one = pairs[(pairs["pair"] == "pair 07") & (pairs["layer"] == 1) & (pairs["pos"] == "end")]
    assert float(one["value"].iloc[0]) == grid.values[7, 1, 1]
    assert float(one["scale"].iloc[0]) == 2.0


def test_pandas_is_asked_for_where_it_is_missing(monkeypatch):
    """The message names the package and what does without."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        grid_of().to_pandas()


def test_a_picture_outlines_what_differs_and_hatches_what_is_small():
    """One cell differs, the others are known to be small."""
    rows, text = drawn(grid_of(), known_small=0.2)
    outlined = {place for place, row in rows.items() if row["significant"]}
    hatched = {place for place, row in rows.items() if row["small"]}
    assert outlined == {(None, "1", "end")}
    assert hatched == set(rows) - outlined
    assert "known to lie within \\u00b10.2" in text
    assert '"recovery (fraction)"' in text


def test_a_picture_without_evidence_has_no_outline():
    """Too few units: nothing is outlined, and the picture says so."""
    rows, text = drawn(grid_of(values()[:3]))
    assert not any(row["significant"] for row in rows.values())
    assert "too few pairs to tell which cells differ" in text


def test_three_axes_are_panels_and_four_are_too_many():
    """The axis before the last two becomes panels; a fourth is refused."""
    rows, _ = drawn(grid_of(values((2, 3, 2)), {"component": ["a", "b"], **AXES}))
    assert {place[0] for place in rows} == {"a", "b"}
    axes = {"component": ["a", "b"], "layer": range(3), "head": range(2), "pos": ["name", "end"]}
    four = grid_of(np.zeros((30, 2, 3, 2, 2)), axes)
    with pytest.raises(EvidenceError, match="a picture has at most three axes, this map has 4"):
        four.plot()


@pytest.mark.parametrize(
    "ending, start",
    [(".png", b"\x89PNG"), (".svg", b"<svg"), (".pdf", b"%PDF"), (".html", b"<!DOCTYPE html>")],
)
def test_pictures_are_saved(tmp_path, ending, start):
    """The ending decides the format; a page needs no network."""
    path = grid_of().save(tmp_path / f"map{ending}")
    content = path.read_bytes()
    assert content.lstrip().startswith(start)
    assert b"cdn.jsdelivr" not in content[:20_000]


def test_a_saved_grid_is_read_again(tmp_path):
    """JSON keeps all numbers and labels, tuples included; claims on it are the same."""
    axes = {"cell": [("a", 1), ("b", 2), "c"], "pos": ["name", "end"]}
    grid = grid_of(scale=np.linspace(1, 2, 30), axes=axes, floor=1e-6)
    again = SweepGrid.load(grid.save(tmp_path / "map.json"))
    assert again.axes == grid.axes
    np.testing.assert_array_equal(again.values, grid.values)
    cell = {"cell": [("b", 2)], "pos": "end"}
    assert again.mean_over(cell).estimate == grid.mean_over(cell).estimate
    assert (again.unit, again.metric, again.floor) == (grid.unit, grid.metric, grid.floor)


def test_an_estimated_grid_stays_one(tmp_path):
    """What is only estimated cannot be claimed after reading, either."""
    exact = np.zeros((3, 2), dtype=bool)
    exact[1, 1] = True
    grid = grid_of(kind=EstimatedGrid, estimates=values() + 0.1, exact=exact)
    again = SweepGrid.load(grid.save(tmp_path / "map.json"))
    assert isinstance(again, EstimatedGrid)
    assert again.mean_over(layer=1, pos="end") > 0.5
    with pytest.raises(EvidenceError):
        again.mean_over(layer=0, pos="end")
    assert again.table().splitlines()[-1].startswith("= computed exactly")
    assert again.table().splitlines()[2].endswith("=")
    assert again.verification.worst == pytest.approx(0.1)


def test_rows_are_saved_for_spreadsheets(tmp_path):
    """CSV has one row for each cell."""
    rows = list(csv.DictReader(grid_of().save(tmp_path / "map.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert float(rows[3]["estimate"]) == pytest.approx(values().mean(axis=0)[1, 1])


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "map.json is no JSON"),
        ("[]", "map.json is no grid that causaltest saved"),
        ('{"schema": "causaltest.grid/1", "axes": {}}', "map.json is damaged: it lacks values"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, message):
    """Each message names the file and what is wrong."""
    path = tmp_path / "map.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=re.escape(message)):
        SweepGrid.load(path)


def test_unknown_formats_and_labels_are_refused(tmp_path):
    """An ending that names no format; a label that JSON cannot hold."""
    with pytest.raises(RecordError, match=re.escape("map.gif: its ending is '.gif'")):
        grid_of().save(tmp_path / "map.gif")
    axes = {"layer": [frozenset({1}), 2, 3], "pos": ["name", "end"]}
    with pytest.raises(RecordError, match="cannot be written as JSON"):
        grid_of(axes=axes).save(tmp_path / "map.json")


def test_differences_keep_what_can_be_drawn():
    """Against a placebo a grid is still one that can be drawn and saved."""
    grid = grid_of()
    less = grid.against(grid_of(values() - 0.5))
    assert isinstance(less, SweepGrid)
    assert isinstance(less, Grid)
    assert less.counted_in == "fraction"
