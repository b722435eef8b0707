"""Whose turn it is: threads take turns on a network, and hooks of others can be silenced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property, partial
from typing import Any

from torch import nn

# Packages whose hooks are part of a network: they compute weights, move, cast or capture numbers.
# Those of causaltest know themselves when they are meant.
_LIBRARIES = frozenset({"torch", "transformers", "accelerate", "peft", "deepspeed", "causaltest"})


class Turn:
    """A thread's turn on a network.

    Parameters
    ----------
    owner
        The thread.
    network
        What it runs.

    Attributes
    ----------
    modules
        All modules of the network, some of them repeatedly.
    """

    def __init__(self, owner: int, network: nn.Module) -> None:
        self.owner = owner
        self.network = network
        self.modules = _every_module(network)

    @cached_property
    def parts(self) -> frozenset[int]:
        """Identities of the modules; nobody asks for them where networks are run one by one."""
        return frozenset(map(id, self.modules))

    def excludes(self, other: Turn) -> bool:
        """Return whether another turn is of another thread and shares a module with this one."""
        return other.owner != self.owner and not other.parts.isdisjoint(self.parts)


_lock = threading.Lock()
_ended = threading.Condition(_lock)
_running: dict[Turn, None] = {}
_waiting: list[Turn] = []


def turn(network: nn.Module) -> AbstractContextManager[Turn]:
    """Keep other threads from running a network, or any that shares a module with it.

    Hooks and training flags belong to modules, not to a thread's run of them; without turns the
    edits of one thread would reach the runs of another. Networks that share no module run side by
    side. The same thread may take further turns.
    """
    return _Taking(network)


class _Taking:
    """The context of a turn; a class, for a generator takes longer and a small network notices."""

    __slots__ = ("_mine", "_network")

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._mine: Turn | None = None

    def __enter__(self) -> Turn:
        me = threading.get_ident()
        for held in tuple(_running):  # a copy: other threads come and go
            if held.owner == me and held.network is self._network:
                return held
        mine = self._mine = Turn(me, self._network)
        try:
            with _lock:
                if _running and any(map(mine.excludes, _running)):
                    _wait(mine)
                _running[mine] = None
        except BaseException:  # an interrupt, and nobody would end the turn
            self.__exit__()
            raise
        return mine

    def __exit__(self, *_: object) -> None:
        mine, self._mine = self._mine, None
        if mine is None:
            return
        with _lock:
            _running.pop(mine, None)
            if _waiting:
                _ended.notify_all()


def _wait(mine: Turn) -> None:
    """Wait, holding the lock, until no other thread has a turn on the same modules."""
    _waiting.append(mine)
    try:
        while any(map(mine.excludes, _running)):
            _ended.wait()
    finally:
        _waiting.remove(mine)


def _every_module(network: nn.Module) -> list[nn.Module]:
    """Return all modules of a network; one that is used in several places may come repeatedly.

    `modules()` takes longer for it than a small network for a forward pass.
    """
    found = [network]
    opened: set[nn.Module] = set()
    try:
        for module in found:
            if (children := module._modules) and module not in opened:  # noqa: SLF001
                opened.add(module)
                found.extend(children.values())  # pyright: ignore[reportArgumentType]
    except AttributeError:  # a part was set to None
        return list(network.modules())
    return found


def callers_hooks(network: nn.Module) -> Iterator[tuple[dict[int, Callable[..., Any]], int]]:
    """Yield the forward hooks that are neither a library's nor the network's own methods.

    Yields
    ------
    (hooks, key)
        The dict of a module that holds the hook, and its key, which no other hook has.
    """
    for module in dict.fromkeys(_every_module(network)):
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
