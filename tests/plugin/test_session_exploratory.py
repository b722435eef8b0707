"""Exploratory hypotheses look, spend nothing, decide nothing."""

from __future__ import annotations

import pytest
from scipy.stats import false_discovery_control

from causaltest.records import read

LOOKING = '''
def test_claim(causal, strong):
    """It carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

@pytest.mark.causal(exploratory=True)
@pytest.mark.parametrize("bound", [0.5, 1.017, 1.019, 3])
def test_look(causal, strong, bound):
    """It may carry more."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > bound
'''


def test_exploring_fails_nothing_supports_nothing_and_spends_nothing(suite):
    """Whatever is found, the test passes with the verdict `exploratory`; the claim keeps 0.05."""
    suite.write(LOOKING)
    result = suite.run()
    result.assert_outcomes(passed=5)
    claims = suite.claims()
    assert claims["test_claim"]["parts"][0]["alpha"] == 0.05
    looks = [claim for name, claim in claims.items() if name.startswith("test_look")]
    assert {claim["verdict"] for claim in looks} == {"exploratory"}
    assert {part["verdict"] for claim in looks for part in claim["parts"]} == {"exploratory"}
    assert {claim["family_size"] for claim in looks} == {4}
    assert all(claim["p_adjusted"] is None for claim in looks)
    result.stdout.fnmatch_lines(["*exploratory, q*", "5 claims: 1 supported,*4 exploratory*"])


def test_q_values_are_those_of_benjamini_and_hochberg(suite):
    """Q over the file's exploratory claims agrees with scipy."""
    suite.write(LOOKING)
    suite.run()
    looks = [claim for claim in suite.results["claims"] if claim["verdict"] == "exploratory"]
    expected = false_discovery_control([claim["p_support"] for claim in looks], method="bh")
    assert [claim["q_value"] for claim in looks] == pytest.approx(list(expected), rel=1e-5)


def test_a_selection_lowers_no_q(suite):
    """A look that did not run counts as p = 1."""
    suite.write(LOOKING)
    suite.run()
    whole = suite.claims()["test_look[0.5]"]["q_value"]
    suite.run("-k", "0.5")
    assert suite.claims()["test_look[0.5]"]["q_value"] >= whole


def test_the_report_shows_what_was_explored(suite):
    """The page says that exploratory claims decide nothing, and gives q."""
    suite.write(LOOKING)
    suite.run()
    page = (suite.path / "reports" / "report.html").read_text()
    assert "1 of 1 claim holds" in page
    assert "It is exploratory: it suggests what to test on fresh data and decides nothing." in page
    assert "take no share of α and are never supported" in page
    assert ">q " in page
    assert read(suite.path / "reports" / "results.json").claims[1].q_value is not None


def test_a_crash_is_still_an_error(suite):
    """An exploratory test that breaks is broken."""
    suite.write("""
@pytest.mark.causal(exploratory=True)
def test_look(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
    raise KeyError("x")
""")
    suite.run().assert_outcomes(failed=1)
    assert suite.claims()["test_look"]["verdict"] == "error"


@pytest.mark.parametrize(
    "mark, message",
    [
        ("exploratory=1", "*exploratory is 1; expected True or False"),
        ("exploratory=True, weight=2", "*an exploratory hypothesis has no verdict to expect and*"),
        ("exploratry=True", "*no argument 'exploratry'; did you mean 'exploratory'[?]*"),
    ],
)
def test_wrong_marks_are_refused(suite, mark, message):
    """Mistyped or contradictory marks are usage errors."""
    suite.write(f"""
@pytest.mark.causal({mark})
def test_look(causal, strong):
    pass
""")
    result = suite.run()
    text = result.stdout.str() + result.stderr.str()
    assert result.ret != 0
    pytest.LineMatcher(text.splitlines()).fnmatch_lines([message])
