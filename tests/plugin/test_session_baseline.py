"""A run against its baseline, its replay, and what it leaves on GitHub."""

from __future__ import annotations

import errno
import importlib

import pytest
from click.testing import CliRunner

from causaltest.cli import main

importlib.import_module("causaltest.report.markdown")

CLAIMS = '''
FACTOR = 1.0

def test_strong(causal, strong):
    """The embedding decides."""
    assert causal.effect(EMBEDDING, on=strong, metric=scaled) > 0.5

def test_open(causal, mixed):
    """The embedding | <b>matters</b>."""
    assert causal.effect(EMBEDDING, on=mixed, metric=written) > 0.1

def scaled(output, pair):
    return FACTOR * written(output, pair)
'''


def command(*arguments: object):
    """Run the command line in this process."""
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def based(suite):
    """A suite of a supported and an inconclusive claim, and a baseline of its run."""
    suite.write(CLAIMS)
    suite.run()
    assert command("baseline", suite.path / "reports", "-o", "baseline.json").exit_code == 0
    return suite


def fall(suite, factor: str) -> None:
    """Make the strong effect smaller."""
    path = suite.path / "test_claims.py"
    path.write_text(path.read_text().replace("FACTOR = 1.0", f"FACTOR = {factor}"))


def test_the_same_run_is_no_worse(based):
    """The section says so, the record too, and the exit code stays."""
    result = based.run("--causal-baseline", "baseline.json", "-k", "strong")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*causal baseline*", "1 claim compared: 1 not worse", "1 of 2 claims were not run"]
    )
    assert "Against the baseline: 1 claim compared: 1 not worse." in based.results["run"]["notes"]


def test_a_drift_fails_the_run_though_all_claims_hold(based):
    """The effect fell from 1.02 to 0.71 and still exceeds its bound; the run ends with 1."""
    fall(based, "0.7")
    result = based.run("--causal-baseline", "baseline.json", "-k", "strong")
    assert result.ret == 1
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["worse *test_strong*+1.019*+0.713*-0.3058*", "1 alarm not confirmed; on fresh pairs: *"]
    )
    (claim,) = based.results["claims"]
    assert claim["verdict"] == "supported"
    assert claim["notes"][0].startswith("worse than the baseline; changed by -0.30")
    assert claim["notes"][0].endswith("since the baseline; 0.101917 matters")


def test_workers_compare_once(based):
    """Under xdist the process that writes compares, and its exit code says so."""
    fall(based, "0.7")
    result = based.run_apart("--causal-baseline", "baseline.json", "-n", "2", "-k", "strong")
    assert result.ret == 1
    assert sum("causal baseline" in line for line in result.outlines) == 1


def test_a_lock_with_hidden_text_is_refused_visibly(suite):
    """Control characters of an edited lock are spelled out, not sent to the terminal."""
    suite.write(CLAIMS)
    (suite.path / "hypotheses.lock").write_text('{"lock_version": "\\u001b[31m\\u202e"}')
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not {"\x1b", "\u202e"} & set(result.stderr.str())


def test_a_suite_can_name_its_baseline(based):
    """The ini key starts from the project's root; `none` on the command line turns it off."""
    based.pytester.makeini("[pytest]\npythonpath = .\ncausal_baseline = baseline.json\n")
    based.run("-k", "strong").stdout.fnmatch_lines(["*causal baseline*"])
    result = based.run("-k", "strong", "--causal-baseline", "none")
    result.stdout.no_fnmatch_line("*causal baseline*")


@pytest.mark.parametrize(
    "damage, line",
    [
        (lambda text: text[:50], "*baseline.json is not whole JSON*"),
        (lambda text: text.replace('"supported"', '"refuted"'), "*baseline.json was edited*"),
        (lambda _: '{"a": 1}', "*was not written by `causaltest baseline`*"),
    ],
)
def test_a_damaged_baseline_stops_the_run_before_it_begins(based, damage, line):
    """No model runs against a baseline that cannot be believed."""
    path = based.path / "baseline.json"
    path.write_text(damage(path.read_text()))
    result = based.run("--causal-baseline", "baseline.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


def test_a_missing_baseline_stops_the_run(suite):
    """The message holds the command that writes one."""
    suite.write(CLAIMS)
    result = suite.run("--causal-baseline", "none.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*there is no baseline *none.json", "*causaltest baseline *"])


def test_a_baseline_of_other_claims_fails_a_whole_run(based):
    """A comparison that was asked for and cannot be made is no success."""
    (based.path / "test_claims.py").unlink()
    body = CLAIMS.replace("test_strong", "test_other").split("def test_open")[0]
    based.write(body + "def scaled(output, pair):\n    return written(output, pair)\n")
    result = based.run("--causal-baseline", "baseline.json")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*cannot compare with the baseline: the runs have no claim*"])


@pytest.fixture
def keeping(suite):
    """A suite of one supported claim whose baseline is where projects keep theirs."""
    suite.write(CLAIMS.replace("def test_open", "def open"))
    suite.run("--causal-update-baseline")
    return suite


def test_the_baseline_that_a_project_keeps_is_compared_with(keeping):
    """Nobody needs to name it; a drift fails the run, unless `none` says not to look."""
    result = keeping.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*causal baseline*", "1 claim compared: 1 not worse"])
    fall(keeping, 0.7)
    assert keeping.run().ret == 1
    result = keeping.run("--causal-baseline", "none")
    assert result.ret == 0
    assert "causal baseline" not in result.stdout.str()


def test_a_kept_baseline_of_another_model_is_left_alone(keeping):
    """A look at another model is no regression; it is said that nothing was compared."""
    path = keeping.path / "conftest.py"
    path.write_text(path.read_text().replace('name="echo"', 'name="other"'))
    fall(keeping, 0.7)
    result = keeping.run_apart()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["not compared with hypotheses/baseline.json, which is of echo"])
    result = keeping.run_apart("--causal-baseline", "hypotheses/baseline.json")
    assert result.ret == 1


def test_a_kept_baseline_of_other_claims_fails_nothing(keeping):
    """Other files have other claims: that is told, and was not asked for."""
    path = keeping.path / "test_claims.py"
    path.write_text(path.read_text().replace("test_strong", "test_other"))
    result = keeping.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*cannot compare with the baseline hypotheses/baseline.json: the runs have no claim*"]
    )


def test_a_kept_baseline_that_is_damaged_fails_the_run(keeping):
    """What a project keeps is not passed over because it cannot be read."""
    path = keeping.path / "hypotheses" / "baseline.json"
    path.write_text(path.read_text()[:-40])
    result = keeping.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*1 supported*", "*cannot compare with the baseline: *damaged*"])


def test_a_run_replays_bit_for_bit(based):
    """Both claims come out the same, the inconclusive one too, also under another ini."""
    based.pytester.makeini("[pytest]\npythonpath = .\ncausal_alpha = 0.2\ncausal_seed = 9\n")
    done = command("replay", based.path / "reports")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "2 of 2 claims reproduced"
    assert done.output.count("bit for bit") == 2


def test_a_replay_says_what_changed(based):
    """A test that measures something else does not reproduce; a removed one is not run."""
    fall(based, "0.9")
    done = command("replay", based.path / "reports", "test_strong")
    assert done.exit_code == 1, done.output
    assert "not reproduced    test_claims.py::test_strong" in done.output
    assert "estimate 1.01917 on record, 0.91725 here" in done.output
    path = based.path / "test_claims.py"
    path.write_text(path.read_text().replace("def test_open", "def test_opened"))
    done = command("replay", based.path / "reports", "test_open")
    assert done.exit_code == 2
    assert "the tests were removed or renamed" in done.output
    done = command("replay", based.path / "reports")
    assert "not run           test_claims.py::test_open" in done.output


@pytest.mark.slow
def test_an_edited_test_with_other_numbers_is_said_to_be_edited(based):
    """The bound was moved: the verdict's record differs, and the test is named as the reason."""
    path = based.path / "test_claims.py"
    path.write_text(path.read_text().replace("> 0.5", "> 0.6"))
    done = command("replay", based.path / "reports", "test_strong")
    assert (done.exit_code, "the test was edited" in done.output) == (0, True), done.output
    path.write_text(path.read_text().replace("> 0.6", "> 2"))
    done = command("replay", based.path / "reports", "test_strong")
    assert done.exit_code == 2
    assert "changed           test_claims.py::test_strong" in done.output


def test_github_gets_a_summary_and_annotations(suite, monkeypatch):
    """The open claim is annotated at its line and stands in the summary; no mark-up leaks."""
    summary = suite.path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(suite.path.parent))
    suite.write(CLAIMS)
    result = suite.run()
    (line,) = [each for each in result.outlines if each.startswith("::")]
    place = f"::error file={suite.path.name}/test_claims.py,line="
    assert line.startswith(place)
    assert ",title=causal claim inconclusive::open: The embedding | <b>matters</b>.%0A" in line
    text = summary.read_text()
    assert text.startswith("before\n## Causal claims\n")
    assert "The embedding \\| &lt;b&gt;matters&lt;/b&gt;." in text
    assert text.index("test_open") < text.index("<details>") < text.index("test_strong")


def test_annotations_are_left_to_the_plugin_that_makes_them(suite, monkeypatch):
    """Each failure is shown once."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    suite.write(CLAIMS)
    suite.pytester.makepyfile(pytest_github_actions_annotate_failures="")
    result = suite.run("-p", "pytest_github_actions_annotate_failures")
    assert not [each for each in result.outlines if each.startswith("::")]


def test_a_full_summary_is_left_alone(suite, monkeypatch):
    """What would pass the cap is not written, since GitHub would drop all of it."""
    summary = suite.path / "summary.md"
    summary.write_bytes(b"x" * (900 * 1024))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    suite.write(CLAIMS)
    suite.run().stdout.fnmatch_lines(["causaltest: the step summary would pass 900 KiB*"])
    assert summary.stat().st_size == 900 * 1024


def test_junit_properties_have_the_numbers(suite):
    """Verdict, estimate and interval can be read by machines, each by its name."""
    suite.write(CLAIMS)
    suite.run("--junitxml", "junit.xml")
    text = (suite.path / "junit.xml").read_text()
    assert '<property name="causal.verdict" value="supported" />' in text
    assert '<property name="causal.estimate" value="1.01917" />' in text
    interval = suite.claims()["test_strong"]["interval"]
    value = f"[{interval['low']:g}, {interval['high']:g}]"
    assert f'<property name="causal.interval" value="{value}" />' in text


_FULL = """
import os, pytest

@pytest.fixture(scope="session", autouse=True)
def full_disk():
    import causaltest.records.files as files
    def fail(handle):
        raise OSError({number}, os.strerror({number}))
    files.os = type("os", (), {{**vars(os), "fsync": staticmethod(fail)}})
"""


@pytest.mark.parametrize("number, advice", [(errno.ENOSPC, "Free some space"), (errno.EROFS, "")])
def test_a_full_or_read_only_disk_loses_no_verdict(suite, number, advice):
    """The table is shown, the message says what to do, and what streamed can be rendered."""
    suite.write(CLAIMS + _FULL.format(number=number))
    result = suite.run_apart()
    result.stdout.fnmatch_lines(
        [
            "*causal claims*",
            "2 claims: 1 supported, 0 refuted, 1 inconclusive",
            "causaltest: cannot write to *results.json cannot be written*",
            f"{advice or 'Choose'}*another folder for the report*",
        ]
    )
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    done = command("report", suite.path / "reports" / "results.jsonl")
    assert done.exit_code == 0
    assert "these are the 2 claims finished before" in done.output


_OTHER = """
def test_other_run(causal, strong):
    import pathlib
    folder = pathlib.Path("reports")
    (folder / "results.jsonl").unlink()
    (folder / "results.jsonl").write_text("another run's\\n")
    (folder / "results.json").write_text("another run's")
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_z(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
"""


def test_two_runs_in_one_folder_are_told(suite):
    """A running file that another run replaced is not written to; both runs' users are told."""
    suite.write(CLAIMS + _OTHER)
    result = suite.run_apart()
    result.stdout.fnmatch_lines(
        [
            "causaltest: another run writes to *reports at the same time and replaced *.jsonl",
            "give each run a folder of its own with --causal-report",
            "causaltest: another run wrote *results.json while this one ran, and was written over",
        ]
    )
    assert (suite.path / "reports" / "results.jsonl").read_text() == "another run's\n"
    assert len(suite.results["claims"]) == 4
