"""Whose turn it is: threads take turns on a network, and hooks of others can be silenced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import Any

from torch import nn

# Packages whose hooks are part of a network: they compute weights, move, cast or capture numbers.
# Those of causaltest know themselves when they are meant.
_LIBRARIES = frozenset({"torch", "transformers", "accelerate", "peft", "deepspeed", "causaltest"})


_lock = threading.Lock()
_ended = threading.Condition(_lock)
_running: dict[turn, None] = {}
_waiting: list[turn] = []


class turn:  # noqa: N801 - a context, as contextlib.suppress is
    """Keep other threads from running a network, or any that shares a module with it.

    Hooks and training flags belong to modules, not to a thread's run of them; without turns the
    edits of one thread would reach the runs of another. Networks that share no module run side by
    side. The same thread may take further turns: it gets the one that it has.

    A class, for a generator takes longer and a small network notices.

    Parameters
    ----------
    network
        What is to be run.

    Attributes
    ----------
    owner
        The thread whose turn it is; None before and after.
    """

    __slots__ = ("_parts", "network", "owner")

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.owner: int | None = None
        self._parts: frozenset[int] | None = None

    @property
    def parts(self) -> frozenset[int]:
        """Identities of the modules; nobody asks for them where networks are run one by one."""
        if self._parts is None:
            self._parts = frozenset(map(id, _every_module(self.network)[0]))
        return self._parts

    def excluded(self) -> bool:
        """Return whether another thread has a turn on a network that shares a module with this."""
        return any(
            other.owner != self.owner and not other.parts.isdisjoint(self.parts)
            for other in tuple(_running)  # a copy: turns end without the lock
        )

    def __enter__(self) -> turn:  # noqa: PYI034 - that of the thread, if it has one
        me = get_ident()
        if _running:
            for held in tuple(_running):  # a copy: other threads come and go
                if held.owner == me and held.network is self.network:
                    return held
        try:
            with _lock:
                self.owner = me
                if _running and self.excluded():
                    _wait(self)
                _running[self] = None
        except BaseException:  # an interrupt, and nobody would end the turn
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.owner is None:
            return
        self.owner = None
        _running.pop(self, None)
        # No lock to get here: whoever waits is in `_waiting` before it looks at what runs.
        if _waiting:
            with _lock:
                _ended.notify_all()


def _wait(mine: turn) -> None:
    """Wait, holding the lock, until no other thread has a turn on the same modules."""
    _waiting.append(mine)
    try:
        while mine.excluded():
            _ended.wait()
    finally:
        _waiting.remove(mine)


def in_training(network: nn.Module) -> list[nn.Module]:
    """Return the modules of a network that are in training mode, some of them repeatedly."""
    return _every_module(network)[1]


_MOST_WALKED = 4096


def _every_module(network: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return all modules of a network, and those in training; some may come repeatedly.

    `modules()` takes longer for it than a small network for a forward pass, and so would asking
    which module was met before.
    """
    found: list[nn.Module] = [network]
    training: list[nn.Module] = []
    more = found.extend
    try:
        for module in found:
            holds = module.__dict__
            if holds["training"]:
                training.append(module)
            if children := holds["_modules"]:
                more(children.values())
                if len(found) > _MOST_WALKED:
                    break
        else:
            return found, training
    except (AttributeError, KeyError):  # a part was set to None, or is compiled
        pass
    found = list(network.modules())
    return found, [module for module in found if module.training]


def callers_hooks(network: nn.Module) -> Iterator[tuple[dict[int, Callable[..., Any]], int]]:
    """Yield the forward hooks that are neither a library's nor the network's own methods.

    Yields
    ------
    (hooks, key)
        The dict of a module that holds the hook, and its key, which no other hook has.
    """
    for module in dict.fromkeys(_every_module(network)[0]):
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
