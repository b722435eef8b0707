"""Learned alignments: what they find, and what they may be judged on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from causaltest import (
    Causal,
    EvidenceError,
    InterventionError,
    Model,
    Pair,
    PairError,
    Pairs,
    RecordError,
    block_output,
    boundless,
    interchange,
    mlp_activation,
    module,
    partition,
    sigmoid_mask,
)  # fmt: skip
from causaltest.alignments import Alignment, Recipe, load_alignment
from causaltest.alignments.course import Curve
from causaltest.alignments.directions import drawn_like
from causaltest.alignments.prepared import Prepared
from causaltest.alignments.rowspace import row_space_part
from causaltest.engine.subspaces import as_held
from causaltest.interventions import Intervention, low_rank
from causaltest.interventions.subspaces import Boundless, Rotation, SigmoidMask
from causaltest.sharing import load as load_intervention

HIDDEN = module("hidden")
ENTITIES = 24


class Equality(nn.Module):
    """Hierarchical equality by hand: one-hot entities, then left and right, then the answer.

    Two hidden numbers hold `left` and `right` (1 where equal); a fixed rotation hides them among
    six others that are always 0.
    """

    def __init__(self) -> None:
        super().__init__()
        drawn = torch.randn(8, 8, generator=torch.Generator().manual_seed(4))
        self.rotation = nn.Parameter(torch.linalg.qr(drawn).Q)
        self.hidden = nn.Identity()
        self.out = nn.Linear(8, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits (rows, 2): different, same."""
        w, x, y, z = ids.unbind(1)
        facts = torch.zeros(len(ids), 8)
        facts[:, 0] = (w == x).float()
        facts[:, 1] = (y == z).float()
        left, right = (self.hidden(facts @ self.rotation) @ self.rotation.T)[:, :2].unbind(1)
        same = 1 - 4 * (left - right).square()
        return torch.stack([-same, same], dim=1)


@pytest.fixture(scope="module")
def equality():
    """The network in a causal."""
    return Causal(Model(Equality(), name="equality"))


@pytest.fixture(scope="module")
def split(pairs_of):
    """Training, dev and test pairs of entities that differ."""
    return (
        pairs_of("train", range(12), 120),
        pairs_of("dev", range(12, 18), 60, seed=1),
        pairs_of("test", range(18, ENTITIES), 80, seed=2),
    )


@pytest.fixture(scope="module")
def alignment(equality, split):
    """One direction, learned for `left`."""
    train, dev, _ = split
    return equality.align(
        HIDDEN, variable="left", on=train, dev=dev, by="entities", width=1, seeds=(0, 1),
        epochs=60, learning_rate=0.05,
    )  # fmt: skip


def _direction(alignment):
    return as_held(alignment.intervention.subspace.basis)[:, 0].double()


def test_the_known_direction_has_an_accuracy_of_one(equality, split):
    """Exchanging the direction that holds `left` gives the counterfactual answer every time."""
    test = split[2]
    known = equality.model.network.rotation[:1].T.detach()
    rate = equality.accuracy(interchange(HIDDEN, subspace=low_rank(known)), on=test)
    assert rate.estimate == 1.0
    other = equality.model.network.rotation[1:2].T.detach()
    wrong = equality.accuracy(interchange(HIDDEN, subspace=low_rank(other)), on=test)
    assert wrong.estimate < 0.8


def test_training_finds_the_direction_that_is_known(alignment, equality, split):
    """The learned direction is that of `left`, and is right on entities it never saw.

    The answer follows the exchange as soon as the cosine is above sqrt(1/2); directions of
    `right` or of nothing have a cosine of 0.
    """
    known = equality.model.network.rotation.detach().double()
    left, right = (abs(float(_direction(alignment) @ known[index])) for index in (0, 1))
    assert left > 0.95
    assert right < 0.1
    rate = alignment.accuracy(on=split[2])
    assert rate.estimate == 1.0
    assert bool(rate > 0.9)
    assert alignment.unchanged(on=split[2]).estimate == 0.5
    assert bool(rate > alignment.unchanged(on=split[2]))


def test_the_same_seeds_learn_the_same_numbers(alignment, equality, split):
    """Learning again gives the same directions, bit for bit, and leaves the network alone."""
    train, dev, _ = split
    before = {name: each.clone() for name, each in equality.model.network.named_parameters()}
    again = equality.align(
        HIDDEN, variable="left", on=train, dev=dev, by="entities", width=1, seeds=(0, 1),
        epochs=60, learning_rate=0.05,
    )  # fmt: skip
    assert again.intervention == alignment.intervention
    assert again.origin == alignment.origin
    for name, parameter in equality.model.network.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.requires_grad
        assert parameter.grad is None


@pytest.mark.parametrize(
    "loss",
    [
        torch.nn.functional.multi_margin_loss,
        lambda logits, answers: (1 - logits.softmax(-1).gather(1, answers[:, None])).mean(),
    ],
    ids=["of torch", "own"],
)
def test_any_loss_can_be_learned_by(equality, split, loss):
    """What says how wrong the logits are may be another function; the recipe names it."""
    train, dev, test = split
    found = equality.align(
        HIDDEN, variable="left", on=train, dev=dev, by="entities", width=1, seeds=(0, 1),
        epochs=60, learning_rate=0.05, loss=loss,
    )  # fmt: skip
    assert found.accuracy(on=test).estimate == 1.0
    assert found.origin.recipe["loss"] == loss.__name__


def test_gradients_that_no_step_waits_for_change_little(equality, split):
    """An epoch of one batch is one step, whatever is to be accumulated: Adam knows no size."""
    train, dev, _ = split
    one, many = (
        equality.align(
            HIDDEN, variable="left", on=train, dev=dev, by="entities", width=1, seeds=(0,),
            epochs=12, batch=120, learning_rate=0.05, accumulation=accumulation,
        )
        for accumulation in (1, 6)
    )  # fmt: skip
    assert torch.allclose(_direction(one), _direction(many), atol=1e-3)


def test_a_caller_who_takes_no_gradients_learns_the_same(equality, split):
    """Learning switches gradients on for itself, and leaves them as they were."""
    train, dev, _ = split
    how = {"variable": "left", "on": train, "dev": dev, "by": "entities", "width": 1, "epochs": 3}
    with torch.no_grad():
        found = equality.align(HIDDEN, **how, seeds=(0,))
        assert not torch.is_grad_enabled()
    assert found.intervention == equality.align(HIDDEN, **how, seeds=(0,)).intervention


def test_few_dev_pairs_are_remarked_on(equality, split):
    """A score in steps of a fifth chooses little, and the report says so."""
    train, dev, _ = split
    how = {"variable": "left", "on": train, "by": "entities", "width": 1, "epochs": 1}
    equality.align(HIDDEN, dev=dev[:5], seeds=(0, 1), **how)
    told = (
        "dev[:5], which says when to stop and which of 2 seeds to keep, holds 5 pairs: one more or "
        "less of them right moves its accuracy by 20%"
    )
    assert told in equality.trail.notes
    before = set(equality.trail.notes)
    equality.align(HIDDEN, dev=dev[:20], seeds=(0, 1), **how)
    assert not [note for note in set(equality.trail.notes) - before if "says when to stop" in note]


def test_training_pairs_of_one_answer_are_refused(equality, split):
    """There is nothing to tell apart."""
    train, dev, _ = split
    same = Pairs([pair for pair in train if pair.source_answer == 1], name="same", cluster=None)
    with pytest.raises(
        EvidenceError,
        match=r"every pair of same has the source answer 1: whatever pushes.*\ntake pairs whose",
    ):
        equality.align(HIDDEN, variable="left", on=same, dev=dev, by="entities", width=1)


def test_the_intervention_itself_is_not_judged_on_them_either(alignment, equality, split):
    """Taking the exchange out of the alignment does not make its training pairs unseen."""
    told = "an alignment of left cannot be judged on the data it rests on"
    for seen in split[:2]:
        for ask in (equality.accuracy, equality.effect):
            with pytest.raises(EvidenceError, match=told):
                ask(alignment.intervention, on=seen)
    assert equality.accuracy(alignment.intervention, on=split[2]).estimate == 1.0


def test_every_seed_is_reported(alignment, equality):
    """The trail tells the dev accuracy of each seed and which was kept."""
    assert [fit.seed for fit in alignment.origin.fits] == [0, 1]
    # Other tests learn on the same trail, in any order.
    told = [note for note in equality.trail.notes if note.startswith("alignment of left")]
    kept = f"seed {alignment.origin.kept} kept"
    learned = "learned from 120 pairs of train, kept apart by 'entities'"
    assert any(learned in note and kept in note for note in told)


def test_an_alignment_shows_what_its_directions_are_made_of(alignment):
    """The map is that of the basis it exchanges."""
    found = alignment.directions()
    assert found.shares == (pytest.approx(_direction(alignment).square().tolist()),)
    assert sum(found.together) == pytest.approx(1.0)


def test_another_label_does_not_make_prompts_new(alignment, split):
    """Training prompts that the splitting label calls others are refused all the same."""
    train, _, test = split
    renamed = [
        Pair(
            pair.base, pair.source, pair.base_answer, pair.source_answer,
            labels={**pair.labels, "entities": f"others {i}"}, id=f"again {i}",
        )
        for i, pair in enumerate(train[:3])
    ]  # fmt: skip
    mixed = Pairs([*test, *renamed], name="mixed", cluster=None)
    told = (
        "an alignment of left cannot be judged on the data it rests on: the base prompt of pair "
        f"again 0 of mixed is also a prompt of train: {train[0].base}\nsplit by a label"
    )
    with pytest.raises(EvidenceError, match=re.escape(told)):
        alignment.accuracy(on=mixed)


def test_it_is_not_judged_on_what_it_was_learned_from(alignment, split):
    """Training and dev pairs are refused, by the label that keeps them apart."""
    for seen in split[:2]:
        with pytest.raises(EvidenceError, match="an alignment of left cannot be judged on the"):
            alignment.accuracy(on=seen)
    with pytest.raises(EvidenceError, match="cannot be judged on the data it rests on"):
        alignment.controls("random directions", on=split[0])


def test_other_weights_than_it_was_learned_with_are_told(alignment, equality, split):
    """A network that was changed since is not what the directions were found in."""
    told = "an alignment of left was learned with other weights ("
    equality.trail.clear()
    alignment.accuracy(on=split[2])
    assert not [note for note in equality.trail.notes if note.startswith(told)]
    weight = equality.model.network.out.weight
    before = weight.detach().clone()
    try:
        weight.data[0, 0] += 1.0
        alignment.accuracy(on=split[2])
        now = Model(equality.model.network).sha256
    finally:
        weight.data.copy_(before)
    learned = alignment.origin.model_sha256
    expected = f"{told}{learned[:8]}) than those it is judged with ({now[:8]})"
    assert expected in equality.trail.notes
    equality.trail.clear()


def test_other_data_is_refused_by_name(alignment, equality, split, pairs_of):
    """Pairs without the label, or in which another variable is exchanged, do not fit."""
    train, dev, test = split
    plain = Pairs([Pair((1, 2, 3, 4), (4, 3, 2, 1))], name="plain", cluster=None)
    with pytest.raises(PairError, match="pair plain/0 of plain has no label 'entities'"):
        alignment.accuracy(on=plain)
    right = pairs_of("other", range(18, 24), 8, of=("right",))
    with pytest.raises(
        PairError, match=r"'right' is exchanged, but the alignment is of 'left'\nchoose its pairs"
    ):
        alignment.accuracy(on=right)
    with pytest.raises(EvidenceError, match="a fit cannot be judged on the data it rests on"):
        equality.align(HIDDEN, variable="left", on=train, dev=train, by="entities", width=1)
    with pytest.raises(PairError, match=r"has no label 'entity'; did you mean 'entities'\?"):
        equality.align(HIDDEN, variable="left", on=train, dev=dev, by="entity", width=1)
    with pytest.raises(PairError, match=re.escape("on= takes a pair set (Pairs); got list")):
        alignment.accuracy(on=list(test))


def test_random_directions_do_worse(alignment, split):
    """The alignment outranks as many directions drawn at random."""
    test = split[2]
    controls = alignment.controls("random directions", on=test, k=39)
    assert controls.estimates.max() < 1.0
    assert bool(alignment.accuracy(on=test) > controls)


@pytest.mark.parametrize(
    "learned",
    [
        low_rank(torch.eye(8)[:, :3]),
        partition({"left": [0, 1], "right": [2]}, by="exchanged", basis=torch.eye(8)[:, :3]),
        boundless(torch.eye(8), boundary=0.4, temperature=0.1),
        sigmoid_mask([4.0, 3.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0], temperature=0.1),
    ],
    ids=["rotation", "partition", "boundless", "mask"],
)
def test_random_directions_are_as_many(learned):
    """Rivals differ from what was learned and from each other in where they are, not in size."""
    drawn = [drawn_like(learned, seed) for seed in range(5)]
    assert len({learned, *drawn}) == 6
    assert {str(each) for each in drawn} == {str(learned)}
    assert drawn == [drawn_like(learned, seed) for seed in range(5)]
    if isinstance(learned, SigmoidMask):
        assert all(sorted(each.mask) == sorted(learned.mask) for each in drawn)
    elif isinstance(learned, Boundless):
        assert all(each.boundary == learned.boundary for each in drawn)
    else:
        for each in drawn:
            basis = as_held((each if isinstance(each, Rotation) else each.basis).basis)
            assert torch.allclose(basis.T @ basis, torch.eye(3), atol=1e-5)


def test_a_whole_site_has_no_rival_directions():
    """An exchange without a subspace is compared with other sites instead."""
    with pytest.raises(InterventionError, match="a whole site has no directions that others could"):
        drawn_like(None, 0)


def test_rivals_are_chosen_as_the_alignment_was(alignment, split, monkeypatch):
    """Each refit learns from every seed, as the alignment did, and the best on dev is kept."""
    asked: list[tuple[int, int | None]] = []
    learned: dict[tuple[int, int | None], tuple[Intervention, Curve]] = {}
    plain = Prepared.fit

    def fit(self, seed, *, dealt=None, **_):
        asked.append((seed, dealt))
        learned[seed, dealt] = plain(self, seed, dealt=dealt)
        return learned[seed, dealt]

    monkeypatch.setattr(Prepared, "fit", fit)
    test = split[2]
    controls = alignment.controls("shuffled labels", on=test, k=5, seed=30)
    assert asked == [(seed, dealt) for dealt in range(30, 35) for seed in (0, 1)]
    wanted: list[float] = []
    for dealt in range(30, 35):
        fits = [learned[seed, dealt] for seed in (0, 1)]
        kept, _ = max(fits, key=lambda fit: (max(fit[1].dev), -fit[1].losses[fit[1].best]))
        wanted.append(Causal(Model(Equality())).accuracy(kept, on=test).estimate)
    assert sorted(controls.estimates) == sorted(wanted)
    asked.clear()
    alignment.untrained(on=test, weights="shuffled")
    assert asked == [(0, None), (1, None)]


def test_shuffled_labels_teach_nothing(alignment, split):
    """Refits on answers dealt out anew are near chance on pairs not seen."""
    controls = alignment.controls("shuffled labels", on=split[2], k=5)
    assert controls.estimates.mean() < 0.75
    assert "refits on shuffled labels" in repr(controls)


def test_unknown_rivals_are_named(alignment, split):
    """A control that does not exist is an error with the nearest one."""
    with pytest.raises(InterventionError, match="rival is 'random direction'; did you mean"):
        alignment.controls("random direction", on=split[2])


def test_several_variables_share_a_basis(equality, pairs_of):
    """Each pair exchanges the directions of its own variable."""
    both = ("left", "right")
    train = pairs_of("train", range(12), 160, of=both)
    dev = pairs_of("dev", range(12, 18), 60, of=both, seed=1)
    test = pairs_of("test", range(18, 24), 80, of=both, seed=2)
    found = equality.align(
        HIDDEN, variable=both, on=train, dev=dev, by="entities", width=1, seeds=(0, 1),
        epochs=40, learning_rate=0.05,
    )  # fmt: skip
    assert found.accuracy(on=test).estimate > 0.95
    known = equality.model.network.rotation[:2].detach().double()
    basis = as_held(found.intervention.subspace.basis.basis).double()
    assert torch.allclose((known @ basis).abs(), torch.eye(2, dtype=torch.float64), atol=0.1)


def test_a_boundary_is_learned(equality, split):
    """Boundless search settles on few directions and is right on unseen entities."""
    train, dev, test = split
    found = equality.align(
        HIDDEN, variable="left", on=train, dev=dev, by="entities", method="boundless",
        seeds=(0,), epochs=40, learning_rate=0.05, temperature=(5.0, 0.05), boundary_weight=0.3,
    )  # fmt: skip
    (boundary,) = found.intervention.subspace.boundary
    assert 8 * boundary < 6
    assert found.accuracy(on=test).estimate > 0.9


def test_a_loaded_alignment_is_judged_but_not_learned_again(alignment, equality, split, tmp_path):
    """A folder gives the same numbers and knows what it was learned from."""
    folder = alignment.save(tmp_path / "left")
    again = load_alignment(equality, folder)
    assert isinstance(again, Alignment)
    assert again.origin == alignment.origin
    assert again.accuracy(on=split[2]).estimate == 1.0
    with pytest.raises(EvidenceError, match="cannot be judged on the data"):
        again.accuracy(on=split[0])
    with pytest.raises(InterventionError, match="an alignment that was loaded holds no training"):
        again.controls("shuffled labels", on=split[2])
    mine, theirs = (
        each.controls("random directions", on=split[2], k=5) for each in (alignment, again)
    )
    assert mine.estimates.tolist() == theirs.estimates.tolist()
    assert load_intervention(folder) == alignment.intervention


def test_folders_that_are_no_alignments_are_refused(alignment, equality, tmp_path):
    """A missing or damaged description is named."""
    folder = alignment.save(tmp_path / "left")
    page = folder / "alignment.json"
    page.write_text("{}")
    with pytest.raises(RecordError, match=r"alignment.json is damaged: .*missing required field"):
        load_alignment(equality, folder)
    page.unlink()
    with pytest.raises(RecordError, match="holds an intervention, but no alignment"):
        load_alignment(equality, folder)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"method": "rotations"}, "method is 'rotations'; did you mean 'rotation'?"),
        ({"seeds": ()}, "seeds are (); expected different whole numbers"),
        ({"seeds": (1, 1)}, "seeds are (1, 1); expected different whole numbers"),
        ({"epochs": 0}, "epochs is 0; expected a whole number from 1"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; expected a positive number"),
        ({"warmup": 2.0}, "warmup is 2.0; expected a share from 0 to 1"),
        ({"temperature": (1.0, 0.0)}, "temperature is (1.0, 0.0); expected two positive numbers"),
    ],
)
def test_recipes_are_checked(wrong, message):
    """A setting that makes no sense is named with its value."""
    with pytest.raises(InterventionError, match=re.escape(message)):
        Recipe(**wrong)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"width": None}, "method 'rotation' needs width="),
        ({"width": 8}, "the alignment would take 8 of 8 directions; choose a width from 1 to 7"),
        ({"width": 1, "method": "mask"}, "learns how wide the alignment is and cannot take width="),
        ({"width": 1, "epoch": 3}, "unexpected keyword argument 'epoch'"),
        ({"width": 1, "variable": ()}, "variable= names none; expected one, or several"),
    ],
)
def test_alignments_that_make_no_sense_are_refused(equality, split, arguments, message):
    """Full width, no width and unknown settings are errors."""
    train, dev, _ = split
    with pytest.raises(InterventionError, match=re.escape(message)):
        equality.align(
            HIDDEN, **{"variable": "left", "on": train, "dev": dev, "by": "entities", **arguments}
        )


def test_the_part_in_the_row_space_is_what_the_next_map_sees():
    """Of a direction half inside the row space of the next weights, the inner half remains."""
    torch.manual_seed(0)

    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(6, 4)
            self.out = torch.nn.Linear(4, 3, bias=False)
            with torch.no_grad():
                self.out.weight[:, 3] = 0.0

        def forward(self, ids):
            return self.out(self.embed(ids))

    slanted = torch.tensor([[0.6], [0.0], [0.0], [0.8]])
    site = module("out", side="input", pos="end")
    edit = interchange(site, subspace=low_rank(slanted))
    part = row_space_part(Model(Reader()), edit)
    inner = as_held(part.subspace.basis)[:, 0]
    assert torch.allclose(inner.abs(), torch.tensor([1.0, 0.0, 0.0, 0.0]), atol=1e-6)
    blind = interchange(site, subspace=low_rank(torch.eye(4)[:, 3:]))
    with pytest.raises(InterventionError, match=r"no direction of .* lies in the row space"):
        row_space_part(Model(Reader()), blind)
    with pytest.raises(InterventionError, match="is the output of embed, and not the input of"):
        row_space_part(
            Model(Reader()), interchange(module("embed", pos="end"), subspace=low_rank(slanted))
        )


def test_on_a_transformer_only_what_is_above_the_site_is_run(schoolbook):
    """The last block's output needs no block at all, and unseen templates come right."""
    causal, train, dev, test = schoolbook
    found = causal.align(
        block_output(2, pos="end"), variable="gender", on=train, dev=dev, by="template", width=1,
        seeds=(0,), epochs=20, learning_rate=0.02,
    )  # fmt: skip
    assert found.plan == "0 of 3 blocks in every step, tokens from 4 on"
    assert found.accuracy(on=test).estimate > 0.9
    assert found.untrained(on=test).estimate < 0.6
    with pytest.raises(InterventionError, match="a row space is known of sites such as"):
        found.row_space(on=test)


def test_the_row_space_part_of_an_alignment_is_measured(schoolbook):
    """At the input of a linear map the part that the map sees has an accuracy of its own."""
    causal, train, dev, test = schoolbook
    found = causal.align(
        mlp_activation(0, pos="name"), variable="gender", on=train, dev=dev, by="template",
        width=4, seeds=(0,), epochs=4, learning_rate=0.02,
    )  # fmt: skip
    part = row_space_part(causal.model, found.intervention)
    assert found.row_space(on=test).estimate == causal.accuracy(part, on=test).estimate


@pytest.fixture(scope="module")
def schoolbook():
    """The embedded model, and its pronoun pairs split by template."""
    folder = Path(__file__).parents[2] / "hypotheses"
    pairs = Pairs.read(folder / "pairs" / "pronouns.jsonl", cluster="template")
    templates = list(dict.fromkeys(pair.labels["template"] for pair in pairs))
    rest, test = pairs.split(by="template", test=templates[10:])
    train, dev = rest.split(by="template", test=templates[7:10])
    return Causal(Model.load(str(folder / "schoolbook"))), train, dev, test
