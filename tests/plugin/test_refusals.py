"""Usage errors at collection under xdist: our message, the usual exit code, no internal error."""

from __future__ import annotations

import pytest

pytest.importorskip("xdist")

GOOD = '''
def test_good(causal, strong):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
'''


@pytest.mark.parametrize(
    "before, arguments, message",
    [
        pytest.param(
            "@pytest.mark.causal(requires='test_nothing')", (),
            "ERROR: test_claims.py::test_good: requires names 'test_nothing', which is no *",
            id="unknown gate",
        ),
        pytest.param(
            "@pytest.mark.causal(expect='suported')", (),
            "ERROR: test_claims.py::test_good: expect is 'suported'; did you mean 'supported'*",
            id="marker", marks=pytest.mark.slow,
        ),
        pytest.param(
            "", ("--causal-alpha", "7"),
            "ERROR: causal_alpha is '7'; expected an error rate between 0 and 1, such as 0.05",
            id="setting", marks=pytest.mark.slow,
        ),
        pytest.param(
            "", ("--causal-alpha", "1e-9"),
            "ERROR: test_claims.py::test_good: no verdict is possible at level 1e-09*",
            id="resolution", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_a_refusal_of_a_worker_is_told_once_by_the_controller(suite, before, arguments, message):
    """Exit code 4 and the message on stderr, as without xdist; no test runs."""
    suite.write(f"{before}{GOOD}")
    apart = suite.run_apart("-p", "xdist", "-n", "2", *arguments)
    assert apart.ret == pytest.ExitCode.USAGE_ERROR
    apart.stderr.fnmatch_lines([message])
    assert apart.stderr.str().count("ERROR: ") == 1
    assert "INTERNALERROR" not in apart.stdout.str() + apart.stderr.str()
    apart.assert_outcomes()
    assert suite.files() == set()


@pytest.mark.slow
def test_no_model_is_an_error_of_collection_under_xdist_too(suite):
    """A missing model is told as an error of the file."""
    suite.pytester.makeconftest("")
    suite.pytester.makepyfile(test_claims="def test_claim(causal):\n    pass\n")
    result = suite.run_apart("-p", "xdist", "-n", "2")
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    result.stdout.fnmatch_lines(["*no model to test: pass --causal-model NAME*"])
    assert "INTERNALERROR" not in result.stdout.str()
