"""Whether a network is still what it was: its weights, plain settings, and hooks of the caller."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from causaltest.engine.turns import callers_hooks

_PLAIN = (bool, int, float, str, type(None))
_WIDTHS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ROW = 512
_SMALL = 2**14


def standing(network: nn.Module) -> tuple[object, ...]:
    """Return what is equal as long as nothing that a network computes by was changed.

    Returns
    -------
    tuple
        Weights and settings; equal to no other where the caller has hooks, since what these do may
        change at any time.

    Examples
    --------
    >>> network = nn.Linear(2, 2)
    >>> before = standing(network)
    >>> network.weight.data *= 2
    >>> standing(network) == before
    False
    """
    settings = [
        (name, key, value if isinstance(value, _PLAIN) else tuple(value))
        for name, module in network.named_modules()
        for key, value in vars(module).items()
        if key != "training" and _is_plain(value)
    ]
    hooks = [object() for _ in callers_hooks(network)]
    return (*weights(network), *settings, *hooks)


def weights(network: nn.Module) -> tuple[tuple[object, ...], ...]:
    """Return what is equal as long as weights and buffers are the same.

    Of each its name, type, shape, count of changes, and `bits`.
    """
    held = (*network.named_parameters(), *network.named_buffers())
    return tuple(
        (name, str(each.dtype), tuple(each.shape), each._version, bits(each))  # noqa: SLF001 - the count of changes
        for name, each in held
    )


def bits(tensor: Tensor) -> tuple[int, ...] | None:
    """Return sums over a tensor's bits, taken as whole numbers, that show where they stand.

    Any one change shows, and so does an exchange of rows, which counts of changes need not see.

    Returns
    -------
    tuple of int
        None where the numbers cannot be looked at.
    """
    if tensor.is_meta:
        return None
    try:
        found = tensor.detach().contiguous().flatten()
        if found.dtype.itemsize not in _WIDTHS:
            found = torch.view_as_real(found).contiguous().flatten()
        size = found.numel() * found.dtype.itemsize
        wide = size % 8 == 0 and found.storage_offset() * found.dtype.itemsize % 8 == 0
        whole = found.view(torch.int64 if wide else _WIDTHS[found.dtype.itemsize])
        return tuple(map(int, _sums(whole)))
    except (RuntimeError, KeyError):
        return None


def _sums(numbers: Tensor) -> list[Tensor]:
    """Return sums of whole numbers in which each row and each column has a weight of its own."""
    if len(numbers) <= _SMALL:
        return [_weighted(numbers.long())]
    main = numbers[: len(numbers) // _ROW * _ROW].view(-1, _ROW)
    rest = numbers[main.numel() :].long()
    sums = main.sum(0, dtype=torch.int64), main.sum(1, dtype=torch.int64), rest
    return [_weighted(each) for each in sums]


def _weighted(numbers: Tensor) -> Tensor:
    """Return the sum of numbers times odd weights: a change of any one changes it."""
    odd = torch.arange(1, 2 * len(numbers), 2, device=numbers.device, dtype=torch.int64)
    return (numbers * odd).sum()


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(each, _PLAIN) for each in value)  # pyright: ignore[reportUnknownVariableType]
    return isinstance(value, _PLAIN)
