"""What the plugin costs a suite that does not use it.

Whole runs with and without differ by more from one to the next than the plugin costs, so that
its own time is added up inside one process (`idle_probe.py`); whole runs are a check beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import results

_WITHOUT = ("-p", "no:causaltest")
_FILES = 100
_FEW_MS = 20.0
"""Target for the start of a suite, in milliseconds."""
_SHARE = 0.03
"""Target for a large suite, as a share of its processor time."""
_LARGE = 1_000


def write_suite(folder: Path, tests: int) -> None:
    """Write plain tests, some with fixtures and some parametrised, into files of a hundred."""
    files = min(_FILES, tests)
    for number in range(files):
        here = tests // files
        half = here // 2
        body = "import pytest\n\n@pytest.fixture\ndef one():\n    return 1\n\n"
        body += "".join(f"def test_{i}(one):\n    assert one\n\n" for i in range(here - half))
        if half:
            body += (
                f"@pytest.mark.parametrize('i', range({half}))\ndef test_i(i):\n    assert i >= 0\n"
            )
        (folder / f"test_{number}.py").write_text(body)


def run(folder: Path, *arguments: str, **variables: str) -> None:
    """Run pytest once, with bytecode that is written once for all runs."""
    known = {key: each for key, each in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, str(folder)],
        cwd=folder,
        env={
            **known,
            **variables,
            "PYTHONPATH": paths,
            "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        },
        stdout=subprocess.DEVNULL,
        check=True,
    )


def seconds(folder: Path, arguments: Sequence[str]) -> float:
    """Run pytest once and return the processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(folder, *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def probed(folder: Path) -> dict[str, float]:
    """Run pytest once and return what the plugin cost inside it, in milliseconds."""
    found = folder / "found.json"
    run(folder, "-p", "idle_probe", IDLE_PROBE=str(found))
    return json.loads(found.read_text(encoding="utf-8"))


def together(found: dict[str, float]) -> float:
    """Return all that the plugin cost in a run."""
    return sum(found[part] for part in ("imports", "fixtures", "hooks", "dispatch"))


def measure(tests: int, rounds: int) -> list[str]:
    """Return a line of the table."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_suite(folder, tests)
        probed(folder)  # Bytecode is written once.
        seconds(folder, _WITHOUT)
        inside, pairs = [], []
        for _ in range(rounds):
            inside.append(probed(folder))
            pairs.append((seconds(folder, ()), seconds(folder, _WITHOUT)))
    # The least of the rounds: whatever else a machine does only ever adds.
    least = min(inside, key=together)
    cost, share = together(least), together(least) / least["total"]
    target = f"{_FEW_MS:g} ms" if tests < _LARGE else f"{_SHARE:.0%}"
    met = cost < _FEW_MS if tests < _LARGE else share < _SHARE
    return [
        f"{tests:,}",
        *(f"{least[part]:.1f}" for part in ("imports", "fixtures", "hooks", "dispatch")),
        f"{cost:.1f}",
        f"{statistics.median(map(together, inside)):.1f}",
        f"{share:.1%}",
        f"{target}: {'met' if met else 'not met'}",
        f"{statistics.median(used / plain for used, plain in pairs):.3f}",
    ]


def main() -> None:
    """Measure suites of several sizes and write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tests", type=int, nargs="+", default=[1, 10_000])
    given = parser.parse_args()
    lines = [measure(tests, given.rounds) for tests in given.tests]
    header = ["plain tests", "imports", "fixtures", "hooks", "pluggy", "ms in all", "median"]
    header += ["share of the run", "target", "whole runs, with / without"]
    text = (
        "Processor time, in milliseconds, that `pytest -q` spends in the plugin where no test uses "
        "it, added up inside the process: importing it, finding its fixtures, its hooks, and what "
        f"pluggy takes to call these. The least of {given.rounds} rounds and their median. Beside "
        "it the processor time of whole runs with the plugin and with `-p no:causaltest`, "
        "alternately. Half of the tests have a fixture, half are cases of a parametrised test.\n\n"
        + results.table(header, lines)
    )
    print(text)
    results.record("Suites that do not use the plugin", "python benchmarks/idle.py", text)


if __name__ == "__main__":
    main()
