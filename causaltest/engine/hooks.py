"""Hooks: the only place that registers them, and removes its own and no others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from causaltest.engine.access import primary, with_primary
from causaltest.engine.turns import turn
from causaltest.errors import InterventionError

Operation = Callable[[Tensor], Tensor | None]


class Inside(ABC):
    """A place within the computation of a module, neither what it takes nor what it gives.

    Subclasses are frozen dataclasses: equal places share their hooks.
    """

    @abstractmethod
    def attach(self, network: nn.Module, path: str, operation: Operation) -> Sequence[Any]:
        """Register what applies an operation there, and return handles that `remove` it.

        Parameters
        ----------
        network, path
            The model, and the module in it.
        operation
            Gets the activation, (rows, tokens, width), and returns its replacement, or itself.
        """


Side = Literal["input", "output"] | Inside


class AllRead(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside a forward pass when everything wanted has been read."""


@contextmanager
def attached(
    network: nn.Module,
    operations: Sequence[tuple[str, Side, Operation]],
    *,
    give_way: bool = False,
) -> Iterator[None]:
    """Attach operations to module inputs and outputs for the length of the context.

    Other threads wait until it ends.

    Parameters
    ----------
    network
        The model; its own hooks and those of the caller stay as they are.
    operations
        (module path, side, operation) in the order they apply. An operation gets the activation
        and returns its replacement, or None to leave it alone.
    give_way
        Put these operations aside while others are attached to the same modules. So a context that
        a user holds open, for the sake of `backward`, leaves other runs in it as they are declared.

    Raises
    ------
    InterventionError
        A module has no tensor at that side.
    """
    grouped: dict[tuple[str, Side], list[Operation]] = {}
    for path, side, operation in operations:
        grouped.setdefault((path, side), []).append(operation)
    handles: list[Any] = []
    with (
        turn(network) as held,
        _in_place_of_others(held.parts, list(grouped.values()), give_way=give_way),
    ):
        try:
            for (path, side), chain in grouped.items():
                target = network.get_submodule(path)
                if isinstance(side, Inside):
                    handles.extend(side.attach(network, path, partial(_run, chain)))
                elif side == "output":
                    hook = _output_hook(path, chain)
                    handles.append(target.register_forward_hook(hook, with_kwargs=True))
                else:
                    pre_hook = _input_hook(path, chain)
                    handles.append(target.register_forward_pre_hook(pre_hook, with_kwargs=True))
            yield
        finally:
            for handle in reversed(handles):  # what was switched last is restored first
                handle.remove()


# Operations that give way, by the attachment that made them, with the modules of its network.
_in_force: dict[object, tuple[frozenset[int], list[list[Operation]]]] = {}


@contextmanager
def _in_place_of_others(
    parts: frozenset[int], chains: list[list[Operation]], *, give_way: bool
) -> Iterator[None]:
    """Put the operations that give way aside while those of this context are in force."""
    this = object()
    outer = [(chain, list(chain)) for each in _sharing(parts) for chain in each]
    for chain, _ in outer:
        chain.clear()
    if give_way:
        _in_force[this] = parts, chains
    try:
        yield
    finally:
        _in_force.pop(this, None)
        for chain, kept in outer:
            chain.extend(kept)


def _sharing(parts: frozenset[int]) -> list[list[list[Operation]]]:
    found = list(_in_force.values())  # a copy: another thread may add to them meanwhile
    return [chains for others, chains in found if not parts.isdisjoint(others)]


def edited_now(network: nn.Module) -> bool:
    """Return whether a context is open whose operations on modules of a network give way."""
    with turn(network) as held:
        return any(_sharing(held.parts))


@contextmanager
def watched(network: nn.Module, note: Callable[[str, object, object], None]) -> Iterator[None]:
    """Tell what every module takes and gives for the length of the context.

    Parameters
    ----------
    network
        The model; a module that has several paths is told of under each.
    note
        Called after each call of a module with (path, the argument that carries its activation or
        None, its output).
    """

    def watch(path: str) -> Callable[..., None]:
        def hook(
            _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object
        ) -> None:
            key = None if args else _activation_name(kwargs)
            note(path, args[0] if args else kwargs.get(key or ""), output)

        return hook

    handles: list[Any] = []
    try:
        for path, target in network.named_modules(remove_duplicate=False):
            if path:
                handles.append(target.register_forward_hook(watch(path), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def announced(network: nn.Module, note: Callable[[Tensor], None]) -> Iterator[None]:
    """Tell of every forward pass of a network, before it runs, for the length of the context.

    Parameters
    ----------
    network
        The model that is called with token ids.
    note
        Called with the ids, (rows, tokens).
    """

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if not isinstance(ids, Tensor):
            raise InterventionError(
                f"{type(network).__name__} was run without input_ids; edits cannot be placed"
            )
        note(ids)

    handle = network.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _output_hook(path: str, chain: list[Operation]) -> Callable[..., Any]:
    def hook(_module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> Any:
        before = primary(output, f"{path}.output")
        after = _run(chain, before)
        return None if after is before else with_primary(output, after)

    return hook


def _input_hook(path: str, chain: list[Operation]) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = None if args else _input_name(kwargs, path)
        before = primary(args[0] if key is None else kwargs[key], f"{path}.input")
        after = _run(chain, before)
        if after is before:
            return None
        if key is None:
            return (with_primary(args[0], after), *args[1:]), kwargs
        return args, {**kwargs, key: with_primary(kwargs[key], after)}

    return hook


def _input_name(kwargs: Mapping[str, Any], path: str) -> str:
    name = _activation_name(kwargs)
    if name is not None:
        return name
    raise InterventionError(
        f"{path}.input: cannot tell which argument is the activation ({', '.join(kwargs)}); "
        "use the output of the module before it"
    )


def _activation_name(kwargs: Mapping[str, Any]) -> str | None:
    for name in ("hidden_states", "input", "x"):
        if isinstance(kwargs.get(name), Tensor):
            return name
    tensors = [name for name, value in kwargs.items() if isinstance(value, Tensor)]
    return tensors[0] if len(tensors) == 1 else None


def _run(chain: list[Operation], tensor: Tensor) -> Tensor:
    for operation in chain:
        changed = operation(tensor)
        tensor = tensor if changed is None else changed
    return tensor


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Switch dropout and batch statistics off, and restore every module's own training flag.

    Other threads wait until the context ends.
    """
    with turn(network) as held:
        training = [module for module in held.modules if module.training]
        for module in training:
            module.training = False
        try:
            yield
        finally:
            for module in training:
                module.training = True
