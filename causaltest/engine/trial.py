"""A trial of a model: two prompts, and the runs and edits whose outcomes are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.run import score
from causaltest.engine.softmax import Softmax, eager, listen
from causaltest.interventions import Intervention
from causaltest.pairs import Pair, Pairs, Prompt
from causaltest.sites import EXPERT_COMPONENTS, HEAD_COMPONENTS, MODEL_COMPONENTS, Site

Status = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True)
class Check:
    """One property that was tried.

    Parameters
    ----------
    property
        What must hold, e.g. `identity edit leaves logits as they are`.
    subject
        The component or place it was tried at.
    status
        `passed`, `failed`, or `not applicable`.
    detail
        The numbers found, or why it does not apply.
    """

    property: str
    subject: str
    status: Status
    detail: str = ""


@dataclass(frozen=True)
class Trial:
    """A model and the two prompts everything is tried on."""

    model: Model
    base: Prompt
    source: Prompt

    @property
    def pairs(self) -> Pairs:
        """Return the two prompts as one pair."""
        return Pairs([Pair(self.base, self.source)], name="conformance", cluster=None)

    def plain(self, prompt: Prompt) -> Tensor:
        """Return the logits of a prompt, run alone."""
        return self.model.run([prompt])[0].logits

    def eagerly(self, sites: Sequence[Site]) -> Tensor:
        """Return the logits of base with attention computed as it is where patterns are edited."""
        network = self.model.network
        accesses = {access.path: access for access in map(self.model.access, sites)}
        with eager(network), ExitStack() as stack:
            for path, access in accesses.items():
                assert isinstance(access.side, Softmax)
                own = listen(
                    network.get_submodule(path),
                    lambda given, soft: soft(given),
                    layout=access.side.layout,
                )
                for handle in own:
                    stack.callback(handle.remove)
            return self.plain(self.base)

    def edited(self, intervention: Intervention) -> tuple[Tensor, bool]:
        """Return the base's logits under an intervention, and whether any activation changed."""
        found: list[Tensor] = []
        result = score(self.model, intervention, self.pairs, keeper(found), allow_inert=True)
        return found[0], any(entry.changed for entry in result.ledger)

    def sites(self) -> Iterator[tuple[str, list[Site]]]:
        """Yield each component with the sites at which it is tried: first, middle, last layer."""
        architecture = self.model.architecture
        for stack, each in {"": architecture, **architecture.others}.items():
            for component in each.components:
                whole = component.removeprefix("head_")
                if component not in HEAD_COMPONENTS:
                    whole = component
                if component in MODEL_COMPONENTS:
                    if not stack:
                        yield component, [Site(component)]
                    continue
                heads = {
                    layer: access.heads for (name, layer), access in each.accesses.items()
                    if name == whole and layer is not None
                    and (component not in HEAD_COMPONENTS or access.heads)
                }  # fmt: skip
                layers = sorted(heads)
                label = f"{stack}.{component}" if stack else component
                yield (
                    label,
                    [
                        Site(
                            component,
                            layer=layer,
                            head=(heads[layer] or 1) - 1 if component in HEAD_COMPONENTS else None,
                            stack=stack,
                            expert=0 if component in EXPERT_COMPONENTS else None,
                        )
                        for layer in sorted({layers[0], layers[len(layers) // 2], layers[-1]})
                    ],
                )

    @property
    def bound(self) -> float:
        """How far logits may move by rounding, as a share of their size."""
        return max(1e-5, 16 * torch.finfo(self.model.dtype).eps)

    def compare(self, property_: str, subject: str, got: Tensor, wanted: Tensor) -> Check:
        """Return whether logits are the wanted ones but for rounding."""
        off, size = distance(got, wanted)
        status: Status = "passed" if off <= self.bound * size else "failed"
        return Check(property_, subject, status, f"off by {off:.2g}, logits reach {size:.2g}")


def keeper(found: list[Tensor]) -> Callable[[Output], float]:
    """Return a metric that keeps the logits of what it is asked for."""

    def keep(output: Output) -> float:
        found.append(output.logits.detach().clone())
        return 0.0

    return keep


def distance(got: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Return the largest difference, and the largest logit or 1; masked logits (-inf) are equal."""
    one, other = got.double(), wanted.double()
    gap = torch.where(one == other, 0.0, (one - other).abs())
    off = float(gap.max()) if gap.numel() else 0.0
    finite = other[other.isfinite()]
    size = max(1.0, float(finite.abs().max())) if finite.numel() else 1.0
    return (float("inf") if off != off else off), size  # noqa: PLR0124 - NaN is far off


def first_line(error: Exception) -> str:
    """Return the first line of a message, or what kind of error it is of."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
