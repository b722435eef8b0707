"""`causaltest plan`: how many units a claim needs, and what can be seen with those there are."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from causaltest.cli.components import aligned
from causaltest.errors import EvidenceError

if TYPE_CHECKING:
    from causaltest.records import Claim, Part


@dataclass(frozen=True)
class Plan:
    """What one claim needs.

    Parameters
    ----------
    claim
        Which claim, or `numbers` where they were given.
    sd
        Spread of the unit means, in the unit of the estimate.
    distance
        How far the truth is thought to lie from the bound.
    alpha
        Two-sided level at which it is decided.
    units, pairs
        How many there are.
    units_needed, pairs_needed
        How many give the wanted power; None where a million units do not.
    smallest
        Smallest distance from the bound that is seen with the wanted power and these units.
    """

    claim: str
    sd: float
    distance: float | None
    alpha: float
    units: int
    pairs: int
    units_needed: int | None
    pairs_needed: int | None
    smallest: float | None


@click.command()
@click.option(
    "--pilot",
    type=click.Path(path_type=Path),
    help="A results.json: spread, units and level of each of its claims are taken from it.",
)
@click.option("--sd", type=float, help="Spread of the unit means.")
@click.option("--distance", type=float, help="Distance of the truth from the bound.")
@click.option("--units", type=int, default=0, help="Units (templates) there are.")
@click.option("--pairs-per-unit", type=float, default=1.0, show_default=True)
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Level of the family.")
@click.option("--family", type=int, default=1, show_default=True, help="Hypotheses in the file.")
@click.option("--power", type=float, default=0.8, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def plan(
    *,
    pilot: Path | None,
    sd: float | None,
    distance: float | None,
    units: int,
    pairs_per_unit: float,
    alpha: float,
    family: int,
    power: float,
    as_json: bool,
) -> None:
    """Say how many templates and pairs claims need, and the smallest effect they would show.

    \b
    Examples:
      causaltest plan --pilot reports/results.json
      causaltest plan --sd 0.4 --distance 0.2 --family 12
      causaltest plan --sd 0.4 --units 20
    """  # noqa: D301 - click reads \b
    _check(power=power, alpha=alpha, sd=sd, family=family, pairs_per_unit=pairs_per_unit)
    if pilot is not None and sd is not None:
        raise click.UsageError("give --pilot or numbers (--sd ...), not both")
    if pilot is not None:
        plans = from_pilot(pilot, power)
    elif sd is not None:
        if distance is None and units < 2:
            raise click.UsageError("with --sd give --distance, or --units (at least 2), or both")
        plans = [
            planned(
                "numbers", sd, distance=distance, alpha=alpha / family, units=units,
                pairs=round(units * pairs_per_unit),
                pairs_per_unit=pairs_per_unit, power=power,
            )
        ]  # fmt: skip
    else:
        raise click.UsageError("give --pilot RESULTS, or --sd with --distance or --units")
    if as_json:
        click.echo(json.dumps([asdict(each) for each in plans], indent=2))
        return
    for line in _table(plans):
        click.echo(line)
    click.echo(f"needed and smallest: at {100 * power:g} % power, by the t-test on unit means")


def planned(
    claim: str,
    sd: float,
    *,
    distance: float | None,
    alpha: float,
    units: int,
    pairs: int,
    pairs_per_unit: float,
    power: float,
) -> Plan:
    """Plan one claim."""
    from causaltest.stats.planning import units_needed

    needed = None
    if distance is not None and distance > 0:
        needed = units_needed(distance / sd, alpha=alpha, wanted=power)
    return Plan(
        claim=claim,
        sd=sd,
        distance=distance,
        alpha=alpha,
        units=units,
        pairs=pairs,
        units_needed=needed,
        pairs_needed=None if needed is None else math.ceil(needed * pairs_per_unit - 1e-9),
        smallest=smallest_effect(units, alpha, power) * sd if units >= 2 else None,
    )


def smallest_effect(units: int, alpha: float, wanted: float) -> float:
    """Return the smallest effect, in standard deviations, that is seen with the wanted power.

    Examples
    --------
    >>> round(smallest_effect(20, 0.05, 0.8), 2)
    0.66
    """
    from causaltest.stats.planning import power

    low, high = 0.0, 1.0
    while power(high, units, alpha) < wanted:
        low, high = high, high * 2
        if high > 1e6:
            return math.inf
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, units, alpha) >= wanted else (middle, high)
    return high


def from_pilot(path: Path, power: float) -> list[Plan]:
    """Plan every claim of a run, at the spread and distance that it found.

    Raises
    ------
    EvidenceError
        The run decided no claim.
    RecordError
        The file cannot be read.
    """
    from causaltest.records import read

    claims = [claim for claim in read(path).claims if claim.parts]
    if not claims:
        raise EvidenceError(
            f"{path} holds no claim that was measured, so there is no spread to plan with\n"
            "run the hypotheses on a few pairs first, or give --sd and --distance"
        )
    return [found for claim in claims if (found := _of_claim(claim, power)) is not None]


def _of_claim(claim: Claim, power: float) -> Plan | None:
    part = claim.parts[-1 if claim.deciding is None else claim.deciding]
    sd = _spread(part)
    if sd <= 0:
        return None
    distance = abs(part.estimate - part.bound)
    if part.relation == "within":
        distance = abs(part.bound - abs(part.estimate))
    return planned(
        claim.id.partition("::")[2] or claim.id, sd, distance=distance, alpha=part.alpha,
        units=part.n_units, pairs=part.n_pairs,
        pairs_per_unit=part.n_pairs / part.n_units, power=power,
    )  # fmt: skip


def _spread(part: Part) -> float:
    """Return the standard deviation of the unit means."""
    units: dict[str, list[float]] = {}
    for unit, value in zip(part.units, part.values, strict=True):
        units.setdefault(unit, []).append(value)
    means = [math.fsum(values) / len(values) for values in units.values()]
    if len(means) < 2:
        return 0.0
    centre = math.fsum(means) / len(means)
    return math.sqrt(math.fsum((mean - centre) ** 2 for mean in means) / (len(means) - 1))


def _table(plans: list[Plan]) -> list[str]:
    head = ("claim", "sd", "distance", "alpha", "units", "needed", "pairs needed", "smallest")
    rows = [
        (
            each.claim,
            f"{each.sd:.3g}",
            "" if each.distance is None else f"{each.distance:.3g}",
            f"{each.alpha:.3g}",
            str(each.units or ""),
            _count(each.units_needed, each.distance),
            _count(each.pairs_needed, each.distance),
            "" if each.smallest is None else f"{each.smallest:.3g}",
        )
        for each in plans
    ]
    return aligned([head, *rows])


def _count(needed: int | None, distance: float | None) -> str:
    if distance is None:
        return ""
    return "over a million" if needed is None else f"{needed:,}"


def _check(
    *, power: float, alpha: float, sd: float | None, family: int, pairs_per_unit: float
) -> None:
    if not 0 < power < 1:
        raise click.BadParameter(f"{power} lies outside 0 to 1", param_hint="--power")
    if not 0 < alpha < 1:
        raise click.BadParameter(f"{alpha} lies outside 0 to 1", param_hint="--alpha")
    if sd is not None and not (math.isfinite(sd) and sd > 0):
        raise click.BadParameter(f"{sd} is no spread; expected a number above 0", param_hint="--sd")
    if family < 1:
        raise click.BadParameter(f"{family} hypotheses; expected 1 or more", param_hint="--family")
    if not pairs_per_unit > 0:
        raise click.BadParameter(
            f"{pairs_per_unit}; expected above 0", param_hint="--pairs-per-unit"
        )
