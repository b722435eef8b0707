"""Conformance: does the engine do on this model what it says, measured component by component."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from causaltest.engine.inert import why_inert
from causaltest.engine.model import Model
from causaltest.engine.run import score_identity
from causaltest.engine.surroundings import other_inputs
from causaltest.engine.trial import Check, Status, Trial, distance, first_line, keeper
from causaltest.errors import CausaltestError, ModelError, SiteError
from causaltest.interventions import Interchange
from causaltest.pairs import Prompt
from causaltest.sites import (
    COMPONENTS,
    HEAD_COMPONENTS,
    KEYED,
    Site,
)

_TOKENS = 6
_MARKS: dict[Status, str] = {"passed": "ok", "failed": "FAILED", "not applicable": "n/a"}


@dataclass(frozen=True)
class Report:
    """Outcome of `conformance`: what was tried on a model, and what came of it.

    Parameters
    ----------
    model, network
        What the model is called, and its class.
    layers
        Number of blocks.
    components
        Components that the model has.
    stacks
        Name and components of each further stack of blocks.
    missing
        Component and why it is not offered, for each of the others.
    checks
        Everything that was tried.
    """

    model: str
    network: str
    layers: int
    components: tuple[str, ...]
    stacks: tuple[tuple[str, tuple[str, ...]], ...]
    missing: tuple[tuple[str, str], ...]
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """Checks that failed."""
        return tuple(check for check in self.checks if check.status == "failed")

    @property
    def passed(self) -> bool:
        """Whether the model has blocks, their output is a site, and no check failed."""
        return bool(self.layers) and "block_output" in self.components and not self.failures

    def to_dict(self) -> dict[str, object]:
        """Return plain data for JSON.

        Examples
        --------
        >>> Report("toy", "Toy", 1, ("block_output",), (), (), ()).to_dict()["passed"]
        True
        """
        named = {"stacks": dict(self.stacks), "missing": dict(self.missing)}
        return {**asdict(self), **named, "passed": self.passed}

    def __str__(self) -> str:
        counts = {status: sum(check.status == status for check in self.checks) for status in _MARKS}
        lines = [
            f"{self.model} ({self.network}): {'conforms' if self.passed else 'DOES NOT CONFORM'}",
            f"{self.layers} layers; components: {', '.join(self.components) or 'none'}",
            *(f"stack {stack}: {', '.join(names)}" for stack, names in self.stacks),
            *(f"without {name}: {reason}" for name, reason in self.missing),
            *(
                f"  {_MARKS[check.status]:6} {check.property}: {check.subject}"
                + (f" ({check.detail})" if check.detail else "")
                for check in self.checks
            ),
            ", ".join(f"{count} {status}" for status, count in counts.items()),
        ]
        return "\n".join(lines)


def conformance(model: Model, prompts: tuple[Prompt, Prompt] | None = None) -> Report:
    """Try on a model everything that the engine promises.

    The two prompts give different logits; edits of an activation by itself leave these bit-equal;
    the other prompt's whole residual stream gives the other prompt's logits; all heads together
    are the whole component; what enters a projection gives what leaves it; each edit changes the
    logits; an edit leaves the tokens before it as they were if the model is causal (which is
    measured); a prompt in a padded batch gets the answer that it gets alone; the network is left
    as found.

    Parameters
    ----------
    model
        The model.
    prompts
        Two prompts of equal length that differ in every token, 4 tokens or more where the model
        takes as many; by default random tokens.

    Returns
    -------
    Report

    Raises
    ------
    ModelError
        The network cannot be run, or the prompts are of unequal length.

    Examples
    --------
    >>> toy = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9))
    >>> conformance(Model(toy, name="toy")).passed
    False
    """
    architecture = model.architecture  # found in plain runs: some networks change in their first
    before = _state(model)
    checks: list[Check] = []
    trial = Trial(model, *_prompts(model, prompts))
    if architecture.blocks:
        for each in (_differing, _identity, _effects, _streams, _heads, _projections, _causality):
            checks.extend(each(trial))
    checks.extend(_padding(trial))
    checks.append(_as_found(model, before))
    missing = {
        name: architecture.missing.get(name, "")
        for name in COMPONENTS
        if name not in model.components and name not in HEAD_COMPONENTS
    }
    return Report(
        model.name,
        type(model.network).__name__,
        model.n_layers,
        model.components,
        tuple((stack, each.components) for stack, each in architecture.others.items()),
        tuple(missing.items()),
        tuple(checks),
    )


def _prompts(model: Model, prompts: tuple[Prompt, Prompt] | None) -> tuple[Prompt, Prompt]:
    if prompts is not None:
        lengths = [len(model.prompts.ids(prompt)) for prompt in prompts]
        if len(lengths) != 2 or lengths[0] != lengths[1]:
            raise ModelError(f"conformance takes two prompts of equal length; got {lengths} tokens")
        return prompts
    size = model.architecture.vocabulary
    # Few special tokens, such as padding, stand at the end of a vocabulary.
    first = min(8, size // 4)
    spread = max(1, size - first)
    draws = torch.randperm(spread, generator=torch.Generator().manual_seed(1))
    base, source = (
        tuple(int(first + draws[(start + index) % spread]) for index in range(_TOKENS))
        for start in (0, max(1, spread // 2))
    )
    return base, source


def _differing(trial: Trial) -> Iterator[Check]:
    """Edits of a model that answers both prompts alike could not be seen."""
    off, size = distance(trial.plain(trial.source), trial.plain(trial.base))
    status: Status = "passed" if off > trial.bound * size else "failed"
    detail = f"they differ by {off:.2g}, logits reach {size:.2g}"
    yield Check("the two prompts give different logits", "model", status, detail)


def _identity(trial: Trial) -> Iterator[Check]:
    name = "identity edit leaves logits bit-equal"
    usual = trial.plain(trial.base)
    for component, sites in trial.sites():
        found: list[Tensor] = []
        try:
            plain = trial.eagerly(sites) if sites[0].component in KEYED else usual
            score_identity(trial.model, sites, list(trial.pairs), keeper(found))
        except CausaltestError as error:
            yield Check(name, component, "failed", first_line(error))
            continue
        same = torch.equal(found[0], plain)
        off = "" if same else f"off by {distance(found[0], plain)[0]:.2g}"
        yield Check(name, component, "passed" if same else "failed", off)


def _effects(trial: Trial) -> Iterator[Check]:
    name = "edit changes the logits"
    plain = trial.plain(trial.base)
    for component, sites in trial.sites():
        for site in sites:
            try:
                logits, changed = trial.edited(Interchange((site,)))
            except CausaltestError as error:
                yield Check(name, str(site), "failed", first_line(error))
                continue
            off, _ = distance(logits, plain)
            if not changed:
                reason = "base and source do not differ there"
                yield Check(name, str(site), "not applicable", reason)
            elif not off and (reason := why_inert(trial, site)):
                yield Check(name, str(site), "not applicable", reason)
            else:
                status: Status = "passed" if off > 0 else "failed"
                yield Check(name, str(site), status, f"{component} moves them by {off:.2g}")


def _streams(trial: Trial) -> Iterator[Check]:
    """The other prompt's residual stream, at every token, gives the other prompt's logits."""
    name = "the source's whole stream gives the source's logits"
    architecture = trial.model.architecture
    sites = [
        Site("block_output", layer=(len(each.blocks) - 1) // 2, stack=stack)
        for stack, each in {"": architecture, **architecture.others}.items()
        if all(("block_output", layer) in each.accesses for layer in range(len(each.blocks)))
    ]
    if not sites or sites[0].stack:
        yield Check(name, "model", "not applicable", "it has no block_output")
        return
    logits, _ = trial.edited(Interchange(tuple(sites)))
    wanted = trial.plain(trial.source)
    check = trial.compare(name, " and ".join(map(str, sites)), logits, wanted)
    if check.status == "failed":
        others = other_inputs(trial.model, sites, trial.base, trial.source)
        if others:
            reason = f"blocks behind it also take {', '.join(others)}, which depends on the prompt"
            check = replace(check, status="not applicable", detail=reason)
    yield check


def _heads(trial: Trial) -> Iterator[Check]:
    name = "all heads are the whole"
    for component, sites in trial.sites():
        if sites[0].component not in HEAD_COMPONENTS:
            continue
        for site in sites:
            whole = replace(site, component=site.component.removeprefix("head_"), head=None)
            count = trial.model.access(whole).heads or 1
            parts = tuple(replace(site, head=head) for head in range(count))
            try:
                one, _ = trial.edited(Interchange(parts))
                other, _ = trial.edited(Interchange((whole,)))
            except CausaltestError as error:
                yield Check(name, str(whole), "failed", first_line(error))
            else:
                yield trial.compare(name, f"{component}[{site.layer}]", one, other)


def _projections(trial: Trial) -> Iterator[Check]:
    name = "what enters the projection gives what leaves it"
    outer = {"attention_value_output": "attention_output", "mlp_activation": "mlp_output"}
    for _, sites in trial.sites():
        for site in sites[:1]:
            written = replace(site, component=outer.get(site.component, site.component))
            try:
                trial.model.access(written)
            except SiteError:
                continue
            if written != site:
                one, _ = trial.edited(Interchange((site,)))
                other, _ = trial.edited(Interchange((written,)))
                yield trial.compare(name, f"{site} and {written}", one, other)


def _causality(trial: Trial) -> Iterator[Check]:
    name = "an edit leaves the tokens before it alone"
    plain = trial.plain(trial.base)
    base, source = (trial.model.prompts.ids(prompt) for prompt in (trial.base, trial.source))
    middle = len(base) // 2
    if plain.ndim != 2 or len(base) < 2:
        yield Check(name, "model", "not applicable", "it answers once for each prompt")
        return
    mixed = trial.plain((*base[:middle], *source[middle:]))
    off, size = distance(mixed[:middle], plain[:middle])
    if off > trial.bound * size:
        reason = f"it looks ahead: later tokens move earlier logits by {off:.2g}"
        yield Check(name, "model", "not applicable", reason)
        return
    for component, sites in trial.sites():
        if sites[0].stack:  # another stack is read by all of this one
            continue
        try:
            trial.model.read(sites[0].at(middle), [trial.base])
        except CausaltestError as error:
            yield Check(name, component, "not applicable", first_line(error))
            continue
        logits, _ = trial.edited(Interchange((sites[0].at(middle),)))
        yield trial.compare(name, component, logits[:middle], plain[:middle])


def _padding(trial: Trial) -> Iterator[Check]:
    name = "a prompt in a batch of unequal lengths gets the answer it gets alone"
    ids = trial.model.prompts.ids(trial.base)
    other = trial.model.prompts.ids(trial.source)
    if len(ids) < 3:
        yield Check(name, "model", "not applicable", "its prompts have one length")
        return
    shorter = next((other[:-less] for less in (2, 1) if _runs(trial, other[:-less])), None)
    if shorter is None:
        yield Check(name, "model", "not applicable", "it runs no shorter prompt, even alone")
        return
    prompts: Sequence[Prompt] = (ids, shorter)
    try:
        alone = [trial.plain(prompt) for prompt in prompts]
        together = [output.logits for output in trial.model.run(prompts)]
    except (CausaltestError, RuntimeError, ValueError, IndexError) as error:
        yield Check(name, "model", "failed", first_line(error))
        return
    for label, one, two in zip(("longer", "shorter"), together, alone, strict=True):
        yield trial.compare(name, f"the {label} prompt", one, two)


def _runs(trial: Trial, prompt: Prompt) -> bool:
    """Return whether a network takes a prompt alone: some that pool tokens take no short ones."""
    try:
        trial.plain(prompt)
    except (CausaltestError, RuntimeError, ValueError, IndexError):
        return False
    return True


def _state(model: Model) -> dict[str, object]:
    network = model.network
    return {
        "weights": {
            name: (tensor.data_ptr(), tensor._version)  # noqa: SLF001 - the trace of a change
            for name, tensor in network.state_dict(keep_vars=True).items()
            if isinstance(tensor, Tensor)
        },
        "training flags": [module.training for module in network.modules()],
        "requires_grad": [parameter.requires_grad for parameter in network.parameters()],
        "hooks": [
            (len(module._forward_hooks), len(module._forward_pre_hooks))  # noqa: SLF001
            for module in network.modules()
        ],
        "configuration": str(getattr(network, "config", "")),
    }


def _as_found(model: Model, before: dict[str, object]) -> Check:
    after = _state(model)
    changed = [name for name, value in before.items() if after[name] != value]
    return Check(
        "the network is left as found",
        "weights, training flags, requires_grad, hooks, configuration",
        "failed" if changed else "passed",
        f"changed: {', '.join(changed)}" if changed else "",
    )
