"""Results on disk: `results.json` when a run ends, `results.jsonl` while it goes."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import cast

import msgspec

from causaltest.errors import RecordError
from causaltest.records.checks import check, check_claim, name_of, plain, typed
from causaltest.records.schema import SCHEMA_VERSION, Claim, Results, Run, ordered

_REPORT = "folder for the report"


class Running(msgspec.Struct, frozen=True):
    """The running file of a run that goes on, or was killed."""

    run: Run | None
    claims: tuple[Claim, ...]
    notes: tuple[str, ...]
    """What could not be read, in words; empty where every line was whole."""


def write(results: Results, path: Path) -> None:
    """Write results as JSON with sorted keys and six significant digits, atomically.

    Claims are sorted and their seconds moved to `run.claim_seconds`; `read` puts them back.

    Parameters
    ----------
    results
        What the run left behind.
    path
        Where to write, e.g. `reports/results.json`; missing folders are made.

    Raises
    ------
    RecordError
        A number is NaN or infinite, a field has the wrong type, or the file cannot be written.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "results.json"
    >>> results = Results(1, "complete", Run(alpha=0.05, correction="bonferroni", seed=0))
    >>> write(results, path)
    >>> read(path) == results
    True
    """
    tree = cast("dict[str, object]", plain(results, "results"))
    check(typed(tree, Results, "the results"), "the results")
    claims = [
        cast("dict[str, object]", plain(claim, name_of(claim))) for claim in ordered(results.claims)
    ]
    seconds = {cast(str, claim["id"]): claim.pop("seconds") for claim in claims}
    run = cast("dict[str, object]", tree["run"])
    run["claim_seconds"] = {name: spent for name, spent in seconds.items() if spent}
    tree["claims"] = claims
    put_in_place(path, pretty(tree) + "\n")


def read(path: Path) -> Results:
    """Read results back, checking schema and version.

    Parameters
    ----------
    path
        A `results.json` written by `write`.

    Returns
    -------
    Results
        The results, each claim with its seconds.

    Raises
    ------
    RecordError
        The file is missing, truncated, not ours, of another version, or contradicts itself.
    """
    tree = decoded(
        path,
        "The run was killed while it ended, or the file was edited. Run the hypotheses again, "
        f"or read the running file beside it ({path.with_suffix('.jsonl').name}).",
    )
    if not isinstance(tree, dict) or "schema_version" not in tree:
        found = (
            f"an object with {_listed(cast('dict[str, object]', tree))}"
            if isinstance(tree, dict)
            else f"a JSON {_json_kind(tree)}"
        )
        raise RecordError(
            f"{path} was not written by causaltest: it holds {found}, and no schema_version.\n"
            "Give the results.json of a run, e.g. reports/results.json."
        )
    fields = cast("dict[str, object]", tree)
    if fields["schema_version"] != SCHEMA_VERSION:
        raise RecordError(
            f"{path} has schema version {fields['schema_version']!r}; this causaltest reads "
            f"{SCHEMA_VERSION}.\nRun the hypotheses again, or install the version of causaltest "
            "that wrote it (run.environment.packages in the file)."
        )
    results = typed(fields, Results, str(path))
    check(results, str(path))
    spent = results.run.claim_seconds
    claims = tuple(
        msgspec.structs.replace(claim, seconds=spent.get(claim.id, 0.0)) for claim in results.claims
    )
    return msgspec.structs.replace(
        results,
        claims=claims,
        run=msgspec.structs.replace(results.run, claim_seconds={}),
    )


def append_jsonl(path: Path, record: Claim | Run) -> None:
    """Append one claim to the running file, in time that does not grow with the file.

    Parameters
    ----------
    path
        The running file, e.g. `reports/results.jsonl`; made where missing.
    record
        A finished claim; or, once at the start, the run itself, which `recover` needs.

    Raises
    ------
    RecordError
        A number is NaN or infinite, a field has the wrong type, or the file cannot be written.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "results.jsonl"
    >>> append_jsonl(path, Run(alpha=0.05, correction="none", seed=0))
    >>> read_jsonl(path).run.alpha
    0.05
    """
    place = "run" if isinstance(record, Run) else name_of(record)
    tree = plain(record, place)
    if isinstance(record, Run):
        typed(tree, Run, place)
        line = {"run": tree, "schema_version": SCHEMA_VERSION}
    else:
        line = tree
        check_claim(typed(tree, Claim, place), place)
    try:
        append_line(path, line)
    except OSError as error:
        raise _unwritable(path, error) from error


def append_line(path: Path, record: object) -> None:
    """Add a record to a file of JSON lines.

    Parameters
    ----------
    path
        The file; made, with its folder, where there is none.
    record
        Plain data, or a structure of msgspec.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    data = msgspec.json.encode(record, order="sorted") + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            # A killed run may have left half a line; the new one must not be glued to it.
            if file.read(1) != b"\n":
                data = b"\n" + data
        file.write(data)


def read_jsonl(path: Path) -> Running:
    """Read the running file; half a line left by a killed run is skipped and said.

    Parameters
    ----------
    path
        A `results.jsonl` written by `append_jsonl`.

    Returns
    -------
    Running
        The run, the claims (the last line of an id counts) and notes on what was skipped.

    Raises
    ------
    RecordError
        The file is missing, or a whole line is not a claim of this version.
    """
    run: Run | None = None
    claims: dict[str, Claim] = {}
    notes: list[str] = []
    for number, line in enumerate(_bytes(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            tree = cast(object, msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            notes.append(
                f"line {number} of {path.name} is cut off, probably because the run was killed; "
                "the claim on it is missing"
            )
            continue
        if isinstance(tree, dict) and "schema_version" in tree:
            if run is not None:
                notes.append(
                    f"two runs wrote to {path.name}, so its claims may be of either; give each run "
                    "its own folder with --causal-report"
                )
            run = _run_line(cast("dict[str, object]", tree), place)
        else:
            claim = typed(cast(object, tree), Claim, place)
            check_claim(claim, place)
            claims[claim.id] = claim
    return Running(run, ordered(claims.values()), tuple(notes))


def recover(path: Path) -> Results:
    """Turn the running file of a killed run into partial results that can be reported.

    Parameters
    ----------
    path
        A `results.jsonl` whose first line is the run.

    Returns
    -------
    Results
        The claims that were finished, with status `partial` and a note that says so.

    Raises
    ------
    RecordError
        The file cannot be read, or holds no line for the run.
    """
    running = read_jsonl(path)
    if running.run is None:
        raise RecordError(
            f"{path} has no line for the run (alpha, seed, models), only {len(running.claims)} "
            "claims.\nRun the hypotheses again; the first line of a running file is the run."
        )
    note = f"The run did not end: these are the {len(running.claims)} claims finished before."
    run = msgspec.structs.replace(
        running.run, partial=True, notes=(*running.run.notes, note, *running.notes)
    )
    return Results(SCHEMA_VERSION, "partial", run, running.claims)


def _run_line(tree: dict[str, object], place: str) -> Run:
    """Decode the line of the running file that holds the run."""
    if tree["schema_version"] != SCHEMA_VERSION or "run" not in tree:
        raise RecordError(
            f"{place} has schema version {tree['schema_version']!r}; this causaltest reads "
            f"{SCHEMA_VERSION}.\nRun the hypotheses again to get a running file of this version."
        )
    return typed(tree["run"], Run, place)


def decoded(path: Path, advice: str) -> object:
    """Decode a JSON file, with an error that says what to do.

    Raises
    ------
    RecordError
        The file is missing, not whole JSON, or nested or numbered beyond reason.
    """
    data = _bytes(path)
    try:
        return cast(object, msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise RecordError(f"{path} is not whole JSON: {error}.\n{advice}") from error


def _bytes(path: Path) -> bytes:
    """Read a file whole, with an error that says what to do."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RecordError(
            f"{path} does not exist.\nRun `pytest` on your hypotheses first; it writes "
            "reports/results.json, and reports/results.jsonl while it goes."
        ) from error
    except OSError as error:
        raise RecordError(
            f"{path} cannot be read: {error.strerror or error}.\nGive the path of a results file."
        ) from error


def put_in_place(path: Path, text: str, *, place: str = _REPORT) -> None:
    """Put a file in place whole or not at all; `place` is what to choose another of."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error, place) from error


def _unwritable(path: Path, error: OSError, place: str = _REPORT) -> RecordError:
    """Say that a file cannot be written."""
    advice = f"Choose another {place}, or make this one writable."
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        advice = f"Free some space there, or choose another {place}."
    return RecordError(f"{path} cannot be written: {error.strerror or error}.\n{advice}")


def pretty(value: object, indent: str = "") -> str:
    """Format JSON for `diff`: one field a line, lists of numbers or words on one line."""
    inner = indent + " "
    if isinstance(value, dict) and value:
        entries = cast("dict[str, object]", value)
        lines = [f"{json.dumps(k)}: {pretty(entries[k], inner)}" for k in sorted(entries)]
        return "{\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(
        isinstance(entry, (dict, list)) for entry in cast("list[object]", value)
    ):
        lines = [pretty(entry, inner) for entry in cast("list[object]", value)]
        return "[\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}]"
    return msgspec.json.encode(value).decode()


def _listed(tree: dict[str, object]) -> str:
    """List the first keys of a foreign object."""
    names = ", ".join(list(tree)[:4])
    return f"the fields {names}" if names else "no fields"


def _json_kind(tree: object) -> str:
    """Name a JSON value that is not an object."""
    if isinstance(tree, list):
        return "array"
    if isinstance(tree, str):
        return "string"
    return "null" if tree is None else "boolean" if isinstance(tree, bool) else "number"
