"""Edits of attention scores and patterns: as many keys as were read, and none that is hidden."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from causaltest.engine.access import Access, Keys, Places, take
from causaltest.engine.given import Given
from causaltest.engine.prompts import Batch
from causaltest.engine.softmax import Softmax, fused, hidden_keys
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention
from causaltest.sites import Site

_RECURRENT = (nn.RNNBase, nn.LSTMCell)


def check_unpadded(site: Site, rows: Batch | Given) -> None:
    """Refuse rows that are padded: their keys would not be the tokens of the prompts.

    Raises
    ------
    InterventionError
        Some row is shorter than the batch.
    """
    if rows.padded:
        raise InterventionError(
            f"{site} has one number for each key, so the prompts that are run together must be of "
            f"equal length; these have {min(rows.lengths)} to {rows.tokens} tokens"
        )


def check_lengths(site: Site, widths: list[int]) -> None:
    """Refuse to put numbers of prompts of unequal length together.

    Raises
    ------
    InterventionError
        There are several widths.
    """
    if len(set(widths)) > 1:
        raise InterventionError(
            f"{site} has one number for each key, but the prompts that are read together have "
            f"{', '.join(map(str, sorted(set(widths))))} numbers there; use prompts of equal "
            "length, or name the keys: dims="
        )


def check_mean(site: Site, entries: Tensor, mean: Tensor) -> None:
    """Refuse a mean over scores some of which a mask hides.

    Raises
    ------
    InterventionError
        Some queries see a key that is hidden from others.
    """
    if bool((mean.isinf() & ~entries.isinf().all(dim=0)).any()):
        raise InterventionError(
            f"{site} has no mean over these queries: a mask hides keys from some of them that "
            "others see, and a hidden key has no score\n"
            "say pos=, so that all see the same keys, or take attention_pattern"
        )


def check_keys(part: Intervention, site: Site, stored: Tensor | None, old: Tensor) -> None:
    """Refuse numbers that were read for another number of keys than there are.

    Raises
    ------
    InterventionError
        With both numbers.
    """
    if stored is not None and stored.numel() and stored.shape[-1] != old.shape[-1]:
        raise InterventionError(
            f"{part}: {site} has one number for each key: {old.shape[-1]} here, but "
            f"{stored.shape[-1]} where they were read; base and source must be of equal length, or "
            "name the keys: dims="
        )


def seen_only(
    part: object,
    site: object,
    *,
    elsewhere: bool,
    access: Access,
    where: Places,
    old: Tensor,
    new: Tensor,
) -> Tensor:
    """Return the new numbers with those of hidden keys as they were.

    Parameters
    ----------
    part, site
        The edit, for messages.
    elsewhere
        Whether what is put in was read in other prompts; an edit of its own, such as zeros, is the
        same for every key.
    access, where
        The entries that are edited.
    old, new
        Their numbers before and after.

    Raises
    ------
    InterventionError
        What was read elsewhere would make a query see a key that is hidden from it here.
    """
    hidden = hidden_keys()
    if hidden is None or not isinstance(access.columns, Keys):
        return new
    out = take(hidden, where, access)
    if elsewhere and bool(((new != old) & out).any()):
        entry, *token, key = (((new != old) & out).nonzero()[0]).tolist()
        position = token[0] if where.positions is None else int(where.positions[entry])
        raise InterventionError(
            f"{part}: what is put in at {site} reaches a key (number {key}) that the mask hides "
            f"from the query at token {position}; choose queries that see the same keys in base "
            "and source"
        )
    return torch.where(out, old, new)


def switched(access: Access, site: Site, network: nn.Module) -> str:
    """Return a remark on how an edit was made, empty where as ever.

    Attention is switched to eager for its patterns, and of the outputs of a recurrent module only
    the first is edited.
    """
    if not isinstance(access.side, Softmax):
        target = network.get_submodule(access.path)
        if str(access.side) == "output" and isinstance(target, _RECURRENT):
            return f"the last states that {access.path} also gives are not edited, only its outputs"
        return ""
    usual = fused(network)
    return f"attention was computed eagerly, not by {usual}, to edit {site}" if usual else ""
