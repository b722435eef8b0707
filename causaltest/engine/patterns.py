"""Finding attention scores and patterns, and proof that the attention uses what is put there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from causaltest.engine.access import Access, Keys
from causaltest.engine.axes import of_attention, turned
from causaltest.engine.calls import module_of, unrolled
from causaltest.engine.layouts import Layout
from causaltest.engine.softmax import Act, Kind, Soft, Softmax, eager, listen
from causaltest.engine.survey import Place, Seen, survey
from causaltest.engine.turns import turn
from causaltest.errors import CausaltestError
from causaltest.sites import KEYED, LAYER_COMPONENTS

Accesses = MutableMapping[tuple[str, int | None], Access]

_CROSSING = "cross_"
_OTHERS = "attends to other things than the tokens"
_ROWS_SUM_TO = 1e-3


@dataclass(frozen=True)
class Probe:
    """A network, how to run it on a few tokens, and where its axes are not the usual ones."""

    network: nn.Module
    forward: Callable[[Tensor], object]
    ids: Tensor
    layouts: Mapping[Place, Layout] = field(default_factory=dict)


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
    crossing
        Whether its keys are another stack's tokens, not those that ask.
    """

    path: str
    call: int
    mixed: Access
    crossing: bool


@dataclass
class _Heard:
    """Scores and patterns of the softmaxes of a module: one list for each call."""

    calls: list[list[tuple[Tensor, Tensor]]] = field(default_factory=lambda: [[]])

    def at(self, call: int) -> list[tuple[Tensor, Tensor]]:
        """Return those of one call."""
        return self.calls[call] if call < len(self.calls) else []


def settle_patterns(
    probe: Probe,
    several: Mapping[Place, Seen],
    blocks: tuple[str, ...],
    accesses: Accesses,
    missing: MutableMapping[str, str],
) -> dict[int, Tensor]:
    """Offer scores and patterns of the layers where they are one softmax that is really used.

    Attention computed eagerly must give what it gives otherwise, the softmax must have one row of
    probabilities for each head and query, and without what the last head's row gives to the keys
    that head, and no other, must mix nothing: so columns behind the keys, of a sink, have no value.

    Parameters
    ----------
    probe
        The network, and tokens to run it on.
    several
        What was seen in a plain run on these.
    blocks
        The stack's blocks; `path#call` where a block runs several times.
    accesses
        Components found so far; gets scores and patterns, of cross-attention too.
    missing
        Gets the reason where there are none.

    Returns
    -------
    dict
        The pattern of each layer that has one, (rows, heads, queries, keys), for these tokens.
    """
    patterns: dict[int, Tensor] = {}
    known: dict[tuple[str, int], _Attention] = {}
    for prefix in ("", _CROSSING):
        found = dict(_attentions(prefix, blocks, accesses))
        known |= {(prefix, layer): each for layer, each in found.items()}
        if not found:
            _missing(missing, prefix, _unknown(prefix, accesses, missing))
    try:
        heard, plain, without = _eagerly(probe, known.values(), blocks)
    except (CausaltestError, RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = f"attention does not run eagerly: {str(error).splitlines()[0]}"
        for prefix, _ in known:
            _missing(missing, prefix, reason)
        return patterns
    agree = bool(known) and _agree(plain, several, blocks)
    for (prefix, layer), each in known.items():
        softmaxes = heard[each.path].at(each.call)
        unfit = "attention computed eagerly gives other activations"
        if agree:
            unfit = _unfit(each, softmaxes, plain, without)
        if unfit:
            _missing(missing, prefix, unfit)
            continue
        call = each.call if "#" in blocks[layer] else None
        own = list(probe.network.get_submodule(each.path).parameters())
        _offer(each, softmaxes[0], (prefix, layer, call), own, accesses=accesses, missing=missing)
        if not prefix:
            pattern = softmaxes[0][1].flatten(1, -3)
            patterns[layer] = pattern[..., : pattern.shape[-2]]
    _settle_reasons(accesses, missing)
    return patterns


def _settle_reasons(accesses: Accesses, missing: MutableMapping[str, str]) -> None:
    """Drop reasons for what some layer has, and say why cross-attention is not apart."""
    present = {found for found, _ in accesses}
    for component in present & KEYED:
        missing.pop(component, None)
    if _OTHERS in missing.get("attention_pattern", ""):  # among them the encoder's tokens, perhaps
        crossing = {name for name in LAYER_COMPONENTS if name.startswith(_CROSSING)} - present
        missing.update(dict.fromkeys(crossing, missing["attention_pattern"]))


def _eagerly(
    probe: Probe, known: Iterable[_Attention], blocks: tuple[str, ...]
) -> tuple[dict[str, _Heard], Mapping[Place, Seen], Mapping[Place, Seen]]:
    """Return what was heard in attention computed eagerly, and runs with the last head and without.

    Both are empty where there is no attention to listen to.
    """
    crossing = {each.path: each.crossing for each in known}
    heard = {path: _Heard() for path in crossing}
    if not heard:
        return heard, {}, {}
    plain = _run(probe, {path: _record(heard[path]) for path in heard})
    mutes = {path: _mute(heard[path], crossing=crossing[path]) for path in heard}
    own = tuple(map(module_of, blocks))
    return heard, unrolled(plain, own)[0], unrolled(_run(probe, mutes), own)[0]


def _offer(
    each: _Attention,
    heard: tuple[Tensor, Tensor],
    where: tuple[str, int, int | None],
    own: Sequence[Tensor],
    *,
    accesses: Accesses,
    missing: MutableMapping[str, str],
) -> None:
    """Offer the scores and the pattern of one attention; scores not beside a sink that may move."""
    (scores, pattern), (prefix, layer, call), heads = heard, where, each.mixed.heads or 1
    sinks = 0 if each.crossing else pattern.shape[-1] - pattern.shape[-2]
    kinds: tuple[Kind, ...] = ("pattern", "scores")
    if sinks and not _stands(scores[..., -sinks:], own):
        reason = f"{each.path} does not enter the scores of its sink as they are"
        missing[f"{prefix}attention_scores"], kinds = reason, kinds[:1]
    for kind in kinds:
        accesses[f"{prefix}attention_{kind}", layer] = Access(
            each.path, Softmax(kind, sinks), columns=Keys(heads), heads=heads, call=call
        )


def _stands(sinks: Tensor, own: Sequence[Tensor]) -> bool:
    """Return whether scores of sinks are numbers that a module has, the same for every query."""
    first = sinks[:1, ..., :1, :]
    known = [each.detach().to(first) for each in own if each.numel() == first.numel()]
    same = any(torch.allclose(each.flatten(), first.flatten()) for each in known)
    return same and torch.allclose(sinks, first.expand_as(sinks))


def _missing(missing: MutableMapping[str, str], prefix: str, reason: str) -> None:
    missing.update({f"{prefix}attention_{kind}": reason for kind in ("scores", "pattern")})


def _unknown(prefix: str, accesses: Accesses, missing: Mapping[str, str]) -> str:
    """Return why no attention of a kind is known by head."""
    mixed = f"{prefix}attention_value_output"
    if any(found == mixed for found, _ in accesses) or not prefix:
        return "its heads' mixed values are not known"
    return missing.get(mixed, "no module of a known name and shape computes it")


def _attentions(
    prefix: str, blocks: tuple[str, ...], accesses: Accesses
) -> Iterator[tuple[int, _Attention]]:
    """Yield layer and attention where mixed values are known by head."""
    for layer in range(len(blocks)):
        whole = None if prefix else accesses.get(("attention_input", layer))
        part = accesses.get((f"{prefix}query_output", layer))
        mixed = accesses.get((f"{prefix}attention_value_output", layer))
        if mixed is None or not mixed.heads or not mixed.width:
            continue
        if whole is not None:
            path = whole.path
        elif part is not None:
            path = _around(part.path, mixed.path)
        else:
            continue
        _, _, call = blocks[layer].partition("#")
        yield layer, _Attention(module_of(path), int(call or 0), mixed, bool(prefix))


def _around(one: str, other: str) -> str:
    """Return the path of the innermost module that holds both."""
    parts = zip(one.split("."), other.split("."), strict=False)
    return ".".join(each for each, _ in takewhile(lambda pair: pair[0] == pair[1], parts))


def _record(heard: _Heard) -> tuple[Act, Callable[[], None]]:
    def act(scores: Tensor, soft: Soft) -> Tensor:
        pattern = soft(scores)
        heard.calls[-1].append((scores.detach().clone(), pattern.detach().clone()))
        return pattern

    return act, lambda: heard.calls.append([])


def _mute(heard: _Heard, *, crossing: bool) -> tuple[Act, Callable[[], None]]:
    """Return what takes all keys from the last head, where there is one softmax."""

    def act(scores: Tensor, soft: Soft) -> Tensor:
        pattern = soft(scores)
        if any(len(call) > 1 for call in heard.calls):
            return pattern
        pattern = pattern.clone()
        last = pattern[:, -1] if pattern.ndim == 4 else pattern[:, -1, -1]
        keys = pattern.shape[-1] if crossing else pattern.shape[-2]
        last[..., :keys], last[..., keys:] = 0, 1
        return pattern

    return act, lambda: None


def _run(probe: Probe, acts: Mapping[str, tuple[Act, Callable[[], None]]]) -> Mapping[Place, Seen]:
    """Run eagerly, with every softmax in some attention modules done by another function."""
    handles: list[Any] = []
    with turn(probe.network):  # else another thread's run would have these functions too
        try:
            for path, (act, done) in acts.items():
                layout = of_attention(path, probe.layouts)
                handles.extend(listen(probe.network.get_submodule(path), act, done, layout))
            with eager(probe.network):
                seen = survey(probe.network, probe.forward, probe.ids, every=True)
            return turned(seen, probe.layouts)
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
    softmaxes: Sequence[tuple[Tensor, Tensor]],
    plain: Mapping[Place, Seen],
    without: Mapping[Place, Seen],
) -> str:
    """Return why an attention's softmax cannot be its pattern, or an empty string."""
    if len(softmaxes) != 1:
        count = "no softmax" if not softmaxes else f"{len(softmaxes)} softmaxes"
        return f"{each.path} computes {count} over keys that can be seen"
    pattern, heads = softmaxes[0][1], each.mixed.heads or 1
    beyond = 0 if each.crossing else pattern.shape[-1] - pattern.shape[-2]
    sums = pattern.double().sum(dim=-1)
    if not bool(((sums - 1).abs() <= max(_ROWS_SUM_TO, torch.finfo(pattern.dtype).eps * 16)).all()):
        return f"{each.path}: rows of its pattern do not sum to 1"
    mixed = each.mixed
    before, after = (seen[mixed.path, mixed.side].tensor for seen in (plain, without))
    if before is None or after is None:
        return f"{each.path}: what it mixes was not seen"
    size = (mixed.width or 0) // heads
    kept, gone = after[..., : -size or None], after[..., -size:]
    silent = bool((gone == 0).all()) and bool((before[..., -size:] != 0).any())
    if beyond < 0 or (beyond and not silent) or pattern.flatten(1, -3).shape[1] != heads:
        keys = f"{pattern.shape[-1]} keys for {pattern.shape[-2]} tokens"
        return (
            f"{each.path} {_OTHERS}, in one softmax ({keys}); what its heads mix of both is "
            "head_attention_value_output"
        )
    if not silent or (heads > 1 and not bool((kept != 0).any())):
        return f"{each.path}: that its pattern weighs what its heads mix could not be verified"
    return ""
