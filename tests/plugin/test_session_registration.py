"""Registered, post-hoc or changed: what a run says of claims that were frozen before it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from causaltest.cli import main
from causaltest.records import read

BODY = '''
def test_frozen(causal, strong):
    """It carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_open(causal, mixed):
    """It helps."""
    assert causal.effect(EMBEDDING, on=mixed, metric=written) > 0.25
'''


@pytest.fixture
def registered(suite, monkeypatch):
    """A suite whose two hypotheses are registered."""
    suite.write(BODY)
    monkeypatch.chdir(suite.path)
    done = CliRunner().invoke(main, ["register", "test_claims.py"])
    assert done.exit_code == 0, done.output
    assert "registered 2 hypotheses in hypotheses.lock" in done.output
    return suite


def standings(suite) -> dict[str, str]:
    """How each claim of the run stands to the lock."""
    return {name: claim["registration"] for name, claim in suite.claims().items()}


def test_without_a_lock_nothing_is_said(suite):
    """A project that registers nothing sees nothing, and no ledger."""
    suite.write(BODY)
    suite.run()
    assert set(standings(suite).values()) == {""}
    assert not (suite.path / ".causaltest" / "looks.jsonl").exists()


def test_a_registered_claim_says_so_and_is_counted(registered):
    """Report, results and ledger agree; looks are counted over runs."""
    registered.run()
    assert standings(registered) == {"test_frozen": "registered", "test_open": "registered"}
    registered.run()
    (note,) = registered.results["run"]["notes"]
    assert note == (
        "Pair sets opened for judged claims so far, this run included: mixed 2 times, "
        "strong 2 times."
    )
    page = (registered.path / "reports" / "report.html").read_text()
    assert note in page
    assert "Against the hypotheses frozen before the run (hypotheses.lock): 2 registered." in page


@pytest.mark.calibration("C37")
def test_a_changed_bound_is_told(registered):
    """C37: a bound moved after the run makes the claim `changed`, in terminal and report."""
    registered.run()
    registered.write(BODY.replace("0.5", "0.6"))
    result = registered.run()
    assert standings(registered) == {"test_frozen": "changed", "test_open": "registered"}
    assert (
        "changed since it was registered: the test" in registered.claims()["test_frozen"]["notes"]
    )
    result.stdout.fnmatch_lines(["*frozen*", "*changed*"])
    page = (registered.path / "reports" / "report.html").read_text()
    assert "<small>changed</small>" in page


def test_layout_and_comments_change_nothing(registered):
    """Reformatting a test leaves it registered."""
    registered.write(BODY.replace("> 0.5", "> 0.50  # one half\n"))
    registered.run()
    assert set(standings(registered).values()) == {"registered"}


def test_a_new_hypothesis_is_post_hoc_and_changes_the_family(registered):
    """Who joins later is post-hoc; the others are decided at another level than registered."""
    registered.write(BODY + BODY.replace("test_frozen", "test_new").split("def test_open")[0])
    registered.run()
    assert standings(registered) == {
        "test_frozen": "changed",
        "test_open": "changed",
        "test_new": "post-hoc",
    }


@pytest.mark.parametrize("option", [("--causal-seed", "1"), ("--causal-alpha", "0.1")])
def test_settings_are_frozen_too(registered, option):
    """Another seed or level is a change."""
    registered.run(*option)
    assert set(standings(registered).values()) == {"changed"}


def frozen(suite) -> dict[str, dict]:
    """Entries of the lock by the test's name."""
    tree = json.loads((suite.path / "hypotheses.lock").read_text())
    return {each["id"].split("::")[1]: each for each in tree["hypotheses"]}


def test_register_freezes_pairs_and_weights_and_measures_nothing(registered):
    """Hashes of what fixtures give stand in the lock; no body ran and no report was written."""
    entries = frozen(registered)
    assert set(entries["test_frozen"]["pair_sets"]) == {"strong"}
    assert set(entries["test_open"]["pair_sets"]) == {"mixed"}
    assert len(entries["test_frozen"]["model_sha256"]) == 64
    assert registered.files() == set()
    registered.run()
    (model,) = registered.results["run"]["models"]
    assert entries["test_frozen"]["model_sha256"] == model["sha256"]
    sets = {each["name"]: each["sha256"] for each in registered.results["run"]["pair_sets"]}
    assert entries["test_open"]["pair_sets"]["mixed"] == sets["mixed"]


def test_other_weights_are_a_change(registered):
    """A network that differs in one number is not the registered one."""
    conftest = registered.path / "conftest.py"
    conftest.write_text(
        conftest.read_text().replace(
            "network[1].weight.copy_(torch.eye(VOCABULARY))",
            "network[1].weight.copy_(torch.eye(VOCABULARY) * 1.001)",
        )
    )
    registered.run_apart()
    assert set(standings(registered).values()) == {"changed"}
    assert any("the model's weights" in n for n in registered.claims()["test_frozen"]["notes"])


def test_pairs_made_in_a_test_are_told_as_not_frozen(suite, monkeypatch):
    """Parts of a fixture's pairs are frozen with them; others are not, until a run's results."""
    suite.write(
        BODY.replace("on=strong", "on=strong[:20]").replace(
            "on=mixed", "on=make_pairs([1.0 + i % 3 for i in range(24)], name='own')"
        )
    )
    monkeypatch.chdir(suite.path)
    assert CliRunner().invoke(main, ["register", "test_claims.py"]).exit_code == 0
    suite.run()
    assert set(standings(suite).values()) == {"registered"}
    told = "registered without a hash of the pair set own"
    notes = {name: claim["notes"] for name, claim in suite.claims().items()}
    assert any(note.startswith(told) for note in notes["test_open"])
    assert not any(note.startswith("registered without") for note in notes["test_frozen"])
    done = CliRunner().invoke(
        main, ["register", "test_claims.py", "--results", "reports/results.json"]
    )
    assert done.exit_code == 0, done.output
    suite.run()
    assert not any(note.startswith(told) for note in suite.claims()["test_open"]["notes"])


def test_collecting_alone_loads_no_model_and_says_what_is_missing(suite, monkeypatch):
    """With --collect-only the lock has no hash of pairs and weights, and claims say so."""
    suite.write(BODY)
    monkeypatch.chdir(suite.path)
    done = CliRunner().invoke(main, ["register", "test_claims.py", "--collect-only"])
    assert done.exit_code == 0, done.output
    assert frozen(suite)["test_frozen"]["model_sha256"] == ""
    suite.run()
    assert set(standings(suite).values()) == {"registered"}
    (note,) = (n for n in suite.claims()["test_frozen"]["notes"] if n.startswith("registered"))
    assert "the pair set strong, the model's weights" in note


def test_a_fixture_that_fails_stops_the_registration(suite, monkeypatch):
    """Nothing is frozen that cannot be set up; the message is the fixture's."""
    suite.write(
        BODY.replace("mixed)", "broken)")
        + "\n@pytest.fixture\ndef broken():\n    raise OSError('gone')\n"
    )
    monkeypatch.chdir(suite.path)
    done = CliRunner().invoke(main, ["register", "test_claims.py"])
    assert done.exit_code != 0
    assert "could not collect the hypotheses or set up their fixtures" in done.output
    assert not (suite.path / "hypotheses.lock").exists()


def test_sequential_runs_are_another_procedure(registered):
    """A lock says how claims stop; stopping otherwise is a change."""
    registered.run("--causal-sequential")
    assert set(standings(registered).values()) == {"changed"}


def test_other_pairs_under_the_same_name_are_a_change(registered):
    """The hash of what a fixture gives is compared."""
    conftest = registered.path / "conftest.py"
    conftest.write_text(
        conftest.read_text().replace("1.0 + 0.01 * (i % 5)", "1.0 + 0.02 * (i % 5)")
    )
    registered.run_apart()
    assert standings(registered) == {"test_frozen": "changed", "test_open": "registered"}
    assert any(
        "the pair set strong" in note for note in registered.claims()["test_frozen"]["notes"]
    )


@pytest.mark.calibration("C37")
def test_strict_takes_registered_and_decided_claims_only(registered):
    """C37: under --causal-strict a changed claim that holds fails, and so does an open one."""
    result = registered.run("--causal-strict", "-o", "causal_inconclusive=skip")
    result.assert_outcomes(passed=1, failed=1)
    registered.write(BODY.replace("0.5", "0.6"))
    registered.run().assert_outcomes(passed=1, failed=1)
    result = registered.run("--causal-strict")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*the claim is supported, but changed: the test*"])
    assert registered.claims()["test_frozen"]["verdict"] == "supported"


def test_strict_without_a_lock_is_an_error(suite):
    """Nothing can be registered where no lock is."""
    suite.write(BODY)
    result = suite.run("--causal-strict")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*there is no hypotheses.lock", "*causaltest register"])


@pytest.mark.calibration("C37")
def test_an_edited_lock_stops_the_run(registered):
    """C37: tampering is told before any model runs."""
    path = registered.path / "hypotheses.lock"
    tree = json.loads(path.read_text())
    tree["hypotheses"][0]["claim"] = "It carries little."
    path.write_text(json.dumps(tree))
    result = registered.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*hypotheses.lock was edited: *does not have the hash*"])
    pytest.importorskip("xdist")
    result = registered.run_apart("-p", "xdist", "-n", "1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*hypotheses.lock was edited: *does not have the hash*"])


def test_a_selection_stays_registered(registered):
    """C25: the level is the family's, so a selection changes nothing."""
    registered.run("-k", "frozen")
    assert standings(registered) == {"test_frozen": "registered"}


@pytest.mark.slow
def test_xdist_stays_registered(registered):
    """C25: several processes see the same lock."""
    pytest.importorskip("xdist")
    registered.run_apart("-p", "xdist", "-n", "2")
    assert set(standings(registered).values()) == {"registered"}


def test_old_results_still_read(registered):
    """Results without the newer fields are read as before."""
    registered.run()
    path = registered.path / "reports" / "results.json"
    tree = json.loads(path.read_text())
    for claim in tree["claims"]:
        for name in ("registration", "requires", "q_value"):
            del claim[name]
    path.write_text(json.dumps(tree))
    assert {claim.registration for claim in read(path).claims} == {""}
