"""Alignments over a grid: one call, judged as one family; and searches that go on."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from causaltest import (
    Causal,
    EvidenceError,
    InterventionError,
    Model,
    Pairs,
    RecordError,
    SiteError,
    block_output,
)
from causaltest.alignments.prepared import Prepared
from causaltest.progress import SETTINGS

HOW = {"by": "template", "width": 1, "seeds": (0,), "epochs": 6, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def schoolbook():
    """The embedded model, and its pronoun pairs split by template."""
    folder = Path(__file__).parents[2] / "hypotheses"
    pairs = Pairs.read(folder / "pairs" / "pronouns.jsonl", cluster="template")
    templates = list(dict.fromkeys(pair.labels["template"] for pair in pairs))
    rest, test = pairs.split(by="template", test=templates[8:])
    train, dev = rest.split(by="template", test=templates[5:8])
    return Causal(Model.load(str(folder / "schoolbook"))), train, dev, test


@pytest.fixture(scope="module")
def found(schoolbook):
    """Alignments of gender in the residual stream."""
    causal, train, dev, _ = schoolbook
    return causal.align_over(
        block_output, layers=[0, 2], positions=["name", "end"], variable="gender", on=train,
        dev=dev, **HOW,
    )  # fmt: skip


def test_each_place_has_an_alignment_of_its_own(found, schoolbook):
    """Labels lead to the alignment that `align` learns there."""
    causal, train, dev, _ = schoolbook
    assert found.axes == {"layer": (0, 2), "pos": ("name", "end")}
    assert list(found) == [(0, "name"), (0, "end"), (2, "name"), (2, "end")]
    alone = causal.align(block_output(2, pos="end"), variable="gender", on=train, dev=dev, **HOW)
    assert found[2, "end"].intervention == alone.intervention
    assert repr(found) == "<Alignments of gender in block_output: 2 layer x 2 pos>"


def test_the_grid_holds_the_accuracy_of_each_place(found, schoolbook):
    """Every cell is what the alignment's own accuracy is, pair by pair."""
    test = schoolbook[3]
    grid = found.grid(on=test)
    for (layer, pos), alignment in found.items():
        cell = grid.values[:, [0, 2].index(layer), ["name", "end"].index(pos)]
        assert np.array_equal(cell, alignment.accuracy(on=test).values)
    gained = found.gain(on=test).values
    before = found[0, "end"].unchanged(on=test).values
    assert np.array_equal(gained, grid.values - np.asarray(before)[:, None, None])


def test_claims_take_all_places_into_account(found, schoolbook):
    """Gender has left the name for the end by the last layer; the map says so of all cells."""
    grid = found.grid(on=schoolbook[3])
    assert bool(grid.every(layer=2, pos="end") > 0.6)
    assert not bool(grid.every(layer=2, pos="name") > 0.6)
    held = found.gain(on=schoolbook[3]).significant()
    assert list(held) == [(0, "name"), (2, "end")]


def test_a_grid_is_not_judged_on_what_it_was_learned_from(found, schoolbook):
    """Training and dev pairs are refused."""
    for seen in schoolbook[1:3]:
        with pytest.raises(EvidenceError, match="cannot be judged on the data it rests on"):
            found.grid(on=seen)


def test_places_that_do_not_exist_are_named(found, schoolbook):
    """An unknown label, or a layer beyond the last, is an error."""
    causal, train, dev, _ = schoolbook
    with pytest.raises(
        InterventionError, match=r"no alignment was learned at \(1, 'end'\); labels of layer, pos"
    ):
        found[1, "end"]
    with pytest.raises(SiteError, match="7"):
        causal.align_over(block_output, layers=[0, 7], variable="gender", on=train, dev=dev, **HOW)


def test_a_search_goes_on_where_it_stopped(schoolbook, tmp_path, monkeypatch):
    """Finished seeds are read back, bit for bit; only the others are learned."""
    causal, train, dev, _ = schoolbook
    how = {"variable": "gender", "on": train, "dev": dev, **HOW, "seeds": (0, 1)}
    site = block_output(1, pos="end")
    learn = Prepared.fit

    def stops(self, seed, **given):
        if seed == 1:
            raise KeyboardInterrupt
        return learn(self, seed, **given)

    monkeypatch.setattr(Prepared, "fit", stops)
    with pytest.raises(KeyboardInterrupt, match=r"alignment of gender: stopped after \d+ of \d+"):
        causal.align(site, keep_in=tmp_path, **how)
    learned = []

    def noted(self, seed, **given):
        learned.append(seed)
        return learn(self, seed, **given)

    monkeypatch.setattr(Prepared, "fit", noted)
    resumed = causal.align(site, keep_in=tmp_path, **how)
    assert learned == [1]
    whole = causal.align(site, **how)
    assert resumed.intervention == whole.intervention
    assert resumed.origin == whole.origin


@pytest.mark.parametrize(
    "loss, name",
    [
        (lambda logits, answers: logits.sum() + answers.sum(), "<lambda>"),
        (torch.nn.NLLLoss(), "NLLLoss"),
    ],
    ids=["own", "with settings"],
)
def test_fits_of_a_loss_that_could_change_are_not_kept(schoolbook, tmp_path, loss, name):
    """A loss that keeps its name when it is another one is refused, and nothing is written."""
    causal, train, dev, _ = schoolbook
    how = {"variable": "gender", "on": train, "dev": dev, **HOW}
    told = rf"keep_in= cannot tell later whether the loss {name} is still the same\nleave keep_in="
    with pytest.raises(InterventionError, match=told):
        causal.align(block_output(1, pos="end"), keep_in=tmp_path, loss=loss, **how)
    assert not list(tmp_path.iterdir())


def test_a_grid_goes_on_where_it_stopped(schoolbook, tmp_path, monkeypatch):
    """Each place has a folder of its own, whatever its label; a second call learns nothing."""
    causal, train, dev, _ = schoolbook
    how = {"variable": "gender", "on": train, "dev": dev, **HOW, "epochs": 1}
    places = {"../first": block_output(1, pos="end"), "last": block_output(2, pos="end")}
    first = causal.align_over(places, keep_in=tmp_path / "fits", **how)
    assert sorted(each.name for each in (tmp_path / "fits").iterdir()) == ["0-.._first", "1-last"]
    monkeypatch.setattr(Prepared, "fit", None)
    again = causal.align_over(places, keep_in=tmp_path / "fits", **how)
    assert again["last"].intervention == first["last"].intervention


def test_a_folder_serves_one_search(schoolbook, tmp_path):
    """Another site, recipe or pair set is refused by name; so is a damaged folder."""
    causal, train, dev, _ = schoolbook
    how = {"variable": "gender", "on": train, "dev": dev, **HOW, "epochs": 1, "seeds": (0,)}
    causal.align(block_output(1, pos="end"), keep_in=tmp_path, **how)
    with pytest.raises(
        RecordError, match="holds fits of another task: sites differ\ngive each search a folder"
    ):
        causal.align(block_output(2, pos="end"), keep_in=tmp_path, **how)
    with pytest.raises(RecordError, match="fits of another task: recipe differ"):
        causal.align(block_output(1, pos="end"), keep_in=tmp_path, **{**how, "epochs": 2})
    (tmp_path / "0" / "fits.json").write_text("{}")
    with pytest.raises(RecordError, match=r"0/fits.json is damaged: .*\nremove"):
        causal.align(block_output(1, pos="end"), keep_in=tmp_path, **how)
    (tmp_path / "fits.json").write_text("[")
    with pytest.raises(RecordError, match=r"fits.json is damaged: .*\nremove the folder"):
        causal.align(block_output(1, pos="end"), keep_in=tmp_path, **how)


@pytest.mark.parametrize("mode, seen", [("on", True), ("off", False), ("auto", False)])
def test_progress_is_shown_where_somebody_looks(schoolbook, monkeypatch, mode, seen):
    """A bar counts the steps of all seeds; a stream that is no terminal stays empty."""
    causal, train, dev, _ = schoolbook
    stream = io.StringIO()
    monkeypatch.setattr(SETTINGS, "mode", mode)
    monkeypatch.setattr(SETTINGS, "stream", stream)
    how = {**HOW, "epochs": 1}
    causal.align(block_output(2, pos="end"), variable="gender", on=train, dev=dev, **how)
    assert ("alignment of gender" in stream.getvalue()) is seen


def test_progress_of_controls_is_shown_in_the_same_way(schoolbook, monkeypatch):
    """Refits, rivals and twins count their steps as the search did."""
    causal, train, dev, test = schoolbook
    stream = io.StringIO()
    monkeypatch.setattr(SETTINGS, "mode", "on")
    monkeypatch.setattr(SETTINGS, "stream", stream)
    how = {**HOW, "epochs": 1}
    found = causal.align(block_output(2, pos="end"), variable="gender", on=train, dev=dev, **how)
    found.controls("shuffled labels", on=test, k=5)
    assert "an alignment of gender on shuffled labels" in stream.getvalue()
    assert "rivals of an alignment of gender" in stream.getvalue()
    found.untrained(on=test)
    assert "an alignment of gender in a twin, untrained" in stream.getvalue()
