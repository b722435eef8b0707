"""Bars of long work are seen although pytest captures, and only where they are wanted."""

from __future__ import annotations

import pytest

SUITE = '''
def test_the_embedding_decides(causal, strong):
    """A sweep of two places."""
    grid = causal.sweep({"in": module("0"), "out": module("1")}, on=strong)
    assert grid.every() < 0
'''


@pytest.mark.parametrize("mode, seen", [("on", True), ("auto", False), ("off", False)])
def test_a_bar_is_seen_past_the_capture(suite, mode, seen):
    """Standard error is a pipe here, so `auto` shows nothing and `on` shows the bar."""
    suite.write(SUITE)
    result = suite.run_apart("--causal-progress", mode)
    result.assert_outcomes(passed=1)
    assert ("sweep of 2 interventions" in result.stderr.str()) == seen


def test_an_unknown_mode_is_refused(suite):
    """The message offers what there is."""
    suite.write(SUITE)
    result = suite.run_apart("--causal-progress", "onn")
    result.stderr.fnmatch_lines(["*causal_progress is 'onn'; did you mean 'on'*"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
