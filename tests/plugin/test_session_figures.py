"""What a run records for figures: specifications of one hypothesis, and maps of sweeps."""

from __future__ import annotations

import pytest

SPECIFIED = '''
@pytest.mark.causal(specification="{registered}")
@pytest.mark.parametrize("bound", [0.5, 0.7])
@pytest.mark.parametrize("edit", [interchange, zero_ablate], ids=["swap", "zero"])
def test_spec(causal, strong, edit, bound):
    """It carries the answer, whatever the edit."""
    effect = causal.effect(edit(module("0", pos=-1)), on=strong, metric=written)
    assert abs(effect) < 5 * bound
'''


def test_cases_are_specifications_where_the_test_says_so(suite):
    """Choices go by parameter, under the names of their ids; one case is the registered one."""
    suite.write(SPECIFIED.format(registered="zero-0.5"))
    suite.run()
    found = {name: claim["specification"] for name, claim in suite.claims().items()}
    assert set(found) == {f"test_spec[{e}-{b}]" for e in ("swap", "zero") for b in (0.5, 0.7)}
    assert found["test_spec[swap-0.7]"]["choices"] == {"edit": "swap", "bound": "0.7"}
    assert found["test_spec[swap-0.7]"]["of"].endswith("::test_spec")
    assert [n for n, each in found.items() if each["registered"]] == ["test_spec[zero-0.5]"]
    page = (suite.path / "reports" / "report.html").read_text(encoding="utf-8")
    assert "4 specifications of the same hypothesis" in page


def test_cases_of_other_tests_are_no_specifications(suite):
    """Parameters alone make hypotheses of their own."""
    suite.write("""
@pytest.mark.parametrize("bound", [0.5, 0.7])
def test_bound(causal, strong, bound):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > bound
""")
    suite.run()
    assert all(claim["specification"] is None for claim in suite.claims().values())


@pytest.mark.parametrize("selection", [(), ("-k", "swap")])
def test_a_registered_specification_must_be_a_case(suite, selection):
    """The message lists the cases, with the nearest one, whatever is selected."""
    suite.write(SPECIFIED.format(registered="zero-0.6"))
    result = suite.run(*selection)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*::test_spec: specification is 'zero-0.6', which is no case of the test*zero-0.*",
            "*its cases: 'swap-0.5', 'swap-0.7', 'zero-0.5', 'zero-0.7'*",
        ]
    )


def test_one_case_is_no_choice(suite):
    """A test that is not parametrised has no specifications."""
    suite.write("""
@pytest.mark.causal(specification="mean")
def test_alone(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
""")
    result = suite.run()
    result.stderr.fnmatch_lines(
        [
            "*::test_alone: specification names the registered one of several cases, but the test "
            "is not parametrised",
            "*add @pytest.mark.parametrize for each choice, or leave specification out*",
        ]
    )


def test_a_specification_is_a_name(suite):
    """Anything but the name of a case is refused."""
    suite.write(SPECIFIED.format(registered="x").replace('"x"', "True"))
    suite.run().stderr.fnmatch_lines(
        ["*specification is True; expected the case that was settled on, as it stands in the *"]
    )


def test_claims_about_a_grid_record_its_map(suite):
    """The cells that are named and the level of the claim are on record; two runs agree."""
    suite.write("""
from causaltest.grids import SweepGrid
import numpy as np

def test_map(causal, strong):
    values = np.random.default_rng(0).normal(0.0, 0.1, (24, 2, 2))
    values[:, 1, 0] += 1.0
    pairs = [pair.id for pair in strong]
    grid = SweepGrid(
        values, axes={"layer": [0, 1], "pos": ["name", "end"]}, units=strong.units,
        unit=strong.unit, pair_ids=pairs, subject="recovery of a sweep", judge=causal._judge,
        counted_in="fraction",
    )
    assert grid.localised({"layer": 1, "pos": "name"}, at_least=0.5, cold_within=0.4)
""")
    suite.run()
    first = suite.claims()["test_map"]["shown"]
    (made,) = first["maps"]
    assert made["named"] == [2]
    assert made["margin"] == 0.4
    assert made["level"] == 0.05
    assert made["n_units"] == 12
    assert made["scale"] == "fraction"
    assert [p <= 0.05 for p in made["p_adjusted"]] == [False, False, True, False]
    suite.run()
    assert suite.claims()["test_map"]["shown"] == first
