"""Whose turn it is: threads take turns on a network, and hooks of others can be silenced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

# Packages whose hooks are part of a network: they compute weights, move, cast or capture numbers.
# Those of causaltest know themselves when they are meant.
_LIBRARIES = frozenset({"torch", "transformers", "accelerate", "peft", "deepspeed", "causaltest"})


@dataclass(frozen=True, eq=False)
class Turn:
    """A thread's turn on a network.

    Parameters
    ----------
    owner
        The thread.
    network, modules, parts
        The network, all its modules, and their identities.
    """

    owner: int
    network: nn.Module
    modules: tuple[nn.Module, ...]
    parts: frozenset[int]


_changed = threading.Condition()
_running: list[Turn] = []


@contextmanager
def turn(network: nn.Module) -> Iterator[Turn]:
    """Keep other threads from running a network, or any that shares a module with it.

    Hooks and training flags belong to modules, not to a thread's run of them; without turns the
    edits of one thread would reach the runs of another. Networks that share no module run side by
    side. The same thread may take further turns.
    """
    me = threading.get_ident()
    turns = tuple(_running)  # a copy: other threads come and go
    held = next((each for each in turns if each.owner == me and each.network is network), None)
    if held is not None:
        yield held
        return
    modules = _every_module(network)
    mine = Turn(me, network, tuple(modules.values()), frozenset(modules))

    def free() -> bool:
        return all(held.owner == me or held.parts.isdisjoint(mine.parts) for held in _running)

    with _changed:
        _changed.wait_for(free)
        _running.append(mine)
    try:
        yield mine
    finally:
        with _changed:
            _running.remove(mine)
            _changed.notify_all()


def _every_module(network: nn.Module) -> dict[int, nn.Module]:
    """Return all modules of a network by their identity.

    `modules()` takes longer for it than a small network for a forward pass.
    """
    found = {id(network): network}
    waiting = [network]
    for module in waiting:
        for child in module._modules.values():  # noqa: SLF001 - children() takes twice as long
            if child is not None and id(child) not in found:
                found[id(child)] = child
                waiting.append(child)
    return found


def callers_hooks(network: nn.Module) -> Iterator[tuple[dict[int, Callable[..., Any]], int]]:
    """Yield the forward hooks that are neither a library's nor the network's own methods.

    Yields
    ------
    (hooks, key)
        The dict of a module that holds the hook, and its key, which no other hook has.
    """
    for module in _every_module(network).values():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):  # noqa: SLF001 - there is no other way to see them
            yield from ((hooks, key) for key, hook in hooks.items() if not _belongs(hook))


def _belongs(hook: Any) -> bool:
    while isinstance(hook, partial):
        hook = hook.func
    package = str(getattr(hook, "__module__", "")).partition(".")[0]
    return package in _LIBRARIES or isinstance(getattr(hook, "__self__", None), nn.Module)


@contextmanager
def muted(network: nn.Module) -> Iterator[None]:
    """Silence the caller's hooks, so that they neither see nor change what is run in the context.

    Each stays registered under its key, and its handle goes on to work.
    """
    aside = [(hooks, key, hooks[key]) for hooks, key in callers_hooks(network)]
    try:
        for hooks, key, _ in aside:
            hooks[key] = _silent
        yield
    finally:
        for hooks, key, hook in aside:
            if key in hooks:
                hooks[key] = hook


def _silent(*_args: Any, **_kwargs: Any) -> None:
    """Do nothing in the place of a hook."""
