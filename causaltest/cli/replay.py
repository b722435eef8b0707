"""`causaltest replay`: run claims on record again and say whether they come out the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from causaltest.errors import RecordError

if TYPE_CHECKING:
    from causaltest.baseline import Reproduced
    from causaltest.records import Claim, Results, Run


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("claim", required=False)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder that claim ids start from; found from here and from RESULTS by default.",
)
@click.option("--device", help="A torch device; by default the one on record.")
@click.pass_context
def replay(
    ctx: click.Context, *, results: Path, claim: str | None, root: Path | None, device: str | None
) -> None:
    """Run the claims of RESULTS again, or one CLAIM of it, and say which come out the same.

    Model, type, device, seed and levels are those on record. A claim reproduces bit for bit if
    every recorded digit is the same, and within the floor if no value differs by more than the
    numeric floor of its measurement. Exits with 0 if all reproduce, 1 if one does not, 2 if one
    could not be run again or its test, model or pairs are not those on record.

    \b
    Examples:
      causaltest replay reports/results.json
      causaltest replay reports test_the_name_carries_the_gender
      causaltest replay results.json --device cpu
    """  # noqa: D301 - click reads \b
    from causaltest.report.text import visible

    try:
        found = replayed(results, claim, root=root, device=device)
    except RecordError as error:
        click.echo(f"cannot replay: {visible(str(error), block=True)}", err=True)
        ctx.exit(2)
    for each in found:
        click.echo(f"{each.how:<16}  {visible(each.id)}")
        for reason in each.reasons:
            click.echo(f"{'':<18}{visible(reason)}")
    same = sum(each.how in {"bit for bit", "within the floor"} for each in found)
    click.echo(f"{same} of {len(found)} {'claim' if len(found) == 1 else 'claims'} reproduced")
    kinds = {each.how for each in found}
    ctx.exit(1 if "not reproduced" in kinds else 2 if kinds & {"changed", "not run"} else 0)


def replayed(
    path: Path, claim: str | None = None, *, root: Path | None = None, device: str | None = None
) -> tuple[Reproduced, ...]:
    """Run claims on record again with pytest, in a process of its own.

    Raises
    ------
    RecordError
        The results cannot be read, there is no such claim, or pytest could not run it.
    """
    from causaltest.baseline import keep, reproduced
    from causaltest.baseline.reproducing import with_limits
    from causaltest.cli.compare import find
    from causaltest.records import read, recover

    if path.is_dir():
        path = path / "results.json"
    results = recover(path) if path.suffix == ".jsonl" else read(path)
    known = {each.id: each for each in results.claims if each.verdict != "not run"}
    if not known:
        raise RecordError(f"{path} holds no claim that ran, so there is nothing to run again")
    names = tuple(known) if claim is None else (find(claim, set(known)),)
    home = root or home_of([known[name] for name in names], path)
    with TemporaryDirectory() as folder:
        again = _run([known[name] for name in names], results, home, Path(folder), device)
    return with_limits(reproduced(keep(results), keep(again), names), results, again)


def home_of(claims: Sequence[Claim], path: Path) -> Path:
    """Find the folder that claim ids start from: here, or above the results.

    Raises
    ------
    RecordError
        The files of the claims are in none of them.
    """
    places = [Path.cwd(), *Path.cwd().parents, *path.resolve().parents]
    for place in places:
        if all((place / claim.file).is_file() for claim in claims):
            return place
    missing = next(each.file for each in claims if not (Path.cwd() / each.file).is_file())
    raise RecordError(
        f"the test file {missing} is neither here nor above {path}\n"
        "Go to the project that the results are of, or name it with --root FOLDER."
    )


def settings_of(run: Run, claims: Sequence[Claim], device: str | None = None) -> list[str]:
    """Return the options that make pytest run claims as they were run.

    Examples
    --------
    >>> from causaltest.records import Run
    >>> settings_of(Run(alpha=0.05, correction="none", seed=3), [])
    ['--causal-alpha=0.05', '--causal-correction=none', '--causal-seed=3']
    """
    from causaltest.report.again import options_of

    given = [
        f"--causal-alpha={run.alpha!r}",
        f"--causal-correction={run.correction}",
        f"--causal-seed={run.seed}",
    ]
    given += options_of(run, ["--causal-model"])
    used = {claim.model for claim in claims}
    models = [each for each in run.models if each.name in used]
    if len({(each.dtype, each.device) for each in models}) == 1:
        given.append(f"--causal-dtype={models[0].dtype}")
        given.append(f"--causal-device={device or models[0].device}")
    elif device is not None:
        given.append(f"--causal-device={device}")
    if any(part.n_available for claim in claims for part in claim.parts):
        given.append("--causal-sequential")
    return given


def _run(
    claims: Sequence[Claim], results: Results, home: Path, folder: Path, device: str | None
) -> Results:
    """Run pytest on claims and read what it wrote."""
    from causaltest.records import read

    command = [
        sys.executable, "-m", "pytest", f"--rootdir={home}", "-q", "--maxfail=0",
        "-p", "no:cacheprovider", f"--causal-report={folder}", "--causal-progress=off",
        "--causal-baseline=none", "--causal-no-cache", *settings_of(results.run, claims, device),
    ]  # fmt: skip
    said = ""
    while claims:
        # One node id a line: thousands do not fit on a command line.
        listed = folder / "claims.txt"
        listed.write_text("".join(f"{each.nodeid}\n" for each in claims), encoding="utf-8")
        done = subprocess.run(  # noqa: S603 - our own command, no shell
            [*command, f"@{listed}"], cwd=home, capture_output=True, text=True, check=False
        )
        said = done.stderr.strip() or done.stdout.strip()
        if (folder / "results.json").exists():
            return read(folder / "results.json")
        there = [each for each in claims if not _not_found(each.nodeid, done.stderr)]
        if len(there) == len(claims):
            break
        claims = there  # pytest runs nothing where one test is missing.
    told = "the tests were removed or renamed" if not claims else "pytest could not run the claims"
    raise RecordError("\n".join([f"{told}, in {home}:", *said.splitlines()[-8:]]))


def _not_found(name: str, said: str) -> bool:
    """Whether pytest said that there is no such test."""
    lines = [line for line in said.splitlines() if line.startswith("ERROR: not found:")]
    return any(line.endswith((f"/{name}", f"\\{name}")) for line in lines)
