"""Hooks: the only place that registers them, and removes its own and no others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any, Literal

from torch import Tensor, nn

from causaltest.engine.access import primary, with_primary
from causaltest.engine.turns import in_training, turn
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


class attached:  # noqa: N801 - a context, as contextlib.suppress is
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
    evaluates
        Switch dropout off as well, as `evaluating` does: a small network notices a second context.

    Raises
    ------
    InterventionError
        A module has no tensor at that side.

    Notes
    -----
    A class, since a generator would take twice as long.
    """

    _training: Sequence[nn.Module] = ()
    _aside: Sequence[tuple[list[Operation], list[Operation]]] = ()

    def __init__(
        self,
        network: nn.Module,
        operations: Sequence[tuple[str, Side, Operation]],
        *,
        give_way: bool = False,
        evaluates: bool = False,
    ) -> None:
        self._chains: dict[tuple[str, Side], list[Operation]] = {}
        for path, side, operation in operations:
            self._chains.setdefault((path, side), []).append(operation)
        self._network = network
        self._give_way = give_way
        self._evaluates = evaluates
        self._turn = turn(network)
        self._removals: list[Callable[[], object]] = []

    def __enter__(self) -> None:
        try:
            held = self._turn.__enter__()
            if self._evaluates:
                self._training = in_training(self._network)
                for module in self._training:
                    module.training = False
            if _in_force:
                self._put_aside(held)
            if self._give_way:
                _in_force[self] = held.parts, list(self._chains.values())
            for (path, side), chain in self._chains.items():
                if side == "output":
                    target = _module_at(self._network, path)
                    self._removals.append(_on_output(target, _output_hook(path, chain)))
                else:
                    handles = _register(self._network, path, side, chain)
                    self._removals.extend(each.remove for each in handles)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            for remove in reversed(self._removals):  # what was switched last is restored first
                remove()
            if self._give_way:
                _in_force.pop(self, None)
            for chain, kept in self._aside:
                chain[:] = kept
            for module in self._training:
                module.training = True
        finally:
            self._turn.__exit__(None, None, None)

    def _put_aside(self, held: turn) -> None:
        """Empty the operations that give way, for as long as those of this context are in force."""
        self._aside = [(chain, list(chain)) for each in _sharing(held) for chain in each]
        for chain, _ in self._aside:
            chain.clear()


def attach_to(network: nn.Module, path: str, side: Side, operation: Operation) -> Sequence[Any]:
    """Register what applies an operation at a place, and return handles that `remove` it."""
    return _register(network, path, side, [operation])


def _register(network: nn.Module, path: str, side: Side, chain: list[Operation]) -> Sequence[Any]:
    if side == "output":
        hook = _output_hook(path, chain)
        return (_module_at(network, path).register_forward_hook(hook),)
    if side == "input":
        target, pre_hook = _module_at(network, path), _input_hook(path, chain)
        return (target.register_forward_pre_hook(pre_hook, with_kwargs=True),)
    return side.attach(network, path, partial(_run, chain))


_keys = count(-1, -1)
"""Those that torch gives to hooks are not negative."""


_theirs = nn.Module.register_forward_hook


def _on_output(target: nn.Module, hook: Callable[..., Any]) -> Callable[[], object]:
    """Do what `register_forward_hook` does, and return what removes the hook.

    A `RemovableHandle` takes ten times as long to make; but some kind of module may have a way of
    its own to register hooks.
    """
    if type(target).register_forward_hook is not _theirs:
        return target.register_forward_hook(hook).remove
    hooks, key = target._forward_hooks, next(_keys)  # noqa: SLF001
    hooks[key] = hook
    return partial(hooks.pop, key, None)


def _module_at(network: nn.Module, path: str) -> nn.Module:
    """Return what `get_submodule` does, for paths that lead through registered modules alone."""
    found = network
    for name in path.split(".") if path else ():
        child = found._modules.get(name)  # noqa: SLF001 - get_submodule takes ten times as long
        if child is None:
            return network.get_submodule(path)
        found = child
    return found


# Operations that give way, by the attachment that made them, with the modules of its network.
_in_force: dict[object, tuple[frozenset[int], list[list[Operation]]]] = {}


def _sharing(held: turn) -> list[list[list[Operation]]]:
    found = list(_in_force.values())  # a copy: another thread may add to them meanwhile
    return [chains for others, chains in found if not held.parts.isdisjoint(others)]


def edited_now(network: nn.Module) -> bool:
    """Return whether a context is open whose operations on modules of a network give way."""
    with turn(network) as held:
        return any(_sharing(held))


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
    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        bare = isinstance(output, Tensor)  # most are, and a small network notices every call
        before = after = output if bare else primary(output, f"{path}.output")
        for operation in chain:
            changed = operation(after)
            after = after if changed is None else changed
        if after is before:
            return None
        return after if bare else with_primary(output, after)

    return hook


def _input_hook(path: str, chain: list[Operation]) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = None if args else _input_name(kwargs, path)
        before = primary(args[0] if key is None else kwargs[key], f"{path}.input")
        after = _run(chain, before)
        if after is before:
            return None
        # Some modules take one activation as several arguments, as queries, keys and values.
        others = tuple(after if each is before else each for each in args[1:])
        named = {name: after if each is before else each for name, each in kwargs.items()}
        if key is None:
            return (with_primary(args[0], after), *others), named
        return args, {**named, key: with_primary(kwargs[key], after)}

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
    with turn(network):
        training = in_training(network)
        try:
            for module in training:
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True
