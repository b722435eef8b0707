"""`causaltest compare`: what became of the claims of one run in another."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from causaltest.baseline import Baseline
    from causaltest.baseline.comparing import Margin


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--margin",
    default="10%",
    show_default=True,
    help="The change that matters: a number, or a share of the old estimate.",
)
@click.option(
    "--confirm",
    "fresh",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="OLD2 NEW2",
    help="The same two models on fresh pairs: what is not worse there too is no alarm.",
)
@click.option("--alpha", type=float, help="Error rate over all claims; default that of NEW.")
@click.option("--claim", "claims", multiple=True, help="Only this claim (may be repeated).")
@click.option("--all", "everything", is_flag=True, help="Show claims that did not change, too.")
@click.option("--markdown", is_flag=True, help="Markdown for a pull request.")
@click.option(
    "--save", type=click.Path(path_type=Path), help="Keep NEW as a baseline if nothing is worse."
)
@click.pass_context
def compare(
    ctx: click.Context,
    *,
    old: Path,
    new: Path,
    margin: str,
    fresh: tuple[Path, Path] | None,
    alpha: float | None,
    claims: tuple[str, ...],
    everything: bool,
    markdown: bool,
    save: Path | None,
) -> None:
    """Compare two runs: results.json files, folders that hold one, or a baseline.json.

    A claim is worse if it came out as expected and does not any more, or if its estimate got
    worse by more than the margin on the pairs that both runs have, at an error rate that holds
    over all claims. With --confirm a claim that is worse must be so on fresh pairs as well, which
    turns a false alarm in 40 runs into one in 1,600. Exits with 0 if nothing is worse, 1 if
    anything is, 2 if the two cannot be compared.

    \b
    Examples:
      causaltest compare old/results.json reports/results.json
      causaltest compare hypotheses/baseline.json reports --margin 0.05
      causaltest compare old new --confirm old-on-fresh-pairs new-on-fresh-pairs
      causaltest compare baseline.json reports --markdown >> "$GITHUB_STEP_SUMMARY"
    """  # noqa: D301 - click reads \b
    from causaltest.baseline import compare as compared
    from causaltest.baseline import confirm, load, write
    from causaltest.errors import CausaltestError
    from causaltest.report.comparison import table
    from causaltest.report.markdown import compared as as_markdown
    from causaltest.report.text import visible

    if alpha is not None and not 0 < alpha < 1:
        raise click.BadParameter(f"{alpha} lies outside 0 to 1", param_hint="--alpha")
    least = margin_of(margin)
    try:
        sides = load(old), load(new)
        kept = only(sides[0], claims, sides), only(sides[1], claims, sides)
        found = compared(*kept, margin=least, alpha=alpha)
        if fresh is not None:
            found = confirm(found, kept, (load(fresh[0]), load(fresh[1])), margin=least)
        if markdown:
            click.echo(as_markdown(found), nl=False)
        else:
            width = shutil.get_terminal_size((100, 24)).columns
            click.echo(table(found, width=width, everything=everything))
        if save is not None and not found.worse:
            write(sides[1], save)
            click.echo(f"baseline: {save}", err=True)
    except CausaltestError as error:
        click.echo(f"cannot compare: {visible(str(error), block=True)}", err=True)
        ctx.exit(2)
    if found.claims and all(each.state == "untested" for each in found.claims):
        click.echo("cannot compare: no claim could be compared", err=True)
        ctx.exit(2)
    ctx.exit(1 if found.worse else 0)


def margin_of(text: str) -> Margin:
    """Read a margin: a number, or a share of the old estimate.

    Raises
    ------
    click.BadParameter
        It is neither.
    """
    from causaltest.baseline.comparing import Margin

    margin = Margin.parse(text)
    if margin is None:
        raise click.BadParameter(
            f"{text!r} is no margin; expected a number such as 0.05, or a share such as 10%",
            param_hint="--margin",
        )
    return margin


def only(run: Baseline, names: tuple[str, ...], everywhere: tuple[Baseline, ...]) -> Baseline:
    """Narrow a run down to some claims, all of which some run must have."""
    import msgspec

    if not names:
        return run
    known = {claim.id for each in everywhere for claim in each.claims}
    wanted = {find(name, known) for name in names}
    return msgspec.structs.replace(
        run, claims=tuple(claim for claim in run.claims if claim.id in wanted)
    )


def find(name: str, known: set[str]) -> str:
    """Find a claim by its id or by the end of it that names one claim only.

    Raises
    ------
    RecordError
        There is none, or more than one.
    """
    from causaltest.errors import RecordError
    from causaltest.spelling import did_you_mean

    if name in known:
        return name
    ends = sorted(each for each in known if each.split("::", 1)[-1].split("[", 1)[0] == name)
    if not ends:
        ends = sorted(each for each in known if each.endswith(f"::{name}"))
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise RecordError(f"{name!r} names {len(ends)} claims: {', '.join(ends[:5])}")
    short = {each.split("::", 1)[-1] for each in known}
    told = did_you_mean(name, sorted(known if "::" in name else short))
    raise RecordError(
        f"there is no claim {name!r}{told}\n"
        f"claims: {', '.join(sorted(known)[:5])}{', ...' if len(known) > 5 else ''}"
    )
