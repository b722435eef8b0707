"""Names of pyvene that are not here, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable

from causaltest.spelling import did_you_mean

_BY_STRUCTURE = (
    "components are found by the structure of the network; address any other module by its path, "
    "component='path.to.it.output'"
)
_LENS = "use causaltest.Model(network, tokenizer=...): its top and logit_lens"
_MASKS = "use BoundlessRotatedSpaceIntervention, or causaltest's boundless(...)"
_INSTEAD = {
    "type_to_module_mapping": _BY_STRUCTURE,
    "type_to_dimension_mapping": _BY_STRUCTURE,
    "IntervenableNdifModel": "networks run on this machine: IntervenableModel",
    "GET_LOC": "write the locations: {'base': [[[head]], [[position]]]} for unit 'h.pos'",
    "GRUConfig": "any torch.nn.Module is taken, with no configuration",
    "sigmoid_boundary": _MASKS,
    "harmonic_sigmoid_boundary": _MASKS,
    "top_vals": _LENS,
    "format_token": _LENS,
    "embed_to_distrib": _LENS,
    "sm": "use torch.softmax",
    "lsm": "use torch.log_softmax",
}


def missing(name: str, known: Iterable[str]) -> AttributeError:
    """Return the error for a name that is not here, with what to write instead.

    Examples
    --------
    >>> print(missing("create_gru", []))
    causaltest.pyvene has no 'create_gru': make the network, e.g. by transformers'
    from_pretrained, and pass it to IntervenableModel
    """
    if name.startswith("create_"):
        return AttributeError(
            f"causaltest.pyvene has no {name!r}: make the network, e.g. by transformers'\n"
            "from_pretrained, and pass it to IntervenableModel"
        )
    if name in _INSTEAD:
        return AttributeError(f"causaltest.pyvene has no {name!r}: {_INSTEAD[name]}")
    return AttributeError(f"causaltest.pyvene has no {name!r}{did_you_mean(name, list(known))}")
