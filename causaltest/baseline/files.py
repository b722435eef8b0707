"""`baseline.json` on disk, sealed so that an edit is seen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from causaltest.baseline.kept import BASELINE_VERSION, Baseline, keep
from causaltest.errors import RecordError
from causaltest.records import read as read_results
from causaltest.records import recover
from causaltest.records.files import decoded, pretty, put_in_place

_AGAIN = "Write it anew from a run that you trust: causaltest baseline reports/results.json"

Kept = TypeVar("Kept", bound=msgspec.Struct)


def write(baseline: Baseline, path: Path) -> None:
    """Write a baseline, sorted and sealed, whole or not at all.

    Parameters
    ----------
    baseline
        What was kept of a run.
    path
        Where to write, e.g. `hypotheses/baseline.json`.

    Raises
    ------
    RecordError
        It holds no claim that ran, or the file cannot be written.

    Examples
    --------
    >>> write(Baseline(1, 0.05, False, (), (), ()), Path("baseline.json"))
    Traceback (most recent call last):
    ...
    causaltest.RecordError: there is no claim with a verdict, so baseline.json would be empty
    Give the results of a run in which hypotheses ran.
    """
    claims = tuple(each for each in baseline.claims if each.verdict not in ("error", "not run"))
    if not claims:
        raise RecordError(
            f"there is no claim with a verdict, so {path} would be empty\n"
            "Give the results of a run in which hypotheses ran."
        )
    used = {part.pair_set_sha256 for claim in claims for part in claim.parts}
    kept = msgspec.structs.replace(
        baseline,
        claims=tuple(sorted(claims, key=lambda claim: claim.id)),
        pair_sets=tuple(each for each in baseline.pair_sets if each.sha256 in used),
    )
    kept = msgspec.structs.replace(kept, sha256=_seal(kept))
    put_in_place(path, pretty(msgspec.to_builtins(kept)) + "\n", place="place for the baseline")


def read(path: Path) -> Baseline:
    """Read a baseline back, checking version and seal.

    Parameters
    ----------
    path
        A file written by `causaltest baseline`.

    Raises
    ------
    RecordError
        The file is missing, truncated, foreign, of another version, or was edited.
    """
    if not path.exists():
        raise RecordError(
            f"there is no baseline {path}\n"
            "Write it from a run that you trust: "
            f"causaltest baseline reports/results.json -o {path}"
        )
    tree = decoded(path, _AGAIN)
    if not isinstance(tree, dict) or "baseline_version" not in tree:
        raise RecordError(
            f"{path} was not written by `causaltest baseline`: it has no baseline_version\n{_AGAIN}"
        )
    version = cast("dict[str, object]", tree)["baseline_version"]
    if version != BASELINE_VERSION:
        raise RecordError(
            f"{path} has baseline version {version!r}; this causaltest reads {BASELINE_VERSION}\n"
            f"{_AGAIN}"
        )
    try:
        baseline = msgspec.convert(tree, Baseline, strict=True)
    except msgspec.ValidationError as error:
        raise RecordError(f"{path} does not fit a baseline: {error}\n{_AGAIN}") from error
    if _seal(baseline) != baseline.sha256:
        raise RecordError(
            f"{path} was edited: it does not have the hash written in it\n"
            f"Restore it from version control. {_AGAIN}"
        )
    return baseline


def load(path: Path) -> Baseline:
    """Read either side of a comparison: results, a folder that holds them, or a baseline.

    Parameters
    ----------
    path
        A `results.json`, the `results.jsonl` of a killed run, a `baseline.json`, or a folder with
        a `results.json`.

    Raises
    ------
    RecordError
        It is none of these, or damaged.
    """
    if path.is_dir():
        if not (path / "results.json").exists():
            raise RecordError(
                f"the folder {path} holds no results.json\n"
                "Give the report folder of a run, a results.json, or a baseline.json."
            )
        path = path / "results.json"
    if path.suffix == ".jsonl":
        return keep(recover(path))
    if path.is_file():
        tree = decoded(path, "Give a results.json or a baseline.json that is whole.")
        if isinstance(tree, dict) and "baseline_version" in tree:
            return read(path)
    return keep(read_results(path))


def merged(old: Baseline, new: Baseline) -> tuple[Baseline, tuple[str, ...]]:
    """Update a baseline by a run: what a partial run left out stays as it was.

    Parameters
    ----------
    old
        The baseline so far.
    new
        What was kept of the run.

    Returns
    -------
    tuple
        The baseline, and the ids of the claims that are no longer in it.
    """
    ran = {each.id: each for each in new.claims if each.verdict not in ("error", "not run")}
    before = {each.id: each for each in old.claims}
    waiting = {each.id for each in new.claims} - ran.keys()
    stay = {
        name: each for name, each in before.items() if name not in ran
        if new.partial or name in waiting
    }  # fmt: skip
    claims = {**stay, **ran}
    sets = [{each.sha256: each for each in run.pair_sets} for run in (old, new)]
    models = [{each.name: each for each in run.models} for run in (old, new)]
    joined = msgspec.structs.replace(
        new,
        partial=False,
        claims=tuple(claims.values()),
        pair_sets=_joined(*sets),
        models=_joined(*models),
    )
    return joined, tuple(sorted(before.keys() - claims.keys()))


def _joined(old: Mapping[str, Kept], new: Mapping[str, Kept]) -> tuple[Kept, ...]:
    return tuple(each for _, each in sorted({**old, **new}.items()))


def _seal(baseline: Baseline) -> str:
    content = msgspec.structs.replace(baseline, sha256="")
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
