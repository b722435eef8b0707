"""Importing causaltest and its plugin is light: pytest users who test no model pay nothing."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "scipy", "altair", "vl_convert", "jinja2", "pandas"}

LIGHT = ["causaltest", "causaltest.errors", "causaltest.sites", "causaltest.pairs"]
LIGHT += ["causaltest.interventions", "causaltest.records", "causaltest.plugin"]


def loaded(statement: str) -> set[str]:
    """Return the heavy modules that are loaded after a statement, in a fresh interpreter."""
    program = f"import sys\n{statement}\nprint(*({HEAVY!r} & sys.modules.keys()))"
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return set(finished.stdout.split())


@pytest.mark.parametrize("module", LIGHT)
def test_importing_loads_nothing_heavy(module):
    """Neither the package nor its plugin loads torch, transformers, scipy or the report's tools."""
    assert loaded(f"import {module}") == set()


def test_a_heavy_import_is_seen():
    """The check itself sees scipy when it is imported."""
    assert "scipy" in loaded("import scipy")
