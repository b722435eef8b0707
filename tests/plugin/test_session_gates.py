"""Gates: what must be supported first is tested first, passes its level on, or keeps closed."""

from __future__ import annotations

import pytest

from causaltest.plugin.session import Session

GATED = '''
@pytest.mark.causal(requires="test_gate")
def test_child(causal, strong):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

@pytest.mark.causal(requires=["test_gate", "TestGroup::test_second"])
def test_of_two(causal, strong):
    """It carries most of it."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.7

class TestGroup:
    @pytest.mark.causal(requires="test_gate")
    def test_second(self, causal, strong):
        """It carries some of it."""
        assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.2

def test_gate(causal, strong):
    """The network does the task."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > {bound}
'''


def order(result) -> list[str]:
    """Names of the tests in the order they ran, from `-v`."""
    return [
        line.split("::", 1)[1].split()[0]
        for line in result.outlines
        if "::" in line and ("PASSED" in line or "FAILED" in line or "SKIPPED" in line)
        and not line.startswith(("FAILED", "SKIPPED", "ERROR"))
    ]  # fmt: skip


def test_gates_run_first_and_pass_their_level_on(suite):
    """The gate has the whole 0.05; its dependants share what it passes on."""
    suite.write(GATED.format(bound=0.1))
    result = suite.run("-v")
    result.assert_outcomes(passed=4)
    assert order(result)[:3] == ["test_gate", "test_child", "TestGroup::test_second"]
    alphas = {name: claim["parts"][0]["alpha"] for name, claim in suite.claims().items()}
    # Masses: of_two 1, half from each gate; second 1.5, child 1, gate 4 and nothing beside it.
    assert alphas["test_gate"] == pytest.approx(0.05)
    assert alphas["test_child"] == pytest.approx(0.05 / 3, rel=1e-4)
    assert alphas["TestGroup::test_second"] == pytest.approx(0.025)
    assert alphas["test_of_two"] == pytest.approx(0.05 * 0.5 / 3 + 0.025, rel=1e-4)
    claim = suite.claims()["test_of_two"]
    assert claim["requires"] == [
        "test_claims.py::test_gate",
        "test_claims.py::TestGroup::test_second",
    ]
    assert claim["p_adjusted"] >= suite.claims()["test_gate"]["p_adjusted"]


@pytest.mark.calibration("C26")
@pytest.mark.parametrize("bound, verdict", [(5, "refuted"), (1.02, "inconclusive")])
def test_a_gate_that_is_not_supported_keeps_closed(suite, bound, verdict):
    """C26: dependants are not tested, say so, and no level is spent on them."""
    suite.write(GATED.format(bound=bound))
    result = suite.run("-rs")
    result.assert_outcomes(failed=1, skipped=3)
    result.stdout.fnmatch_lines([f"SKIPPED*not tested: gate test_gate is {verdict}*"])
    claims = suite.claims()
    assert claims["test_gate"]["verdict"] == verdict
    for name in ("test_child", "TestGroup::test_second", "test_of_two"):
        assert claims[name]["verdict"] == "not run"
        assert claims[name]["parts"] == []
        assert claims[name]["p_support"] is None
    assert claims["test_child"]["error"] == f"not tested: gate test_gate is {verdict}"
    page = (suite.path / "reports" / "report.html").read_text()
    assert f"not tested: gate test_gate is {verdict}" in page


@pytest.mark.calibration("C26", mutant="a gate that is not refuted is open")
def test_c26_catches_gates_that_only_refutation_closes(suite, monkeypatch):
    """Mutant: inconclusive is taken for passed, as where tests pass by not being significant."""

    def check_gates(session, item):
        for gate in session.families.gates.get(item.nodeid, ()):
            if session.verdicts.get(gate, "not run") == "refuted":
                pytest.skip("not tested: its gate is refuted")

    monkeypatch.setattr(Session, "check_gates", check_gates)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_a_gate_that_is_not_supported_keeps_closed(suite, 1.02, "inconclusive")


def test_a_closed_gate_closes_what_stands_behind_its_dependants(suite):
    """A claim whose gate was not tested is not tested either."""
    suite.write(GATED.format(bound=5))
    suite.run()
    # The first gate named is the reason given.
    assert "gate test_gate is refuted" in suite.claims()["test_of_two"]["error"]
    suite.write("""
@pytest.mark.causal(requires="test_b")
def test_c(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

@pytest.mark.causal(requires="test_a")
def test_b(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_a(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 5
""")
    suite.run()
    assert suite.claims()["test_c"]["error"] == "not tested: gate test_b is not run"


@pytest.mark.parametrize(
    "selection",
    [
        ("-k", "test_child"),
        ("test_claims.py::test_child",),
        ("--deselect", "test_claims.py::test_gate"),
    ],
    ids=" ".join,
)
def test_a_gate_runs_even_where_it_was_not_selected(suite, selection):
    """The gate is decided too, at its own level, and the header says why it runs."""
    suite.write(GATED.format(bound=0.1))
    suite.run()
    whole = suite.claims()
    result = suite.run(*selection)
    result.stdout.fnmatch_lines(["causaltest: not selected, but required by what is: test_gate*"])
    part = suite.claims()
    assert {"test_gate", "test_child"} <= set(part)
    for name, claim in part.items():
        assert claim["parts"] == whole[name]["parts"]


def test_every_case_of_a_parametrised_gate_must_hold(suite):
    """The bare name means all cases, the name with an id one of them."""
    suite.write("""
@pytest.mark.parametrize("bound", [0.5, 5])
def test_gate(causal, strong, bound):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > bound

@pytest.mark.causal(requires="test_gate")
def test_all(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

@pytest.mark.causal(requires="test_gate[0.5]")
def test_one(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
""")
    suite.run().assert_outcomes(passed=2, failed=1, skipped=1)
    assert suite.claims()["test_all"]["error"] == "not tested: gate test_gate[5] is refuted"
    assert suite.claims()["test_one"]["verdict"] == "supported"


def test_refutation_gets_no_more_than_without_gates(suite):
    """What is passed on serves support; a dependant is refuted at the flat share only."""
    suite.write("""
def test_gate(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.1

@pytest.mark.causal(requires="test_gate")
def test_child(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 1.0246
""")
    suite.run()
    child = suite.claims()["test_child"]
    assert child["parts"][0]["alpha"] == 0.05
    # Refuted at 0.05, but not at the 0.025 that is its share without the gate.
    assert 0.025 / 2 < child["p_refute"] <= 0.05 / 2
    assert child["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    "mark, message",
    [
        (
            'requires="test_gat"',
            "*test_claims.py::test_child: requires names 'test_gat', which is no hypothesis of "
            "this file; did you mean 'test_gate'[?]",
        ),
        (
            'requires="test_child"',
            "*hypotheses wait for each other: test_child requires test_child",
        ),
        ("requires=3", "*requires is 3; expected the name of a test of the same file, or a list*"),
        (
            'requires="test_look"',
            "*its gate test_look is exploratory, so it is never supported*",
        ),
    ],
)
def test_wrong_gates_are_refused_before_anything_runs(suite, mark, message):
    """Unknown names, circles and gates that never open are usage errors."""
    suite.write(f"""
def test_gate(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.1

@pytest.mark.causal(exploratory=True)
def test_look(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.1

@pytest.mark.causal({mark})
def test_child(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
""")
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert suite.files() == set()


def test_a_circle_is_spelt_out(suite):
    """The message walks the whole circle."""
    suite.write("""
@pytest.mark.causal(requires="test_b")
def test_a(causal, strong):
    pass

@pytest.mark.causal(requires="test_a")
def test_b(causal, strong):
    pass
""")
    suite.run().stderr.fnmatch_lines(["*test_a requires test_b requires test_a"])


@pytest.mark.parametrize(
    "workers, bound",
    [
        ("2", 0.1),
        pytest.param("2", 5, marks=pytest.mark.slow),
        pytest.param("4", 0.1, marks=pytest.mark.slow),
    ],
)
def test_xdist_decides_gates_where_they_are_needed(suite, workers, bound):
    """Verdicts, levels and p-values over several processes are those of one."""
    pytest.importorskip("xdist")
    suite.write(GATED.format(bound=bound))
    suite.run()
    whole = suite.results["claims"]
    suite.run_apart("-p", "xdist", "-n", workers, "--dist", "load")
    assert suite.results["claims"] == whole


def test_gates_hold_within_one_model(suite):
    """With two models each has its own gate."""
    suite.write("""
import torch
from causaltest import Model

@pytest.fixture(scope="session", params=[0.0, 1.0], ids=["off", "on"])
def model(request):
    network = torch.nn.Sequential(torch.nn.Embedding(8, 8), torch.nn.Linear(8, 8, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(8))
        network[1].weight.copy_(torch.eye(8) * request.param + 1e-3 * torch.eye(8))
    return Model(network, name=f"echo{request.param:g}")

@pytest.mark.causal(requires="test_gate")
def test_child(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_gate(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.1
""")
    suite.run()
    verdicts = {name: claim["verdict"] for name, claim in suite.claims().items()}
    assert verdicts == {
        "test_gate[off]": "refuted",
        "test_child[off]": "not run",
        "test_gate[on]": "supported",
        "test_child[on]": "supported",
    }
