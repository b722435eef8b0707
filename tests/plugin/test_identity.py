"""`@pytest.mark.causal(id=)`: a claim keeps its name when its test does not."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from causaltest.cli import main


def command(*arguments: object):
    """Run `causaltest`."""
    return CliRunner().invoke(main, list(map(str, arguments)))


CLAIM = '''
@pytest.mark.causal(id="echo/embedding")
def {name}(causal, mixed):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=mixed, metric=written) > -2
'''
CASES = '''
@pytest.mark.causal(id="echo/cases")
@pytest.mark.parametrize("bound", [-2.0, -3.0])
def test_cases(causal, mixed, bound):
    """The embedding carries some of the answer."""
    assert causal.effect(EMBEDDING, on=mixed, metric=written) > bound
'''


def test_a_claim_keeps_its_numbers_when_its_test_is_renamed_and_moved(suite):
    """Same id, same seed, every digit the same; the test's own name stands beside the id."""
    suite.write(CLAIM.format(name="test_one"))
    suite.run().assert_outcomes(passed=1)
    (before,) = suite.results["claims"]
    (suite.path / "test_claims.py").unlink()
    suite.write(CLAIM.format(name="test_another"), name="test_elsewhere")
    suite.run().assert_outcomes(passed=1)
    (after,) = suite.results["claims"]
    assert before["id"] == after["id"] == "echo/embedding"
    assert (before["test"], after["test"]) == (
        "test_claims.py::test_one", "test_elsewhere.py::test_another",
    )  # fmt: skip
    assert before["adjusted_interval"] == after["adjusted_interval"]
    assert before["p_support"] == after["p_support"]


def test_without_an_id_the_numbers_hang_on_the_name(suite):
    """The resamples of another name are others, so the test above sees something."""
    bare = CLAIM.replace('@pytest.mark.causal(id="echo/embedding")\n', "")
    intervals = []
    for name in ("test_one", "test_another"):
        suite.write(bare.format(name=name))
        suite.run()
        (claim,) = suite.results["claims"]
        assert (claim["id"], claim.get("test", "")) == (f"test_claims.py::{name}", "")
        intervals.append(claim["adjusted_interval"])
    assert intervals[0] != intervals[1]


def test_baseline_history_and_compare_know_a_claim_by_its_id(suite):
    """A renamed test is the same claim in all three, and is told as edited."""
    suite.write(CLAIM.format(name="test_one"))
    suite.run("--causal-history=history.jsonl")
    (suite.path / "reports" / "results.json").rename(suite.path / "old.json")
    done = command("baseline", suite.path / "old.json", "-o", suite.path / "baseline.json")
    assert done.exit_code == 0
    suite.write(CLAIM.format(name="test_another"))
    result = suite.run("--causal-history=history.jsonl", "--causal-baseline=baseline.json")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["1 claim compared: 1 not worse"])
    done = command("compare", suite.path / "old.json", suite.path / "reports", "--all")
    assert done.exit_code == 0
    assert "echo/embedding" in done.output
    done = command("history", suite.path / "history.jsonl", "--claim", "echo/embedding")
    assert "test changed" in done.output
    assert len(done.output.splitlines()) == 3


def test_cases_are_told_apart_behind_the_id(suite):
    """The brackets of the test's name follow its id."""
    suite.write(CASES)
    suite.run().assert_outcomes(passed=2)
    assert [claim["id"] for claim in suite.results["claims"]] == [
        "echo/cases[-2.0]", "echo/cases[-3.0]",
    ]  # fmt: skip


def test_gates_and_levels_are_those_of_the_tests(suite):
    """A gate is required by the test's name and recorded by its id; what did not run is one too."""
    suite.write(
        CLAIM.format(name="test_gate")
        + '''
@pytest.mark.causal(id="echo/all", requires="test_gate", weight=3)
def test_all(causal, strong):
    """It carries more than the rest."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

@pytest.mark.causal(id="echo/late")
def test_late(causal, strong):
    """It carries twice as much."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 2
'''
    )
    suite.run("--deselect=test_claims.py::test_late").assert_outcomes(passed=2, deselected=1)
    claims = {claim["id"]: claim for claim in suite.results["claims"]}
    assert set(claims) == {"echo/embedding", "echo/all"}
    assert claims["echo/all"]["requires"] == ["echo/embedding"]
    assert claims["echo/all"]["parts"][0]["alpha"] == pytest.approx(0.05 * 4 / 5)


def test_a_crash_under_xdist_loses_the_claim_by_its_id(suite):
    """The claim that a crashed worker took is recorded under its id."""
    pytest.importorskip("xdist")
    suite.write(
        CLAIM.format(name="test_one")
        + '''
@pytest.mark.causal(id="echo/crash")
def test_crash(causal, strong):
    """It never ends."""
    import os
    os._exit(3)
'''
    )
    suite.run_apart("-p", "xdist", "-n", "1")
    claims = {claim["id"]: claim for claim in suite.results["claims"]}
    assert {name: claim["verdict"] for name, claim in claims.items()} == {
        "echo/embedding": "supported", "echo/crash": "error",
    }  # fmt: skip
    assert claims["echo/crash"]["test"] == "test_claims.py::test_crash"


def test_one_id_for_two_claims_is_refused_by_name(suite):
    """Also where a selection would leave only one of them."""
    suite.write(CLAIM.format(name="test_one") + CLAIM.format(name="test_two"))
    result = suite.run("-k", "test_one")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: two claims have the id 'echo/embedding': test_claims.py::test_one and "
            "test_claims.py::test_two",
            "give each test an id of its own; a mark of a class or a file gives its id to every "
            "test in it",
        ]
    )


@pytest.mark.parametrize("given", ["two words", "a::b", "x[1]", 3, "/x", "x/"])
def test_an_id_that_is_no_name_is_refused(suite, given):
    """What could be taken for a node id, a case or several words is no id."""
    suite.write(CLAIM.format(name="test_one").replace('"echo/embedding"', repr(given)))
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == (
        f"ERROR: test_claims.py::test_one: id is {given!r}; expected a name of letters, digits, "
        "'-', '_', '.' and '/' that stays when the test is renamed: id=\"pronoun/name-token\""
    )


def test_a_level_of_its_own_is_answered_with_the_weight(suite):
    """`alpha=` would be a second way to say `weight=`, with a family's rate that nobody knows."""
    suite.write(CLAIM.format(name="test_one").replace('id="echo/embedding"', "alpha=0.01"))
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: test_claims.py::test_one: the marker causal has no argument 'alpha': the "
            "hypotheses of a file share its error rate, each by its weight",
            "give this one a larger share with weight=2, or set the rate of every file with "
            "--causal-alpha",
        ]
    )


def test_a_claim_on_record_is_replayed_by_its_id(suite, monkeypatch):
    """The id finds the claim, the test's name runs it."""
    suite.write(CLAIM.format(name="test_one"))
    suite.run()
    monkeypatch.chdir(suite.path)
    done = command("replay", "reports/results.json", "echo/embedding")
    assert done.output.splitlines() == [
        "bit for bit       echo/embedding", "1 of 1 claim reproduced",
    ]  # fmt: skip
    assert done.exit_code == 0


def test_the_report_says_how_to_run_a_claim_with_an_id(suite):
    """The command names the test, the link the id."""
    suite.write(CLAIM.format(name="test_one"))
    suite.run()
    page = (suite.path / "reports" / "report.html").read_text()
    assert "pytest test_claims.py::test_one" in page
    assert json.loads((suite.path / "reports/results.json").read_text())["claims"][0]["test"]
