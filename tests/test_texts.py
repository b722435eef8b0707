"""Claims about written text, and steering vectors, against counts and means by hand."""

import re

import pytest
import torch
from torch import nn

from causaltest.engine.model import Model
from causaltest.errors import MetricError, PairError
from causaltest.experiment import Causal
from causaltest.interventions import add
from causaltest.pairs import Pair, Pairs
from causaltest.sites import module

TABLE = torch.randn(12, 12, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def measuring() -> Causal:
    """A table of bigrams: the next token depends on the last one alone."""
    network = nn.Sequential(nn.Embedding.from_pretrained(TABLE), nn.Identity())
    return Causal(Model(network, name="bigrams"))


@pytest.fixture
def pairs() -> Pairs:
    """One pair for each token, in four templates."""
    return Pairs(
        [Pair((0, i), (1, (i + 5) % 12), labels={"template": str(i % 4)}) for i in range(12)],
        name="tokens",
        cluster="template",
    )


def follows(token: int, push: torch.Tensor | None = None) -> int:
    """Return what follows a token in the table."""
    return int((TABLE[token] + (0 if push is None else push)).argmax())


def test_says_counts_texts(measuring, pairs):
    """A rate is the share of texts in which something is said, steered or not."""
    push = torch.zeros(12)
    push[7] = 1.5
    steering = add(module("1"), push)
    plain = measuring.says(re.compile(r"\b7\b"), on=pairs, max_new_tokens=2)
    steered = measuring.says(
        re.compile(r"\b7\b"), steering, on=pairs, max_new_tokens=2, when="every step"
    )
    for rate, pushed in ((plain, None), (steered, push)):
        wanted = []
        for token in range(12):
            first = follows(token, pushed)
            wanted.append(float(7 in (first, follows(first, pushed))))
        assert list(rate.values) == wanted
    assert sum(steered.values) > sum(plain.values)
    assert steered.subject == rf"says /\b7\b/ of {steering}, every step"
    assert [entry.fired for entry in measuring.trail.edits] == [2]


def test_says_takes_texts_and_functions(measuring, pairs):
    """A text must occur as written; a function sees the new text and its pair."""
    text = measuring.says("3", on=pairs, max_new_tokens=1)
    called = measuring.says(
        lambda new, pair: "3" in new.text and len(pair.base) == 2, on=pairs, max_new_tokens=1
    )
    assert list(text.values) == list(called.values)
    assert list(text.values) == [float("3" in str(follows(token))) for token in range(12)]


@pytest.mark.parametrize(
    "what, settings, message",
    [
        ("", {}, r"what must be said is ''; expected a text, a compiled regular expression"),
        (3, {}, r"what must be said is 3; expected a text"),
        (lambda new, _: new.text, {}, r"returned '\d+' for pair tokens/0; expected True or"),
        ("3", {"num_return_sequences": 2}, r"says\(\) scores one text for each pair"),
    ],
)
def test_says_refuses_what_is_no_question(measuring, pairs, what, settings, message):
    """Anything but a text, an expression or a function with a truth value is refused."""
    with pytest.raises(MetricError, match=message):
        measuring.says(what, on=pairs, max_new_tokens=1, **settings)


def test_mean_difference_is_source_minus_base(measuring):
    """The vector is the mean over pairs, each the mean of its tokens; the sign is the source's."""
    pairs = Pairs(
        [
            Pair((0, 3), (1, 4, 5), positions={"it": {"base": [0, 1], "source": [0, 2]}}),
            Pair((2, 6, 7), (8, 9), positions={"it": {"base": 1, "source": [1, 0]}}),
        ],
        name="two",
        cluster=None,
    )
    first = TABLE[[1, 5]].mean(0) - TABLE[[0, 3]].mean(0)
    second = TABLE[[9, 8]].mean(0) - TABLE[6]
    found = measuring.mean_difference(module("0", pos="it"), on=pairs)
    torch.testing.assert_close(found, (first + second) / 2)


def test_mean_difference_needs_sources(measuring):
    """A pair without a source has no difference."""
    pairs = Pairs([Pair((0, 3))], name="one", cluster=None)
    with pytest.raises(PairError, match="pair one/0 has no source prompt"):
        measuring.mean_difference(module("0", pos="end"), on=pairs)
