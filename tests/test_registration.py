"""A registration freezes what a claim says and does, and cannot be edited unnoticed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from causaltest import registration
from causaltest.errors import RecordError
from causaltest.registration import (
    LEDGER,
    Entry,
    Status,
    compare,
    fingerprint,
    look,
    read,
    write,
)

TEST = '''
def test_it(causal, pairs):
    """It holds."""
    effect = causal.effect(SITE, on=pairs)
    assert effect > 0.5
'''
MODULE = "SITE = head(2, 3)\nOTHER = head(0, 0)\n" + TEST


def entry(name="h.py::test_it", **changes) -> Entry:
    """A hypothesis as it would be collected."""
    return Entry(
        **{
            "id": name,
            "claim": "It holds.",
            "expect": "supported",
            "weight": 1.0,
            "requires": (),
            "exploratory": False,
            "level": 0.025,
            "test_sha256": fingerprint(TEST, MODULE),
            "alpha": 0.05,
            "seed": 0,
            "correction": "bonferroni",
            "version": "0.1.0",
            **changes,
        }
    )


@pytest.mark.parametrize(
    "test, module",
    [
        (TEST.replace('"""It holds."""', '"""\n    It   holds.\n    """'), MODULE),
        (TEST.replace("> 0.5", "> 0.50  # half"), MODULE),
        (TEST.replace("effect(SITE, on=pairs)", "effect(\n  SITE,\n  on=pairs\n )"), MODULE),
        (TEST, MODULE.replace("OTHER = head(0, 0)", "OTHER = head(1, 1)")),
        (TEST, "# a comment\n" + MODULE),
    ],
    ids=["docstring", "comment and digits", "layout", "another constant", "module comment"],
)  # fmt: skip
def test_what_changes_nothing_keeps_the_hash(test, module):
    """Layout, comments, docstrings and unused parts of the file do not count."""
    assert fingerprint(test, module) == fingerprint(TEST, MODULE)


@pytest.mark.parametrize(
    "test, module",
    [
        (TEST.replace("0.5", "0.4"), MODULE),
        (TEST.replace(">", "<"), MODULE),
        (TEST.replace("on=pairs", "on=pairs[:3]"), MODULE),
        ("@pytest.mark.causal(weight=2)" + TEST, MODULE),
        (TEST, MODULE.replace("head(2, 3)", "head(2, 2)")),
        (TEST, MODULE + "\ndef pairs():\n    return 1\n"),
    ],
    ids=["bound", "direction", "pairs", "mark", "site in a constant", "fixture in the file"],
)
def test_what_matters_changes_the_hash(test, module):
    """Bounds, directions, data, marks, and what the test uses from its file count."""
    assert fingerprint(test, module) != fingerprint(TEST, MODULE)


def test_a_lock_reads_back_sorted(tmp_path):
    """What was written is read, in the order of the ids, and twice the same bytes."""
    path = tmp_path / "hypotheses.lock"
    lock = write([entry("b"), entry("a", claim="Ä.")], path)
    assert read(path) == lock
    assert [each.id for each in lock.hypotheses] == ["a", "b"]
    before = path.read_bytes()
    write([entry("a", claim="Ä."), entry("b")], path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["hypotheses.lock"]


@pytest.mark.calibration("C37")
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda tree: tree["hypotheses"][0].update(seed=7), "h.py::test_a does not have the hash"),
        (lambda tree: tree["hypotheses"].pop(), "hypotheses were added or taken out"),
        (lambda tree: tree.update(lock_version=9), "has lock version 9; this causaltest reads 2"),
        (lambda tree: tree.pop("lock_version"), "was not written by causaltest"),
        (lambda tree: tree.update(more=1), "does not fit a lock file"),
    ],
)  # fmt: skip
def test_tampering_is_refused(tmp_path, change, message):
    """C37: an edited lock file is an error that names what was edited."""
    path = tmp_path / "hypotheses.lock"
    write([entry("h.py::test_a"), entry("h.py::test_b")], path)
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(RecordError) as caught:
        read(path)
    assert message in str(caught.value)
    assert "causaltest register" in str(caught.value)


def test_a_cut_or_missing_lock_is_refused(tmp_path):
    """Half a file, and none, are errors that say what to do."""
    path = tmp_path / "hypotheses.lock"
    with pytest.raises(RecordError, match="cannot be read"):
        read(path)
    write([entry()], path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RecordError, match="is not whole JSON"):
        read(path)


def test_a_lock_nested_without_end_is_refused(tmp_path):
    """A JSON bomb is damage like any other."""
    path = tmp_path / "hypotheses.lock"
    path.write_bytes(b"[" * 200_000)
    with pytest.raises(RecordError, match="is not whole JSON"):
        read(path)


def test_no_write_without_a_folder(tmp_path):
    """A lock that cannot be written says so and leaves nothing behind."""
    with pytest.raises(RecordError, match="cannot be written"):
        write([entry()], tmp_path / "nowhere" / "hypotheses.lock")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.calibration("C37", mutant="a lock without hashes")
def test_c37_catches_a_lock_without_hashes(tmp_path, monkeypatch):
    """Mutant: an entry is taken as it stands, so that a changed one reads like any other."""
    monkeypatch.setattr(registration, "sealed", lambda entry: entry)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_tampering_is_refused(tmp_path, lambda tree: tree["hypotheses"][0].update(seed=7), "")


@pytest.mark.calibration("C37")
@pytest.mark.parametrize(
    "changes, told",
    [
        ({"claim": "It fails."}, "the claim's sentence (It holds. before, It fails. now)"),
        ({"alpha": 0.1}, "alpha (0.05 before, 0.1 now)"),
        ({"level": 0.05}, "the level it is decided at (0.025 before, 0.05 now)"),
        ({"seed": 1}, "the seed (0 before, 1 now)"),
        ({"expect": "refuted"}, "the expected verdict (supported before, refuted now)"),
        ({"test_sha256": "0"}, "the test"),
        ({"sequential": True}, "whether it stops early (False before, True now)"),
        ({"pair_sets": {"p": "2"}}, "the pair set p"),
        ({"model_sha256": "n"}, "the model's weights"),
    ],
)
def test_every_difference_is_told(tmp_path, changes, told):
    """Whatever differs makes the claim `changed`, with the reason."""
    frozen = entry(pair_sets={"p": "1"}, model_sha256="m")
    lock = write([frozen], tmp_path / "lock")
    assert compare(lock, frozen).standing == "registered"
    now = msgspec.structs.replace(frozen, **changes)
    assert compare(lock, now).standing == "changed"
    assert compare(lock, now).changes == (told,)


@pytest.mark.calibration("C37", mutant="known by name alone")
def test_c37_catches_a_claim_known_by_its_name(tmp_path, monkeypatch):
    """Mutant: whatever has a registered name counts as registered."""

    def by_name(lock, now):
        known = now.id in {each.id for each in lock.hypotheses}
        return Status("registered" if known else "post-hoc")

    monkeypatch.setitem(globals(), "compare", by_name)
    with pytest.raises(AssertionError):
        test_every_difference_is_told(tmp_path, {"test_sha256": "0"}, "the test")


def test_unknown_hashes_do_not_count_but_are_told(tmp_path):
    """A registration that only collected says nothing about pairs and weights."""
    lock = write([entry()], tmp_path / "lock")
    status = compare(lock, entry(pair_sets={"p": "1"}, model_sha256="m"))
    assert status == Status("registered", (), ("the pair set p", "the model's weights"))
    assert compare(lock, entry("h.py::test_new")).standing == "post-hoc"


def test_pair_sets_that_a_test_made_count_where_they_are_frozen(tmp_path):
    """Frozen by a run's results they must be the same; else it is told that they are not frozen."""
    lock = write([entry(pair_sets={"p": "1"})], tmp_path / "lock")
    now = entry(pair_sets={"p": "1"})
    assert compare(lock, now, {"q": "2"}) == Status("registered", (), ("the pair set q",))
    both = write([entry(pair_sets={"p": "1", "q": "2"})], tmp_path / "lock")
    assert compare(both, now, {"q": "2"}) == Status("registered")
    assert compare(both, now, {"q": "3"}) == Status("changed", ("the pair set q",))
    # A fixture that gives a set of another name gives other pairs.
    assert compare(lock, entry(pair_sets={"r": "1"})).standing == "changed"


def test_looks_are_counted_and_none_is_lost(tmp_path):
    """Runs at the same time each leave their line."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: look(tmp_path, {"aa": "p", "bb": "q"}, str(i)), range(24)))
    assert look(tmp_path, {"aa": "p"}, "t") == {"aa": 25}
    assert look(tmp_path, {"cc": "r"}, "t") == {"cc": 1}
    assert len((tmp_path / LEDGER).read_text().splitlines()) == 50


def test_a_foreign_ledger_is_refused(tmp_path):
    """A ledger that holds something else is no count of zero."""
    (tmp_path / LEDGER).parent.mkdir()
    (tmp_path / LEDGER).write_text("never opened\n")
    with pytest.raises(RecordError, match="is no ledger of looks"):
        look(tmp_path, {"aa": "p"}, "t")
