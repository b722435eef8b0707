"""Finding mixtures of experts by structure, and trying them by a probe."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from causaltest.engine.access import Access, primary
from causaltest.engine.experts import ExpertPart, RouterScores, expert_part, routed
from causaltest.engine.hooks import attached, evaluating
from causaltest.engine.survey import Place
from causaltest.engine.turns import callers_hooks, muted
from causaltest.errors import InterventionError

_COMPONENTS = ("router_output", "expert_output")
_NONE = "no mixture of experts was found in its blocks"


@dataclass(frozen=True)
class Mixture:
    """A mixture of experts within a block.

    Parameters
    ----------
    path
        The module that holds router and experts.
    router
        The module whose weights give each expert its score; empty where there is no one such.
    experts
        The module that holds the weights of all experts.
    count
        Number of experts.
    """

    path: str
    router: str
    experts: str
    count: int


@dataclass(frozen=True)
class Found:
    """What a probe found of the mixture in one block.

    Parameters
    ----------
    accesses
        Component to its place, for those that were verified.
    missing
        Component to the reason why it is not offered.
    """

    accesses: Mapping[str, Access]
    missing: Mapping[str, str]


def find_mixtures(
    network: nn.Module, run: Callable[[], object], blocks: Sequence[str], prefer: Sequence[str]
) -> dict[str, Found]:
    """Find the mixtures of experts of some blocks, and try them in one forward pass.

    Parameters
    ----------
    network
        The model.
    run
        Runs it on a few prompts.
    blocks
        Path of each block.
    prefer
        Names of the part of a block in which its mixture is looked for first.

    Returns
    -------
    dict
        Block to what was found in it; blocks without a mixture are absent.
    """
    found: dict[str, Found] = {}
    mixtures: dict[str, Mixture] = {}
    for path in blocks:
        mixture = _mixture(network.get_submodule(path), path, prefer)
        if isinstance(mixture, Mixture):
            mixtures[path] = mixture
        elif mixture:
            found[path] = Found({}, dict.fromkeys(_COMPONENTS, mixture))
    if not mixtures:
        return found
    try:
        trials = _tried(network, mixtures, run, muted(network))
    except Exception:
        # A network that cannot run without the caller's hooks is explored with them.
        if not any(True for _ in callers_hooks(network)):
            raise
        trials = _tried(network, mixtures, run, nullcontext())
    return found | {path: trial.outcome() for path, trial in trials.items()}


def _tried(
    network: nn.Module,
    mixtures: Mapping[str, Mixture],
    run: Callable[[], object],
    silence: AbstractContextManager[None],
) -> dict[str, _Trial]:
    """Watch mixtures in one forward pass."""
    trials = {path: _Trial(network, mixture) for path, mixture in mixtures.items()}
    with torch.no_grad(), evaluating(network), silence, ExitStack() as stack:
        for trial in trials.values():
            target = network.get_submodule(trial.mixture.path)
            stack.callback(target.register_forward_hook(trial.watch, with_kwargs=True).remove)
        run()
    return trials


def _mixture(block: nn.Module, path: str, prefer: Sequence[str]) -> Mixture | str:
    """Return the mixture of a block; why it is not known; or nothing where there is none."""
    groups: dict[str, dict[str, int]] = {}
    for name, module in block.named_modules():
        count = _count(module)
        if count > 1:
            parent, _, child = name.rpartition(".")
            groups.setdefault(parent, {})[child] = count
    if len(groups) > 1:
        first = {name: each for name, each in groups.items() if name.split(".")[0] in prefer}
        groups = first if len(first) == 1 else groups
    if not groups:
        return ""
    if len(groups) > 1:
        return f"{path} holds several mixtures of experts ({', '.join(groups)})"
    ((holder, parts),) = groups.items()
    whole = f"{path}.{holder}" if holder else path
    count = max(parts.values())
    sizes = {
        name: _scored(module) for name, module in block.get_submodule(holder).named_modules()
        if name not in parts
    }  # fmt: skip
    # Some routers score experts as well that are shared, or that do nothing.
    routers = [name for name, size in sizes.items() if size == count] or [
        name for name, size in sizes.items() if count < size <= 2 * count
    ]
    router = f"{whole}.{routers[0]}" if len(routers) == 1 else ""
    return Mixture(whole, router, f"{whole}.{next(iter(parts))}", count)


def _count(module: nn.Module) -> int:
    """Return how many experts a module holds the weights of; 0 where it holds none."""
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        runs = type(module).forward not in (nn.ModuleList.forward, nn.ModuleDict.forward)
        return len(module) if runs else 0
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return 0
    stacked = [each for each in module.parameters(recurse=False) if each.ndim == 3]
    return int(stacked[0].shape[0]) if stacked else 0


def _scored(module: nn.Module) -> int:
    """Return the number of outputs of a module with a matrix of weights; 0 for others."""
    weight = getattr(module, "weight", None)
    return int(weight.shape[0]) if isinstance(weight, Tensor) and weight.ndim == 2 else 0


class _Trial:
    """Tries one mixture in the forward pass of a probe."""

    def __init__(self, network: nn.Module, mixture: Mixture) -> None:
        self.network = network
        self.mixture = mixture
        self._busy = False
        self._accesses: dict[str, Access] = {}
        self._missing: dict[str, str] = dict.fromkeys(
            _COMPONENTS, f"{mixture.path} did not run in a probe"
        )

    def outcome(self) -> Found:
        """Return what was found."""
        return Found(self._accesses, self._missing)

    def watch(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Hook of the mixture's module: run it again, with changes."""
        if self._busy:
            return
        self._busy = True

        def again() -> Tensor:
            return primary(module(*args, **kwargs), self.mixture.path)

        try:
            for component, tried in zip(_COMPONENTS, (self._router, self._parts), strict=True):
                try:
                    result = tried(again, primary(output, self.mixture.path))
                except (
                    InterventionError,
                    RuntimeError,
                    TypeError,
                    ValueError,
                    IndexError,
                ) as error:
                    result = str(error).splitlines()[0]
                if isinstance(result, Access):
                    self._accesses[component] = result
                    self._missing.pop(component, None)
                else:
                    self._missing[component] = result
        finally:
            self._busy = False

    def _router(self, again: Callable[[], Tensor], whole: Tensor) -> Access | str:
        """Turn the scores of one token around: this token alone must come out otherwise."""
        if not self.mixture.router:
            return f"no one module of {self.mixture.path} scores its {self.mixture.count} experts"
        access = Access(self.mixture.router, RouterScores(self.mixture.path))
        if self._comes_behind(again):
            return f"{access.path} runs behind {self.mixture.experts}, so it cannot choose there"
        widths: list[int] = []

        def turned(scores: Tensor) -> Tensor:
            widths.append(scores.shape[-1])
            changed = scores.clone()
            ramp = torch.linspace(-1, 1, scores.shape[-1]).to(scores)
            changed[0, 0] = ramp - scores[0, 0]
            return changed

        with attached(self.network, [(access.path, access.side, turned)]):
            changed = again()
        one, other = (each.reshape(-1, each.shape[-1]) for each in (changed, whole))
        if not widths or _close(one[:1], other[:1]) or not _close(one[1:], other[1:]):
            return f"what {access.path} computes does not decide on the experts of each token alone"
        return replace(access, width=widths[0])

    def _comes_behind(self, again: Callable[[], Tensor]) -> bool:
        """Return whether the experts are through when what scores them begins."""
        order: list[str] = []
        router, experts = map(
            self.network.get_submodule, (self.mixture.router, self.mixture.experts)
        )
        handles = [
            router.register_forward_pre_hook(lambda *_: order.append("router")),
            experts.register_forward_hook(lambda *_: order.append("experts")),
        ]
        try:
            again()
        finally:
            for handle in handles:
                handle.remove()
        return order[:1] == ["experts"]

    def _parts(self, again: Callable[[], Tensor], _whole: Tensor) -> Access | str:
        """All experts' parts must add up to what the module of experts gives."""
        path, count = self.mixture.experts, self.mixture.count
        seen: list[tuple[Tensor, Tensor]] = []

        def add_up(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            whole = primary(output, f"{path}.output")
            given = routed(module, args, kwargs, path)
            parts = [expert_part(module, given, index, whole) for index in range(count)]
            seen.append((torch.stack(parts).sum(dim=0), whole))

        target = self.network.get_submodule(path)
        handle = target.register_forward_hook(add_up, with_kwargs=True)
        try:
            again()
        finally:
            handle.remove()
        if len(seen) != 1:
            return f"{path} runs {len(seen)} times in one pass of its mixture"
        if not _close(*seen[0]):
            return f"the parts of the {count} experts do not add up to what {path} gives"
        side = ExpertPart(self.mixture.path, count)
        return Access(path, side, width=seen[0][1].shape[-1])


def _close(one: Tensor, other: Tensor) -> bool:
    """Return whether numbers are equal but for rounding."""
    size = float(other.abs().max())
    off = float((one.double() - other.double()).abs().max())
    return off <= 64 * torch.finfo(other.dtype).eps * size


def with_experts(
    accesses: dict[tuple[str, int | None], Access],
    blocks: Sequence[str],
    found: Mapping[str, Found],
    missing: dict[str, str],
    layouts: Collection[Place] = (),
) -> None:
    """Add what was found in the blocks of one stack.

    Parameters
    ----------
    accesses
        Components found so far.
    blocks
        Path of each block.
    found
        As `find_mixtures` returns it.
    missing
        Gets the reason for each component that is not offered.
    layouts
        Places whose axes are not (rows, tokens, width).
    """
    for component in _COMPONENTS:
        missing[component] = _NONE
    for layer, path in enumerate(blocks):
        each = found.get(path)
        if each is None:
            continue
        missing.update(each.missing)
        for name, access in each.accesses.items():
            assert isinstance(access.side, ExpertPart | RouterScores)
            if (access.side.mixture, "input") in layouts:
                missing[name] = f"{access.side.mixture} does not take (rows, tokens, width)"
            else:
                accesses[name, layer] = access
