"""What a caller gives, read into the adapter's own tables; the caller's own stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from causaltest.errors import InterventionError
from causaltest.spelling import did_you_mean

Inputs = Mapping[str, Any]


def inputs_of(given: Any, what: str) -> Inputs:
    """Return a model's keyword arguments as a dict of the adapter's own.

    Raises
    ------
    InterventionError
        They are no mapping.
    """
    if isinstance(given, Mapping) or hasattr(given, "keys"):
        return dict(given)
    raise InterventionError(
        f"{what} is a {type(given).__name__}; expected the model's keyword arguments as a dict, "
        "e.g. {'input_ids': ids} or what a tokenizer returns"
    )


def rows_of(inputs: Inputs) -> int:
    """Return the number of rows of a model's keyword arguments."""
    tensors = [each for each in inputs.values() if isinstance(each, Tensor) and each.ndim]
    if not tensors:
        raise InterventionError(
            f"the inputs hold no tensors ({', '.join(inputs) or 'nothing'}); tokenise with "
            "return_tensors='pt'"
        )
    return tensors[0].shape[0]


def stored_of(given: Any, keys: Sequence[str]) -> dict[str, Tensor]:
    """Return stored activations by key; what the caller gave is not touched.

    Raises
    ------
    InterventionError
        An unknown key, another number of them, or no activations at all.
    """
    if given is None:
        return {}
    if isinstance(given, Tensor):
        return dict.fromkeys(keys, given)
    if isinstance(given, Mapping):
        for key in given:
            if key not in keys:
                raise InterventionError(
                    f"source_representations for unknown key {key!r}"
                    f"{did_you_mean(str(key), keys)}\nkeys: {', '.join(keys)}"
                )
        return {key: value for key, value in given.items() if value is not None}
    if isinstance(given, (list, tuple)):
        if len(given) != len(keys):
            raise InterventionError(
                f"{len(given)} source_representations for {len(keys)} interventions"
            )
        pairs = zip(keys, given, strict=True)
        return {key: value for key, value in pairs if value is not None}
    raise InterventionError(
        f"source_representations is a {type(given).__name__}; expected a tensor, a list or a dict"
    )
