"""Results on disk: nothing is lost, nothing false is believed, and two runs diff empty."""

import json
import math
from decimal import ROUND_HALF_EVEN, Context, Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causaltest import records
from causaltest.errors import RecordError
from causaltest.records import Claim, Interval, Part, Results, Run


def part(**changes):
    """Make a part that is right, or wrong in what a test changes."""
    settings = {
        "statement": "recovery > 0.5",
        "subject": "recovery of interchange(block_output[2]@name)",
        "verdict": "supported",
        "relation": ">",
        "bound": 0.5,
        "estimate": 0.8,
        "interval": Interval(0.7, 0.9, 0.95),
        "adjusted_interval": Interval(0.6, 1.0, 0.99),
        "p_support": 0.001,
        "p_refute": 0.999,
        "alpha": 0.01,
        "n_pairs": 3,
        "n_units": 3,
        "unit": "pair",
        "method": "hull on 3 pairs",
        "floor": 0.0,
        "values": (0.7, 0.8, 0.9),
    }
    return Part(**{**settings, **changes})


def claim(name="test_a", **changes):
    """Make a claim of one part."""
    settings = {
        "id": f"hypotheses/test_x.py::{name}",
        "claim": "The name decides.",
        "file": "hypotheses/test_x.py",
        "line": 3,
        "verdict": "supported",
        "expected": "supported",
        "outcome": "passed",
        "parts": (part(),),
        "deciding": 0,
        "estimate": 0.8,
        "seconds": 0.25,
    }
    return Claim(**{**settings, **changes})


def results(*claims, **run):
    """Make results of claims."""
    settings = {"alpha": 0.05, "correction": "bonferroni", "seed": 0, **run}
    return Results(records.SCHEMA_VERSION, "complete", Run(**settings), claims)


def damaged(path, old, new):
    """Write good results, then change their text."""
    records.write(results(claim()), path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_results_come_back_as_they_were(tmp_path):
    """What is written is read back equal, seconds included."""
    wrote = results(claim("test_a"), claim("test_b", line=9, seconds=1.5))
    records.write(wrote, tmp_path / "new" / "results.json")
    assert records.read(tmp_path / "new" / "results.json") == wrote


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30))
def test_floats_keep_six_significant_digits(value):
    """Each float is written as decimal arithmetic rounds it to six digits."""
    written = json.loads(msgspec.json.encode(records.checks.plain(value, "x")))
    expected = Context(prec=6, rounding=ROUND_HALF_EVEN).create_decimal(Decimal(value))
    assert written == float(expected)


def test_two_runs_differ_in_times_only(tmp_path):
    """Claims in another order and at another time give the same file, apart from `run`."""
    first, second = claim("test_a"), claim("test_b", line=9)
    records.write(results(first, second, started="10:00", seconds=3.0), tmp_path / "1.json")
    slower = [msgspec.structs.replace(c, seconds=7.0) for c in (second, first)]
    records.write(results(*slower, started="11:00", seconds=9.0), tmp_path / "2.json")
    one, two = ((tmp_path / f"{n}.json").read_text().splitlines() for n in "12")
    changed = {a.split(":")[0].strip() for a, b in zip(one, two, strict=True) if a != b}
    assert changed == {
        '"started"',
        '"seconds"',
        '"hypotheses/test_x.py',  # the ids in run.claim_seconds
    }
    assert all("seconds" not in entry for entry in json.loads("\n".join(one))["claims"])


def test_keys_are_sorted_at_every_level(tmp_path):
    """Each object of the file lists its keys in order, whatever order the structs have."""

    def check(pairs):
        assert [key for key, _ in pairs] == sorted(key for key, _ in pairs)
        return dict(pairs)

    records.write(results(claim()), tmp_path / "r.json")
    json.loads((tmp_path / "r.json").read_text(), object_pairs_hook=check)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused_by_name(tmp_path, bad):
    """NaN and infinity are errors that name the claim and the field."""
    broken = claim(parts=(part(interval=Interval(0.1, bad, 0.95)),))
    with pytest.raises(RecordError) as error:
        records.write(results(broken), tmp_path / "r.json")
    assert "claims[0].parts[0].interval.high is" in str(error.value)
    assert "finite" in str(error.value)
    assert not (tmp_path / "r.json").exists()
    with pytest.raises(RecordError, match=r"claim hypotheses/test_x.py::test_a.parts\[0\]"):
        records.append_jsonl(tmp_path / "r.jsonl", broken)


def test_numpy_numbers_are_written_as_numbers(tmp_path):
    """Scalars that came out of numpy need no conversion by the caller."""
    made = claim(estimate=np.float64(0.8), n_pairs=np.int64(3))
    records.write(results(made), tmp_path / "r.json")
    read = records.read(tmp_path / "r.json").claims[0]
    assert (read.estimate, read.n_pairs) == (0.8, 3)
    assert type(read.estimate) is float


def test_other_objects_are_refused_by_name(tmp_path):
    """An array in a record is an error that names field and type."""
    with pytest.raises(RecordError, match=r"parts\[0\]\.values is a ndarray"):
        records.write(results(claim(parts=(part(values=np.ones(3)),))), tmp_path / "r.json")


def test_a_field_of_the_wrong_type_is_not_written(tmp_path):
    """What could not be read again is refused when it is written."""
    with pytest.raises(RecordError, match=r"Expected `str`, got `int` - at `\$.claims\[0\].model`"):
        records.write(results(claim(model=3)), tmp_path / "r.json")


def test_half_a_surrogate_pair_does_not_lose_the_run(tmp_path):
    """Text that has no UTF-8 form is kept readable."""
    records.write(results(claim(docstring="a\ud800b")), tmp_path / "r.json")
    assert records.read(tmp_path / "r.json").claims[0].docstring == "a\\ud800b"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    """The old results stay whole, and no temporary file stays beside them."""
    path = tmp_path / "r.json"
    records.write(results(claim()), path)
    before = path.read_bytes()
    with pytest.raises(RecordError):
        records.write(results(claim(estimate=math.nan)), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_folder_that_is_a_file_is_named(tmp_path):
    """An unwritable place is an error that says so."""
    (tmp_path / "reports").write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        records.write(results(), tmp_path / "reports" / "results.json")
    with pytest.raises(RecordError, match="cannot be written"):
        records.append_jsonl(tmp_path / "reports" / "results.jsonl", claim())


def test_a_missing_file_says_what_writes_it(tmp_path):
    """The error for a missing file names the command that makes one."""
    with pytest.raises(RecordError, match=r"does not exist.\nRun `pytest`"):
        records.read(tmp_path / "r.json")


def test_a_folder_is_not_a_results_file(tmp_path):
    """Reading a folder is a RecordError, not an OSError."""
    with pytest.raises(RecordError, match="cannot be read"):
        records.read(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_an_error_wherever_it_ends(tmp_path, share):
    """Half a file is never read as a smaller run."""
    path = tmp_path / "r.json"
    records.write(results(claim()), path)
    text = path.read_text().rstrip()
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(RecordError, match=r"not whole JSON.*\n.*r\.jsonl"):
        records.read(path)


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    """A binary file is a RecordError."""
    (tmp_path / "r.json").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(RecordError, match="not whole JSON"):
        records.read(tmp_path / "r.json")


@pytest.mark.parametrize(
    "text, found",
    [
        ('{"benchmarks": [], "machine_info": {}}', "fields benchmarks, machine_info"),
        ("{}", "no fields"),
        ("[1, 2]", "a JSON array"),
        ('"results"', "a JSON string"),
        ("null", "a JSON null"),
        ("true", "a JSON boolean"),
        ("3", "a JSON number"),
    ],
)
def test_foreign_json_is_recognised(tmp_path, text, found):
    """JSON of another tool is an error that says what was found."""
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(RecordError, match="not written by causaltest") as error:
        records.read(tmp_path / "r.json")
    assert found in str(error.value)
    assert "schema_version" in str(error.value)


@pytest.mark.parametrize("version", ["2", "0", '"1"'])
def test_another_version_is_refused(tmp_path, version):
    """A file of another version is not read with hope."""
    path = damaged(tmp_path / "r.json", '"schema_version": 1', f'"schema_version": {version}')
    with pytest.raises(RecordError, match=r"has schema version .*this causaltest reads 1"):
        records.read(path)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('"estimate": 0.8', '"estimate": "0.8"', r"at `\$.claims\[0\].*estimate`"),
        ('"line": 3', '"line": 3.5', r"at `\$.claims\[0\].line`"),
        ('"verdict": "supported"', '"verdict": "proved"', "Invalid enum value 'proved'"),
        ('"correction"', '"corection"', "unknown field `corection`.*\nDid you mean `correction`"),
    ],
)
def test_wrong_types_and_names_are_placed(tmp_path, old, new, message):
    """An edited file is refused with the place of the edit, and the nearest name."""
    path = damaged(tmp_path / "r.json", old, new)
    with pytest.raises(RecordError, match=message):
        records.read(path)


@pytest.mark.parametrize(
    "made, message",
    [
        ((claim(), claim()), "two claims have the id"),
        ((claim(deciding=1),), "deciding is 1, but the claim has 1 parts"),
        ((claim(parts=(part(units=("a",)),)),), "3 values but 1 units"),
    ],
)
def test_contradictions_are_refused(tmp_path, made, message):
    """Records that no type can refuse but that cannot be true are refused."""
    with pytest.raises(RecordError, match=message):
        records.write(results(*made), tmp_path / "r.json")


def test_the_running_file_grows_by_lines(tmp_path):
    """Run and claims are read back from the running file; a claim that ran again counts once."""
    path = tmp_path / "reports" / "results.jsonl"
    run = Run(alpha=0.05, correction="none", seed=3)
    records.append_jsonl(path, run)
    records.append_jsonl(path, claim("test_b", line=9))
    records.append_jsonl(path, claim("test_a", estimate=0.1))
    records.append_jsonl(path, claim("test_a", estimate=0.2))
    running = records.read_jsonl(path)
    assert running.run == run
    assert [(c.id[-1], c.estimate) for c in running.claims] == [("a", 0.2), ("b", 0.8)]
    assert running.notes == ()


def test_a_killed_run_loses_only_its_last_line(tmp_path):
    """Half a line is skipped and said, and a claim written after it is whole."""
    path = tmp_path / "results.jsonl"
    records.append_jsonl(path, Run(alpha=0.05, correction="none", seed=0))
    records.append_jsonl(path, claim("test_a"))
    records.append_jsonl(path, claim("test_b"))
    path.write_bytes(path.read_bytes()[:-40])
    running = records.read_jsonl(path)
    assert [c.id[-1] for c in running.claims] == ["a"]
    assert running.notes == (
        "line 3 of results.jsonl is cut off, probably because the run was killed; "
        "the claim on it is missing",
    )
    records.append_jsonl(path, claim("test_c"))
    assert [c.id[-1] for c in records.read_jsonl(path).claims] == ["a", "c"]


def test_a_killed_run_can_be_reported(tmp_path):
    """The running file becomes partial results that say they are partial."""
    path = tmp_path / "results.jsonl"
    records.append_jsonl(path, Run(alpha=0.05, correction="none", seed=0))
    records.append_jsonl(path, claim())
    recovered = records.recover(path)
    assert recovered.status == "partial"
    assert recovered.run.partial
    assert "The run did not end" in recovered.run.notes[0]
    records.write(recovered, tmp_path / "r.json")
    assert records.read(tmp_path / "r.json").claims == (claim(),)


def test_a_running_file_without_its_run_cannot_be_reported(tmp_path):
    """The level of a run is never guessed."""
    records.append_jsonl(tmp_path / "r.jsonl", claim())
    with pytest.raises(RecordError, match="no line for the run"):
        records.recover(tmp_path / "r.jsonl")


def test_a_whole_line_of_something_else_is_an_error(tmp_path):
    """Lines that are whole but foreign are errors with their number."""
    path = tmp_path / "r.jsonl"
    records.append_jsonl(path, claim())
    with path.open("a") as file:
        file.write('{"id": "x"}\n')
    with pytest.raises(RecordError, match=r"r\.jsonl, line 2 does not fit the records"):
        records.read_jsonl(path)
    path.write_text('{"schema_version": 9, "run": {}}\n')
    with pytest.raises(RecordError, match="line 1 has schema version 9"):
        records.read_jsonl(path)
