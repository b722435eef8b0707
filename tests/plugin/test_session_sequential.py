"""`--causal-sequential` in a session: fewer pairs, the family's level, the same in any order."""

from __future__ import annotations

import pytest

BODY = '''
LONG = Pairs(
    [Pair((i % 3, 1), (i % 3, 2), base_answer=1, source_answer=2 if i % 10 else 3,
          labels={"template": f"t{i}"}) for i in range(400)],
    name="long", cluster="template",
)

def test_strong(causal):
    """It knows the answer."""
    assert causal.accuracy(on=LONG) > 0.5

def test_two_sided(causal):
    """It follows the source, but not always."""
    rate = causal.accuracy(EMBEDDING, on=LONG)
    assert rate > 0.6
    assert rate < 0.995

@pytest.mark.causal(expect="refuted")
def test_false(causal):
    """It seldom follows the source."""
    assert causal.accuracy(EMBEDDING, on=LONG) < 0.3

@pytest.mark.causal(expect="inconclusive")
def test_at_the_bound(causal):
    """It follows the source more than nine times in ten (these cannot tell)."""
    assert causal.accuracy(EMBEDDING, on=LONG) > 0.9

def test_ratio(causal, strong):
    """Recovery has no sequential procedure."""
    assert causal.effect(EMBEDDING, on=strong, metric=recovery) > 0.5
'''


def essence(suite) -> dict[str, tuple]:
    """Everything of each claim that a repetition must give again."""
    return {
        name: (claim["verdict"], claim["p_support"], claim["n_pairs"], claim["parts"])
        for name, claim in suite.claims().items()
    }


def test_claims_stop_early_and_say_so(suite):
    """Terminal, record and page tell pairs run of pairs there were, and the kind of interval."""
    suite.write(BODY)
    result = suite.run("--causal-sequential")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        ["*alpha 0.05 a file (bonferroni), seed 0, sequential", "*strong*n=* of 400*"]
    )
    result.stdout.fnmatch_lines(["*sequential: n run of all, anytime intervals*"])
    claims = suite.claims()
    (part,) = claims["test_strong"]["parts"]
    assert part["n_available"] == 400
    assert part["n_pairs"] < 100
    assert len(part["pair_ids"]) == len(part["values"]) == part["n_pairs"]
    assert part["alpha"] == pytest.approx(0.05 / 5)
    assert any("confidence sequence" in note for note in claims["test_strong"]["notes"])
    assert any(note.startswith("not sequential: ") for note in claims["test_ratio"]["notes"])
    page = (suite.path / "reports" / "report.html").read_text()
    assert f"on {part['n_pairs']} of 400 counterfactual pairs of long" in page
    assert "The run was sequential: pairs came in a random order" in page


def test_the_ini_key_does_the_same(suite):
    """`causal_sequential = true` is the option."""
    suite.write(BODY)
    suite.run("--causal-sequential")
    asked = essence(suite)
    suite.run("-o", "causal_sequential=true")
    assert essence(suite) == asked
    suite.run()
    assert suite.claims()["test_strong"]["n_pairs"] == 400


def test_selection_and_order_change_nothing(suite):
    """C25, C34 for sequential runs: alone, with the others, or in reverse."""
    suite.write(BODY)
    suite.run("--causal-sequential")
    together = essence(suite)
    suite.run("--causal-sequential", "-k", "two_sided or bound")
    alone = essence(suite)
    for name in ("test_two_sided", "test_at_the_bound"):
        assert alone[name] == together[name]
    names = list(together)
    suite.run("--causal-sequential", *(f"test_claims.py::{name}" for name in reversed(names)))
    assert essence(suite) == together


@pytest.mark.slow
def test_xdist_gives_the_same(suite):
    """C25 for sequential runs: several processes, same numbers."""
    pytest.importorskip("xdist")
    suite.write(BODY)
    suite.run("--causal-sequential")
    one = essence(suite)
    suite.run_apart("-p", "xdist", "-n", "2", "--causal-sequential")
    assert essence(suite) == one


def test_sizes_of_binary_outcomes_are_recorded_and_shown(suite):
    """Risk difference and odds ratio stand in the record and on the page."""
    suite.write(BODY)
    suite.run("-k", "test_strong")
    (part,) = suite.claims()["test_strong"]["parts"]
    assert part["sizes"]["risk_difference"] == pytest.approx(0.5)
    assert part["sizes"]["odds_ratio"] == pytest.approx(400.5 / 0.5)
    page = (suite.path / "reports" / "report.html").read_text()
    assert "risk difference (of two rates, or from the bound)" in page
    assert "odds ratio (half a pair added to each count)" in page
