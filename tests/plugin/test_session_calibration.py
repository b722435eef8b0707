"""Whole sessions of null hypotheses keep their error rate; nothing depends on how they were run."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causaltest.plugin import families
from causaltest.plugin.results import adjusted
from causaltest.records import Claim, Interval, Part

HYPOTHESES = 20

# A file is a family, so that one run of pytest holds many sessions.
_FAMILY = """
import numpy as np
import pytest
from causaltest import interchange, module
from conftest import make_pairs, written

EMBEDDING = interchange(module("0", pos=-1))
UNITS = 20
stream = np.random.default_rng([{seed}, {tenths}])
common = stream.standard_normal(UNITS)
own = stream.standard_normal(({hypotheses}, UNITS))
VALUES = 1 + ({tenths} / 10) ** 0.5 * common + (1 - {tenths} / 10) ** 0.5 * own

@pytest.mark.parametrize("index", range({hypotheses}))
def test_null(causal, index):
    pairs = make_pairs(VALUES[index].tolist(), name=f"null{{index}}", cluster=None)
    assert causal.effect(EMBEDDING, on=pairs, metric=written) > 1
"""

_RECORDER = """

VERDICTS = {}

def pytest_runtest_logreport(report):
    if report.when == "call":
        VERDICTS.setdefault(report.nodeid.split("::")[0], []).append(report.causal_verdict)

def pytest_sessionfinish():
    import json, pathlib
    pathlib.Path("verdicts.json").write_text(json.dumps(VERDICTS))
"""


def any_supported(suite, sessions: int, tenths: int, *options: str) -> int:
    """Count sessions of 20 null hypotheses in which any is supported."""
    for seed in range(sessions):
        body = _FAMILY.format(seed=seed, tenths=tenths, hypotheses=HYPOTHESES)
        (suite.path / f"test_family_{seed}.py").write_text(body)
    suite.run_apart("-q", "--tb=no", "-rN", "--causal-report", "none", *options)
    verdicts = json.loads((suite.path / "verdicts.json").read_text())
    assert {len(each) for each in verdicts.values()} == {HYPOTHESES}
    assert len(verdicts) == sessions
    return sum("supported" in each for each in verdicts.values())


@pytest.fixture
def recorded(suite):
    """A suite whose verdicts are written down without a report."""
    conftest = suite.path / "conftest.py"
    conftest.write_text(conftest.read_text() + _RECORDER)
    return suite


def bound(nominal: float, sessions: int) -> float:
    """The nominal rate and two standard errors, as a number of sessions."""
    return sessions * (nominal + 2 * math.sqrt(nominal * (1 - nominal) / sessions))


@pytest.mark.parametrize("tenths", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_a_session_of_nulls_supports_none(recorded, tenths, calibration):
    """C24, fast tier: 25 families of 20 null hypotheses; without correction the check fails."""
    assert any_supported(recorded, 25, tenths) <= bound(0.05, 25)
    wrong, limit = (
        any_supported(recorded, 25, tenths, "--causal-correction", "none"),
        bound(0.05, 25),
    )
    calibration.mutant("C24", "no correction", wrong / 25, bound=limit / 25, runs=25)
    assert wrong > limit


@pytest.mark.slow
@pytest.mark.parametrize("tenths", [0, 3])
def test_session_error_rate(recorded, tenths, calibration):
    """C24: over 300 families the rate of any support is at most .05 and two standard errors."""
    found, limit = any_supported(recorded, 300, tenths), bound(0.05, 300)
    setting = f"correlation .{tenths}"
    calibration.record("C24", setting, found / 300, bound=limit / 300, runs=300, nominal=0.05)
    assert found <= limit


BODY = '''
@pytest.mark.causal(requires="test_c")
def test_a(causal, strong):
    """A."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_b(causal, mixed):
    """B."""
    assert causal.effect(EMBEDDING, on=mixed, metric=written) > 0.25

def test_c(causal, strong):
    """C."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.9

@pytest.mark.causal(exploratory=True)
def test_d(causal, mixed):
    """D."""
    assert causal.effect(EMBEDDING, on=mixed, metric=written) < 1
'''

_REVERSED = """

def pytest_collection_modifyitems(items):
    items.reverse()
"""


@pytest.mark.calibration("C34")
def test_order_and_process_change_no_number(suite):
    """C34: another process and another order give the same claims, byte for byte."""
    suite.write(BODY)
    suite.run()
    first = json.dumps(suite.results["claims"])
    suite.run_apart()
    assert json.dumps(suite.results["claims"]) == first
    conftest = suite.path / "conftest.py"
    conftest.write_text(conftest.read_text() + _REVERSED)
    suite.run_apart()
    assert json.dumps(suite.results["claims"]) == first


@pytest.mark.slow
@pytest.mark.calibration("C25")
@pytest.mark.parametrize("workers", ["0", "2", "4"])
def test_processes_change_no_number(suite, workers):
    """C25: zero, two and four worker processes write the claims of one, byte for byte."""
    pytest.importorskip("xdist")
    suite.write(BODY)
    suite.run_apart()
    first = json.dumps(suite.results["claims"])
    suite.run_apart("-p", "xdist", "-n", workers)
    assert json.dumps(suite.results["claims"]) == first


_RANDOM = """
import numpy as np

@pytest.mark.parametrize("index", range({size}))
def test_it(causal, index):
    values = np.random.default_rng([{seed}, index]).normal(1.0, 0.5, 20).tolist()
    pairs = make_pairs(values, name=f"random {{index}}", cluster=None)
    assert causal.effect(EMBEDDING, on=pairs, metric=written) > 0.75
"""


def write_sessions(suite, count: int) -> list[str]:
    """Write files of random hypotheses, each a session, and choose some of each file at random."""
    rng, chosen = np.random.default_rng(25), []
    for seed in range(count):
        size = int(rng.integers(2, 6))
        suite.write(_RANDOM.format(seed=seed, size=size), name=f"test_family_{seed}")
        some = rng.choice(size, int(rng.integers(1, size)), replace=False)
        chosen += [f"test_family_{seed}.py::test_it[{index}]" for index in some]
    return chosen


def parts_by_id(suite) -> dict[str, list]:
    """Return what decides each claim: verdict, level, p-values, interval."""
    return {claim["id"]: [claim["verdict"], claim["parts"]] for claim in suite.results["claims"]}


def selections_change_nothing(suite, count: int) -> None:
    """Check that hypotheses chosen at random are decided as in the whole run, bit for bit."""
    chosen = write_sessions(suite, count)
    suite.run("-q")
    whole = parts_by_id(suite)
    assert {verdict for verdict, _ in whole.values()} >= {"supported", "inconclusive"}
    suite.run("-q", *chosen)
    part = parts_by_id(suite)
    assert len(part) == len(chosen) < len(whole)
    assert all(part[name] == whole[name] for name in part)


@pytest.mark.calibration("C25")
@pytest.mark.parametrize(
    "count",
    [pytest.param(5, id="quarter"), pytest.param(50, id="full", marks=pytest.mark.slow)],
)
def test_selections_change_no_number(suite, count):
    """C25: in 50 random sessions a selection decides what it runs as the whole file does."""
    selections_change_nothing(suite, count)


@pytest.mark.calibration("C25", mutant="the family counted from what was selected")
def test_c25_catches_families_of_selected_hypotheses(suite, monkeypatch):
    """Mutant: the level is divided among those that run."""
    right, run, selected = families._divide, suite.run, []

    def narrowed(found, members):
        running = {nodeid: item for nodeid, item in members.items() if nodeid in selected}
        right(found, running or members)

    def noting(*arguments):
        selected[:] = arguments
        return run(*arguments)

    monkeypatch.setattr(families, "_divide", narrowed)
    monkeypatch.setattr(suite, "run", noting)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        selections_change_nothing(suite, 5)


def claim(index: int, p: float, alpha: float, size: int) -> Claim:
    """A supported or open claim of a family with a p-value and a level."""
    interval = Interval(0.0, 1.0, 0.95)
    part = Part(
        statement="", subject="", verdict="inconclusive", relation=">", bound=0.0, estimate=0.5,
        interval=interval, adjusted_interval=interval, p_support=p, p_refute=1 - p, alpha=alpha,
        n_pairs=9, n_units=9, unit="pair", method="", floor=0.0,
    )  # fmt: skip
    return Claim(
        id=str(index), claim="", file="f", line=index, family="f", family_size=size,
        verdict="inconclusive", expected="supported", outcome="failed", parts=(part,), deciding=0,
        p_support=p, p_refute=1 - p,
    )  # fmt: skip


c25_procedure = adjusted


@pytest.mark.calibration("C25")
@given(
    st.lists(st.tuples(st.floats(1e-6, 1.0), st.floats(0.2, 5.0)), min_size=1, max_size=12),
    st.data(),
)
def test_holm_never_takes_back_what_was_decided(drawn, data):
    """C25: what is supported at its own level survives Holm, whatever part of the family ran."""
    weights = [weight for _, weight in drawn]
    family = [
        claim(i, p, 0.05 * weight / sum(weights), len(drawn)) for i, (p, weight) in enumerate(drawn)
    ]
    ran = data.draw(st.sets(st.integers(0, len(drawn) - 1), min_size=1))
    for each in adjusted(family):
        assert each.p_adjusted is not None
        if each.parts[0].p_support <= each.parts[0].alpha / 2:
            assert each.p_adjusted <= 0.025 * (1 + 1e-9)
    # Equal weights: a selection makes no adjusted p smaller.
    equal = [claim(i, p, 0.05 / len(drawn), len(drawn)) for i, (p, _) in enumerate(drawn)]
    whole = {each.id: each.p_adjusted for each in adjusted(equal)}
    for each in c25_procedure([equal[index] for index in sorted(ran)]):
        before = whole[each.id]
        assert each.p_adjusted is not None
        assert before is not None
        assert each.p_adjusted >= before * (1 - 1e-9)


@pytest.mark.calibration("C25", mutant="Holm over what ran")
def test_c25_catches_holm_over_what_ran(monkeypatch):
    """Mutant: hypotheses that were left out do not count."""

    def narrowed(claims):
        claims = list(claims)
        return adjusted([msgspec.structs.replace(each, family_size=len(claims)) for each in claims])

    monkeypatch.setitem(globals(), "c25_procedure", narrowed)
    with pytest.raises(AssertionError):
        test_holm_never_takes_back_what_was_decided()


def test_claims_along_gates_are_adjusted_by_hand():
    """A claim is adjusted by its share, and by no less than its gate."""
    gate = claim(0, 0.01, 0.05, 2)
    behind = msgspec.structs.replace(claim(1, 0.001, 0.05, 2), requires=("0",))
    alone = msgspec.structs.replace(claim(1, 0.012, 0.025, 2), requires=("0",))
    assert [each.p_adjusted for each in adjusted([gate, behind])] == [0.01, 0.01]
    assert [each.p_adjusted for each in adjusted([gate, alone])] == [0.01, 0.024]
    assert adjusted([behind])[0].p_adjusted == 1.0
