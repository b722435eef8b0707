"""`causaltest report`: a page from the results of a run, and its figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from causaltest.records import Results
    from causaltest.report.drift import Past


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The page; default report.html beside."
)
@click.option(
    "--figures", type=click.Path(path_type=Path), help="A folder for every figure, one file each."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["svg", "png", "pdf"]),
    default="svg",
    show_default=True,
    help="Of the figures; png has 300 dots per inch.",
)
@click.option(
    "--history", type=click.Path(path_type=Path), help="Show how claims came out in earlier runs."
)
@click.option(
    "--baseline", type=click.Path(path_type=Path), help="With --history: mark what lies off it."
)
def report(
    *,
    results: Path,
    output: Path | None,
    figures: Path | None,
    form: str,
    history: Path | None,
    baseline: Path | None,
) -> None:
    """Render RESULTS, a results.json or the results.jsonl of a killed run, as one HTML page.

    \b
    Examples:
      causaltest report reports/results.json
      causaltest report reports/results.jsonl -o partial.html
      causaltest report reports/results.json --figures figures --format pdf
      causaltest report reports/results.json --history hypotheses/history.jsonl
    """  # noqa: D301 - click reads \b
    from causaltest.records import read
    from causaltest.report import html

    found = _recovered(results) if results.suffix == ".jsonl" else read(results)
    page = output or results.with_name("report.html")
    html.write(found, page, past=_past(history, baseline))
    for note in (*found.run.notes, *_later_run(results, found)):
        click.echo(f"note: {note}")
    click.echo(f"report: {page}")
    if figures is not None:
        from causaltest.report.gallery import save_figures

        saved = save_figures(found, figures, cast("Any", form))
        click.echo(f"figures: {len(saved)} in {figures}")


def _recovered(path: Path) -> Results:
    """Return what a killed run left; one that ended has results of its own."""
    from causaltest.errors import RecordError
    from causaltest.records import read, recover

    found, beside = recover(path), path.with_suffix(".json")
    try:
        ended = beside.is_file() and _same_run(read(beside), found)
    except RecordError:  # of another version, or damaged: what runs wrote as they went is left
        ended = False
    if ended:
        raise click.UsageError(
            f"{path} was written while a run went, and that run ended: its results are in "
            f"{beside}\ncausaltest report {beside}"
        )
    return found


def _same_run(one: Results, other: Results) -> bool:
    return one.run.started == other.run.started != ""


def _later_run(path: Path, found: Results) -> list[str]:
    """Say that a later run, which was killed, left its claims beside the results of this one."""
    from causaltest.errors import RecordError
    from causaltest.records import read_jsonl
    from causaltest.report.text import visible

    beside = path.with_suffix(".jsonl")
    if beside == path or not beside.is_file():
        return []
    try:
        later = read_jsonl(beside)
    except RecordError:
        return [f"{beside} lies beside it and cannot be read; it may be of a later run"]
    if later.run is None or later.run.started <= found.run.started:
        return []
    claims = f"{len(later.claims)} {'claim' if len(later.claims) == 1 else 'claims'}"
    told = (
        f"this page is of the run of {found.run.started}; a later one, of {later.run.started}, did "
        f"not end and left {claims} in {beside}\nto see them: causaltest report {beside}"
    )
    return [visible(told, block=True)]


def _past(history: Path | None, baseline: Path | None) -> Past | None:
    """Read the history of the suite, and the bands of a baseline."""
    if history is None:
        if baseline is not None:
            raise click.UsageError(
                "--baseline marks the runs of a history: give it, e.g. "
                "--history hypotheses/history.jsonl"
            )
        return None
    from causaltest.baseline import read as read_baseline
    from causaltest.cli.compare import margin_of
    from causaltest.cli.history import band_of
    from causaltest.records import history as past
    from causaltest.report.drift import Past

    kept = None if baseline is None else read_baseline(baseline)
    found = past.read(history)
    names = {claim.id for run in found.runs for claim in run.claims}
    bands = {name: band_of(kept, name, margin_of("10%")) for name in names}
    return Past(found, {name: band for name, band in bands.items() if band is not None})
