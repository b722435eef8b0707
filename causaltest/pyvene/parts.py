"""The interventions of a model by key: where each sits, and which of them share a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from causaltest.engine.hosts import Host
from causaltest.engine.model import Model
from causaltest.pyvene.building import Interventions
from causaltest.pyvene.config import RepresentationConfig
from causaltest.pyvene.given import Inputs
from causaltest.pyvene.interventions import Intervention
from causaltest.pyvene.places import Target


@dataclass(frozen=True)
class Parts:
    """The interventions of a model, by key, in the order they apply.

    Parameters
    ----------
    subject
        The model.
    host
        What writes text in it; None where nothing does.
    mode, as_adaptor
        As of the config and the intervenable model.
    representations, targets, interventions
        By key.
    groups
        The keys of each source.
    """

    subject: Model
    host: Host | None
    mode: str
    as_adaptor: bool
    representations: Mapping[str, RepresentationConfig]
    targets: Mapping[str, Target]
    interventions: Interventions
    groups: Sequence[Sequence[str]]

    @property
    def keys(self) -> list[str]:
        """The keys of all interventions."""
        return list(self.targets)

    def intervention(self, key: str) -> Intervention:
        """Return the intervention of a key."""
        return cast("Intervention", self.interventions[key])

    def mask(self, key: str, inputs: Inputs) -> Tensor | None:
        """Return the mask of what a site reads; None where nothing is padded."""
        host = self.host
        path = self.targets[key].access.path
        decodes = host is not None and host.encodes and not host.runs_once(path)
        mask = inputs.get("decoder_attention_mask" if decodes else "attention_mask")
        if not isinstance(mask, Tensor) or mask.ndim != 2 or bool(mask.all()):
            return None
        return mask
