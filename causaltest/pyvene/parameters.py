"""What is trained in an intervenable model: its interventions, and its weights where asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import nn

from causaltest.engine.model import Model
from causaltest.pyvene.building import Interventions
from causaltest.pyvene.interventions import Intervention


class Trained(nn.Module):
    """Interventions on a model, as things that are trained, moved and annealed."""

    subject: Model
    interventions: Interventions
    trains_model = False

    @property
    def model(self) -> nn.Module:
        """The caller's model."""
        return self.subject.network

    def named_parameters(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *_args: Any, **_kwargs: Any
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield what is trained: interventions, and the model's weights once they are enabled."""
        yield from trained_once(dict(self.interventions.items()))
        if self.trains_model:
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    yield f"model.{name}", parameter

    def get_trainable_parameters(self) -> list[nn.Parameter]:
        """Return what is trained, each parameter once."""
        return [parameter for _, parameter in self.named_parameters()]

    def count_parameters(self, include_model: bool = False) -> int:
        """Return how many numbers of the interventions are trained.

        Parameters
        ----------
        include_model
            Count the model's weights that require gradients too.
        """
        found = trained_once(dict(self.interventions.items()))
        total = sum(each.numel() for _, each in found if each.requires_grad)
        if include_model:
            total += sum(each.numel() for each in self.model.parameters() if each.requires_grad)
        return total

    def enable_model_gradients(self) -> None:
        """Train the model's own weights too; they then require gradients."""
        self.trains_model = True
        self.model.requires_grad_(True)

    def disable_model_gradients(self) -> None:
        """Take the model's weights as constants again."""
        self.trains_model = False

    def disable_intervention_gradients(self) -> None:
        """Take the interventions' weights as constants."""
        for each in self.interventions.values():
            each.requires_grad_(False)

    def set_device(self, device: Any, set_model: bool = True) -> None:
        """Move the interventions, and the model unless told otherwise."""
        self.interventions.to(device)
        if set_model:
            self.model.to(device)

    def get_device(self) -> torch.device:
        """Return where the model takes its inputs."""
        return self.subject.device

    def set_temperature(self, temp: Any) -> None:
        """Set the temperature of every intervention that has one."""
        for each in self.interventions.values():
            if hasattr(each, "set_temperature"):
                cast("Any", each).set_temperature(temp)

    def set_zero_grad(self) -> None:
        """Forget the gradients of everything that is trained."""
        for each in self.get_trainable_parameters():
            each.grad = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of everything that is trained."""
        self.set_zero_grad()


def trained_once(interventions: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters of trainable interventions, each once, with the first key it has."""
    seen: set[int] = set()
    for key, each in interventions.items():
        if not cast("Intervention", each).trainable:
            continue
        for name, parameter in each.named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{key}.{name}", parameter
