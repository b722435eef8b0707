"""`causaltest report`: a page from the results of a run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The page; default report.html beside."
)
def report(results: Path, output: Path | None) -> None:
    """Render RESULTS, a results.json or the results.jsonl of a killed run, as one HTML page.

    \b
    Examples:
      causaltest report reports/results.json
      causaltest report reports/results.jsonl -o partial.html
    """  # noqa: D301 - click reads \b
    from causaltest.records import read, recover
    from causaltest.report import html

    found = recover(results) if results.suffix == ".jsonl" else read(results)
    page = output or results.with_name("report.html")
    html.write(found, page)
    for note in found.run.notes:
        click.echo(f"note: {note}")
    click.echo(f"report: {page}")
