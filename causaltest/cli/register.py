"""`causaltest register`: freeze hypotheses before the data that judge them are seen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from causaltest.errors import RecordError

if TYPE_CHECKING:
    from causaltest.registration import Entry


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("paths", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--lock",
    type=click.Path(path_type=Path),
    default=Path("hypotheses.lock"),
    show_default=True,
    help="The lock file; the project's root is where pytest looks for it.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    help="A results.json: hashes of pair sets that tests make themselves are taken from it.",
)
def register(paths: tuple[str, ...], lock: Path, results: Path | None) -> None:
    """Write hypotheses.lock: claims, bounds, levels, pairs and weights of hypotheses in PATHS.

    PATHS are files and folders (default hypotheses/) and options for pytest. Fixtures are set up,
    so that pair sets and weights are frozen by their hashes; no test body runs and nothing is
    measured. With --collect-only no model is loaded, and those hashes are left out. Later runs
    say of each claim whether it is registered, post-hoc or changed, and `pytest --causal-strict`
    takes registered claims only.

    \b
    Examples:
      causaltest register
      causaltest register hypotheses/ --causal-alpha 0.01
      causaltest register --collect-only
      causaltest register --results reports/results.json
    """  # noqa: D301 - click reads \b
    from causaltest.registration import write

    entries = collected(paths or ("hypotheses",))
    if results is not None:
        entries = with_hashes(entries, results)
    frozen = write(entries, lock)
    noun = "hypothesis" if len(entries) == 1 else "hypotheses"
    click.echo(f"registered {len(entries)} {noun} in {lock} ({frozen.sha256[:12]})")


def collected(arguments: Sequence[str]) -> list[Entry]:
    """Collect hypotheses with pytest in a process of its own.

    Raises
    ------
    RecordError
        pytest could not collect them, or there is none.
    """
    import msgspec

    from causaltest.registration import Entry

    with TemporaryDirectory() as folder:
        written = Path(folder) / "entries.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        if find_spec("xdist") is not None:
            command.append("-n0")  # Fixtures of one process are enough.
        done = subprocess.run(  # noqa: S603 - our own command, no shell
            [*command, f"--causal-entries={written}", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 5):
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-12:]
            raise RecordError(
                "pytest could not collect the hypotheses or set up their fixtures:\n"
                + "\n".join(said)
            )
        entries = []
        if written.exists():
            entries = msgspec.json.decode(written.read_bytes(), type=list[Entry])
    if not entries:
        raise RecordError(
            f"no hypothesis in {', '.join(arguments)}: a hypothesis is a test that asks for the "
            "fixture `causal`"
        )
    return entries


def with_hashes(entries: Sequence[Entry], path: Path) -> list[Entry]:
    """Add the hashes of pair sets and weights that a run recorded.

    Raises
    ------
    RecordError
        The results cannot be read.
    """
    import msgspec

    from causaltest.records import read

    results = read(path)
    weights = {model.name: model.sha256 for model in results.run.models}
    claims = {claim.id: claim for claim in results.claims}
    found: list[Entry] = []
    for entry in entries:
        claim = claims.get(entry.id)
        if claim is None or not claim.parts:
            found.append(entry)
            continue
        sets = {part.pair_set: part.pair_set_sha256 for part in claim.parts if part.pair_set}
        found.append(
            msgspec.structs.replace(
                entry,
                pair_sets={**sets, **entry.pair_sets},
                model_sha256=entry.model_sha256 or weights.get(claim.model, ""),
            )
        )
    return found
