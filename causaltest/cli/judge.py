"""The command `judge`: whether an alignment that somebody saved holds on pairs it has not seen."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from causaltest.cli.components import Named

if TYPE_CHECKING:
    from causaltest.pairs import Pairs


@click.command()
@click.argument("alignment")
@click.option("--model", required=True, help="A folder or a hub name; weights are checked.")
@click.option("--pairs", required=True, help="Pairs to judge on, a .jsonl that Pairs wrote.")
@click.option("--cluster", required=True, help="The label that makes a unit; `none` for pairs.")
@click.option("--above", type=float, required=True, help="The accuracy that is claimed.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Two-sided level.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--device", default="auto", show_default=True, help="Torch device.")
@click.option(
    "--dtype",
    type=Named(["float32", "bfloat16", "float16", "float64"]),
    default="float32",
    show_default=True,
    help="Type of the weights.",
)
def judge(*, alignment: str, as_json: bool, **asked: Any) -> None:
    """Judge ALIGNMENT, a saved folder or a hub name, on pairs that it has not seen.

    Exits with 0 if the claim is supported, with 1 if it is refuted or inconclusive, with 2 if it
    cannot be judged: pairs that the alignment was learned from, other weights, a damaged folder.
    Beside a hypotheses.lock the look is entered into the ledger of looks.

    \b
    Examples:
      causaltest judge gender --model gpt2 --pairs test.jsonl --cluster template --above 0.9
      causaltest judge ann/gender --model gpt2 --pairs test.jsonl --cluster none --above 0.5 --json
    """  # noqa: D301 - click reads \b
    from causaltest.errors import CausaltestError

    try:
        found = judged(alignment, **asked)
    except CausaltestError as error:
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(2) from error
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for line in (found["alignment"], *found["explanation"], *found["looks"]):
            click.echo(line)
    if found["verdict"] != "supported":
        raise click.exceptions.Exit(1)


def judged(
    alignment: str,
    *,
    model: str,
    pairs: str,
    cluster: str,
    above: float,
    alpha: float = 0.05,
    device: str = "auto",
    dtype: str = "float32",
) -> dict[str, Any]:
    """Judge an alignment; see `causaltest judge --help`.

    Raises
    ------
    CausaltestError
        It cannot be judged.
    """
    from causaltest.alignments import load_alignment
    from causaltest.engine.model import Model
    from causaltest.experiment import Causal
    from causaltest.pairs import Pairs
    from causaltest.stats import Judge

    test = Pairs.read(pairs, cluster=None if cluster.lower() == "none" else cluster)
    causal = Causal(
        Model.load(model, device=device, dtype=dtype),
        judge=lambda: Judge(alpha=alpha, alpha_claim=alpha),
    )
    loaded = load_alignment(causal, alignment)
    rate = loaded.accuracy(on=test)
    before = loaded.unchanged(on=test)
    verdict = rate > above
    return {
        "alignment": repr(loaded),
        "verdict": verdict.name,
        "accuracy": rate.estimate,
        "unchanged": before.estimate,
        "above": above,
        "alpha": alpha,
        "pairs": len(test),
        "units": test.n_units,
        "pairs_sha256": test.sha256,
        "explanation": [
            f"{verdict.name}: {verdict.statement}",
            *verdict.explain(),
            f"with nothing exchanged: {before.estimate:.3g}",
        ],
        "looks": _looks(test),
    }


def _looks(test: Pairs) -> list[str]:
    """Enter the look into the ledger of a project that has registered hypotheses."""
    from causaltest.registration import LOCK_NAME, look

    if not Path(LOCK_NAME).exists():
        return []
    now = datetime.now(UTC).isoformat(timespec="seconds")
    (count,) = look(Path(), {test.sha256: test.name}, now).values()
    return [f"looks at {test.name} so far, this one included: {count}"]
