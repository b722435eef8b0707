"""What the plugin costs a suite that does not use it: pytest with and without, alternately."""

from __future__ import annotations

import argparse
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


def seconds(folder: Path, arguments: Sequence[str]) -> float:
    """Run pytest once and return the processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {
        key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"
    }
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, str(folder)],
        cwd=folder,
        env={**environment, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def compare(tests: int, rounds: int) -> list[str]:
    """Return a line of the table: the median difference of alternate runs, in milliseconds."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_suite(folder, tests)
        for arguments in ((), _WITHOUT):
            seconds(folder, arguments)  # Bytecode is written once.
        pairs = [(seconds(folder, ()), seconds(folder, _WITHOUT)) for _ in range(rounds)]
    differences = sorted(1000 * (used - plain) for used, plain in pairs)
    middle = statistics.median(plain for _, plain in pairs)
    quarter = len(differences) // 4
    low, high = differences[quarter], differences[-1 - quarter]
    return [
        f"{tests:,}",
        f"{middle:.2f}",
        f"{statistics.median(differences):+.0f}",
        f"{low:+.0f} to {high:+.0f}",
        f"{statistics.median(used / plain for used, plain in pairs):.3f}",
    ]


def main() -> None:
    """Measure suites of several sizes and write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tests", type=int, nargs="+", default=[1, 10_000])
    given = parser.parse_args()
    lines = [compare(tests, given.rounds) for tests in given.tests]
    header = ["plain tests", "s without", "ms more with", "middle half", "with / without"]
    text = (
        "Processor time of `pytest -q` with the plugin and with `-p no:causaltest`, alternately; "
        f"medians over {given.rounds} rounds. Half of the tests have a fixture, half are cases of "
        "a parametrised test.\n\n" + results.table(header, lines)
    )
    print(text)
    results.record("Suites that do not use the plugin", "python benchmarks/idle.py", text)


if __name__ == "__main__":
    main()
