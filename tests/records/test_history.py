"""The history of a suite keeps what was said, is only added to, and is not believed if edited."""

from __future__ import annotations

import json

import msgspec
import pytest

from causaltest import records
from causaltest.errors import RecordError
from causaltest.records import history

INTERVAL = records.Interval(0.81234567, 0.99, 0.95)


def results(*, started="2026-01-02T03:04:05+00:00", estimate=0.9, weights="aa", **changes):
    """Results of a run with one claim that ran and one that did not."""
    claim = records.Claim(
        id="h/test_a.py::test_a[m]", claim="A.", file="h/test_a.py", line=3, verdict="supported",
        expected="supported", outcome="passed", model="m", source="def test_a(): ...",
        estimate=estimate, interval=INTERVAL, relation=">", bound=0.5, n_pairs=24, seconds=7.0,
    )  # fmt: skip
    claim = msgspec.structs.replace(claim, **changes)
    unrun = msgspec.structs.replace(claim, id="h/test_a.py::test_b[m]", verdict="not run")
    model = records.ModelRecord("m", "GPT2", 10, weights, "float32", "cpu", 2)
    place = records.Environment("3.11", "Linux", {"torch": "2.6"}, git_commit="c0ffee")
    run = records.Run(
        alpha=0.05, correction="bonferroni", seed=0, started=started, models=(model,),
        environment=place,
    )  # fmt: skip
    return records.Results(records.SCHEMA_VERSION, "complete", run, (claim, unrun))


@pytest.fixture
def path(tmp_path):
    """A history that is not there yet."""
    return tmp_path / "folder" / "history.jsonl"


def test_runs_come_back_from_old_to_new_with_what_they_rest_on(path):
    """Commit, date and weights stand with the run; the claim has its numbers and no time."""
    history.append(history.past(results()), path)
    history.append(history.past(results(started="2026-02-02", estimate=0.7, weights="bb")), path)
    (first, then), (second, now) = history.course(history.read(path), "h/test_a.py::test_a[m]")
    assert (first.git_commit, first.models) == ("c0ffee", {"m": "aa"})
    assert (then.estimate, now.estimate) == (0.9, 0.7)
    assert then.interval == records.Interval(0.812346, 0.99, 0.95)
    assert "seconds" not in then.__struct_fields__
    assert "test_b" not in path.read_text()
    assert history.changes((first, then), (second, now)) == ("weights",)


def test_a_line_once_written_stays_as_it_is(path):
    """Adding a run leaves every byte before it in place."""
    history.append(history.past(results()), path)
    before = path.read_bytes()
    history.append(history.past(results(started="later")), path)
    assert path.read_bytes().startswith(before)


def test_results_in_memory_and_on_disk_are_one_run(path, tmp_path):
    """What was added by the run itself is not added again from its results."""
    found = results()
    records.write(found, tmp_path / "results.json")
    history.append(history.past(found), path)
    with pytest.raises(RecordError, match=r"the run of 2026-01-02.* is in .* already\nRun the"):
        history.append(history.past(records.read(tmp_path / "results.json")), path)


def test_a_run_without_claims_is_refused(path):
    """It would say nothing, and a figure of it would be empty."""
    with pytest.raises(RecordError, match=r"has no claim that ran, so .* would say nothing of it"):
        history.append(history.past(results(verdict="not run")), path)
    assert not path.exists()


def test_half_a_line_is_left_out_and_said(path):
    """A killed run costs its own line only, and the next is not glued to it."""
    history.append(history.past(results()), path)
    with path.open("ab") as file:
        file.write(path.read_bytes()[:100])
    history.append(history.past(results(started="later")), path)
    found = history.read(path)
    assert [run.started for run in found.runs] == ["2026-01-02T03:04:05+00:00", "later"]
    assert found.notes == (
        "line 2 of history.jsonl is cut off, so the run on it is left out; a killed run, or a "
        "merge that was not resolved",
    )


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda tree: tree["claims"][0].update(estimate=2.0), r"line 1 was edited: .*hash"),
        (lambda tree: tree.update(history_version=9), "has history version 9; this causaltest"),
        (lambda tree: tree.pop("history_version"), "line 1 was not written by `causaltest hist"),
        (lambda tree: tree.update(alhpa=1), "line 1 does not fit the records: .*`alhpa`"),
    ],
    ids=["edited", "version", "foreign", "field"],
)
def test_what_does_not_fit_is_refused_with_its_line(path, edit, message):
    """Every whole line is checked, and the message says which it is."""
    history.append(history.past(results()), path)
    tree = json.loads(path.read_text())
    edit(tree)
    path.write_text(json.dumps(tree) + "\n")
    with pytest.raises(RecordError, match=message):
        history.read(path)


def test_a_missing_history_says_how_to_begin_one(path):
    """The message has the command."""
    with pytest.raises(RecordError, match=r"there is no history .*\nBegin it .* --add reports/"):
        history.read(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    """A file where the folder should be is told, not raised as it is."""
    (tmp_path / "folder").write_text("")
    with pytest.raises(RecordError, match=r"history\.jsonl cannot be written: "):
        history.append(history.past(results()), tmp_path / "folder" / "history.jsonl")
