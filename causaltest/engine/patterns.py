"""Finding attention scores and patterns, and proof that the attention uses what is put there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from causaltest.engine.access import Access, Keys
from causaltest.engine.calls import module_of, unrolled
from causaltest.engine.softmax import Act, Soft, Softmax, eager, flat, listen
from causaltest.engine.survey import Place, Seen, survey
from causaltest.errors import CausaltestError

Accesses = MutableMapping[tuple[str, int | None], Access]

_COMPONENTS = ("attention_scores", "attention_pattern")
_ROWS_SUM_TO = 1e-3


@dataclass(frozen=True)
class Probe:
    """A network, and how to run it on a few tokens."""

    network: nn.Module
    forward: Callable[[Tensor], object]
    ids: Tensor


@dataclass(frozen=True)
class _Attention:
    """The attention of one block, as it was found in a plain forward pass.

    Parameters
    ----------
    path
        The attention module.
    call
        Which of its calls; 0 where it runs once.
    mixed
        Where its heads' mixed values are.
    """

    path: str
    call: int
    mixed: Access


@dataclass
class _Heard:
    """What was computed in the softmaxes of a module: one list for each call."""

    calls: list[list[Tensor]] = field(default_factory=lambda: [[]])


def settle_patterns(
    probe: Probe,
    several: Mapping[Place, Seen],
    blocks: tuple[str, ...],
    accesses: Accesses,
    missing: MutableMapping[str, str],
) -> None:
    """Offer scores and patterns of the layers where they are one softmax that is really used.

    Attention computed eagerly must give what it gives otherwise, the softmax must have one row of
    probabilities for each head and query, and without the last head's pattern that head, and no
    other, must mix nothing.

    Parameters
    ----------
    probe
        The network, and tokens to run it on.
    several
        What was seen in a plain run on these.
    blocks
        The stack's blocks; `path#call` where a block runs several times.
    accesses
        Components found so far; gets scores and patterns.
    missing
        Gets the reason where there are none.
    """
    known = _attentions(blocks, accesses)
    if not known:
        missing.update(dict.fromkeys(_COMPONENTS, "its heads' mixed values are not known"))
        return
    paths = tuple(dict.fromkeys(each.path for each in known.values()))
    heard = {path: _Heard() for path in paths}
    try:
        plain = _run(probe, {path: _record(heard[path]) for path in paths})
        without = _run(probe, {path: _mute(heard[path]) for path in paths})
    except (CausaltestError, RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = f"attention does not run eagerly: {str(error).splitlines()[0]}"
        missing.update(dict.fromkeys(_COMPONENTS, reason))
        return
    plain, without = (unrolled(each, tuple(map(module_of, blocks)))[0] for each in (plain, without))
    if not _agree(plain, several, blocks):
        reason = "attention computed eagerly gives other activations"
        missing.update(dict.fromkeys(_COMPONENTS, reason))
        return
    for layer, each in known.items():
        unfit = _unfit(each, heard[each.path], plain, without)
        if unfit:
            missing.update(dict.fromkeys(_COMPONENTS, unfit))
            continue
        heads = each.mixed.heads or 1
        call = each.call if "#" in blocks[layer] else None
        for component in _COMPONENTS:
            kind = "scores" if component == "attention_scores" else "pattern"
            accesses[component, layer] = Access(
                each.path, Softmax(kind), columns=Keys(heads), heads=heads, call=call
            )
    for component in _COMPONENTS:
        if any(found == component for found, _ in accesses):
            missing.pop(component, None)


def _attentions(blocks: tuple[str, ...], accesses: Accesses) -> dict[int, _Attention]:
    """Return the attention of each layer whose mixed values are known by head."""
    known: dict[int, _Attention] = {}
    for layer in range(len(blocks)):
        attention = accesses.get(("attention_input", layer))
        mixed = accesses.get(("attention_value_output", layer))
        if attention is not None and mixed is not None and mixed.heads and mixed.width:
            _, _, call = blocks[layer].partition("#")
            known[layer] = _Attention(module_of(attention.path), int(call or 0), mixed)
    return known


def _record(heard: _Heard) -> tuple[Act, Callable[[], None]]:
    def act(scores: Tensor, soft: Soft) -> Tensor:
        pattern = soft(scores)
        heard.calls[-1].append(pattern.detach().clone())
        return pattern

    return act, lambda: heard.calls.append([])


def _mute(heard: _Heard) -> tuple[Act, Callable[[], None]]:
    """Return what takes the last head's pattern away, where there is one softmax."""

    def act(scores: Tensor, soft: Soft) -> Tensor:
        pattern = soft(scores)
        if all(len(call) <= 1 for call in heard.calls) and pattern.ndim == 4:
            pattern = pattern.clone()
            pattern[:, -1] = 0
        elif all(len(call) <= 1 for call in heard.calls):
            pattern = pattern.clone()
            pattern[:, -1, -1] = 0
        return pattern

    return act, lambda: None


def _run(probe: Probe, acts: Mapping[str, tuple[Act, Callable[[], None]]]) -> Mapping[Place, Seen]:
    """Run eagerly, with every softmax in some attention modules done by another function."""
    handles: list[Any] = []
    try:
        for path, (act, done) in acts.items():
            handles.extend(listen(probe.network.get_submodule(path), act, done))
        with eager(probe.network):
            return survey(probe.network, probe.forward, probe.ids, every=True)
    finally:
        for handle in handles:
            handle.remove()


def _agree(one: Mapping[Place, Seen], other: Mapping[Place, Seen], blocks: tuple[str, ...]) -> bool:
    for block in blocks:
        got, wanted = one[block, "output"].tensor, other[block, "output"].tensor
        if got is None or wanted is None or got.shape != wanted.shape:
            return False
        off = float((got.double() - wanted.double()).abs().max())
        eps = torch.finfo(wanted.dtype).eps
        if not off <= max(1e-3, 32 * eps) * max(1.0, float(wanted.double().abs().max())):
            return False
    return True


def _unfit(
    each: _Attention,
    heard: _Heard,
    plain: Mapping[Place, Seen],
    without: Mapping[Place, Seen],
) -> str:
    """Return why an attention's softmax cannot be its pattern, or an empty string."""
    softmaxes = heard.calls[each.call] if each.call < len(heard.calls) else []
    if len(softmaxes) != 1:
        count = "no softmax" if not softmaxes else f"{len(softmaxes)} softmaxes"
        return f"{each.path} computes {count} over keys that can be seen"
    pattern, heads = flat(softmaxes[0]), each.mixed.heads or 1
    if pattern.shape[-1] != heads * pattern.shape[1]:
        return f"{each.path} attends to other things than the tokens"
    sums = pattern.unflatten(-1, (heads, -1)).double().sum(dim=-1)
    if not bool(((sums - 1).abs() <= max(_ROWS_SUM_TO, torch.finfo(pattern.dtype).eps * 16)).all()):
        return f"{each.path}: rows of its pattern do not sum to 1"
    mixed = each.mixed
    before, after = (seen[mixed.path, mixed.side].tensor for seen in (plain, without))
    if before is None or after is None:
        return f"{each.path}: what it mixes was not seen"
    size = (mixed.width or 0) // heads
    kept, gone = after[..., : -size or None], after[..., -size:]
    silent = bool((gone == 0).all()) and bool((before[..., -size:] != 0).any())
    if not silent or (heads > 1 and not bool((kept != 0).any())):
        return f"{each.path}: that its pattern weighs what its heads mix could not be verified"
    return ""
