"""Pairs written from the counterfactuals of a causal model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from causaltest.errors import PairError
from causaltest.pairs.pair import Pair
from causaltest.pairs.prompts import Prompt
from causaltest.pairs.templates import Template, pairs_from_templates
from causaltest.spelling import did_you_mean

if TYPE_CHECKING:
    from causaltest.causal_models import Counterfactual, Setting

Placed: TypeAlias = Prompt | tuple[Prompt, Mapping[str, Any]]
Written: TypeAlias = "Sequence[Template] | Callable[[Setting], Placed]"
"""Templates used in turn, or a function that writes a setting as a prompt."""

Answer: TypeAlias = "str | Callable[[Setting], str | int]"
"""The variable that is the answer, or a function of a setting."""


def pairs_from_causal_model(
    drawn: Sequence[Counterfactual], *, prompt: Written, answer: Answer
) -> tuple[Pair, ...]:
    """Write counterfactuals as pairs; see `Pairs.from_causal_model`."""
    write = prompt if callable(prompt) else _templates(prompt)
    pairs: list[Pair] = []
    for index, each in enumerate(drawn):
        labels = {
            "exchanged": each.variable,
            "output": "changes" if each.changes_output else "stays",
        }
        answers = (_answer(answer, each.base_setting), _answer(answer, each.changed))
        if callable(write):
            pairs.append(_written(write, each, answers, labels))
        else:
            pairs.append(_filled_in(write[index % len(write)], each, answers, labels))
    return tuple(pairs)


def _templates(prompt: Sequence[Template]) -> tuple[Template, ...]:
    if isinstance(cast("object", prompt), str) or not prompt:
        raise PairError(
            f"prompt is {prompt!r}; expected a list of templates, or a function of a setting"
        )
    return tuple(prompt)


def _filled_in(
    template: Template,
    each: Counterfactual,
    answers: tuple[str | int, str | int],
    labels: Mapping[str, str],
) -> Pair:
    contrast = {
        "base": _texts(each.base),
        "source": _texts(each.source),
        "base_answer": answers[0],
        "source_answer": answers[1],
        "labels": labels,
    }
    (pair,) = pairs_from_templates([template], [contrast])
    return pair


def _written(
    write: Callable[[Setting], Placed],
    each: Counterfactual,
    answers: tuple[str | int, str | int],
    labels: Mapping[str, str],
) -> Pair:
    base, base_places = _placed(write(each.base_setting))
    source, source_places = _placed(write(each.source_setting))
    shared = [name for name in base_places if name in source_places]
    values = _texts(each.base)
    for name in values:
        if name in labels:
            raise PairError(
                f"label {name!r} is set twice, to {values[name]!r} by the input of that name and "
                f"to {labels[name]!r}; rename the input"
            )
    return Pair(
        base,
        source,
        *answers,
        positions={
            name: {"base": base_places[name], "source": source_places[name]} for name in shared
        },
        labels={**values, **labels},
    )


def _placed(written: Placed) -> tuple[Prompt, Mapping[str, Any]]:
    if isinstance(written, tuple) and len(written) == 2 and isinstance(written[1], Mapping):
        return cast("tuple[Prompt, Mapping[str, Any]]", written)
    return cast("Prompt", written), {}


def _texts(setting: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in setting.items()}


def _answer(answer: Answer, setting: Setting) -> str | int:
    if callable(answer):
        return answer(setting)
    if answer not in setting:
        raise PairError(
            f"answer={answer!r} is no variable of the causal model{did_you_mean(answer, setting)}"
        )
    value = setting[answer]
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return value
    raise PairError(
        f"the answer {answer!r} is {value!r} ({type(value).__name__}); a model answers with a text "
        f"or a class number\ngive a function, e.g. answer=lambda s: ' yes' if s[{answer!r}] else "
        "' no'"
    )
