"""`causaltest history`: how the claims of a suite came out over its runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from causaltest.baseline import Baseline
    from causaltest.records.history import History, PastClaim, PastRun

    Course = Sequence[tuple[PastRun, PastClaim]]

_DEFAULT = Path("hypotheses") / "history.jsonl"
_BARS = "▁▂▃▄▅▆▇█"


@click.command()
@click.argument("history", type=click.Path(path_type=Path), default=_DEFAULT)
@click.option(
    "--add", "results", type=click.Path(path_type=Path), help="First add this results.json."
)
@click.option("--claim", "claims", multiple=True, help="Every run of this claim (may be repeated).")
@click.option(
    "--baseline", type=click.Path(path_type=Path), help="Say which runs lie off this baseline."
)
@click.option(
    "--margin", default="10%", show_default=True, help="What is off it: a number, or a share."
)
def history(
    *,
    history: Path,
    results: Path | None,
    claims: tuple[str, ...],
    baseline: Path | None,
    margin: str,
) -> None:
    """Show how claims came out over the runs in HISTORY, a file that is only ever added to.

    Runs add themselves with `pytest --causal-history FILE`. Each line is one claim: its estimates
    from old to new, and its verdict now. With --claim, each line is one run of it: date, commit,
    weights, estimate with interval, verdict, and what changed since the run before.

    \b
    Examples:
      pytest hypotheses/ --causal-history hypotheses/history.jsonl
      causaltest history
      causaltest history --add reports/results.json
      causaltest history --claim test_the_name_carries_the_gender --baseline baseline.json
    """  # noqa: D301 - click reads \b
    from causaltest.baseline import read as read_baseline
    from causaltest.cli.compare import find, margin_of
    from causaltest.records import history as past
    from causaltest.records import read, recover
    from causaltest.report.text import visible

    least = margin_of(margin)
    if results is not None:
        if results.is_dir():
            results /= "results.json"
        run = recover(results) if results.suffix == ".jsonl" else read(results)
        past.append(past.past(run), history)
    found = past.read(history)
    kept = None if baseline is None else read_baseline(baseline)
    ids = {claim.id: claim for run in found.runs for claim in run.claims}
    if claims:
        for name in claims:
            chosen = find(name, set(ids))
            click.echo(visible(chosen))
            for line in _runs(past.course(found, chosen), band_of(kept, chosen, least)):
                click.echo(visible(line))
    else:
        width = shutil.get_terminal_size((100, 24)).columns
        for line in _summary(found, width):
            click.echo(visible(line))
    for note in found.notes:
        click.echo(f"note: {visible(note)}")


def _summary(found: History, width: int) -> Iterator[str]:
    """Yield one line a claim: its estimates as bars, the last of them, its verdict."""
    from causaltest.report.text import cut, width_of

    courses: dict[str, list[tuple[PastRun, PastClaim]]] = {}
    for run in found.runs:
        for claim in run.claims:
            courses.setdefault(claim.id, []).append((run, claim))
    number = len(found.runs)
    first, last = found.runs[0].started[:10], found.runs[-1].started[:10]
    yield f"{number} {'run' if number == 1 else 'runs'}, {first} to {last}"
    for name, course in courses.items():
        now = course[-1][1]
        end = f"{_number(now.estimate):>8}  {_verdict(now)}"
        bars = _bars([claim.estimate for _, claim in course][-24:])
        gone = "" if course[-1][0] is found.runs[-1] else "  (not in the last run)"
        room = max(16, width - len(end) - len(bars) - len(gone) - 4)
        shown = cut(name, room)
        yield f"{shown}{' ' * (room - width_of(shown))}  {bars}  {end}{gone}"


def _runs(course: Course, band: tuple[float, float] | None) -> Iterator[str]:
    """Yield one line a run of a claim."""
    from causaltest.records.history import changes

    before = None
    for run, claim in course:
        weights = run.models.get(claim.model, "")[:8]
        commit = run.git_commit[:8] + ("+" if run.git_dirty else "")
        interval = ""
        if claim.interval is not None:
            interval = f"[{_number(claim.interval.low)}, {_number(claim.interval.high)}]"
        told = (
            [] if before is None else [f"{each} changed" for each in changes(before, (run, claim))]
        )
        if band is not None and claim.estimate is not None:
            low, high = band
            if not low <= claim.estimate <= high:
                told.append(f"off the baseline {_number(low)} to {_number(high)}")
        yield (
            f"  {run.started[:16]:<16}  {commit:<9}  {weights:<8}  {_number(claim.estimate):>8} "
            f"{interval:<18}  {_verdict(claim)}{'  ' if told else ''}{'; '.join(told)}"
        ).rstrip()
        before = run, claim


def band_of(kept: Baseline | None, name: str, margin: object) -> tuple[float, float] | None:
    """Return the estimate of a baseline, less and more what matters."""
    from causaltest.baseline.comparing import Margin

    assert isinstance(margin, Margin)
    claims = () if kept is None else kept.claims
    parts = next((each.parts for each in claims if each.id == name), ())
    if not parts:
        return None
    reach = margin.of(parts[0])
    return parts[0].estimate - reach, parts[0].estimate + reach


def _verdict(claim: PastClaim) -> str:
    as_expected = claim.verdict == claim.expected
    return claim.verdict + (
        ", as expected" if as_expected and claim.expected != "supported" else ""
    )


def _bars(values: Sequence[float | None]) -> str:
    """Draw numbers as a line of bars; a dot stands for none."""
    known = [value for value in values if value is not None]
    low, reach = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    if reach <= 0.01 * max(map(abs, known), default=0.0):
        return "".join("·" if value is None else _BARS[3] for value in values)
    return "".join(
        "·" if value is None else _BARS[round((len(_BARS) - 1) * (value - low) / reach)]
        for value in values
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"
