"""The level of a hypothesis depends on its file, never on what was selected."""

from __future__ import annotations

import pytest

FOUR = '''
def test_a(causal, strong):
    """A."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_b(causal, strong):
    """B."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 2

class TestGroup:
    def test_c(self, causal, strong):
        """C."""
        assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.6

    @pytest.mark.parametrize("bound", [0.7, 0.8])
    def test_d(self, causal, strong, bound):
        """D."""
        assert causal.effect(EMBEDDING, on=strong, metric=written) > bound

def test_plain():
    """Not a hypothesis."""
'''


def numbers(suite) -> dict[str, tuple]:
    """What a run decided, by test."""
    return {
        name: (claim["verdict"], claim["parts"][0]["alpha"], claim["p_support"], claim["interval"])
        for name, claim in suite.claims().items()
        if claim["parts"]
    }


def test_alpha_is_divided_by_the_hypotheses_of_the_file(suite):
    """Five hypotheses share 0.05; a plain test takes no share, another file has its own."""
    suite.write(FOUR)
    suite.write(
        """
def test_alone(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
""",
        name="test_other",
    )
    suite.run()
    alphas = {name: claim["parts"][0]["alpha"] for name, claim in suite.claims().items()}
    assert alphas.pop("test_alone") == pytest.approx(0.05)
    assert len(alphas) == 5
    assert list(alphas.values()) == pytest.approx([0.01] * 5)


@pytest.mark.parametrize(
    "selection",
    [
        ("-k", "test_a"),
        ("test_claims.py::test_a",),
        ("test_claims.py::TestGroup::test_c",),
        ("test_claims.py::TestGroup",),
        ("-m", "causal"),
        ("--deselect", "test_claims.py::test_b"),
        ("-x",),
    ],
    ids=" ".join,
)
def test_a_selection_buys_no_significance(suite, selection):
    """Verdict, level, p and interval of a selected hypothesis are those of the whole run."""
    suite.write(FOUR)
    suite.run()
    whole = numbers(suite)
    suite.run(*selection)
    part = numbers(suite)
    assert part
    assert all(part[name] == whole[name] for name in part)


def test_last_failed_keeps_levels_and_says_that_it_is_partial(suite):
    """`--lf` runs the failures at the family's level, and the results are marked partial."""
    suite.write(FOUR)
    suite.run()
    whole = numbers(suite)
    assert suite.results["run"]["partial"] is False
    suite.run("--lf")
    assert numbers(suite) == {"test_b": whole["test_b"]}
    assert suite.results["run"]["partial"] is True
    assert suite.results["status"] == "partial"


def test_weights_divide_the_level(suite):
    """A hypothesis of weight 3 among one of weight 1 gets three quarters."""
    suite.write("""
@pytest.mark.causal(weight=3)
def test_main(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_side(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
""")
    suite.run("--causal-alpha", "0.04")
    claims = suite.claims()
    assert claims["test_main"]["parts"][0]["alpha"] == pytest.approx(0.03)
    assert claims["test_side"]["parts"][0]["alpha"] == pytest.approx(0.01)


def test_correction_can_be_switched_off(suite):
    """With `--causal-correction none` each hypothesis is decided at alpha; Holm still stands by."""
    suite.write(FOUR)
    suite.run("--causal-correction", "none")
    claims = suite.claims()
    assert {claim["parts"][0]["alpha"] for claim in claims.values()} == {0.05}
    assert claims["test_a"]["p_adjusted"] >= claims["test_a"]["p_support"]
    assert suite.results["run"]["correction"] == "none"


def test_xdist_gives_the_same_numbers(suite):
    """Two worker processes decide exactly what one process decides."""
    pytest.importorskip("xdist")
    suite.write(FOUR)
    suite.run_apart()
    whole = numbers(suite)
    suite.run_apart("-p", "xdist", "-n", "2")
    assert numbers(suite) == whole
    assert len(suite.results["claims"]) == 5
    assert suite.results["run"]["models"][0]["name"] == "echo"


def test_the_seed_changes_the_resamples_only(suite):
    """Another seed gives another p, the same estimate."""
    suite.write(FOUR)
    suite.run("--causal-seed", "1")
    one = suite.claims()["test_a"]
    suite.run("--causal-seed", "2")
    two = suite.claims()["test_a"]
    assert one["estimate"] == two["estimate"]
    assert one["interval"] != two["interval"]
