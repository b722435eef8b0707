"""Metrics against formulas, and their refusals."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from causaltest.engine.model import Model
from causaltest.errors import MetricError, PairError
from causaltest.metrics import (
    Metric,
    answers_with,
    as_metric,
    log_probability,
    logit_diff,
    probability,
    recovery,
)
from causaltest.pairs import Pair


def output_of(logits: list[list[float]], pair: Pair | None = None):
    """Return the output of a model that answers token i with the i-th row of logits."""
    network = nn.Sequential(nn.Embedding.from_pretrained(torch.tensor(logits)))
    pair = pair or Pair(
        (0, 1), (1, 0), base_answer=2, source_answer=0, positions={"start-word": 0}, id="p"
    )
    return Model(network, name="table").run([pair])[0]


_logits = st.lists(
    st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), min_size=2, max_size=2
)


@given(_logits)
def test_values_are_the_formulas(logits) -> None:
    """Every metric is its formula in double precision, at the end and at a named position."""
    output = output_of(logits)
    for pos, row in (("end", 1), ("start-word", 0)):
        z = np.array(logits[row], dtype=np.float64)
        log_total = z.max() + math.log(np.exp(z - z.max()).sum())
        assert logit_diff.at(pos)(output) == pytest.approx(z[2] - z[0], abs=1e-9)
        assert recovery.at(pos)(output) == -logit_diff.at(pos)(output)
        assert log_probability.at(pos)(output) == pytest.approx(z[2] - log_total, abs=1e-9)
        assert probability.at(pos)(output) == pytest.approx(math.exp(z[2] - log_total), abs=1e-12)
        best = int(np.argmax(np.array(logits[row], dtype=np.float32)))
        assert answers_with(output, best, pos) == 1.0
        assert answers_with(output, (best + 1) % 3, pos) == 0.0


def test_half_precision_is_scored_in_double() -> None:
    """Logits in bfloat16 are compared as the numbers they are."""
    network = nn.Embedding.from_pretrained(torch.tensor([[1.0, 3.0]])).bfloat16()
    pair = Pair((0,), base_answer=1, source_answer=0)
    (output,) = Model(nn.Sequential(network)).run([pair])
    assert logit_diff(output) == 2.0
    assert log_probability(output) == pytest.approx(-math.log1p(math.exp(-2)), abs=1e-12)


def test_names_and_units() -> None:
    """Metrics print as their name, with the position where it is not the end."""
    assert [str(each) for each in (logit_diff, recovery.at("verb"), probability.at(-2))] == [
        "logit_diff", "recovery@verb", "probability@-2",
    ]  # fmt: skip
    units = {each.name: each.unit for each in (logit_diff, recovery, probability, log_probability)}
    assert units == {
        "logit_diff": "logits", "recovery": "fraction", "probability": "probability",
        "log_probability": "nats",
    }  # fmt: skip
    assert [each.normalised for each in (logit_diff, recovery)] == [False, True]


def test_a_function_becomes_a_metric() -> None:
    """A function of (output, pair) gets these, keeps its name, and equals itself wrapped again."""

    def margin(output, pair) -> torch.Tensor:
        assert output.row.pair is pair
        return output.at()[2]

    metric = as_metric(margin)
    assert (metric.name, metric.unit, metric.normalised) == ("margin", "", False)
    assert metric(output_of([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])) == 6.0
    assert as_metric(margin) == metric
    assert as_metric(logit_diff) is logit_diff
    assert as_metric(isinstance).name == "isinstance"


@pytest.mark.parametrize(
    "function, message",
    [
        (
            lambda _output, _pair: float("nan"),
            "metric <lambda> is nan for the base prompt of pair p on table; expected a finite",
        ),
        (
            lambda _output, _pair: float("-inf"),
            "metric <lambda> is -inf for the base prompt of pair p",
        ),
        (
            lambda _output, _pair: None,
            "metric <lambda> gave None (NoneType) for pair p; expected one",
        ),
        (
            lambda _output, _pair: "high",
            "metric <lambda> gave 'high' (str) for pair p; expected one",
        ),
        (
            lambda _output, _pair: "3.5",
            "metric <lambda> gave '3.5' (str) for pair p; expected one",
        ),
        (
            lambda output, _pair: output.at(),
            "gave Tensor of shape (3,) for pair p; expected one number",
        ),
        (lambda _output, _pair: [1.0], "metric <lambda> gave [1.0] (list) for pair p"),
    ],
)
def test_values_that_are_no_number(function, message) -> None:
    """What is not one finite number is refused, with the metric, the pair and the model."""
    with pytest.raises(MetricError, match=re.escape(message)):
        as_metric(function)(output_of([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))


@pytest.mark.parametrize(
    "metric, message",
    [
        (
            "recovery",
            "metric is 'recovery' (str); expected logit_diff, recovery, probability, log_",
        ),
        (None, "metric is None (NoneType); expected logit_diff"),
        (
            lambda _output: 0.0,
            "the metric '<lambda>' must take (output, pair): too many positional",
        ),
        (
            lambda _output, _pair, _more: 0.0,
            "must take (output, pair): missing a required argument",
        ),
        (range, "the metric 'range' must take (output, pair): "),
    ],
)
def test_what_is_no_metric(metric, message) -> None:
    """A name, or a function of other arguments, is refused when it is handed over."""
    with pytest.raises(MetricError, match=re.escape(message)):
        as_metric(metric)


def test_answers_are_needed() -> None:
    """A pair without the answer that a metric compares is named."""
    logits = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    lone = output_of(logits, Pair((0, 1), (1, 0), base_answer=2, id="p"))
    with pytest.raises(
        MetricError, match=re.escape("pair p has no source_answer, which the metric compares")
    ):
        logit_diff(lone)
    assert probability(lone) > 0.5
    with pytest.raises(MetricError, match="pair p has no base_answer, which the metric compares"):
        probability(output_of(logits, Pair((0, 1), id="p")))
    with pytest.raises(PairError, match="answer 'she' is text, but table has no tokenizer"):
        probability(output_of(logits, Pair((0, 1), base_answer="she", id="p")))
    with pytest.raises(
        MetricError, match=re.escape("answer 7 is class 7, but table has classes 0-2")
    ):
        probability(output_of(logits, Pair((0, 1), base_answer=7, id="p")))


def test_equal_answers_are_refused() -> None:
    """Answers that are one class to the model have no difference to measure."""

    class Folding:
        """Cuts every text to token 1."""

        def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
            return {"input_ids": [0] * len(text.split())}

        def decode(self, ids: list[int]) -> str:
            return " ".join("x" for _ in ids)

    network = nn.Sequential(nn.Embedding.from_pretrained(torch.tensor([[1.0, 2.0]])))
    model = Model(network, tokenizer=Folding(), name="table")
    pair = Pair("a b", "c d", base_answer=" she", source_answer=" he", id="p")
    (output,) = model.run([pair])
    with pytest.raises(
        MetricError,
        match=re.escape(
            "pair p: base_answer and source_answer are the same class (0) for table; their diff"
        ),
    ):
        logit_diff(output)


def test_a_prompt_without_pair_has_no_answers() -> None:
    """A metric on the output of a bare prompt says that there is no pair to compare for."""
    network = nn.Sequential(nn.Embedding(3, 3))
    (output,) = Model(network).run([(0, 1)])
    with pytest.raises(
        MetricError,
        match="metric logit_diff compares the answers of a pair, but the prompt is part",
    ):
        logit_diff(output)


def test_a_metric_is_read_at_one_token() -> None:
    """A position of several tokens is refused, not averaged."""
    pair = Pair((0, 1), base_answer=2, source_answer=0, positions={"both": [0, 1]})
    output = output_of([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], pair)
    with pytest.raises(
        MetricError, match="position 'both' covers 2 tokens of '0 1'; a metric reads"
    ):
        logit_diff.at("both")(output)
    assert Metric("own", "", lambda _output, _pair, _pos: 1.0)(output) == 1.0
