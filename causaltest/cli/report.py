"""`causaltest report`: a page from the results of a run, and its figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click


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
def report(results: Path, output: Path | None, figures: Path | None, form: str) -> None:
    """Render RESULTS, a results.json or the results.jsonl of a killed run, as one HTML page.

    \b
    Examples:
      causaltest report reports/results.json
      causaltest report reports/results.jsonl -o partial.html
      causaltest report reports/results.json --figures figures --format pdf
    """  # noqa: D301 - click reads \b
    from causaltest.records import read, recover
    from causaltest.report import html

    found = recover(results) if results.suffix == ".jsonl" else read(results)
    page = output or results.with_name("report.html")
    html.write(found, page)
    for note in found.run.notes:
        click.echo(f"note: {note}")
    click.echo(f"report: {page}")
    if figures is not None:
        from causaltest.report.gallery import save_figures

        saved = save_figures(found, figures, cast("Any", form))
        click.echo(f"figures: {len(saved)} in {figures}")
