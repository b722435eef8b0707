"""`causaltest baseline`: keep a run as what later runs are compared with."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("baseline.json"),
    show_default=True,
    help="The baseline; entries of claims that a partial run left out stay in it.",
)
def baseline(results: Path, output: Path) -> None:
    """Keep RESULTS, a results.json or the folder of one, as a baseline to commit.

    \b
    Examples:
      causaltest baseline reports/results.json
      causaltest baseline reports -o hypotheses/baseline.json
      pytest hypotheses/ --causal-baseline hypotheses/baseline.json
    """  # noqa: D301 - click reads \b
    from causaltest.baseline import load, merged, read, write

    kept, gone = load(results), ()
    if output.exists():
        kept, gone = merged(read(output), kept)
    write(kept, output)
    number = sum(each.verdict not in ("error", "not run") for each in kept.claims)
    click.echo(f"baseline: {output} ({number} {'claim' if number == 1 else 'claims'})")
    for name in gone:
        click.echo(f"no longer in it: {name}")
