"""Calling a network with token ids: what it takes beside them, and where its logits are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from causaltest.engine.access import carried
from causaltest.errors import ModelError

Forward = Callable[[nn.Module, Tensor, Tensor], object]


class Call:
    """Calls a network with token ids and returns its logits.

    Parameters
    ----------
    network
        The network.
    forward
        The user's own way to run it; None where it is called as it is.
    name
        What to call it in messages.
    """

    def __init__(self, network: nn.Module, forward: Forward | None, name: str) -> None:
        self.network = network
        self.name = name
        self._forward = forward

    @property
    def masks(self) -> bool:
        """Whether it takes a mask, so that prompts of unequal length can share a batch."""
        return self._forward is not None or "attention_mask" in self._parameters

    def padding(self, tokenizer: Any) -> int:
        """Return the id that fills up short rows; some networks look for it to find the end."""
        config = getattr(self.network, "config", None)
        text = getattr(config, "text_config", None)
        ids = getattr(config if text is None else text, "vocab_size", None) or float("inf")
        for source in (config, text, tokenizer):
            token = getattr(source, "pad_token_id", None)
            # Configurations of images and text may name one that only another vocabulary has.
            if isinstance(token, int) and 0 <= token < ids:
                return token
        return 0

    @cached_property
    def _parameters(self) -> frozenset[str]:
        networks = [self.network]
        if hasattr(self.network, "get_base_model"):  # PEFT passes on what its base takes
            networks.append(self.network.get_base_model())  # pyright: ignore[reportCallIssue]
        return frozenset(
            name for each in networks for name in inspect.signature(each.forward).parameters
        )

    @cached_property
    def decoder_start(self) -> int | None:
        """Token that an encoder-decoder begins to write with; None where there is no decoder."""
        config = getattr(self.network, "config", None)
        writes = getattr(self.network, "can_generate", None)
        if not getattr(config, "is_encoder_decoder", False) or not callable(writes) or not writes():
            return None
        for source in (getattr(self.network, "generation_config", None), config):
            token = getattr(source, "decoder_start_token_id", None)
            if isinstance(token, int):
                return token
        return None

    def __call__(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Run the network, as `Model.forward` says."""
        if self._forward is not None:
            ones = torch.ones_like(ids) if mask is None else mask
            result = self._forward(self.network, ids, ones)
        elif "input_ids" in self._parameters:
            extra: dict[str, Any] = {"use_cache": False} if "use_cache" in self._parameters else {}
            if mask is not None:
                extra["attention_mask"] = mask
            if self.decoder_start is not None:
                extra["decoder_input_ids"] = torch.full_like(ids[:, :1], self.decoder_start)
            result = self.network(input_ids=ids, **extra)
            if self.decoder_start is not None:
                return self._answer(result)[:, -1]
        else:
            result = self.network(ids)
        logits = getattr(result, "logits", None)
        return logits if isinstance(logits, Tensor) else self._answer(result)

    def _answer(self, result: object) -> Tensor:
        found = carried(result)
        if found is None:
            holds = f"{type(result).__name__}"
            if isinstance(result, Mapping):
                holds += f" with {', '.join(map(str, result)) or 'nothing'}"
            raise ModelError(
                f"{self.name} returned no logits (it returned a {holds}); "
                "pass Model(network, forward=...) with a function of (network, ids, mask) "
                "that returns them"
            )
        return found
