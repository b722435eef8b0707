"""The command `check`: whether the engine does on a model what it says."""

from __future__ import annotations

import json

import click


@click.command("check")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.option("--device", default="auto", show_default=True, help="A torch device.")
@click.option("--dtype", default="float32", show_default=True, help="Type of the weights.")
def check(*, model: str, as_json: bool, device: str, dtype: str) -> None:
    """Try every component of MODEL, a folder or a hub name, and say what holds.

    Exits with 0 if everything that applies holds, with 1 if anything fails, with 2 if the model
    cannot be loaded or run.

    \b
    Examples:
      causaltest check gpt2
      causaltest check ./my-model --json
    """  # noqa: D301 - click reads \b
    from causaltest.engine.conformance import conformance
    from causaltest.engine.model import Model
    from causaltest.errors import ModelError

    try:
        report = conformance(Model.load(model, device=device, dtype=dtype))
    except ModelError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(2) from error
    click.echo(json.dumps(report.to_dict(), indent=2) if as_json else str(report))
    if not report.passed:
        raise click.exceptions.Exit(1)
