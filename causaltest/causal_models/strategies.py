"""Hypothesis strategies of a causal model, to search for inputs on which a claim fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from causaltest.causal_models.counterfactuals import Counterfactual
    from causaltest.causal_models.model import CausalModel, Setting


def inputs_of(
    model: CausalModel, *, where: Callable[[Setting], bool] | None = None
) -> SearchStrategy[Setting]:
    """Return a strategy of inputs, simplest first as the domains list their values.

    Parameters
    ----------
    model
        The causal model.
    where
        What the whole setting of an input must fulfil.

    Examples
    --------
    >>> from hypothesis import find
    >>> from causaltest.causal_models import CausalModel
    >>> total = CausalModel({"a": range(9), "b": range(9)}, {"sum": lambda a, b: a + b})
    >>> find(inputs_of(total, where=lambda s: s["sum"] > 10), lambda inputs: True)["a"]
    3
    """
    from hypothesis import strategies

    drawn = strategies.fixed_dictionaries(
        {name: strategies.sampled_from(model.domains[name]) for name in model.inputs}
    )
    return drawn if where is None else drawn.filter(lambda inputs: where(model.run(inputs)))


def counterfactuals_of(model: CausalModel, of: str) -> SearchStrategy[Counterfactual]:
    """Return a strategy of counterfactuals in which one variable is exchanged.

    Parameters
    ----------
    model
        The causal model.
    of
        The variable.
    """
    from hypothesis import strategies

    from causaltest.causal_models.counterfactuals import Counterfactual

    model.check_known([of], "of=")
    return strategies.builds(
        Counterfactual,
        strategies.just(model),
        strategies.just(of),
        inputs_of(model),
        inputs_of(model),
    ).filter(lambda pair: pair.base != pair.source)
