"""Mistakes give clear errors, and the results of the other tests are not lost."""

from __future__ import annotations

import pytest

GOOD = '''
def test_good(causal, strong):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
'''


@pytest.mark.parametrize(
    "body, lines",
    [
        (
            "causal.effect(zero_ablate(module('1.wieght')), on=strong, metric=written)",
            ["*SiteError: echo has no module '1.wieght'*"],
        ),
        (
            "from causaltest import Site; Site('mlp_ouput', layer=0)",
            ["*SiteError: unknown component 'mlp_ouput'; did you mean 'mlp_output'*"],
        ),
        (
            "from causaltest import block_output; "
            "causal.effect(zero_ablate(block_output(7)), on=strong, metric=written)",
            ["*SiteError: echo has no block_output*"],
        ),
        (
            "causal.effect(zero_ablate(module('0', pos='nmae')), on=strong, metric=written)",
            ["*PairError: *has no position 'nmae'*"],
        ),
        (
            "causal.effect(zero_ablate(module('0', pos=5)), on=strong, metric=written)",
            ["*SiteError: position 5 does not exist: base of pair strong/0 has 2 tokens*"],
        ),
        (
            "Pairs([Pair((0, 1), (0, 2))], name='bare')",
            ["*PairError: *cluster*"],
        ),
        (
            "import dataclasses; dataclasses.replace(strong[0], source=strong[0].base)",
            ["*PairError: *base and source are equal*"],
        ),
        (
            "Pairs([], name='empty', cluster=None)",
            ["*PairError: *empty*"],
        ),
        (
            "causal.effect(EMBEDDING, on=strong, metric=lambda output, pair: float('nan'))",
            ["*MetricError: metric * is nan for the base prompt of pair strong/0*"],
        ),
        (
            "causal.effect(interchange(module('0', pos=0)), on=strong, metric=written)",
            ["*InterventionError: interchange(0.output@0) changed no activation in any of 24*"],
        ),
        (
            "assert causal.effect(EMBEDDING, on=strong[:4], metric=written) > 0.5",
            ["*EvidenceError: *4*template*"],
        ),
        (
            "causal.effect(module('0'), on=strong)",
            ["*InterventionError: expected an intervention such as interchange(*"],
        ),
        (
            "causal.effect(EMBEDDING, on=list(strong))",
            ["*PairError: on= takes a pair set (Pairs); got list*"],
        ),
        (
            "assert causal.effect(EMBEDDING, on=strong, metric=written)",
            ["*TypeError: an Effect has no truth value; compare it with a bound*"],
        ),
    ],
    ids=[
        "module path", "component", "no such component", "position name", "position index",
        "no cluster", "flat pair", "empty set", "NaN metric", "inert", "few units",
        "site for intervention", "list of pairs", "truth of an effect",
    ],
)  # fmt: skip
def test_a_mistake_is_named_and_costs_only_its_test(suite, body, lines):
    """The message says what is wrong; the neighbouring claim is decided and reported."""
    suite.write(GOOD + f"\ndef test_bad(causal, strong):\n    {body}\n")
    result = suite.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(lines)
    if "TypeError" not in lines[0]:
        # The failure ends in the user's own line, not in the engine's or the network's.
        for below in ("causaltest/", "<string>", "???", "dataclasses.py"):
            assert below not in result.stdout.str()
    claims = suite.claims()
    assert claims["test_good"]["verdict"] == "supported"
    assert claims["test_bad"]["verdict"] == "error"
    assert claims["test_bad"]["error"]


def test_a_wrong_model_name_is_an_error_of_every_test_that_needs_it(suite):
    """The message names the model; tests that need none still pass."""
    suite.pytester.makeconftest("")
    suite.pytester.makepyfile(
        test_claims='''
def test_claim(causal):
    """A claim."""

def test_plain():
    """No model."""
'''
    )
    result = suite.run("--causal-model", "no-such-folder/model")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*ModelError: no model 'no-such-folder/model'*"])
    assert "site-packages" not in result.stdout.str()
    (claim,) = suite.results["claims"]
    assert claim["verdict"] == "error"
    assert "no-such-folder/model" in claim["error"]


def test_no_model_at_all_is_an_error_at_collection(suite):
    """Nothing is silently skipped where no model is named."""
    suite.pytester.makeconftest("")
    suite.pytester.makepyfile(test_claims="def test_claim(causal):\n    pass\n")
    result = suite.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*no model to test: pass --causal-model NAME*"])


@pytest.mark.parametrize(
    "arguments, line",
    [
        (("--causal-alpha", "5"), "*causal_alpha is '5'; expected an error rate between 0 and 1*"),
        (("--causal-seed", "x"), "*causal_seed is 'x'; expected a whole number from 0*"),
        (("--causal-correction", "bonferoni"), "*did you mean 'bonferroni'*"),
        (("-o", "causal_inconclusive=pass"), "*causal_inconclusive is 'pass'*fail, xfail or skip*"),
    ],
)
def test_wrong_settings_stop_the_run(suite, arguments, line):
    """A setting out of range is a usage error that names what is allowed."""
    suite.write(GOOD)
    result = suite.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


@pytest.mark.parametrize(
    "marker, line",
    [
        ("expect='refutd'", "*expect is 'refutd'; did you mean 'refuted'*"),
        ("expects='refuted'", "*has no argument 'expects'; did you mean 'expect'*"),
        ("weight=0", "*weight is 0; expected a number above 0*"),
        ("'refuted'", "*takes keywords only*"),
    ],
)
def test_wrong_markers_stop_the_run(suite, marker, line):
    """A marker's mistake is found at collection, before any model runs."""
    suite.write(GOOD.replace("def test_good", f"@pytest.mark.causal({marker})\ndef test_good"))
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


def test_a_family_too_large_to_decide_is_refused_before_anything_runs(suite):
    """Where the resolution allows no verdict, the run stops and says so."""
    suite.write(GOOD)
    result = suite.run("--causal-alpha", "0.000001")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_good: no verdict is possible at level 1e-06*"])
