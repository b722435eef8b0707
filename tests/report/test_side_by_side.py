"""The table of several models joins what is one claim, whatever ids call the models."""

from __future__ import annotations

from causaltest import records
from causaltest.report.side_by_side import side_by_side


def results(*claims: tuple[str, str, records.VerdictName, float | None]) -> records.Results:
    """Results of claims given by test and case, model, verdict and estimate."""
    made = tuple(
        records.Claim(
            id=f"h/test_a.py::{name}", claim="A.", file="h/test_a.py", line=3, verdict=verdict,
            expected="supported", outcome="passed", model=model, estimate=estimate,
        )
        for name, model, verdict, estimate in claims
    )  # fmt: skip
    run = records.Run(alpha=0.05, correction="bonferroni", seed=0)
    return records.Results(records.SCHEMA_VERSION, "complete", run, made)


FOUND = results(
    ("test_name[gpt2]", "gpt2", "supported", 0.9),
    ("test_name[pythia-70m]", "EleutherAI/pythia-70m", "refuted", 0.1),
    ("test_head[gpt2-3]", "gpt2", "error", None),
    ("test_head[pythia-70m-3]", "EleutherAI/pythia-70m", "inconclusive", 0.4),
    ("test_own[gpt2]", "gpt2", "supported", 0.7),
)


def test_a_claim_is_one_line():
    """Mark and estimate stand under each model; what only one model has is left out."""
    assert side_by_side(FOUND, width=60).splitlines() == [
        "               gpt2  EleutherAI/pythia-70m",
        "head[3]           !               ? +0.400",
        "name       ✓ +0.900               ✗ +0.100",
    ]


def test_letters_where_marks_cannot_be_shown():
    """As in the table of claims."""
    text = side_by_side(FOUND, width=60, unicode=False)
    assert text.isascii()
    assert "S +0.900" in text
    assert "R +0.100" in text


def test_models_that_do_not_fit_are_counted():
    """Two columns are shown however narrow the terminal."""
    names = [f"model-{i}" for i in range(5)]
    found = results(*((f"test_name[{name}]", name, "supported", 1.0) for name in names))
    lines = side_by_side(found, width=40).splitlines()
    assert lines[0].split() == ["model-0", "model-1"]
    assert lines[-1] == "and 3 more models, which the report shows"


def test_one_model_needs_no_table():
    """Nor do two models that share no claim."""
    assert side_by_side(results(("test_a[m]", "m", "supported", 1.0))) == ""
    apart = results(("test_a[m]", "m", "supported", 1.0), ("test_b[n]", "n", "supported", 1.0))
    assert side_by_side(apart) == ""
