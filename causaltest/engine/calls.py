"""Modules that run several times in one forward pass: which call is meant, and shared layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from causaltest.engine.access import Access
from causaltest.engine.survey import Place, Seen

_CALL = re.compile(r"#(\d+)")


@dataclass
class Turns:
    """Counts the calls of a module in one forward pass, and says when the one that is meant comes.

    Parameters
    ----------
    call
        The call that is meant, from 0; None where the module is to run once.
    seen
        Calls so far.
    """

    call: int | None = None
    seen: int = 0

    def comes(self) -> bool:
        """Count one more call, and return whether it is the one that is meant.

        Examples
        --------
        >>> turns = Turns(1)
        >>> turns.comes(), turns.comes(), turns.comes()
        (False, True, False)
        """
        self.seen += 1
        return self.call is None or self.seen - 1 == self.call

    def missed(self, site: object, path: str, name: str) -> str:
        """Return what is wrong where the call that is meant never came, or an empty string."""
        if self.call is None or self.call < self.seen:
            return ""
        if self.seen == 0:
            return f"{site}: {path} was never reached in one forward pass of {name}"
        runs = "once" if self.seen == 1 else f"{self.seen} times"
        known = "call 0" if self.seen == 1 else f"calls 0-{self.seen - 1}"
        return (
            f"{site}: call {self.call} of {path} does not exist: it runs {runs} in one forward "
            f"pass of {name} ({known})"
        )

    def __str__(self) -> str:
        return "" if self.call is None else f" (call {self.call} of {self.seen})"


def unrolled(
    seen: Mapping[Place, Seen], blocks: Sequence[str]
) -> tuple[Mapping[Place, Seen], tuple[str, ...]]:
    """Give each call of a block that runs several times a path of its own: `path#call`.

    Parameters
    ----------
    seen
        A forward pass in which every call was kept.
    blocks
        Module path of each block.

    Returns
    -------
    seen, blocks
        As they were where each block runs once; else with the calls of each block in the order in
        which they ran.
    """
    counts = {block: seen[block, "output"].calls for block in blocks if (block, "output") in seen}
    if all(count == 1 for count in counts.values()):
        return seen, tuple(blocks)
    calls = [
        (when, f"{block}#{call}")
        for block in counts
        for call, when in enumerate(seen[block, "output"].order)
    ]
    found = dict(seen)
    for (path, side), each in seen.items():
        block = next((name for name in counts if path == name or path.startswith(f"{name}.")), "")
        if not block:
            continue
        for call in range(counts[block]):
            once = each.calls == counts[block]
            own = Seen(1, each.tensors[call]) if once else each
            found[f"{block}#{call}{path.removeprefix(block)}", side] = own
    return found, tuple(path for _, path in sorted(calls))


def inner_blocks(network: nn.Module, blocks: Sequence[str]) -> tuple[str, ...]:
    """Return each block once, and instead of one that is nothing but a list of blocks these.

    Parameters
    ----------
    network
        The network.
    blocks
        Module path of each block.
    """
    found: list[str] = []
    # One module may stand in a list several times: its calls are seen under each of its paths.
    once = {id(network.get_submodule(block)): block for block in reversed(blocks)}
    for block in reversed(once.values()):
        parts = list(network.get_submodule(block).named_children())
        name, inner = parts[0] if len(parts) == 1 else ("", None)
        # Lists of different modules are the sublayers of one block, as in T5.
        if isinstance(inner, nn.ModuleList) and len({type(each) for each in inner}) == 1:
            found += [f"{block}.{name}.{index}" for index in range(len(inner))]
        else:
            found.append(block)
    return tuple(found)


def module_of(path: str) -> str:
    """Return the path of the module itself.

    Examples
    --------
    >>> module_of("layers.0#3.attention")
    'layers.0.attention'
    """
    return _CALL.sub("", path)


def settled(access: Access) -> Access:
    """Return an access by `path#call` as one by path and call."""
    found = _CALL.search(access.path)
    if found is None:
        return access
    return replace(access, path=module_of(access.path), call=int(found[1]))
