"""Running networks that want images or sounds: random ones stand in for the real ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_IMAGE = 16
_FRAMES = 64
_SAMPLES = 1600
_SOUNDS = ("input_values", "input_features")

Forward = Callable[[nn.Module, Tensor, Tensor], Any]


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


def sound_shape(network: nn.Module) -> tuple[int, ...]:
    """Return the shape of the sounds that a network takes: samples, or bands and frames."""
    config: Any = network.config
    bands = getattr(config, "num_mel_bins", None) or getattr(config, "input_feat_per_channel", 16)
    if getattr(network, "main_input_name", "input_values") == "input_values":
        return (_SAMPLES,)
    if type(network).__name__.startswith(("Whisper", "MoonshineStreaming")):
        return (int(bands), 2 * int(getattr(config, "max_source_positions", _FRAMES)))
    return (_FRAMES, int(bands))


def forward_without_text(network: nn.Module) -> Forward | None:
    """Return how to run a network on token ids that cannot do without an image or a sound.

    Returns
    -------
    callable or None
        A function of (network, ids, mask); None where token ids are enough.
    """
    known = inspect.signature(network.forward).parameters
    main = getattr(network, "main_input_name", "input_ids")
    image = known.get("pixel_values")
    sees = image is not None and (image.default is image.empty or main == "pixel_values")
    if not sees and not (main in _SOUNDS and main in known):
        return None

    def forward(network: nn.Module, ids: Tensor, mask: Tensor) -> Any:
        given: dict[str, Any] = {}
        if "input_ids" in known:
            given = {"input_ids": ids, "attention_mask": mask}
        if "decoder_input_ids" in known:
            given["decoder_input_ids"] = ids
        shape = image_shape(network) if sees else sound_shape(network)
        kind = next((each.dtype for each in network.parameters()), torch.float32)
        given["pixel_values" if sees else main] = drawn(ids[:, 0], shape).to(ids.device, kind)
        return network(**given)

    return forward
