"""Axes of activations on grids, as of images, told by the layers that take or give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from causaltest.engine.chains import listed
from causaltest.engine.layouts import Layout
from causaltest.engine.survey import Place, Seen

_FIRST, _LAST = Layout(0, (2, 3)), Layout(0, (1, 2))
# Layers that say by their definition which axis the width is.
_BY_CHANNEL = (
    nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.MaxPool2d,
    nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.ZeroPad2d,
)  # fmt: skip
_BY_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm)


def grids_of(network: nn.Module, seen: Mapping[Place, Seen]) -> dict[Place, Layout]:
    """Return the layouts of what the modules of lists take and give, where it lies on a grid.

    A convolution or a norm that takes or gives the same numbers says which axis is the width; all
    modules of a list have it in one place.

    Parameters
    ----------
    network
        Any module.
    seen
        A forward pass of one row.

    Returns
    -------
    dict
        Nothing for lists of which no layer tells, or several tell otherwise.
    """
    known = [
        (tensor, _FIRST if isinstance(module, _BY_CHANNEL) else _LAST)
        for path, module in network.named_modules()
        if isinstance(module, (*_BY_CHANNEL, *_BY_LAST))
        for tensor in _both(path, seen)
    ]
    found: dict[Place, Layout] = {}
    for _, blocks in listed(network, sequences=True):
        layouts = {
            layout
            for block in blocks
            for tensor in _both(block, seen)
            for other, layout in known
            if other.shape == tensor.shape and torch.equal(other, tensor)
        }
        if len(layouts) == 1:
            layout = layouts.pop()
            found |= dict.fromkeys(_places(blocks, seen), layout)
    return found


def _both(path: str, seen: Mapping[Place, Seen]) -> Iterator[Tensor]:
    """Yield what a module takes and gives, as far as it lies on a grid."""
    both = (_on_grid(seen.get((path, "input"))), _on_grid(seen.get((path, "output"))))
    yield from (tensor for tensor in both if tensor is not None)


def _on_grid(seen: Seen | None) -> Tensor | None:
    tensor = None if seen is None else seen.tensor
    return None if tensor is None or tensor.ndim != 4 else tensor


def _places(blocks: Sequence[str], seen: Mapping[Place, Seen]) -> Iterator[Place]:
    for block in blocks:
        places: tuple[Place, Place] = ((block, "input"), (block, "output"))
        yield from (place for place in places if _on_grid(seen.get(place)) is not None)
