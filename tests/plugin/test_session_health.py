"""Health checks fail a claim by name, say what to do, and stand back where it is meant so."""

from __future__ import annotations

import pytest

from causaltest.health import CHECKS

_TOY = """
from causaltest import Metric, probability

def pairs_of(base, source, effect=1.0, base_answer=1):
    return Pairs(
        [
            Pair(base, source, base_answer=base_answer, source_answer=2,
                 labels={{"template": f"t{{i % 12}}", "effect": repr(effect)}})
            for i in range(24)
        ],
        name="toys", cluster="template",
    )

{marker}
def test_claim(causal, strong, mixed):
{body}
"""


@pytest.mark.parametrize("suppressed", [False, True], ids=["fails", "suppressed"])
@pytest.mark.parametrize(
    "check, body, lines",
    [
        (
            "weak_baseline",
            "toys = pairs_of((0, 1), (0, 2), base_answer=3)\n"
            "assert causal.effect(EMBEDDING, on=toys, metric=written) > 0.5",
            "weak_baseline: echo gives the base answer on 0 of 24 base prompts of toys; a claim*\n"
            "  leave out the pairs that it gets wrong, or take a model that does the task",
        ),
        (
            "misaligned_positions",
            "toys = pairs_of((0, 4, 1), (0, 5, 2, 3))\n"
            "edit = interchange(module('0', pos=2))\n"
            "assert causal.effect(edit, on=toys, metric=written) > 0.5",
            "misaligned_positions: 0.output@2 is at token 2 in base and source of pair toys/0, "
            "which have 3 and 4 tokens*\n"
            "  name the position on the pairs: positions=*",
        ),
        (
            "flat_pairs",
            "toys = pairs_of((0, 1), (0, 2))\n"
            "flat = Pairs([*toys[:16], *(Pair((0, 1), (0, 1, 1), base_answer=1, source_answer=2,\n"
            "    labels={'template': f'u{i}'}) for i in range(8))], name='flat',\n"
            "    cluster='template')\n"
            "assert causal.effect(EMBEDDING, on=flat, metric=recovery) > 0.5",
            "flat_pairs: in 8 of 24 pairs of flat base and source hardly differ in what recovery "
            "is a share of*\n  leave out pairs in which the model does not tell base from source*",
        ),
        (
            "too_few_pairs",
            "assert causal.effect(EMBEDDING, on=strong[:10], metric=written) > 0.5",
            "too_few_pairs: the claim rests on 10 pairs of 10 templates; at least 12 are asked*\n"
            "  add pairs, or say that so few will do: @pytest.mark.causal(min_pairs=10)",
        ),
        (
            "inert_intervention",
            "toys = pairs_of((0, 1), (0, 2))\n"
            "inert = Pairs([*toys[:10], *(Pair((0, 1), (7, 1), base_answer=1, source_answer=2,\n"
            "    labels={'template': f'u{i}', 'effect': '1.0'}) for i in range(14))],\n"
            "    name='inert', cluster='template')\n"
            "assert causal.effect(EMBEDDING, on=inert, metric=written) > 0.1",
            "inert_intervention: interchange(0.output@-1) changed nothing at 0.output@-1 in 14 of "
            "24 runs*\n  leave out pairs in which base and source agree up to that place*",
        ),
        (
            "leaky_split",
            "causal.sweep({'embedding': module('0', pos=-1)}, on=strong, metric=written)\n"
            "assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5",
            "leaky_split: strong was mapped before interchange(0.output@-1) was measured on "
            "strong, and they have 24 pairs in common*\n  split the pairs*",
        ),
        (
            "saturated_metric",
            "sure = Metric('sure', 'probability', lambda output, pair, pos: 1 - 1e-4 * float(\n"
            "    output.at()[1]) - 1e-5 * float(pair.labels['effect']))\n"
            "assert causal.effect(EMBEDDING, on=strong, metric=sure) > 0",
            "saturated_metric: sure is within 0.01 of 1 before and after the edit in 24 of 24 "
            "pairs of strong*\n  claim a change in logit_diff or log_probability*",
        ),
    ],
    ids=lambda value: value if value in CHECKS else "",
)
def test_each_check(suite, check, body, lines, suppressed):
    """It fails its claim with its name and what to do; suppressed, the verdict is given."""
    marker = f"@pytest.mark.causal(suppress={check!r})" if suppressed else ""
    body = "\n".join(f"    {line}" for line in body.splitlines())
    suite.write(_TOY.format(marker=marker, body=body))
    result = suite.run("-vv")
    (claim,) = suite.claims().values()
    if suppressed:
        result.assert_outcomes(passed=1)
        assert claim["verdict"] == "supported"
        (note,) = [note for note in claim["notes"] if note.startswith(check)]
        assert note.endswith("(suppressed: the test says that it is meant so)")
        return
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "a health check failed, so the verdict (supported) is not given",
            *lines.splitlines(),
            f"if it is meant so: @pytest.mark.causal(suppress='{check}')",
        ]
    )
    assert claim["verdict"] == "error"
    assert f"{check}: " in claim["error"]


_FEW = """
{marker}
def test_few(causal, strong):
    assert causal.effect(EMBEDDING, on=strong[:10], metric=written) > 0.5
"""


@pytest.mark.parametrize("few", [False, True], ids=["asked for more", "asked for few"])
def test_checks_may_warn_only(suite, few):
    """`--causal-health warn` keeps the verdict and notes what was found."""
    suite.write(_FEW.format(marker="@pytest.mark.causal(min_pairs=10)" if few else ""))
    suite.run("--causal-health", "warn").assert_outcomes(passed=1)
    notes = suite.claims()["test_few"]["notes"]
    assert any(note.startswith("too_few_pairs: ") for note in notes) != few


@pytest.mark.parametrize(
    "marker, message",
    [
        ("suppress='weak_base'", "*suppress names 'weak_base', which is no health check; did you*"),
        ("suppress=3", "*suppress is 3; expected a name or a list of names: suppress=*"),
        ("min_pairs=0", "*min_pairs is 0; expected a whole number from 1"),
        ("models=3", "*models is 3; expected a name or a list of names: models='gpt2'"),
    ],
)
def test_mistakes_in_the_marker_are_named(suite, marker, message):
    """Before anything runs, with the nearest name."""
    suite.write(_FEW.format(marker=f"@pytest.mark.causal({marker})"))
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


_FAMILY = """
TAIL = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.8, 1.2)
SKEWED = make_pairs([1 - each for each in TAIL], name="skewed")

@pytest.mark.parametrize("index", range(18))
def test_filler(index, causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

{marker}
def test_skewed(causal):
    assert causal.effect(EMBEDDING, on=SKEWED, metric=written) > -0.2

@pytest.mark.causal(expect="inconclusive")
def test_undecided(causal, mixed):
    assert causal.effect(EMBEDDING, on=SKEWED, metric=written) > -0.2
    assert causal.effect(EMBEDDING, on=mixed, metric=written) > 0.1
"""


@pytest.mark.parametrize("suppressed", [False, True], ids=["fails", "suppressed"])
def test_few_skewed_units_in_a_large_family(suite, suppressed):
    """Twelve skewed units do not carry one claim of twenty; those that decide nothing may do."""
    marker = '@pytest.mark.causal(suppress="few_units_for_level")' if suppressed else ""
    suite.write(_FAMILY.format(marker=marker))
    result = suite.run("-vv")
    claim = suite.claims()["test_skewed"]
    assert claim["parts"][0]["alpha"] == pytest.approx(0.0025)
    told = (
        "few_units_for_level: 12 templates as skewed as these do not carry a verdict at level "
        "0.0025: corrected for a skewness of -2.4, p is 0.012, and 0.0013 is asked for"
    )
    if suppressed:
        result.assert_outcomes(passed=20)
        assert f"{told} (suppressed: the test says that it is meant so)" in claim["notes"]
    else:
        result.assert_outcomes(passed=19, failed=1)
        result.stdout.fnmatch_lines(
            [
                "a health check failed, so the verdict (supported) is not given",
                told,
                "  add pairs from new templates, put fewer hypotheses into the file, or give this "
                "one more weight",
                "if it is meant so: @pytest.mark.causal(suppress='few_units_for_level')",
            ]
        )
        assert claim["verdict"] == "error"
    told = " ".join(result.stdout.str().split())
    assert (
        "claims rest on few units for their level (12 templates at 0.0025; 23 are advised)" in told
    )
    undecided = suite.claims()["test_undecided"]["notes"]
    assert not any(note.startswith("few_units_for_level") for note in undecided)
    advised = "only 12 templates for a level of 0.0025: 23 or more are advised"
    assert any(note.startswith(advised) for note in claim["notes"])
