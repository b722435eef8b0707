"""The table of calibration checks tells the worst of what was found, and what was not checked."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def table():
    """The plugin, which `make calibrate` loads by name."""
    path = Path(__file__).with_name("calibration_table.py")
    spec = spec_from_file_location("calibration_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figure(observed, *, setting="", mutant=None, bound=0.06, least=False, quantity=""):
    """A note as a check leaves it."""
    return {
        "check": "C1", "quantity": quantity, "setting": setting, "mutant": mutant, "bound": bound,
        "observed": observed, "runs": 2_000, "nominal": None, "least": least,
    }  # fmt: skip


def cells(page, check):
    """The cells of each row of a check."""
    rows = re.findall(rf"^\| {check} \|.*\|$", page, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_worst_setting_and_the_mutant_nearest_to_passing_are_shown(table):
    """Of three settings the one nearest to its bound, of two mutants the one least beyond it."""
    notes = [
        figure(0.02, setting="easy"),
        figure(0.055, setting="hard"),
        figure(0.056, setting="wide", bound=0.08),
        figure(0.4, mutant="gross"),
        figure(0.07, mutant="subtle"),
    ]
    (row,) = cells(table.rendered(notes, finished=True), "C1")
    assert row[2:] == [
        "hard", "3", "", "0.0550", "≤ 0.0600", "2,000", "yes",
        "subtle", "0.0700", "≤ 0.0600", "yes",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "note",
    [
        figure(0.061),
        figure(0.79, bound=0.8, least=True),
        figure(0.05, mutant="harmless"),
        {"check": "C1", "passed": False},
        {"check": "C1", "passed": False, "mutant": "harmless"},
    ],
    ids=["above", "below", "mutant passes", "exact check fails", "exact mutant passes"],
)
def test_what_misses_is_named(table, note):
    """A figure beyond its bound, and a mutant within it, are shown in the row and at the end."""
    page = table.rendered([note], finished=True)
    (row,) = cells(page, "C1")
    assert "**no**" in row
    assert page.endswith("\nMissed: C1.\n")


def test_what_was_not_run_is_not_checked(table):
    """A check without notes says so, and so does a run that ended early."""
    page = table.rendered([figure(0.01)], finished=False)
    assert all(row[2] == "*not checked*" for row in cells(page, "C2"))
    assert page.endswith(
        "No check misses its bound. The run ended early: what it did not reach is in the table as "
        "not checked.\n"
    )


def test_quantities_of_a_check_have_rows_of_their_own(table):
    """Power does not stand for error: each quantity has a row."""
    notes = [figure(0.01), figure(0.9, bound=0.8, least=True, quantity="power")]
    rows = cells(table.rendered(notes, finished=True), "C1")
    assert [row[1].partition(": ")[2] for row in rows] == ["", "power"]
