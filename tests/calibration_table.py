"""The plugin behind `make calibrate`: runs the full tier and writes what was found as a table."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import pytest

CHECKS = {
    "C1": "false support on the bound, symmetric data",
    "C2": "false support on the bound, skewed data",
    "C3": "misses of the 95 % interval",
    "C4": "misses of the 95 % interval, hard data",
    "C5": "width of the interval over that of t",
    "C6": "power of a directional claim",
    "C7": "type I error with templates as units",
    "C8": "type I error with a dominant template",
    "C9": "fewer than five units",
    "C10": "family-wise error of maps, raw effects",
    "C11": "family-wise error of maps, placebo-differenced",
    "C12": "power of maps",
    "C13": "misses of simultaneous bounds",
    "C14": "false equivalence at the margin",
    "C15": "power of equivalence",
    "C16": "exactly one verdict; p-values and intervals are duals",
    "C17": "scale, sign, order and duplicates do not matter",
    "C18": "false support of a ratio of means",
    "C19": "false support of a rate by template",
    "C20": "coverage of paired differences of rates",
    "C21": "a site that is one of its controls",
    "C22": "a map fitted to random labels",
    "C23": "the best of many cells",
    "C24": "sessions of 20 null hypotheses",
    "C25": "Holm, selections and processes change no verdict",
    "C26": "closed gates",
    "C27": "any of 500 looks",
    "C28": "speed of stopping early",
    "C29": "watching values without known limits",
    "C30": "uniformity of p-values (KS distance)",
    "C31": "enumeration equals scipy's permutation test",
    "C32": "figures equal those of scipy, statsmodels and mne",
    "C33": "degenerate data",
    "C34": "same seed, other process, other order",
    "C35": "confirmed regressions",
    "C36": "monotony",
    "C37": "claims changed after registration",
    "C38": "a planted circuit and its weight-shuffled twin",
    "C39": "families of null claims on few units",
    "C40": "contradiction by the pairs of one unit",
}

REMARKS = """\
C10: maps of raw effects hold their level where several units carry each effect. On real placebo
effects two heads of forty respond to one template of forty; three samples of five lack it, and in
them the other templates agree on a mean that is not 0. No procedure knows of a response that is
not in its sample, so whether *anything* is there is not a question for a raw map (its row, as the
mutant that was replaced, shows what comes of it). Asked for instead: the map less the same edits
with sources of the same answer, `grid.against(placebo)`, both sources drawn afresh for each pair
and so exchangeable whatever the model does with them; or effects beyond the smallest that matters,
`grid.significant(bound=...)`. Both hold the level with every head. Another head as the placebo
does not quite: heads differ in spread, so that differences are not symmetric.

C39: claims decided at .05 / m by the hull, and given where they are not doubted for skewness, which
the health check `few_units_for_level` sees to. With as many units as are advised the level of the
family holds on exponential data; with fewer, or on longer tails, it does not, as the row of hard
data says. Where one template in seven responds at all, no sample of twelve knows of it in one run
of seven, and no level holds.

C32: compared with statsmodels and mne where CAUSALTEST_ORACLES_PYTHON names an interpreter that
has them, and with scipy and closed forms in any case.
"""

HEAD = """\
# Calibration

How often causaltest is wrong where the truth is known, by check. A rate passes up to its bound: the
nominal rate and two standard errors at the stated number of runs, or what the procedure is known to
reach on hard data. Each row shows the worst of its settings, the one nearest to or farthest beyond
the bound. A mutant is a wrong procedure that the same check must fail; its row shows the value that
gave it away. *Exact* checks have no rate: they hold for every case tried or they do not.

`make calibrate` writes this page. {versions}.

| check | what | worst setting | settings | nominal | observed | bound | runs | passes | mutant | \
mutant's value | mutant's bound | caught |
|---|---|---|--:|--:|--:|--:|--:|---|---|--:|--:|---|
"""


def pytest_addoption(parser):
    """Add where to write the table."""
    parser.addoption("--calibration-table", type=Path, help="write the calibration table here")


def pytest_collection_modifyitems(config, items):
    """Leave out what the full tier does again with four times the runs."""
    short = [item for item in items if "quarter" in item.name.partition("[")[2][:-1].split("-")]
    if short:
        config.hook.pytest_deselected(items=short)
        items[:] = [item for item in items if item not in short]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Note how a check without figures ended."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        for mark in item.iter_markers("calibration"):
            if mark.args:
                note = {"check": mark.args[0], "passed": report.passed, **mark.kwargs}
                report.user_properties.append(("calibration", note))


class Table:
    """Gathers the notes of all processes and writes the table at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[dict] = []

    def pytest_runtest_logreport(self, report):
        """Keep the notes of a test."""
        new = [note for name, note in report.user_properties if name == "calibration"]
        if report.when == "call" and new:
            self.notes += new
            self.path.write_text(rendered(self.notes, finished=False), encoding="utf-8")

    def pytest_sessionfinish(self, exitstatus):
        """Write the table."""
        self.path.write_text(rendered(self.notes, finished=exitstatus <= 1), encoding="utf-8")


def pytest_configure(config):
    """Gather in the process that starts the others."""
    path = config.getoption("--calibration-table")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(path), "calibration-table")


def excess(note: dict) -> float:
    """Return how far a figure lies beyond its bound, as a share of the bound; negative within."""
    beyond = note["observed"] - note["bound"]
    return (-beyond if note["least"] else beyond) / (abs(note["bound"]) or 1.0)


def rendered(notes: list[dict], *, finished: bool) -> str:
    """Return the page for the notes of a run."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("causaltest", "numpy", "scipy"))
    page = HEAD.format(versions=f"This one is of {versions}, Python {platform.python_version()}")
    rows, missed = [], []
    for check, what in CHECKS.items():
        found = [note for note in notes if note["check"] == check]
        for row, passes in rows_of(check, what, found):
            rows.append(row)
            missed += [] if passes else [check]
    last = (
        f"Missed: {', '.join(dict.fromkeys(missed))}." if missed else "No check misses its bound."
    )
    if not finished:
        last += " The run ended early: what it did not reach is in the table as not checked."
    return f"{page}{''.join(rows)}\n{REMARKS}\n{last}\n"


def rows_of(check: str, what: str, notes: list[dict]) -> list[tuple[str, bool]]:
    """Return the rows of one check, one for each quantity, and whether each holds."""
    if not notes:
        return [(line(check, what, "*not checked*"), True)]
    rows = []
    figures = [note for note in notes if "observed" in note]
    for quantity in dict.fromkeys(note["quantity"] for note in figures):
        mine = [note for note in figures if note["quantity"] == quantity]
        rows.append(row_of(check, f"{what}: {quantity}" if quantity else what, mine))
    exact = [note for note in notes if "passed" in note]
    for mutant in dict.fromkeys(note.get("mutant") for note in exact):
        held = all(note["passed"] for note in exact if note.get("mutant") == mutant)
        count = sum(note.get("mutant") == mutant for note in exact)
        word = "yes" if held else "**no**"
        if mutant:
            rows.append((line(check, what, mutant=mutant, value="exact", caught=word), held))
        else:
            cells = {"settings": str(count), "observed": "exact", "passes": word}
            rows.append((line(check, what, "all", **cells), held))
    return rows


def row_of(check: str, what: str, notes: list[dict]) -> tuple[str, bool]:
    """Return the row of one quantity: its worst setting, and the mutant least easily caught."""
    cells, passes, caught = {}, True, True
    ours = [note for note in notes if note["mutant"] is None]
    if ours:
        worst = max(ours, key=excess)
        passes = excess(worst) <= 0
        nominal = "" if worst["nominal"] is None else number(worst["nominal"])
        cells = {
            "setting": worst["setting"],
            "settings": str(len(ours)),
            "nominal": nominal,
            "observed": number(worst["observed"]),
            "bound": sided(worst),
            "runs": f"{worst['runs']:,}" if worst["runs"] > 1 else "exact",
            "passes": "yes" if passes else "**no**",
        }
    wrong = [note for note in notes if note["mutant"] is not None]
    if wrong:
        least = min(wrong, key=excess)
        caught = excess(least) > 0
        cells |= {
            "mutant": least["mutant"],
            "value": number(least["observed"]),
            "limit": sided(least),
            "caught": "yes" if caught else "**no**",
        }
    return line(check, what, **cells), passes and caught


def sided(note: dict) -> str:
    """Return a bound with its direction."""
    return f"{'≥' if note['least'] else '≤'} {number(note['bound'])}"


def number(value: float) -> str:
    """Return a number of three or four digits."""
    return f"{value:.4f}" if abs(value) < 2 else f"{value:.4g}"


def line(
    check, what, setting="", settings="", nominal="", observed="", bound="", runs="",
    passes="", mutant="", value="", limit="", caught="",
) -> str:  # fmt: skip
    """Return one line of the table."""
    cells = (check, what, setting, settings, nominal, observed, bound, runs, passes)
    return f"| {' | '.join((*cells, mutant, value, limit, caught))} |\n"
