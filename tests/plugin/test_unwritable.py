"""A run that cannot keep its results is no success, and its verdicts are still told."""

from __future__ import annotations

import pytest

CLAIM = '''
def test_strong(causal, strong):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
'''


@pytest.fixture
def blocked(suite):
    """A suite whose one claim holds, and a file where a folder is to be made."""
    suite.write(CLAIM)
    (suite.path / "blocked").write_text("a file")
    return suite


@pytest.mark.parametrize(
    "workers", [(), pytest.param(("-p", "xdist", "-n", "1"), marks=pytest.mark.slow)]
)
def test_a_report_that_cannot_be_written_fails_the_run(blocked, workers):
    """Exit code 1, the table, and what could not be written, why, and what to do."""
    result = blocked.run_apart(*workers, "--causal-report=blocked/reports")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*strong*+1.02*",
            "1 claim: 1 supported, 0 refuted, 0 inconclusive",
            "causaltest: cannot write *results.jsonl (Not a directory), so claims are not kept "
            "while the run goes",
            "causaltest: cannot write to *blocked?reports: *results.json cannot be written: "
            "Not a directory.",
            "Choose another folder for the report, or make this one writable.",
        ]
    )
    result.stdout.no_fnmatch_line("report: *")
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


@pytest.mark.skipif("not __import__('os').path.exists('/dev/full')")
def test_a_disk_that_is_full_at_the_end_fails_the_run(blocked):
    """What was kept while the run went is still there; the message says to free space."""
    blocked.write(
        CLAIM
        + """
@pytest.fixture(scope="session", autouse=True)
def full(request):
    yield
    import pathlib
    opened = pathlib.Path.open
    def to_full(path, *arguments, **options):
        full = path.name.startswith(".results.json.")
        return opened(pathlib.Path("/dev/full") if full else path, *arguments, **options)
    pathlib.Path.open = to_full
"""
    )
    result = blocked.run_apart()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "1 claim: 1 supported, 0 refuted, 0 inconclusive",
            "causaltest: cannot write to *results.json cannot be written: No space left on device.",
            "Free some space there, or choose another folder for the report.",
        ]
    )
    assert blocked.files() == {"results.jsonl"}


@pytest.mark.parametrize(
    "arguments, message, advice",
    [
        (
            ("--causal-update-baseline", "--causal-baseline=blocked/b.json"),
            "causaltest: *b.json cannot be written: *",
            "Choose another place for the baseline, or make this one writable.",
        ),
        (
            ("--causal-history=blocked/history.jsonl",),
            "causaltest: *history.jsonl cannot be written: *",
            "Choose another place for the history, or make this one writable.",
        ),
    ],
    ids=["baseline", "history"],
)
def test_what_was_asked_for_and_not_kept_fails_the_run(blocked, arguments, message, advice):
    """A baseline or a history that is not written is told, and the report still is."""
    result = blocked.run_apart(*arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["1 claim: 1 supported*", message, advice, "report: *"])


def test_a_run_that_is_told_to_write_nothing_succeeds(blocked):
    """`--causal-report none` asks for nothing."""
    assert blocked.run_apart("--causal-report=none").ret == pytest.ExitCode.OK
