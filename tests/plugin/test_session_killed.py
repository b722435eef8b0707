"""A run that is killed or interrupted leaves what it had found, and says that it is not all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from causaltest.cli import main

_SLOW = '''
import time

def test_first(causal, strong):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_second(causal, strong):
    """The embedding carries twice the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 2

def test_third(causal, strong):
    import pathlib
    pathlib.Path("waiting").touch()
    time.sleep(600)

def test_fourth(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
'''


@pytest.fixture
def stopped(suite):
    """Return a function that ends a run in its third test by a signal."""

    def stop(number: int) -> int:
        suite.write(_SLOW)
        # Shells let what runs in the background ignore Ctrl-C, and its children with it.
        start = (
            "import signal, sys, pytest; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "sys.exit(pytest.main(['-p', 'no:cacheprovider']))"
        )
        run = subprocess.Popen(
            [sys.executable, "-c", start],
            cwd=suite.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(1200):
            if (suite.path / "waiting").exists():
                break
            assert run.poll() is None
            time.sleep(0.1)
        os.kill(run.pid, number)
        return run.wait(timeout=60)

    return stop


def test_a_killed_run_can_be_rendered(suite, stopped):
    """Two claims were finished; the page made from the running file has them, and says so."""
    assert stopped(signal.SIGKILL) == -signal.SIGKILL
    assert suite.files() == {"results.jsonl"}
    done = CliRunner().invoke(main, ["report", str(suite.path / "reports" / "results.jsonl")])
    assert done.exit_code == 0, done.output
    assert "The run did not end: these are the 2 claims finished before." in done.output
    page = (suite.path / "reports" / "report.html").read_text()
    assert "The embedding carries the answer." in page
    assert "The embedding carries twice the answer." in page


def test_an_interrupted_run_writes_what_it_has(suite, stopped):
    """Ctrl-C leaves whole results, marked as partial; what was not reached is listed as such."""
    assert stopped(signal.SIGINT) == pytest.ExitCode.INTERRUPTED
    assert suite.files() == {"report.html", "results.json", "results.jsonl"}
    assert suite.results["status"] == "partial"
    verdicts = {name: claim["verdict"] for name, claim in suite.claims().items()}
    assert verdicts == {
        "test_first": "supported",
        "test_second": "refuted",
        "test_third": "not run",
        "test_fourth": "not run",
    }
