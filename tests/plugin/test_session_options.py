"""Hooks, markers and options that a suite may use beside its claims."""

from __future__ import annotations

import inspect
import json
import textwrap

import pytest

from causaltest.plugin import hookspecs
from causaltest.records import history

ONE = '''
def test_strong(causal, strong):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_weak(causal, strong):
    """The embedding carries twice the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 2

def test_open(causal, mixed):
    """The embedding helps."""
    assert causal.effect(EMBEDDING, on=mixed, metric=written) > 0.25
'''


def example(hook) -> str:
    """The conftest.py in the docstring of a hook."""
    return textwrap.dedent(inspect.getdoc(hook).split("conftest.py::", 1)[1])


def add_to_conftest(suite, text: str) -> None:
    """Add to the suite's conftest.py."""
    conftest = suite.path / "conftest.py"
    conftest.write_text(f"{conftest.read_text()}\n{text}\n")


def test_the_examples_of_the_hooks_run(suite, monkeypatch):
    """What the docstrings show sees each claim and the results, and adds to the provenance."""
    monkeypatch.setenv("CLUSTER", "north")
    for hook in ("provenance", "claim", "report"):
        add_to_conftest(suite, example(getattr(hookspecs, f"pytest_causal_{hook}")))
    suite.write(ONE)
    result = suite.run("-s")
    assert "cluster: north" in suite.results["run"]["notes"]
    assert (suite.path / "refuted.txt").read_text() == "test_claims.py::test_weak"
    result.stdout.fnmatch_lines(["*undecided: The embedding helps.*"])


def test_a_hook_may_bring_the_model(suite):
    """The example of `pytest_causal_load_model` loads what no folder and no hub has."""
    conftest = suite.path / "conftest.py"
    text = conftest.read_text()
    start, end = text.index("@pytest.fixture"), text.index("def make_pairs")
    function = text[start:end].replace('@pytest.fixture(scope="session")\n', "")
    (suite.path / "ours.py").write_text(
        "import torch\nfrom causaltest import Model\nVOCABULARY = 8\n"
        + function
        + "\ntokenizer = None\nnetwork = lambda: model().network\n"
    )
    conftest.write_text(text[:start] + text[end:])
    add_to_conftest(suite, example(hookspecs.pytest_causal_load_model))
    suite.write(ONE)
    suite.run("--causal-model", "ours", "-k", "strong").assert_outcomes(passed=1, deselected=2)
    assert suite.results["run"]["models"][0]["name"] == "ours"


_TWO_MODELS = """
def pytest_causal_load_model(name, config):
    network = torch.nn.Sequential(torch.nn.Embedding(8, 8), torch.nn.Linear(8, 8, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(8))
        network[1].weight.copy_(torch.eye(8) * len(name))
    return Model(network, name=name)
"""


@pytest.fixture
def two(suite):
    """A suite without a model of its own, and a hook that makes one from any name."""
    conftest = suite.path / "conftest.py"
    text = conftest.read_text()
    start, end = text.index("@pytest.fixture"), text.index("def make_pairs")
    conftest.write_text(text[:start] + text[end:])
    add_to_conftest(suite, _TWO_MODELS)
    return suite


BOTH = "--causal-model=a/one", "--causal-model=threefold"


def test_several_models_stand_side_by_side(two):
    """Each is a family of its own, and the table has both next to each other."""
    two.write(ONE)
    result = two.run(*BOTH, "-k", "strong")
    result.stdout.fnmatch_lines(
        [
            "*causaltest: 2 hypotheses on 2 models*",
            "*strong?one?*+5.*",
            "*strong?threefold?*+9.*",
            "*causal models*",
            "* a/one *threefold",
            "strong*+5.*+9.*",
        ]
    )
    claims = two.claims()
    assert claims["test_strong[one]"]["estimate"] * 9 == pytest.approx(
        5 * claims["test_strong[threefold]"]["estimate"], rel=1e-4
    )
    assert {claim["family_size"] for claim in claims.values()} == {3}


@pytest.mark.parametrize("named", ["one", "a/one", ("one", "four")])
def test_a_hypothesis_about_one_model_runs_on_that(two, named):
    """`models=` takes the name as given or the last part of it; on no other is it counted."""
    marked = f"@pytest.mark.causal(models={named!r})\ndef test_strong"
    two.write(ONE.replace("def test_strong", marked))
    two.run(*BOTH)
    claims = two.claims()
    assert "test_strong[threefold]" not in claims
    assert claims["test_strong[one]"]["verdict"] == "supported"
    assert claims["test_weak[threefold]"]["family_size"] == 2


def test_a_hypothesis_about_another_model_is_skipped_by_name(two):
    """It does not vanish: its record says which model to add."""
    two.write(ONE.replace("def test_strong", "@pytest.mark.causal(models='four')\ndef test_strong"))
    result = two.run(*BOTH, "-rs")
    result.stdout.fnmatch_lines(["SKIPPED*it is about four; add --causal-model=four"])
    assert two.claims()["test_strong[one]"]["verdict"] == "not run"


def test_fewer_pairs_for_a_quick_look(suite):
    """`--causal-max-pairs` takes pairs from the whole set, and the results say that it did."""
    suite.write(ONE)
    suite.run("--causal-max-pairs", "8", "-k", "strong").assert_outcomes(passed=1, deselected=2)
    claim = suite.claims()["test_strong"]
    assert (claim["n_pairs"], claim["n_units"]) == (8, 8)
    assert suite.results["status"] == "partial"
    told = "A quick look: 8 pairs of each set at most (--causal-max-pairs)."
    assert told in suite.results["run"]["notes"]


def test_the_fixture_pairs_reads_the_file_of_its_marker(suite):
    """The file lies beside the test; the unit is said in the marker."""
    lines = [
        {"base": [0, 1], "source": [0, 2], "base_answer": 1, "source_answer": 2,
         "labels": {"template": f"t{i}", "effect": "1.0"}}
        for i in range(12)
    ]  # fmt: skip
    (suite.path / "toys.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    suite.write("""
@pytest.mark.pairs("toys.jsonl", cluster="template")
def test_claim(causal, pairs):
    assert causal.effect(EMBEDDING, on=pairs, metric=written) > 0.5
""")
    suite.run().assert_outcomes(passed=1)
    assert suite.claims()["test_claim"]["unit"] == "template"


@pytest.mark.parametrize(
    "marker, message",
    [
        ("", "*the fixture `pairs` reads the file that a marker names: @pytest.mark.pairs(*"),
        ("@pytest.mark.pairs('x.jsonl')", "*needs one file, beside the test, and the label that*"),
        (
            "@pytest.mark.pairs('x', clutser=None)",
            "*no argument 'clutser'; did you mean 'cluster'*",
        ),
        ("@pytest.mark.pairs('x.jsonl', cluster=None)", "*x.jsonl*"),
    ],
)
def test_mistakes_in_the_marker_of_pairs(suite, marker, message):
    """The message has the marker as it should be written."""
    suite.write(f"{marker}\ndef test_claim(causal, pairs):\n    pass\n")
    suite.run().stdout.fnmatch_lines([message])


def test_a_run_becomes_the_baseline_and_leaves_the_rest_of_it_alone(suite):
    """Only claims that ran are written; others keep their entries, and nothing fails for it."""
    suite.write(ONE.replace("> 2", "< 2"))
    first = suite.run("--causal-update-baseline", "-k", "strong or weak")
    first.stdout.fnmatch_lines(["baseline: hypotheses/baseline.json (2 claims: 2 new, 0 changed*"])
    kept = json.loads((suite.path / "hypotheses" / "baseline.json").read_text())
    suite.write(ONE.replace("> 0.5", "> 3"))
    second = suite.run("--causal-update-baseline", "-k", "strong")
    assert second.ret == pytest.ExitCode.TESTS_FAILED
    second.stdout.fnmatch_lines(["baseline: * (2 claims: 0 new, 1 changed, 0 gone)"])
    now = json.loads((suite.path / "hypotheses" / "baseline.json").read_text())
    assert now["claims"][1] == kept["claims"][1]
    assert now["claims"][0]["verdict"] == "refuted"


def test_a_run_adds_itself_to_the_history(suite):
    """Each run is one line; results of a registration or of plain tests add none."""
    suite.write(ONE)
    suite.run("--causal-history", "history.jsonl")
    result = suite.run("--causal-history", "history.jsonl", "--causal-seed", "1")
    result.stdout.fnmatch_lines(["history: history.jsonl (2 runs)"])
    page = (suite.path / "reports" / "report.html").read_text()
    assert "Estimates and intervals of 2 runs, from old to new" in page
    found = history.read(suite.path / "history.jsonl")
    (_, one), (_, other) = history.course(found, "test_claims.py::test_strong")
    assert one.estimate == other.estimate
    assert one.interval != other.interval


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--causal-max-pairs", "0"), "*causal_max_pairs is '0'; expected a whole number from 1*"),
        (
            ("--causal-update-baseline", "--causal-max-pairs", "8"),
            "*would keep a quick look as the baseline*",
        ),
        (("--causal-health", "wran"), "*causal_health is 'wran'; did you mean 'warn'?; expected*"),
        (
            ("-o", "causal_drift=much", "--causal-baseline", "b.json"),
            "*causal_drift is 'much'; expected a number such as 0.05, or a share such as 10%*",
        ),
    ],
)
def test_wrong_values_are_named(suite, arguments, message):
    """Before anything runs."""
    suite.write(ONE)
    result = suite.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
