"""What figures show: kept with claims, checked when read, made of what was measured."""

import json
import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy import stats

from causaltest.errors import RecordError
from causaltest.records import (
    Axis,
    CircuitGraph,
    CircuitNode,
    Claim,
    ControlStrip,
    DoseCurve,
    EvidencePath,
    Map,
    Results,
    Run,
    Shown,
    read,
    write,
)
from causaltest.records.making import map_of, shown_by
from causaltest.stats import Curve, Effect, Grid, Judge, Rate, Ratio
from causaltest.stats.arriving import ArrivingEffect
from causaltest.stats.controls import Controls
from causaltest.stats.looks import Look, Stream
from causaltest.stats.shown import OfCircuit, Place

NAMES = [f"pair {i:02d}" for i in range(24)]
MAP = Map("sweep", (Axis("layer", ("0", "1")), Axis("pos", ("a", "b", "c"))), (0.0,) * 6)


def results_with(shown):
    """Wrap what figures show as the results of one claim."""
    claim = Claim("a.py::test_a", "A.", "a.py", 1, "supported", "supported", "passed", shown=shown)
    return Results(1, "complete", Run(alpha=0.05, correction="none", seed=0), (claim,))


def effect(values, **more):
    """Measure made-up values."""
    return Effect(values, units=NAMES, pair_ids=NAMES, subject="logit_diff of a patch", **more)


def recorded(*verdicts, judge=None):
    """Record what the figures of comparisons show."""
    return shown_by(verdicts, judge or Judge(), lambda _: "logits")


def draws(*shape, mean=0.0):
    """Draw made-up values."""
    return np.random.default_rng(len(shape)).normal(mean, 0.3, shape)


def test_what_figures_show_is_written_and_read(tmp_path):
    """Numbers come back with six digits, infinite limits as None."""
    known = msgspec.structs.replace(MAP, low=(None,) * 6, high=(1 / 3,) * 6, named=(1, 5))
    write(results_with(Shown(maps=(known,))), tmp_path / "results.json")
    back = read(tmp_path / "results.json").claims[0].shown.maps[0]
    assert back == msgspec.structs.replace(known, high=(0.333333,) * 6)


def test_files_of_earlier_versions_are_read(tmp_path):
    """Fields that joined later are not asked for."""
    path = tmp_path / "results.json"
    write(results_with(Shown(maps=(MAP,))), path)
    tree = json.loads(path.read_text())
    for name in ("shown", "specification"):
        del tree["claims"][0][name]
    path.write_text(json.dumps(tree))
    claim = read(path).claims[0]
    assert claim.shown is None
    assert claim.specification is None


@pytest.mark.parametrize(
    "shown, message",
    [
        (
            Shown(controls=(ControlStrip("c", "random sites", 0.8, 0.7, 0.9, 0.95, ()),)),
            r"shown\.controls\[0\] is empty\.\nA figure shows at least one number",
        ),
        (
            Shown(
                controls=(
                    ControlStrip(
                        "c", "sites", 0.8, 0.7, 0.9, 0.95, (0.1, 0.2), placebo_p=(0.1, 0.5, 1.5)
                    ),
                )
            ),
            r"shown\.controls\[0\] has 3 p-values of 2 placebos, 1 of them outside 0 to 1\.\n"
            r"Each placebo has one p-value at most\.",
        ),
        (
            Shown(maps=(MAP, Map("m", (Axis("layer", ()),), ()))),
            r"shown\.maps\[1\] is empty",
        ),
        (Shown(circuits=(CircuitGraph(()),)), r"shown\.circuits\[0\] is empty"),
        (
            Shown(
                circuits=(CircuitGraph((CircuitNode("m0", "mlp_output"),), (("m1", "m0", ""),)),)
            ),
            r"shown\.circuits\[0\] has an edge at m1, none of its nodes\.\n"
            "An edge leads from a node or `input` to a node or `logits`",
        ),
        (
            Shown(maps=(msgspec.structs.replace(MAP, estimates=(0.0,) * 5),)),
            r"shown\.maps\[0\] has 6 cells \(2 layer x 3 pos\) but 5 numbers in `estimates`\.\n"
            "Every array of a figure has one number for each",
        ),
        (
            Shown(maps=(msgspec.structs.replace(MAP, named=(2, 6)),)),
            r"shown\.maps\[0\] names cells 2 to 6, but has 6 cells\.\nCells count from 0",
        ),
        (
            Shown(curves=(DoseCurve("c", (0.0, 1.0), (0.0, 1.0), low=(0.0,), high=(1.0, 2.0)),)),
            r"shown\.curves\[0\] has 2 doses but 1 numbers in `low`",
        ),
        (
            Shown(paths=(EvidencePath("p", ">", 0.5, 1, (1.0, 2.0), (0.0,)),)),
            r"shown\.paths\[0\] has 2 supporting e-values but 1 numbers in `refuting`",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, shown, message):
    """The message names the array and both lengths."""
    with pytest.raises(RecordError, match=message):
        write(results_with(shown), tmp_path / "results.json")


def test_a_map_is_that_of_its_grid():
    """Estimates are means over units, limits and p-values those of the family-wise test."""
    values = draws(24, 2, 3)
    axes = {"layer": [4, 5], "pos": ["name", "verb", "end"]}
    grid = Grid(values, axes=axes, units=NAMES, pair_ids=NAMES, subject="logit_diff of a sweep")
    found = grid.significant()
    made = map_of(grid, found, cells=[5], margin=0.2, scale="logits")
    assert made.axes == (Axis("layer", ("4", "5")), Axis("pos", ("name", "verb", "end")))
    assert made.estimates == pytest.approx(values.mean(axis=0).ravel().tolist())
    assert made.low == pytest.approx(found.lower.ravel().tolist())
    assert made.p_adjusted == pytest.approx(found.p_adjusted.ravel().tolist())
    assert (made.named, made.margin, made.n_pairs, made.n_units) == ((5,), 0.2, 24, 24)
    assert map_of(grid, None, cells=range(6)).named == ()
    assert map_of(grid, None).low == ()


def test_a_claim_about_a_grid_shows_it_once_with_all_named_cells():
    """Two comparisons of one grid share its map; the bound of a lone mean is the margin."""
    grid = Grid(draws(24, 4), axes={"layer": range(4)}, units=NAMES, pair_ids=NAMES)
    first = grid.mean_over(layer=1) > 0.25
    (alone,) = recorded(first).maps
    assert (alone.named, alone.margin, alone.scale) == ((1,), 0.25, "logits")
    (both,) = recorded(first, grid.mean_over(layer=3) > 0.25).maps
    assert both.named == (1, 3)
    (contrast,) = recorded(grid.mean_over(layer=0) - grid.mean_over(layer=2) > 0.25).maps
    assert (contrast.named, contrast.margin) == ((0, 2), None)
    (hot,) = recorded(grid.localised({"layer": 2}, at_least=0.5, cold_within=0.4)).maps
    assert (hot.named, hot.margin) == ((2,), 0.4)
    (every,) = recorded(grid.every(layer=[0, 1]) > 0.1).maps
    assert every.named == (0, 1)
    (largest,) = recorded(grid.largest > 0.1).maps
    assert largest.named == ()


def test_few_units_leave_a_map_without_limits():
    """A map that nothing can be told of has estimates only."""
    few = NAMES[:3]
    grid = Grid(draws(3, 2), axes={"layer": range(2)}, units=few, pair_ids=few)
    assert map_of(grid, None).p_adjusted == ()
    shown = grid.mean_over(layer=0).shown
    whole = effect(draws(24)) > 0.0
    (made,) = recorded(replace(whole, shown=shown)).maps
    assert (made.low, made.p_adjusted) == ((), ())


def test_the_level_of_a_map_is_that_of_its_claim():
    """What the claim is decided at decides what its map outlines."""
    grid = Grid(draws(24, 4), axes={"layer": range(4)}, units=NAMES, pair_ids=NAMES)
    judge = Judge(alpha_claim=0.01, seed=7)
    (made,) = recorded(grid.mean_over(layer=1) > 0.25, judge=judge).maps
    expected = grid.significant(judge=judge)
    assert made.level == 0.01
    assert made.high == pytest.approx(expected.upper.ravel().tolist())


def test_a_curve_has_means_and_a_band_that_holds_them():
    """Means are those over pairs; the band is wider than any single interval."""
    values = np.array([0.0, 0.5, 1.0]) + draws(24, 3)
    curve = Curve(values, doses=[0, 1, 2], units=NAMES, pair_ids=NAMES, subject="logit_diff")
    for verdict in (curve.slope > 0.1, curve.is_monotone(margin=0.2), curve.total > 0.1):
        (made,) = recorded(verdict).curves
        assert made.means == pytest.approx(values.mean(axis=0).tolist())
        single = stats.t.interval(0.95, 23, values.mean(axis=0), stats.sem(values))
        assert all(low < t for low, t in zip(made.low, single[0], strict=True))
        assert all(high > t for high, t in zip(made.high, single[1], strict=True))
        assert made.isotonic == tuple(sorted(made.isotonic))


def test_controls_stand_beside_their_effect():
    """The strip has every control's estimate, and the effect's own interval."""
    site = effect(draws(24, mean=1.0))
    placebos = [effect(draws(24, i + 1)[:, 0]) for i in range(7)]
    (made,) = recorded(site > Controls(placebos, kind="random sites")).controls
    assert made.controls == pytest.approx(sorted(float(np.mean(p.values)) for p in placebos))
    assert made.estimate == pytest.approx(float(np.mean(site.values)))
    assert (made.low, made.high) == (site.interval.low, site.interval.high)
    assert (made.kind, made.test) == ("random sites", "prediction")


def test_an_alignment_stands_beside_its_refits():
    """Rates have rates as controls, such as those of refits on shuffled labels."""

    def rate(share):
        hits = np.arange(24) < round(24 * share)
        return Rate(hits.astype(float), units=NAMES, pair_ids=NAMES, subject="accuracy of DAS")

    refits = [rate(0.1 + 0.02 * i) for i in range(19)]
    controls = Controls(refits, kind="refits on shuffled labels", test="prediction")
    (made,) = recorded(rate(0.95) > controls).controls
    assert made.estimate == pytest.approx(23 / 24)
    assert made.controls == pytest.approx(sorted(each.estimate for each in refits))
    assert made.low < 23 / 24 < made.high
    assert made.kind == "refits on shuffled labels"


def test_circuits_that_are_part_of_another_are_left_out():
    """A comparison of a circuit with a part of it shows the whole one."""
    places = tuple(Place(f"mlp_output[{i}]", "mlp_output", i) for i in range(4))
    total = np.full(24, 2.0)
    ratios: list[Ratio] = []
    for members in (places[:2], places[:1]):
        ratio = Ratio(draws(24, mean=1.0), scale=total, units=NAMES, pair_ids=NAMES)
        ratio.shown = (OfCircuit(members, places),)
        ratios.append(ratio)
    (made,) = recorded(ratios[0] - ratios[1] > -1.0).circuits
    assert [node.member for node in made.nodes] == [True, True, False, False]


def test_edges_of_a_circuit_are_recorded():
    """What the circuit names comes into the records and through a file as it is."""
    places = tuple(Place(f"mlp_output[{i}]", "mlp_output", i) for i in range(3))
    edges = (("mlp_output[0]", "mlp_output[1]", ""), ("mlp_output[1]", "logits", ""))
    total = np.full(24, 2.0)
    ratio = Ratio(draws(24, mean=1.0), scale=total, units=NAMES, pair_ids=NAMES)
    ratio.shown = (OfCircuit(places[:2], places, edges=edges),)
    (made,) = recorded(ratio > 0.1).circuits
    assert made.edges == edges
    assert msgspec.json.decode(msgspec.json.encode(made), type=CircuitGraph) == made


def arriving(values, low, high):
    """Measure values as they come."""
    names = tuple(f"pair {i}" for i in range(len(values)))
    stream = Stream(
        lambda chosen: Look(values[list(chosen)]), names, "pair", names, ("set", ""), low, high
    )
    return ArrivingEffect(stream, lambda: Effect(values, units=names, pair_ids=names))


@pytest.mark.parametrize("bound", [0.2, 0.8])
def test_paths_of_e_values_end_where_the_verdict_does(bound):
    """One over the largest e-value of either side is the verdict's p-value of it."""
    values = np.random.default_rng(0).uniform(0.4, 0.8, 400)
    verdict = arriving(values, -1.0, 1.0) > bound
    (path,) = recorded(verdict).paths
    largest = {"p_support": max(path.supporting), "p_refute": max(path.refuting)}
    for name, logarithm in largest.items():
        assert 10 ** -max(0.0, logarithm) == pytest.approx(getattr(verdict, name))
    assert (max(path.supporting) >= path.supported_at) == (verdict.name == "supported")
    assert (max(path.refuting) >= path.refuted_at) == (verdict.name == "refuted")
    assert path.supported_at == pytest.approx(math.log10(2 / 0.05))
    assert path.looks[-1] == verdict.n_units == len(path.supporting)
    assert path.available == 400


def test_a_path_of_limits_ends_in_the_interval_of_the_verdict():
    """Without limits of the values a confidence sequence is shown, never wider than before."""
    verdict = arriving(draws(400, mean=1.0), -math.inf, math.inf) > 0.95
    (path,) = recorded(verdict).paths
    ends = verdict.adjusted_interval.low, verdict.adjusted_interval.high
    assert (path.low[-1], path.high[-1]) == pytest.approx(ends)
    assert list(path.low) == sorted(path.low)
    assert path.first + len(path.low) - 1 == verdict.n_units


def test_plain_claims_show_nothing_more():
    """An effect and its bound are all there is to see."""
    assert recorded(effect(draws(24)) > 0.1) is None


def test_the_prediction_interval_is_that_of_one_more_unit():
    """Mean plus and minus t times s times the square root of 1 + 1/n."""
    values = draws(24, mean=1.0)
    found = (effect(values) > 0.5).sizes.prediction
    reach = stats.t.ppf(0.975, 23) * values.std(ddof=1) * math.sqrt(1 + 1 / 24)
    assert (found.low, found.high) == pytest.approx((values.mean() - reach, values.mean() + reach))
    assert found.level == 0.95
