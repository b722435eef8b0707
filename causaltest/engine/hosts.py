"""Which module of a network writes text, and which parts of it run at every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Host:
    """The part of a network that writes text token after token.

    Parameters
    ----------
    network
        Its `generate` is that of transformers, and its generation settings hold.
    steps
        The module whose forward passes are the steps: the network itself, or its decoder.
    once
        Paths of the modules that run once, before the first step, such as an encoder.
    """

    network: nn.Module
    steps: nn.Module
    once: tuple[str, ...] = ()

    def runs_once(self, path: str) -> bool:
        """Return whether a module runs before the first step only."""
        return any(path == each or path.startswith(f"{each}.") for each in self.once)

    @property
    def encodes(self) -> bool:
        """Whether an encoder reads the prompt, and the text begins anew."""
        return bool(getattr(getattr(self.network, "config", None), "is_encoder_decoder", False))


def host_of(network: nn.Module) -> Host | None:
    """Return what writes text in a network; None where it has no `generate` of transformers.

    A network that looks at an image first hands the writing to a part of it.
    """
    found = next(_hosts(network), None)
    if found is None:
        return None
    path, host = found
    if getattr(host.config, "is_encoder_decoder", False):
        paths = {id(module): name for name, module in network.named_modules()}
        return Host(host, host.get_decoder(), (paths[id(host.get_encoder())],))
    if not path or getattr(getattr(network, "config", None), "vision_config", None) is None:
        # What only wraps the writer, as adapters do, runs at every step with it.
        return Host(host, host)
    parts = [name for name, _ in network.named_children()]
    return Host(host, host, tuple(each for each in parts if not f"{path}.".startswith(f"{each}.")))


def _hosts(network: nn.Module) -> Iterator[tuple[str, Any]]:
    from transformers import GenerationMixin

    plain = vars(GenerationMixin)["generate"]
    for path, each in network.named_modules():
        if getattr(type(each), "generate", None) is plain:
            yield path, each
    # Some override it and come back to it.
    for path, each in network.named_modules():
        if isinstance(each, GenerationMixin):
            yield path, each
