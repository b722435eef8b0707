"""An alarm is confirmed on fresh pairs before it counts: who is confirmed, how often wrongly."""

from __future__ import annotations

import re

import numpy as np
import pytest
from click.testing import CliRunner

from causaltest import RecordError, records
from causaltest.baseline import compare, confirm, keep
from causaltest.baseline.comparing import Margin
from causaltest.cli import main

ALL = range(24)


def wobbly(values, change: float):
    """The values after a change that is not quite the same for each of them."""
    return [v + change + 0.01 * (-1) ** (i // 5) for i, v in enumerate(values)]


@pytest.fixture
def fresh_set(runs):
    """Other prompts of other templates."""
    return runs.pair_set(changed=ALL, units="fresh ")


@pytest.fixture
def two(runs, values, fresh_set):
    """Two runs of which the second fell by a half, and a maker of two on fresh pairs."""
    first = tuple(
        keep(runs.results(runs.claim("one", runs.part(each))))
        for each in (values, wobbly(values, -0.5))
    )

    def again(change: float, *, on=fresh_set, verdict="supported", **changes):
        parts = (
            runs.part(each, on=on, verdict=now)
            for each, now in ((values, "supported"), (wobbly(values, change), verdict))
        )
        made = (runs.claim("one", part, verdict=part.verdict) for part in parts)
        return tuple(keep(runs.results(each, sets=[on], **changes)) for each in made)

    return first, again


def outcome(first, fresh):
    """What fresh runs make of the one alarm, and whether it is still worse."""
    found = confirm(compare(*first), first, fresh)
    (claim,) = found.claims
    assert claim.alarm
    return claim.confirmation, claim.worse


def test_a_fall_that_is_there_on_fresh_pairs_is_confirmed(two):
    """It stays worse, with what was seen the second time."""
    first, again = two
    given, worse = outcome(first, again(-0.5))
    assert (given.outcome, worse) == ("confirmed", True)
    assert given.again.drift.change == pytest.approx(-0.5, abs=0.01)


def test_a_fall_that_fresh_pairs_do_not_show_is_no_alarm(two):
    """The claim is unclear then, and nothing is worse."""
    first, again = two
    given, worse = outcome(first, again(-0.01))
    assert (given.outcome, worse) == ("not confirmed", False)
    found = confirm(compare(*first), first, again(-0.01))
    assert found.worse == ()
    assert found.claims[0].state == "unclear"


def test_a_rise_does_not_confirm_a_fall(two):
    """The second look is one-sided as the first."""
    first, again = two
    assert outcome(first, again(0.5))[0].outcome == "not confirmed"


def test_a_lost_verdict_is_confirmed_where_it_is_lost_again(two, runs, values):
    """Its estimate need not have been shown to fall."""
    _, again = two
    lost = runs.claim("one", runs.part(values, verdict="inconclusive"), verdict="inconclusive")
    first = keep(runs.results(runs.claim("one", runs.part(values)))), keep(runs.results(lost))
    assert outcome(first, again(0.0, verdict="refuted"))[0].outcome == "confirmed"
    assert outcome(first, again(0.0))[0].outcome == "not confirmed"


@pytest.mark.parametrize(
    "changed, units, reason",
    [
        ((), "t", "12 of the fresh templates were in the first comparison too"),
        (ALL, "t", "12 of the fresh templates were in the first comparison too"),
        (range(23), "fresh ", "1 of the fresh pair was in the first comparison too"),
    ],
)
def test_pairs_that_were_seen_confirm_nothing(two, runs, changed, units, reason):
    """Neither the same pairs nor other pairs of the same templates are fresh."""
    first, again = two
    seen = runs.pair_set(changed=changed, units=units)
    if units == "fresh ":
        # One prompt of the first set under a fresh name of its unit is still the same prompt.
        last = seen.pairs[-1]
        pairs = (*seen.pairs[:-1], records.PairRecord(last.id, last.base, last.source, unit="t11"))
        seen = records.PairSetRecord("pronouns", "f" * 64, "template", 24, 12, pairs)
        reason = "1 of the fresh template was in the first comparison too"
    given, worse = outcome(first, again(-0.01, on=seen))
    assert (given.outcome, given.reason, worse) == ("open", reason, True)


def test_a_claim_that_the_fresh_runs_lack_stays_worse(two, runs, values, fresh_set):
    """What cannot be confirmed is said, and stays red."""
    first, _ = two
    other = keep(runs.results(runs.claim("two", runs.part(values, on=fresh_set)), sets=[fresh_set]))
    given, worse = outcome(first, (other, other))
    assert (given.outcome, worse) == ("open", True)
    assert given.reason == "the fresh runs do not have this claim"


def test_another_measurement_confirms_nothing(two, runs, values, fresh_set):
    """The same name over another subject is another comparison."""
    first, _ = two
    claim = runs.claim("one", runs.part(values, on=fresh_set, subject="logit_diff of x"))
    run = keep(runs.results(claim, sets=[fresh_set]))
    given, _ = outcome(first, (run, run))
    assert given.reason == (
        "it measured recovery of interchange(block_output[2]@name), and the fresh runs "
        "logit_diff of x"
    )


def test_fresh_runs_of_another_model_are_refused(two):
    """The message names the side, the weights, and what to do."""
    first, again = two
    with pytest.raises(RecordError) as caught:
        confirm(compare(*first), first, again(-0.5, sha256="b" * 64))
    assert str(caught.value) == (
        "the fresh old run is of other weights: toy is aaaaaaaa in the first comparison and "
        "bbbbbbbb in the fresh one\nRun the same two models on fresh pairs."
    )


def test_no_alarm_asks_for_nothing(two):
    """Fresh runs are not even looked at."""
    first, _ = two
    found = compare(first[0], first[0])
    assert confirm(found, (first[0], first[0]), first) is found


@pytest.fixture
def folders(runs, values, fresh_set, tmp_path):
    """Four runs on disk: old, new, and both on fresh pairs, where nothing fell."""
    for name, numbers, on in (
        ("old", values, runs.pair_set()),
        ("new", wobbly(values, -0.5), runs.pair_set()),
        ("old2", values, fresh_set),
        ("held2", wobbly(values, -0.01), fresh_set),
        ("new2", wobbly(values, -0.5), fresh_set),
    ):
        claim = runs.claim("one", runs.part(numbers, on=on))
        records.write(runs.results(claim, sets=[on]), tmp_path / name / "results.json")
    return tmp_path


def test_the_command_line_ends_red_only_where_it_is_confirmed(folders):
    """1 with a fall on both, 0 where the fresh pairs show none; the table says which."""

    def run(*names: str):
        return CliRunner().invoke(
            main, ["compare", *(each if each[0] == "-" else str(folders / each) for each in names)]
        )

    alone = run("old", "new")
    assert alone.exit_code == 1
    told = "1 alarm not confirmed; on fresh pairs: compare OLD NEW --confirm OLD2 NEW2"
    assert told in alone.output.splitlines()
    both = run("old", "new", "--confirm", "old2", "new2")
    assert both.exit_code == 1
    assert re.search(r"  confirmed on fresh pairs, changed by -0\.4\d+ \[-0\.5", both.output)
    assert "not confirmed" not in both.output
    calm = run("old", "new", "--confirm", "old2", "held2")
    assert calm.exit_code == 0
    assert "no alarm: not confirmed on fresh pairs, changed by -0.0" in calm.output
    assert "1 claim compared: 1 unclear" in calm.output
    seen = run("old", "new", "--confirm", "old", "new")
    assert seen.exit_code == 1
    assert "not confirmed: 12 of the fresh templates were in the first comparison" in seen.output


def pairs_of(runs, rng, shift: float, units: str):
    """Two runs on fifty units whose true change is `shift`, with a spread of 1."""
    on = runs.pair_set(50, changed=range(50) if units else (), units=units, n_units=50)
    old = rng.normal(0.0, 1.0, 50)
    new = old + rng.normal(shift, 1.0, 50)
    return tuple(
        keep(runs.results(runs.claim("one", runs.part(each.tolist(), on=on)), sets=[on]))
        for each in (old, new)
    )


def rates(runs, shift: float, times: int) -> tuple[float, float]:
    """Return how often there is an alarm, and how often it is confirmed; half a spread matters."""
    rng = np.random.default_rng(35)
    margin = Margin(0.5, relative=False)
    alarms = confirmed = 0
    for _ in range(times):
        first, fresh = pairs_of(runs, rng, shift, ""), pairs_of(runs, rng, shift, "fresh ")
        found = compare(*first, margin=margin)
        alarms += bool(found.worse)
        confirmed += bool(confirm(found, first, fresh, margin=margin).worse)
    return alarms / times, confirmed / times


def test_false_alarms_are_squared_and_real_losses_found(runs):
    """At the margin .025 of the looks alarm and .0006 are confirmed; of losses of two, .80 are."""
    alarms, confirmed = rates(runs, -0.5, 2000)
    # Two standard errors about the nominal rate; a rule without confirmation has 2.5 %.
    assert 0.025 - 0.007 <= alarms <= 0.025 + 0.007
    assert confirmed <= 0.003
    alarms, confirmed = rates(runs, -1.0, 300)
    assert confirmed >= 0.80
