"""Whatever a caller gives as prompts, as rows; and one tensor for all rows as one for each."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from operator import index

from torch import Tensor

from causaltest.engine.given import Given
from causaltest.engine.prompts import Batch, Row
from causaltest.errors import ModelError
from causaltest.pairs import Pair, Prompt


def for_each_row(tensor: Tensor, rows: Batch | Given) -> Tensor:
    """Give every row its own of what a network computes once for all, as position embeddings."""
    shared = tensor.ndim >= 3 and tensor.shape[0] == 1 and len(rows.rows) > 1
    return tensor.expand(len(rows.rows), *tensor.shape[1:]) if shared else tensor


def rows_not_first(where: str, shape: tuple[int, ...], plain: tuple[int, ...], tokens: int) -> str:
    """Return what is wrong with an activation whose first axis is not the rows.

    Parameters
    ----------
    where
        The activation.
    shape, plain
        Its shape, and that in a run of one prompt of so many tokens.
    tokens
        As many.
    """
    turned = plain[:2] == (tokens, 1)
    advice = (
        "its tokens stand before its rows; say batch_first=True where the module has it"
        if turned
        else "choose the input or output of another module"
    )
    return (
        f"{where} has shape {shape}, and its first axis is not the rows: one prompt of {tokens} "
        f"tokens gives {plain}\n{advice}"
    )


def more_than_tokens(where: str, shape: tuple[int, ...], tokens: int) -> str:
    """Return what is wrong with a position where there are more of them than tokens in a prompt.

    Parameters
    ----------
    where
        The activation.
    shape
        Its shape, (rows, positions, ...).
    tokens
        How many tokens the longest prompt of the batch has.
    """
    more = shape[1] - tokens
    has = "one token" if tokens == 1 else f"{tokens} tokens"
    return (
        f"{where} has shape {shape}: {more} positions more than the {has} of the prompt, "
        "perhaps those of an image or a sound, and which of them a token is cannot be told\n"
        f"give prompts with {more} placeholder ids where these stand, and take them out again in "
        "forward=; or leave out pos= to edit the whole activation"
    )


class _Changeable(Exception):  # noqa: N818 - a signal, not an error
    """Raised where a prompt's ids are tensors, which are the same when their numbers are not."""


def as_row(prompt: Prompt | Pair | Row) -> Row:
    """Return a prompt, or a pair's base, as a row."""
    if isinstance(prompt, (str, tuple)):
        try:
            return _alone(prompt)
        except _Changeable:
            return Row(tuple(index(each) for each in prompt if not isinstance(each, str)))
        except TypeError:  # what is no token id is refused by whoever runs it
            return Row(prompt)
    if isinstance(prompt, Row):
        return prompt
    if isinstance(prompt, Pair):
        return Row.of(prompt, "base")
    return Row(tuple(prompt))


@lru_cache(maxsize=256)
def _alone(prompt: Prompt) -> Row:
    """Return the row of a prompt that is no part of a pair; loops ask for the same again."""
    if isinstance(prompt, str):
        return Row(prompt)
    if any(isinstance(each, Tensor) for each in prompt):
        raise _Changeable
    # Whole numbers alone, since (1.0, 2) is found here where (1, 2) is asked for.
    return Row(tuple(map(index, prompt)))


def as_rows(prompts: Prompt | Pair | Row | Iterable[Prompt | Pair | Row]) -> list[Row]:
    """Return one prompt or several as rows; a text or a tuple of token ids is one prompt.

    Raises
    ------
    ModelError
        There is none.
    """
    ids = isinstance(prompts, tuple) and all(isinstance(each, int) for each in prompts)
    if isinstance(prompts, (str, Pair, Row)) or (ids and prompts):
        return [as_row(prompts)]  # pyright: ignore[reportArgumentType]
    rows = [as_row(prompt) for prompt in prompts]  # pyright: ignore[reportArgumentType]
    if not rows:
        raise ModelError("there is no prompt; give one or several")
    return rows
