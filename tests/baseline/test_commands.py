"""`compare`, `baseline` and `replay` from the command line: exit codes, help, nearest names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from causaltest import records
from causaltest.baseline import keep, read, write
from causaltest.cli import main


def run(*arguments: object):
    """Run the command line in this process."""
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def files(runs, values, tmp_path) -> tuple[Path, Path]:
    """Results of two runs, the second of which fell by a half."""
    moved = [v - 0.5 + 0.01 * (-1) ** (i // 5) for i, v in enumerate(values)]
    for name, numbers in (("old", values), ("new", moved)):
        claims = [runs.claim(each, runs.part(numbers)) for each in ("one", "two")]
        records.write(runs.results(*claims), tmp_path / name / "results.json")
    return tmp_path / "old", tmp_path / "new"


@pytest.mark.parametrize("command", ["baseline", "compare", "replay", "check"])
def test_help_has_examples(command):
    """Every command explains itself with examples, and stands in the overview."""
    assert "Examples:" in run(command, "--help").output
    assert f"causaltest {command}" in run(command, "-h").output
    assert command in run("--help").output


def test_exit_codes_are_those_of_diff(files):
    """0 where nothing is worse, 1 where something is, 2 where nothing can be compared."""
    old, new = files
    assert run("compare", old, old).exit_code == 0
    assert run("compare", new, old).exit_code == 0
    worse = run("compare", old / "results.json", new)
    assert worse.exit_code == 1
    assert "2 claims compared: 2 worse" in worse.output
    assert run("compare", old, new, "--margin", "0.7").exit_code == 0
    assert run("compare", old, old.parent / "nowhere.json").exit_code == 2


def test_markdown_goes_to_pull_requests(files):
    """The same exit code, and a table that GitHub draws."""
    done = run("compare", *files, "--markdown")
    assert done.exit_code == 1
    assert done.output.startswith("### Causal claims: 2 claims got worse\n")


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", '{"status": "passed"}', '{"schema_version": 99}', "\x00\xff"]
)
def test_foreign_and_damaged_files_cannot_be_compared(files, text):
    """Whatever the file holds, the exit code is 2 and the message names the file."""
    bad = files[0].parent / "bad.json"
    bad.write_text(text)
    done = run("compare", files[0], bad)
    assert done.exit_code == 2
    assert done.output.startswith(f"cannot compare: {bad} ")


def test_a_message_shows_no_control_characters(files):
    """A field name out of an edited file cannot colour or reorder the terminal."""
    bad = files[0].parent / "bad.json"
    tree = json.loads((files[0] / "results.json").read_text())
    bad.write_text(json.dumps({**tree, "\x1b[31m\u202e": 1}))
    for done in (run("compare", files[0], bad), run("report", bad)):
        assert done.exit_code in {1, 2}
        assert not {"\x1b", "\u202e"} & set(done.output)
        assert "\\x1b[31m" in done.output


def test_claims_are_chosen_by_name(files):
    """A test's name will do; an unknown one gets the nearest."""
    done = run("compare", *files, "--claim", "test_one")
    assert "1 claim compared: 1 worse" in done.output
    done = run("compare", *files, "--claim", "test_on")
    assert done.exit_code == 2
    assert "there is no claim 'test_on'; did you mean 'test_one'?" in done.output
    done = run("replay", files[0], "h/test_a.py::test_tow")
    assert done.exit_code == 2
    assert "did you mean 'h/test_a.py::test_two'?" in done.output


@pytest.mark.parametrize("margin", ["-1", "nan", "much", "inf", "%"])
def test_wrong_margins_are_refused(files, margin):
    """A margin is a number or a share."""
    done = run("compare", *files, "--margin", margin)
    assert done.exit_code == 2
    assert "is no margin; expected a number such as 0.05, or a share such as 10%" in done.output


def test_a_wrong_alpha_is_refused(files):
    """An error rate lies between 0 and 1."""
    assert "2.0 lies outside 0 to 1" in run("compare", *files, "--alpha", "2").output


def test_baseline_keeps_and_updates(files, tmp_path):
    """The first call writes, a second one updates, and a comparison reads it."""
    path = tmp_path / "kept" / "baseline.json"
    done = run("baseline", files[0], "-o", path)
    assert (done.exit_code, done.output) == (0, f"baseline: {path} (2 claims)\n")
    assert run("compare", path, files[0]).exit_code == 0
    assert run("compare", path, files[1]).exit_code == 1
    run("baseline", files[1], "-o", path)
    assert run("compare", path, files[1]).exit_code == 0


def test_baseline_says_what_it_drops(runs, values, files, tmp_path):
    """A whole run without one of the claims takes it out of the baseline, and says so."""
    path = tmp_path / "baseline.json"
    run("baseline", files[0], "-o", path)
    records.write(
        runs.results(runs.claim("one", runs.part(values))), tmp_path / "less" / "results.json"
    )
    assert run("baseline", tmp_path / "less", "-o", path).output.splitlines() == [
        f"baseline: {path} (1 claim)",
        "no longer in it: h/test_a.py::test_two",
    ]


def test_an_edited_baseline_is_not_overwritten_silently(files, tmp_path):
    """What was changed by hand is refused, not merged."""
    path = tmp_path / "baseline.json"
    run("baseline", files[0], "-o", path)
    path.write_text(path.read_text().replace('"supported"', '"refuted"', 1))
    done = run("baseline", files[0], "-o", path)
    assert done.exit_code == 1
    assert "was edited: it does not have the hash written in it" in done.output


def test_saving_happens_only_where_nothing_is_worse(files, tmp_path):
    """`--save` keeps a good run and leaves the baseline alone after a bad one."""
    path = tmp_path / "saved.json"
    assert run("compare", *files, "--save", path).exit_code == 1
    assert not path.exists()
    assert run("compare", files[0], files[0], "--save", path).exit_code == 0
    assert len(read(path).claims) == 2


def test_runs_that_share_nothing_comparable_are_refused(runs, values, tmp_path):
    """Where no claim could be compared, an exit code of 0 would be a lie."""
    run_of = runs.results(runs.claim("a", runs.part(values)))
    other = runs.results(runs.claim("a", runs.part(values, subject="something else")))
    for name, each in (("old", run_of), ("new", other)):
        write(keep(each), tmp_path / f"{name}.json")
    done = run("compare", tmp_path / "old.json", tmp_path / "new.json")
    assert done.exit_code == 2
    assert "cannot compare: no claim could be compared" in done.output


def test_replay_needs_the_project(files, tmp_path, monkeypatch):
    """Results without their tests cannot be replayed, and the message says where to go."""
    monkeypatch.chdir(tmp_path)
    done = run("replay", files[0])
    assert done.exit_code == 2
    assert "the test file h/test_a.py is neither here nor above" in done.output
    assert "name it with --root FOLDER" in done.output


def test_replay_needs_a_claim_that_ran(runs, tmp_path):
    """A run in which nothing ran holds nothing to run again."""
    records.write(runs.results(runs.claim("a", verdict="not run")), tmp_path / "results.json")
    done = run("replay", tmp_path)
    assert done.exit_code == 2
    assert "holds no claim that ran" in done.output
