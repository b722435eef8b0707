"""Metrics: one number for one output; sign, range and unit are fixed once, here."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from causaltest.engine.output import Output
from causaltest.errors import MetricError
from causaltest.pairs import Pair
from causaltest.sites import Pos


@dataclass(frozen=True)
class Metric:
    """A named score of an output.

    Parameters
    ----------
    name
        As printed in reports.
    unit
        `logits`, `probability`, `nats`, `fraction`, or empty for a metric of the user's own.
    function
        (output, pair, position) to a number; to a tensor of one number that depends on the logits
        by tensor operations, where gradients of it are to be taken.
    position
        Where in the prompt the answer is read.
    normalised
        Whether effects are divided by the total effect (source run minus base run), so that 0
        means "as in the base run" and 1 "as in the source run".
    """

    name: str
    unit: str
    function: Callable[[Output, Pair, Pos], float | Tensor]
    position: Pos = "end"
    normalised: bool = False

    def at(self, pos: Pos) -> Metric:
        """Return the same metric, read at another position.

        Examples
        --------
        >>> str(logit_diff.at("verb"))
        'logit_diff@verb'
        """
        return replace(self, position=pos)

    @property
    def is_known(self) -> bool:
        """Whether it says the same of the same output at any time; a caller's function need not."""
        function = self.function
        if isinstance(function, (_Custom, _Correct)):
            return isinstance(function, _Correct) and not callable(function.expect)
        home = getattr(function, "__module__", type(function).__module__)
        return str(home).startswith("causaltest.")

    def __str__(self) -> str:
        return self.name if self.position == "end" else f"{self.name}@{self.position}"

    def __call__(self, output: Output) -> float:
        """Score one output.

        Raises
        ------
        MetricError
            The result is not a finite number.
        """
        pair = output.row.pair
        if pair is None:
            raise MetricError(
                f"metric {self} compares the answers of a pair, but the prompt is part of none; "
                "run a Pair, or read output.at() yourself"
            )
        value: Any = self.function(output, pair, self.position)
        try:
            number = _number(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise MetricError(
                f"metric {self} gave {_shown(value)} for pair {pair.id}; expected one number"
            ) from error
        if not math.isfinite(number):
            raise MetricError(
                f"metric {self} is {number} for the {output.row.side} prompt of pair {pair.id} on "
                f"{output.model.name}; expected a finite number\n"
                "look at the logits of that prompt: overflow in half precision, or a division by 0"
            )
        return number


def _number(value: Any) -> float:
    if isinstance(value, str):
        raise TypeError
    return float(value.detach() if isinstance(value, Tensor) else value)


def _shown(value: Any) -> str:
    """Return a value that is no number in few words."""
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    if shape is not None and tuple(shape):
        return f"{kind} of shape {tuple(shape)}"
    return f"{value!r:.80} ({kind})"


def as_metric(metric: Metric | Callable[..., Any]) -> Metric:
    """Return a metric as it is, or wrap a function of (output, pair).

    Raises
    ------
    MetricError
        It is neither.
    """
    if isinstance(metric, Metric):
        return metric
    if not callable(metric):
        raise MetricError(
            f"metric is {metric!r} ({type(metric).__name__}); expected logit_diff, recovery, "
            "probability, log_probability, or a function of (output, pair)"
        )
    try:
        inspect.signature(metric).bind(None, None)
    except (TypeError, ValueError) as error:
        raise MetricError(
            f"the metric {getattr(metric, '__name__', metric)!r} must take (output, pair): {error}"
        ) from error
    name = getattr(metric, "__name__", type(metric).__name__)
    return Metric(name, "", _Custom(metric))


@dataclass(frozen=True)
class _Custom:
    """A user's function; equal to another wrapper of the same function, so that runs are reused."""

    function: Callable[[Output, Pair], float | Tensor]

    def __call__(self, output: Output, pair: Pair, _pos: Pos) -> float | Tensor:
        # It may write on what it is given, which other metrics or prompts read as well.
        return self.function(output.apart(), pair)


def _answer(pair: Pair, which: str) -> str | int:
    answer = pair.base_answer if which == "base_answer" else pair.source_answer
    if answer is None:
        raise MetricError(f"pair {pair.id} has no {which}, which the metric compares")
    return answer


def _logit_difference(output: Output, pair: Pair, pos: Pos) -> Tensor:
    base = output.answer_id(_answer(pair, "base_answer"))
    source = output.answer_id(_answer(pair, "source_answer"))
    if base == source:
        raise MetricError(
            f"pair {pair.id}: base_answer and source_answer are the same class ({base}) for "
            f"{output.model.name}; their difference is always 0"
        )
    logits = output.of((base, source), pos).double()
    return logits[0] - logits[1]


def _towards_source(output: Output, pair: Pair, pos: Pos) -> Tensor:
    return -_logit_difference(output, pair, pos)


def _log_probability(output: Output, pair: Pair, pos: Pos) -> Tensor:
    logits = output.at(pos).double()
    answer = output.answer_id(_answer(pair, "base_answer"))
    return torch.log_softmax(logits, dim=-1)[answer]


def _probability(output: Output, pair: Pair, pos: Pos) -> Tensor:
    return torch.exp(_log_probability(output, pair, pos))


logit_diff = Metric("logit_diff", "logits", _logit_difference)
"""Logit of the base answer minus logit of the source answer. Unbounded; positive where the model
prefers the base answer, so interventions that break the behaviour have negative effects."""

recovery = Metric("recovery", "fraction", _towards_source, normalised=True)
"""How far the answer moved from base to source: 0 as in the base run, 1 as in the source run. The
ratio of the mean change in logit difference to the mean total change, never a mean of ratios."""

probability = Metric("probability", "probability", _probability)
"""Probability of the base answer, 0 to 1."""

log_probability = Metric("log_probability", "nats", _log_probability)
"""Natural logarithm of the probability of the base answer, at most 0."""


def answers_with(output: Output, answer: str | int, pos: Pos = "end") -> float:
    """Return 1.0 if the most probable class at a position is the answer, else 0.0."""
    return float(int(output.at(pos).argmax()) == output.answer_id(answer))


def correctness(
    expect: str | Callable[[Pair], str | int], *, at: Pos = "end", name: str = "accuracy"
) -> Metric:
    """Return the metric that is 1 where the top answer is the expected one, else 0.

    Parameters
    ----------
    expect
        `base_answer`, `source_answer` or a function of the pair.
    at
        Position at which the answer is read.
    name
        Of the metric.

    Raises
    ------
    MetricError
        `expect` is something else.

    Examples
    --------
    >>> correctness("source_answer") == correctness("source_answer")
    True
    """
    if callable(expect) or expect in ("base_answer", "source_answer"):
        return Metric(name, "fraction", _Correct(expect), position=at)
    raise MetricError(
        f"expect is {expect!r}; expected 'base_answer', 'source_answer' or a function of the pair"
    )


@dataclass(frozen=True)
class _Correct:
    """Scores 1 where the top answer is the expected one; equal to another that expects the same."""

    expect: str | Callable[[Pair], str | int]

    def __call__(self, output: Output, pair: Pair, pos: Pos) -> float:
        if callable(self.expect):
            return answers_with(output, self.expect(pair), pos)
        answer = pair.base_answer if self.expect == "base_answer" else pair.source_answer
        if answer is None:
            raise MetricError(f"pair {pair.id} has no {self.expect}; accuracy needs it")
        return answers_with(output, answer, pos)
