"""Running a network that wants an image beside the text: an image stands in for the real one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_IMAGE = 16


def drawn(first: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return an input for each row that depends on its first token only."""
    rows = [
        torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in first
    ]
    return torch.stack(rows)


def image_shape(network: nn.Module) -> tuple[int, int, int]:
    """Return channels, height and width of the images that a network takes."""
    config: Any = getattr(network, "config", None)
    config = getattr(config, "vision_config", config)
    size = getattr(config, "image_size", _IMAGE)
    size = size[0] if isinstance(size, (list, tuple)) else size
    return (int(getattr(config, "num_channels", 3)), int(size), int(size))


def forward_with_image(network: nn.Module) -> Callable[[nn.Module, Tensor, Tensor], Any] | None:
    """Return how to run a network on text alone that cannot do without an image.

    Returns
    -------
    callable or None
        A function of (network, ids, mask); None where no image is needed.
    """
    known = inspect.signature(network.forward).parameters
    needed = known.get("pixel_values")
    if needed is None or needed.default is not needed.empty or "input_ids" not in known:
        return None

    def forward(network: nn.Module, ids: Tensor, mask: Tensor) -> Any:
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if "decoder_input_ids" in known:
            given["decoder_input_ids"] = ids
        kind = next((each.dtype for each in network.parameters()), torch.float32)
        pixels = drawn(ids[:, 0], image_shape(network)).to(ids.device, kind)
        return network(pixel_values=pixels, **given)

    return forward
