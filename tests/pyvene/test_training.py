"""Learning an alignment finds the subspace that carries a variable."""

import pytest
import torch
from torch import nn

import causaltest.pyvene as pv
from causaltest.errors import InterventionError


class Answer:
    """What a model returns."""

    def __init__(self, logits):
        self.logits = logits


class Copier(nn.Module):
    """Says whether the sum of its input is positive; a rotated sum is one hidden direction."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.hidden = nn.Linear(4, 4, bias=False)
        turn = torch.linalg.qr(torch.randn(4, 4)).Q
        with torch.no_grad():
            self.hidden.weight.copy_(turn)
        self.register_buffer("out", turn @ torch.tensor([[-1.0, 1.0]]).T.expand(2, 4).T * 1.0)

    def forward(self, input_ids):
        return Answer(self.hidden(input_ids) @ self.out)


def batches(count, seed):
    """Return batches whose label is the source's answer."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        base, source = (torch.randn(32, 1, 4, generator=generator) for _ in range(2))
        places = [[0]] * 32
        found.append(
            {
                "input_ids": base,
                "source_input_ids": source,
                "labels": (source.sum(-1) > 0).long()[:, 0],
                "source_0->base.0.pos": places,
                "source_0->base.1.pos": places,
            }
        )
    return found


def loss(logits, labels):
    """Return the cross entropy of the only position."""
    return nn.functional.cross_entropy(logits[:, 0], labels)


def accuracy(logits, labels):
    """Return the share of right answers."""
    right = (logits[0][:, 0]).argmax(-1) == labels[0]
    return {"accuracy": right.float().mean().item()}


def alignment(kind=pv.LowRankRotatedSpaceIntervention):
    """Return a model whose one learned direction is to carry the sum."""
    each = kind(embed_dim=4, low_rank_dimension=1)
    return pv.IntervenableModel({"component": "hidden.output", "intervention": each}, Copier())


@pytest.mark.parametrize("accumulated", [1, 3])
def test_training_finds_the_direction(accumulated):
    """Held-out accuracy of one learned direction rises from chance to nearly one."""
    torch.manual_seed(1)
    model = alignment()
    before = model.eval_alignment(batches(4, 9), accuracy, None)
    losses = model.train_alignment(
        batches(20, 3), loss, accuracy, None, lr=0.05, epochs=12,
        gradient_accumulation_steps=accumulated,
    )  # fmt: skip
    after = model.eval_alignment(batches(4, 9), accuracy, None)
    assert len(losses) == 240
    assert after["accuracy"] > 0.95 > before["accuracy"]


def test_batches_without_a_key_are_refused():
    """The key that is missing is named."""
    (batch,) = batches(1, 0)
    del batch["source_0->base.1.pos"]
    with pytest.raises(
        InterventionError, match=r"the batch has no 'source_0->base.1.pos', the base"
    ):
        alignment().train_alignment([batch], loss, accuracy, None, epochs=1)


def test_temperatures_are_set_everywhere():
    """Every intervention with a temperature gets it, and none of them is trained."""
    for kind in (
        pv.BoundlessRotatedSpaceIntervention,
        pv.SigmoidMaskRotatedSpaceIntervention,
        pv.SigmoidMaskIntervention,
    ):
        model = alignment(kind)
        model.set_temperature(0.5)
        (each,) = model.interventions.values()
        assert float(each.get_temperature()) == 0.5
        assert not any("temperature" in name for name, _ in model.named_parameters())
