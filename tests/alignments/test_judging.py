"""Saved alignments are judged again by somebody else: one command, on pairs not seen."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from causaltest import Causal, Model, Pairs, RecordError, block_output
from causaltest.alignments import load_alignment
from causaltest.cli import main
from causaltest.sharing import from_pretrained

SCHOOLBOOK = Path(__file__).parents[2] / "hypotheses" / "schoolbook"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The alignment, its test accuracy, and a folder: `gender/`, train.jsonl and test.jsonl."""
    pairs = Pairs.read(SCHOOLBOOK.parent / "pairs" / "pronouns.jsonl", cluster="template")
    templates = list(dict.fromkeys(pair.labels["template"] for pair in pairs))
    rest, test = pairs.split(by="template", test=templates[8:])
    train, dev = rest.split(by="template", test=templates[5:8])
    found = Causal(Model.load(str(SCHOOLBOOK))).align(
        block_output(2, pos="end"), variable="gender", on=train, dev=dev, by="template", width=1,
        seeds=(0,), epochs=6, learning_rate=0.05,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("judged")
    found.save(folder / "gender")
    train.write(folder / "train.jsonl")
    test.write(folder / "test.jsonl")
    return found, found.accuracy(on=test), folder


@pytest.fixture
def run(saved, monkeypatch, tmp_path):
    """Run `causaltest judge` in a folder of its own."""
    shutil.copytree(saved[2], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def judge(*arguments, pairs="test.jsonl", model=SCHOOLBOOK, folder="gender"):
        given = [folder, "--model", model, "--pairs", pairs, "--cluster", "template", *arguments]
        return CliRunner().invoke(main, ["judge", *map(str, given)])

    return judge


@pytest.mark.parametrize("above, verdict, code", [(0.3, "supported", 0), (0.97, "inconclusive", 1)])
def test_the_verdict_is_that_of_the_one_who_saved_it(saved, run, above, verdict, code):
    """The numbers are the same from the folder alone, and the exit code tells the verdict."""
    found, rate, _ = saved
    mine = rate > above
    assert mine.name == verdict
    done = run("--above", above)
    assert done.exit_code == code, done.output
    lines = done.output.splitlines()
    assert lines[0] == repr(found)
    assert lines[1] == f"{verdict}: {mine.statement}"
    assert lines[2 : 2 + len(mine.explain())] == mine.explain()
    assert lines[-1] == "with nothing exchanged: 0"


def test_a_claim_that_fails_is_refuted(saved, run):
    """One pair of 32 is missed, which 99.9% would hardly do: refuted, for machines as well."""
    done = run("--above", 0.999, "--cluster", "none", "--alpha", 0.2, "--json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert found["verdict"] == "refuted"
    assert (found["accuracy"], found["pairs"], found["units"]) == (31 / 32, 32, 32)
    assert found["pairs_sha256"] == Pairs.read(saved[2] / "test.jsonl", cluster=None).sha256


def test_pairs_that_it_was_learned_from_are_refused(run):
    """Training pairs end with 2 and say which templates were used."""
    done = run("--above", 0.5, pairs="train.jsonl")
    assert done.exit_code == 2
    assert "an alignment of gender cannot be judged on the data it rests on" in done.stderr


def test_what_cannot_be_judged_ends_with_2(run, tmp_path):
    """Other weights, a missing file and a folder that is no alignment are said in words."""
    assert run("--above", 0.5, pairs="tests.jsonl").exit_code == 2
    (tmp_path / "gender" / "alignment.json").unlink()
    done = run("--above", 0.5)
    assert done.exit_code == 2
    assert "holds an intervention, but no alignment" in done.stderr
    done = run("--above", 1.5)
    assert done.exit_code == 2
    done = run("--above", 0.5, folder="nowhere")
    assert done.exit_code == 2
    assert "no intervention 'nowhere': there is no such folder" in done.stderr


def test_looks_are_counted_where_hypotheses_are_registered(run, tmp_path):
    """Beside a lock each judgement is a line of the ledger; elsewhere nothing is written."""
    assert "looks at" not in run("--above", 0.3).output
    assert not (tmp_path / ".causaltest").exists()
    (tmp_path / "hypotheses.lock").touch()
    assert "looks at test so far, this one included: 1" in run("--above", 0.3).output
    assert "looks at test so far, this one included: 2" in run("--above", 0.3).output
    assert len((tmp_path / ".causaltest" / "looks.jsonl").read_text().splitlines()) == 2


def test_an_alignment_goes_to_the_hub_and_back(saved, hub):
    """Its description goes with it; as a plain intervention it loads without."""
    found = saved[0]
    address = found.push_to_hub("ann/gender", private=True, client=hub)
    assert address == "https://hub/ann/gender/commit/1"
    card = (hub.folder / "ann" / "gender" / "README.md").read_text()
    assert str(found.intervention) in card
    again = load_alignment(Causal(Model.load(str(SCHOOLBOOK))), "ann/gender", client=hub)
    assert again.origin == found.origin
    assert again.intervention == found.intervention


def test_a_folder_loads_with_from_pretrained(saved, hub, tmp_path):
    """What was found is an intervention like any other; a folder without one is refused."""
    found, _, folder = saved
    assert from_pretrained(folder / "gender") == found.intervention
    assert hub.calls == []
    with pytest.raises(RecordError, match="holds no intervention"):
        from_pretrained(tmp_path)
