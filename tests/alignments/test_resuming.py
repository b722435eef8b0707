"""Fits that are stopped on their way go on to the same numbers, bit for bit."""

import itertools
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from causaltest import Causal, Model, RecordError, module
from causaltest.alignments import resuming
from causaltest.alignments.fitting import Fitting
from causaltest.alignments.prepared import Prepared
from causaltest.alignments.recipe import Recipe
from causaltest.alignments.resuming import RUNNING, Finished, Running

SITE = module("hidden")


class Network(nn.Module):
    """Four entities to two classes by way of a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embed = nn.Embedding(24, 3)
            self.hidden = nn.Sequential(nn.Linear(12, 10), nn.Tanh())
            self.out = nn.Linear(10, 2)

    def forward(self, ids):
        """Return logits (rows, 2)."""
        return self.out(self.hidden(self.embed(ids).flatten(1)))


@pytest.fixture(scope="module")
def split(pairs_of):
    """Training, dev and test pairs of entities that differ."""
    parts = (
        ("train", range(12), 90, 0),
        ("dev", range(12, 18), 30, 1),
        ("test", range(18, 24), 30, 2),
    )
    return [pairs_of(name, entities, count, seed=seed) for name, entities, count, seed in parts]


class Stopped(BaseException):
    """Stands for whatever ends a process."""


def stops_after(count):
    """Return what raises at its last call but for `count` that went well."""
    calls = itertools.count(1)

    def tick():
        if next(calls) > count:
            raise Stopped

    return tick


RECIPES = {
    "rotation": Recipe(epochs=4, patience=4, batch=16, learning_rate=0.02),
    "accumulated": Recipe(epochs=3, patience=3, batch=8, accumulation=4, learning_rate=0.02),
    "impatient": Recipe(epochs=9, patience=1, batch=16, learning_rate=0.3),
    "boundless": Recipe(method="boundless", epochs=3, batch=16, learning_rate=0.02),
    "mask": Recipe(method="mask", epochs=3, batch=16, learning_rate=0.02),
}


def task(split, recipe):
    """A task of width 2 where the recipe takes a width."""
    width = 2 if recipe.method == "rotation" else None
    model = Model(Network(), name="equality")
    return Fitting(model, (SITE,), ("left",), width, split[0], split[1], "end", recipe)


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 13])
@pytest.mark.parametrize("name", RECIPES)
def test_a_fit_that_was_stopped_goes_on_to_the_same_numbers(
    split, tmp_path, monkeypatch, name, stop
):
    """Within a pass, at its end, and between accumulated gradients; the curve is the same too."""
    monkeypatch.setattr(resuming, "_EVERY", 0.0)
    fitting = task(split, RECIPES[name])
    wanted, curve = Prepared(fitting).fit(3)
    kept = Finished(tmp_path, fitting)
    with pytest.raises(Stopped):
        Prepared(fitting).fit(3, keeper=kept.running("3"), tick=stops_after(stop))
    again = task(split, RECIPES[name])
    ticks = itertools.count()
    found, same = Prepared(again).fit(
        3, keeper=Finished(tmp_path, again).running("3"), tick=lambda: next(ticks)
    )
    assert found == wanted
    assert same == curve
    assert next(ticks) == len(curve.dev) * -(-len(split[0]) // RECIPES[name].batch)


def test_nothing_is_learned_twice(split, tmp_path, monkeypatch):
    """The second call begins behind the last step that was kept."""
    monkeypatch.setattr(resuming, "_EVERY", 0.0)
    fitting = task(split, RECIPES["rotation"])
    kept = Finished(tmp_path, fitting)
    with pytest.raises(Stopped):
        Prepared(fitting).fit(0, keeper=kept.running("0"), tick=stops_after(9))
    steps = []
    adam = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: steps.append(adam(self)))
    Prepared(fitting).fit(0, keeper=kept.running("0"))
    # 10 of 24 were taken; the one in whose tick it was stopped is kept.
    assert len(steps) == 24 - 10


def test_it_is_kept_every_few_seconds_and_not_after_every_step(split, tmp_path, monkeypatch):
    """No file is written before the time has come; a finished fit leaves none."""
    fitting = task(split, RECIPES["rotation"])
    path = tmp_path / "0" / RUNNING
    Prepared(fitting).fit(0, keeper=Running(path, "task"))
    assert not path.exists()
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr(resuming.time, "monotonic", lambda: next(now))
    written = []
    monkeypatch.setattr(resuming, "save_file", lambda *given: written.append(save_file(*given)))
    Prepared(fitting).fit(0, keeper=Running(path, "task"))
    # 24 steps; the clock is read at each and after each write, 10 seconds are 3 steps.
    assert 6 <= len(written) <= 9


@pytest.fixture
def running(split, tmp_path, monkeypatch):
    """A causal, what it was asked to learn, and the file of a fit that was stopped."""
    monkeypatch.setattr(resuming, "_EVERY", 0.0)
    causal = Causal(Model(Network(), name="equality"))
    how = {
        "variable": "left", "on": split[0], "dev": split[1], "by": "entities", "width": 2,
        "seeds": (0,), "epochs": 4, "batch": 16, "keep_in": tmp_path,
    }  # fmt: skip
    learn = Prepared.fit

    def stopped(self, seed, **given):
        return learn(self, seed, **{**given, "tick": stops_after(8)})

    with monkeypatch.context() as patch:
        patch.setattr(Prepared, "fit", stopped)
        with pytest.raises(Stopped):
            causal.align(SITE, **how)
    return causal, how, tmp_path / "0" / RUNNING


def test_align_goes_on_within_a_seed(running):
    """The call that was stopped gives, said again, what it would have given; the file is gone."""
    causal, how, path = running
    assert path.is_file()
    found = causal.align(SITE, **how)
    assert not path.exists()
    whole = causal.align(SITE, **{**how, "keep_in": None})
    assert found.intervention == whole.intervention
    assert found.origin == whole.origin


def damaged(path):
    """Move one number of what is learned."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as kept:
        said = kept.metadata()
    tensors["learned.0"][0, 0] += 1e-3
    save_file(tensors, path, said)


@pytest.mark.parametrize(
    "harm, told",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "is damaged: "),
        (lambda path: path.write_bytes(b""), "is damaged: "),
        (damaged, "is damaged: its hash is that of other numbers"),
        (lambda path: save_file({"order": torch.zeros(1)}, path), "is damaged: 'task'"),
    ],
    ids=["cut off", "empty", "moved", "bare"],
)
def test_a_file_that_was_damaged_is_refused(running, harm, told):
    """Never learned on from; the message says what to remove."""
    causal, how, path = running
    harm(path)
    with pytest.raises(RecordError, match=re.escape(f"{path} {told}")) as raised:
        causal.align(SITE, **how)
    assert str(raised.value).endswith("remove it, and this fit begins anew")


def test_a_file_of_another_fit_is_refused(running):
    """One that was put there from another seed's folder."""
    causal, how, path = running
    other = path.parent.parent / "1" / RUNNING
    other.parent.mkdir()
    path.rename(other)
    with pytest.raises(RecordError, match=re.escape(f"{other} is of another fit\nremove it")):
        causal.align(SITE, **{**how, "seeds": (1,)})


def test_fits_of_controls_are_kept_too(split, tmp_path, monkeypatch):
    """Refits on shuffled labels, and in a twin, are read back; nothing is learned again."""
    causal = Causal(Model(Network(), name="equality"))
    found = causal.align(
        SITE, variable="left", on=split[0], dev=split[1], by="entities", width=2, seeds=(0, 1),
        epochs=1, keep_in=tmp_path,
    )  # fmt: skip
    rivals = found.controls("shuffled labels", on=split[2], k=5)
    twin = found.untrained(on=split[2])
    monkeypatch.setattr(Prepared, "fit", None)
    assert found.controls("shuffled labels", on=split[2], k=5).estimates.tolist() == (
        rivals.estimates.tolist()
    )
    assert found.untrained(on=split[2]).estimate == twin.estimate
    assert (tmp_path / "shuffled-1004-1" / "fits.json").is_file()
    assert (tmp_path / "untrained-0" / "1" / "fits.json").is_file()
