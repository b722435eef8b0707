"""Several processes: few loads of models, the same numbers, and a crash that costs one test."""

from __future__ import annotations

import pytest

from causaltest.records import read_jsonl

pytest.importorskip("xdist")

_MODELS = """
import pathlib
import pytest
import torch
from causaltest import Model

@pytest.fixture(scope="session", params=[{names}])
def model(request):
    with pathlib.Path("loads.txt").open("a") as file:
        file.write(request.param + "\\n")
    network = torch.nn.Sequential(torch.nn.Embedding(8, 8), torch.nn.Linear(8, 8, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(8))
        network[1].weight.copy_((1 + len(request.param)) * torch.eye(8))
    return Model(network, name=request.param)
"""

_CLAIMS = """
@pytest.mark.parametrize("bound", [0.5, 0.6, 0.7])
def test_claim(causal, strong, bound):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > bound

def test_no_model():
    pass
"""


def with_models(suite, *names):
    """Two files of hypotheses on models that tell when they are loaded."""
    conftest = suite.path / "conftest.py"
    listed = ", ".join(map(repr, names))
    conftest.write_text(conftest.read_text() + _MODELS.format(names=listed))
    suite.write(_CLAIMS, name="test_one")
    suite.write(_CLAIMS, name="test_two")
    return suite


def loads(suite) -> list[str]:
    """Names of the models that were loaded, in all processes."""
    return sorted((suite.path / "loads.txt").read_text().split())


@pytest.mark.parametrize(
    "names, workers, expected",
    [
        (("aa", "b", "ccc"), 2, ["aa", "b", "ccc"]),
        pytest.param(("aa", "b"), 4, ["aa", "aa", "b", "b"], marks=pytest.mark.slow),
    ],
    ids=["more models than workers", "more workers than models"],
)
def test_models_load_as_few_times_as_workers_allow(suite, names, workers, expected):
    """One load a model, or one a worker; and every number is that of a run in one process."""
    with_models(suite, *names)
    suite.run_apart()
    whole, everything = suite.results["claims"], suite.results["run"]
    (suite.path / "loads.txt").unlink()
    result = suite.run_apart("-p", "xdist", "-n", str(workers))
    result.assert_outcomes(passed=6 * len(names) + 2)
    assert loads(suite) == expected
    assert suite.results["claims"] == whole
    assert suite.results["run"]["models"] == everything["models"]
    assert suite.results["status"] == "complete"
    counted = f"causaltest: {6 * len(names)} hypotheses"
    shared = "one worker a model" if workers == 2 else "up to 2 workers a model"
    result.stdout.fnmatch_lines([f"{counted}*", f"xdist: {workers} workers, {shared}"])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--dist=load", "--dist=loadfile", "-ocausal_group_by_model=false"])
def test_who_chooses_a_distribution_gets_it(suite, how):
    """With `--dist`, or the ini key, xdist distributes as it does without the plugin."""
    with_models(suite, "aa", "b")
    result = suite.run_apart("-p", "xdist", "-n", "2", "-v", how)
    result.assert_outcomes(passed=14)
    assert "workers a model" not in result.stdout.str()
    named = "LoadFileScheduling" if how.endswith("file") else "*"
    result.stdout.fnmatch_lines([f"scheduling tests via {named}"])


@pytest.mark.slow
def test_a_suite_without_hypotheses_sees_nothing_of_the_scheduler(suite):
    """Nothing is said, nothing is written, and every test runs."""
    suite.pytester.makeconftest("")
    suite.pytester.makepyfile(
        "import pytest\n"
        "@pytest.mark.parametrize('number', range(9))\n"
        "def test_plain(number):\n    pass\n"
    )
    result = suite.run_apart("-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=9)
    said = [line for line in result.outlines if not line.startswith("plugins:")]
    assert not any("causal" in line or "a model" in line for line in said)


CRASHING = '''
def test_before(causal, strong):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_crash(causal, strong):
    """The embedding carries twice the answer."""
    import os
    causal.effect(EMBEDDING, on=strong, metric=written)
    os._exit(13)

@pytest.mark.parametrize("bound", [0.6, 0.7, 0.8])
def test_after(causal, strong, bound):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > bound
'''


def test_a_crashed_worker_loses_only_its_test(suite):
    """The lost claim is named with what to do; all others are decided, streamed and reported."""
    suite.write(CRASHING)
    result = suite.run_apart("-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*worker 'gw*' crashed while running 'test_claims.py::test_crash'*",
            "the claim is lost: it has no verdict, and the claims of all other tests stand",
            "run it alone to see the crash: pytest -n0 test_claims.py::test_crash; if memory *",
        ]
    )
    claims = suite.claims()
    assert {name: claim["verdict"] for name, claim in claims.items()} == {
        "test_before": "supported",
        "test_crash": "error",
        "test_after[0.6]": "supported",
        "test_after[0.7]": "supported",
        "test_after[0.8]": "supported",
    }
    assert "crashed while running" in claims["test_crash"]["error"]
    assert claims["test_crash"]["claim"] == "The embedding carries twice the answer."
    running = read_jsonl(suite.path / "reports" / "results.jsonl")
    assert {claim.id for claim in running.claims} == {claim["id"] for claim in claims.values()}
    page = (suite.path / "reports" / "report.html").read_text()
    assert "the claim is lost: it has no verdict" in page


@pytest.mark.slow
def test_what_a_run_in_several_processes_left_out_is_said(suite):
    """A selection marks the results as partial, and what was not reached is listed as not run."""
    suite.write(CRASHING)
    suite.run_apart("-p", "xdist", "-n", "2", "-k", "after")
    assert suite.results["status"] == "partial"
    assert len(suite.results["claims"]) == 3
    suite.run_apart("-p", "xdist", "-n", "1", "--max-worker-restart", "0")
    verdicts = {name: claim["verdict"] for name, claim in suite.claims().items()}
    assert verdicts["test_crash"] == "error"
    assert list(verdicts.values()).count("not run") == 3
    assert suite.results["status"] == "partial"
