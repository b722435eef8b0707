"""Baselines on disk: they come back, they update, and damage of any kind is told."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from causaltest import records
from causaltest.baseline import compare, keep, load, merged, read, write
from causaltest.errors import RecordError


@pytest.fixture
def baseline(runs, values, tmp_path) -> Path:
    """A baseline of one claim."""
    path = tmp_path / "baseline.json"
    write(keep(runs.results(runs.claim("a", runs.part(values)))), path)
    return path


def test_a_baseline_equals_the_run_it_keeps(runs, values, tmp_path, baseline):
    """A run compares as the same with its results, its folder and its baseline, all its digits."""
    run = runs.results(runs.claim("a", runs.part([v / 3 for v in values])))
    write(keep(run), baseline)
    records.write(run, tmp_path / "results.json")
    for path in (baseline, tmp_path / "results.json", tmp_path):
        found = compare(load(path), keep(run))
        assert [each.state for each in found.claims] == ["same"]
        assert found.tests == 0


def test_a_baseline_is_the_same_bytes_again(runs, values, baseline):
    """What is read and written again does not change, so that version control sees changes only."""
    before = baseline.read_bytes()
    write(read(baseline), baseline)
    assert baseline.read_bytes() == before


def test_what_a_partial_run_left_out_stays(runs, values):
    """A selection updates its own claims; a whole run drops those that are gone, and says which."""
    one, two = runs.claim("a", runs.part(values)), runs.claim("b", runs.part(values))
    old = keep(runs.results(one, two))
    changed = runs.claim("a", runs.part([v + 1 for v in values]))
    kept, gone = merged(old, keep(runs.results(changed, partial=True)))
    assert [each.id for each in kept.claims] == ["h/test_a.py::test_b", "h/test_a.py::test_a"]
    assert kept.claims[1].parts[0].values[0] == pytest.approx(values[0] + 1, abs=1e-5)
    assert gone == ()
    kept, gone = merged(old, keep(runs.results(changed)))
    assert [each.id for each in kept.claims] == ["h/test_a.py::test_a"]
    assert gone == ("h/test_a.py::test_b",)
    skipped = runs.claim("b", verdict="not run")
    assert len(merged(old, keep(runs.results(changed, skipped)))[0].claims) == 2


def test_nothing_worth_keeping_is_refused(runs, tmp_path):
    """A run whose claims all ended in errors is no baseline."""
    path = tmp_path / "baseline.json"
    with pytest.raises(RecordError, match=r"no claim with a verdict, so .* would be empty"):
        write(keep(runs.results(runs.claim("a", verdict="error"))), path)
    assert not path.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_baseline_is_refused(baseline, share):
    """Wherever it was cut, the message says that it is not whole and how to write it anew."""
    data = baseline.read_bytes()
    baseline.write_bytes(data[: int(share * len(data))])
    with pytest.raises(RecordError, match=r"is not whole JSON(.|\n)*causaltest baseline"):
        read(baseline)


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda tree: tree["claims"][0].update(verdict="refuted"), "was edited: it does not have"),
        (lambda tree: tree["claims"][0]["parts"][0].update(floor=10.0), "was edited"),
        (lambda tree: tree["claims"].clear(), "was edited"),
        (lambda tree: tree.update(baseline_version=2), "has baseline version 2; this"),
        (lambda tree: tree.pop("baseline_version"), "was not written by `causaltest baseline`"),
        (lambda tree: tree.update(alpha="0.05"), "does not fit a baseline: Expected `float`"),
        (lambda tree: tree.update(more=1), "does not fit a baseline: Object contains unknown"),
    ],
)
def test_edits_are_seen(baseline, edit, message):
    """No number can be changed by hand, by the seal or by the types."""
    tree = json.loads(baseline.read_text())
    edit(tree)
    baseline.write_text(json.dumps(tree))
    with pytest.raises(RecordError) as caught:
        read(baseline)
    assert message in str(caught.value)
    assert "causaltest baseline reports/results.json" in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"[" * 200_000, b'{"a":' * 100_000, b'{"baseline_version": 1e999}', b"9" * 5_000]
)
@pytest.mark.parametrize("reader", [read, load, records.read])
def test_json_bombs_are_no_crash(tmp_path, data, reader):
    """Nesting without end and numbers without end are refused like any damage."""
    path = tmp_path / "results.json"
    path.write_bytes(data)
    with pytest.raises(RecordError, match="is not whole JSON"):
        reader(path)


def test_a_nested_line_of_a_running_file_is_skipped_and_said(tmp_path):
    """One bad line costs itself only."""
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"[" * 200_000 + b"\n")
    assert "line 1 of results.jsonl is cut off" in records.read_jsonl(path).notes[0]


def test_a_missing_baseline_says_what_writes_it(tmp_path):
    """The message holds the command."""
    path = tmp_path / "baseline.json"
    with pytest.raises(RecordError) as caught:
        read(path)
    assert str(caught.value) == (
        f"there is no baseline {path}\nWrite it from a run that you trust: "
        f"causaltest baseline reports/results.json -o {path}"
    )


def test_a_folder_without_results_is_named(tmp_path):
    """A folder stands for the results in it."""
    with pytest.raises(RecordError, match=r"the folder .* holds no results\.json"):
        load(tmp_path)


@pytest.mark.parametrize(
    "number, advice",
    [
        (errno.ENOSPC, "Free some space there, or choose another place for the baseline."),
        (errno.EROFS, "Choose another place for the baseline, or make this one writable."),
    ],
)
def test_a_full_or_read_only_disk_keeps_the_old_file(baseline, monkeypatch, number, advice):
    """What cannot be written whole is not written, and the message says what to do."""
    before = baseline.read_bytes()
    kept = read(baseline)

    def fail(handle):
        raise OSError(number, "No room")

    monkeypatch.setattr("causaltest.records.files.os.fsync", fail)
    with pytest.raises(RecordError) as caught:
        write(kept, baseline)
    assert str(caught.value) == f"{baseline} cannot be written: No room.\n{advice}"
    assert baseline.read_bytes() == before
    assert [path.name for path in baseline.parent.iterdir()] == ["baseline.json"]


def test_two_runs_in_one_running_file_are_told(runs, values, tmp_path):
    """A file that two runs wrote to cannot be reported without saying so."""
    path = tmp_path / "results.jsonl"
    run = runs.results(runs.claim("a", runs.part(values)))
    for _ in range(2):
        records.append_jsonl(path, run.run)
        records.append_jsonl(path, run.claims[0])
    assert records.recover(path).run.notes[-1] == (
        "two runs wrote to results.jsonl, so its claims may be of either; give each run its own "
        "folder with --causal-report"
    )
