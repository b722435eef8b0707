"""One plain forward pass, watched: which modules run, how often, and what they take and give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, nn

from causaltest.engine.access import Access, carried
from causaltest.engine.hooks import Side, attached, evaluating, watched
from causaltest.engine.layouts import Turned
from causaltest.engine.turns import callers_hooks, muted
from causaltest.errors import ModelError

Place = tuple[str, Side]


@dataclass(frozen=True)
class Seen:
    """What one side of a module carried in a forward pass.

    Parameters
    ----------
    calls
        How often the module ran.
    tensor
        A copy of the activation in its first call; None where it carried no tensor.
    tensors, order
        Where every call was kept: a copy from each, and its place among all calls of the pass.
    """

    calls: int
    tensor: Tensor | None
    tensors: tuple[Tensor | None, ...] = ()
    order: tuple[int, ...] = ()


def tensor_of(seen: Mapping[Place, Seen], access: Access) -> Tensor:
    """Return the activation at an access that is known to carry one.

    Raises
    ------
    ModelError
        Its axes are not (rows, tokens, width), so that nothing else in the network could take it.
    """
    if isinstance(access.side, Turned):
        raise ModelError(
            f"{access.path}.{access.side} does not have the axes (rows, tokens, width) in the "
            "network itself, so what comes behind it cannot be run apart\n"
            "read it or edit it in whole runs: model.read(...), causal.effect(...)"
        )
    tensor = seen[access.path, access.side].tensor
    assert tensor is not None
    return tensor


def survey(
    network: nn.Module, run: Callable[[Tensor], object], ids: Tensor, *, every: bool = False
) -> dict[Place, Seen]:
    """Run a network once and say what every module did.

    Hooks that the caller registered are silent in this pass: they see nothing that the caller has
    not asked for, and what they change does not hide the structure of the network. They fire where
    the network cannot run without them.

    Parameters
    ----------
    network
        Any module; it is left as it was.
    run
        Runs it on token ids.
    ids
        (rows, tokens).
    every
        Keep the activations of every call, not only of the first.

    Returns
    -------
    dict
        (module path, side) to what was seen; modules that did not run are absent.
    """
    found: dict[Place, Seen] = {}
    calls = count()

    def note(path: str, given: object, output: object) -> None:
        when = (next(calls),)
        sides: tuple[tuple[Side, object], ...] = (("input", given), ("output", output))
        for side, value in sides:
            known = found.get((path, side))
            if known is not None and not every:
                found[path, side] = Seen(known.calls + 1, known.tensor)
                continue
            tensor = carried(value)
            # A copy: some networks go on to change an activation in place.
            copy = None if tensor is None else tensor.detach().clone()
            kept = (copy,) if every else ()
            if known is None:
                found[path, side] = Seen(1, copy, kept, when if every else ())
            else:
                tensors, order = (*known.tensors, *kept), (*known.order, *when)
                found[path, side] = Seen(known.calls + 1, known.tensor, tensors, order)

    with evaluating(network), torch.no_grad(), attached(network, ()):
        silenced = any(True for _ in callers_hooks(network))
        try:
            with muted(network), watched(network, note):
                run(ids)
        except Exception:
            if not silenced:
                raise
            found.clear()
            with watched(network, note):
                run(ids)
    return found
