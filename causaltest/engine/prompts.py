"""Prompts as the model sees them: token ids, named places as token positions, padded batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from causaltest.engine.access import Places
from causaltest.errors import ModelError, PairError, SiteError
from causaltest.pairs import Characters, Pair, Place, Prompt, Tokens
from causaltest.sites import END, Pos
from causaltest.spelling import did_you_mean

Side = str
"""`base`, `source`, or the name of a further source of the pair."""

# How tokenizers write a space in a token.
_SPACES = "\u2581\u0120 "


@dataclass(frozen=True)
class Row:
    """One prompt to run; `pair` and `side` say whose named positions apply.

    `draw` is counted on top of that of a run, where rows of one run are to have other noise.
    """

    prompt: Prompt
    pair: Pair | None = None
    side: Side = "base"
    draw: int = 0

    @staticmethod
    def of(pair: Pair, side: Side) -> Row:
        """Return the row of one side of a pair."""
        if side == "source" and pair.source is None:
            raise PairError(
                f"pair {pair.id} has no source prompt, and the intervention or metric needs one"
            )
        return Row(pair.prompt(side), pair, side)


class Prompts:
    """Turns prompts, places and answers into token ids and positions, and remembers them.

    Parameters
    ----------
    tokenizer
        A transformers tokenizer, or None for a model that takes token ids.
    name
        What to call the model in messages.
    known
        Returns how many tokens the network has numbers for; None where that is not known.
    """

    def __init__(
        self, tokenizer: Any, name: str, *, known: Callable[[], int | None] = lambda: None
    ) -> None:
        self.tokenizer = tokenizer
        self.name = name
        self._vocabulary = known
        self._ids: dict[Prompt, tuple[int, ...]] = {}
        self._offsets: dict[str, tuple[tuple[int, int], ...]] = {}
        self._answers: dict[tuple[Prompt, str], int] = {}

    def ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Return a prompt's token ids, special tokens included.

        Raises
        ------
        ModelError
            The prompt is text and the model has no tokenizer.
        PairError
            The prompt is empty, or holds what the model has no token for.
        """
        known = self._ids.get(prompt)
        if known is None:
            known = self._encode(prompt)
            self._ids[prompt] = known
        return known

    def _encode(self, prompt: Prompt) -> tuple[int, ...]:
        if isinstance(prompt, str):
            if self.tokenizer is None:
                raise ModelError(
                    f"{self.name} has no tokenizer, but the prompt {prompt!r} is text; "
                    "give prompts as token ids, or pass a tokenizer to Model(...)"
                )
            ids = tuple(self.tokenizer(prompt)["input_ids"])
            self._check_words(prompt, ids)
        else:
            ids = tuple(prompt)
        if not ids:
            raise PairError(f"the prompt {prompt!r} has no tokens")
        size = self._vocabulary()
        if size is not None and max(ids) >= size:
            text = isinstance(prompt, str)
            told = "does this tokenizer belong to it?" if text else "give other token ids"
            raise PairError(
                f"the prompt {prompt!r} holds token {max(ids)}, but {self.name} has tokens "
                f"0-{size - 1}; {told}"
            )
        return ids

    def _check_words(self, prompt: str, ids: tuple[int, ...]) -> None:
        """Refuse a prompt of which the model would read a part as nothing in particular."""
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        if unknown not in ids or self.tokenizer.unk_token in prompt:
            return
        # Some tokenizers begin every prompt with that very token.
        if unknown not in self.tokenizer(prompt, add_special_tokens=False)["input_ids"]:
            return
        unread, meant = "", ""
        if getattr(self.tokenizer, "is_fast", False):
            spans = self.tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
            found = zip(ids, spans, strict=True)
            unread = next(prompt[a:b] for each, (a, b) in found if each == unknown and b > a)
            meant = did_you_mean(unread, self.tokenizer.get_vocab())
        raise PairError(
            f"the prompt {prompt!r} holds {f'{unread!r}, ' if unread else 'text '}for which "
            f"{self.name} has no token{meant}\n"
            f"it would be read as {self.tokenizer.unk_token}, as any other unknown text; write "
            "that where it is meant"
        )

    def text(self, prompt: Prompt) -> str:
        """Return a prompt for readers."""
        return prompt if isinstance(prompt, str) else " ".join(map(str, prompt))

    def tokens(self, prompt: Prompt) -> list[str]:
        """Return each token as text."""
        ids = list(self.ids(prompt))
        if self.tokenizer is None:
            return [str(token) for token in ids]
        return list(self.tokenizer.convert_ids_to_tokens(ids))

    def answer_id(self, prompt: Prompt, answer: str | int, pair: Pair) -> int:
        """Return the token that continues a prompt with an answer.

        Raises
        ------
        PairError
            The answer is not a single token there.
        """
        if isinstance(answer, int):
            return answer
        key = (prompt, answer)
        if key not in self._answers:
            self._answers[key] = self._answer(prompt, answer, pair)
        return self._answers[key]

    def _answer(self, prompt: Prompt, answer: str, pair: Pair) -> int:
        if self.tokenizer is None:
            raise PairError(
                f"pair {pair.id}: answer {answer!r} is text, but {self.name} has no tokenizer; "
                "give answers as token ids"
            )
        if isinstance(prompt, str):
            before = tuple(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
            whole = tuple(self.tokenizer(prompt + answer, add_special_tokens=False)["input_ids"])
            if whole[: len(before)] == before and len(whole) > len(before):
                ids = whole[len(before) :]
            else:
                ids = tuple(self.tokenizer(answer, add_special_tokens=False)["input_ids"])
                self._check_continues(before, ids, whole, answer, pair)
        else:
            ids = tuple(self.tokenizer(answer, add_special_tokens=False)["input_ids"])
        if len(ids) == 1 and ids[0] == getattr(self.tokenizer, "unk_token_id", None):
            raise PairError(
                f"pair {pair.id}: answer {answer!r} is not in the vocabulary of {self.name}"
            )
        if len(ids) != 1:
            pieces = ", ".join(repr(piece) for piece in self.tokenizer.convert_ids_to_tokens(ids))
            raise PairError(
                f"pair {pair.id}: answer {answer!r} is {len(ids)} tokens for {self.name}"
                f" ({pieces}); answers are compared as single tokens. Choose another answer"
                " (a leading space often matters), or write a metric of your own"
            )
        return int(ids[0])

    def _check_continues(
        self,
        before: tuple[int, ...],
        ids: tuple[int, ...],
        whole: tuple[int, ...],
        answer: str,
        pair: Pair,
    ) -> None:
        """Refuse an answer whose own tokens, set after the prompt's, read as another text."""
        decode = self.tokenizer.decode
        if decode(list(before + ids)) != decode(list(whole)):
            raise PairError(
                f"pair {pair.id}: answer {answer!r} is no token that can follow the prompt for "
                f"{self.name}: together they are cut into other tokens\n"
                "begin the answer with a space, or take the space off the prompt's end"
            )

    def positions(self, row: Row, pos: Pos) -> tuple[int, ...]:
        """Return the token indices that a site's position means in one row.

        Parameters
        ----------
        row
            The prompt, with its pair where positions have names.
        pos
            As on `Site`.

        Returns
        -------
        tuple of int
            Indices from 0 into the unpadded prompt.

        Raises
        ------
        PairError
            The pair has no position of that name, or it does not fit the prompt's tokens.
        SiteError
            A token index beyond the prompt, or a name where there is no pair.
        """
        length = len(self.ids(row.prompt))
        if pos is None:
            return tuple(range(length))
        if isinstance(pos, int):
            return (self._index(pos, length, row),)
        if isinstance(pos, tuple):
            return self._indices(pos, length, row)
        name, dot, which = pos.rpartition(".")
        if not dot:
            name, which = pos, ""
        elif which not in ("first", "last"):
            meant = did_you_mean(which, ["first", "last"])
            raise SiteError(
                f"position {pos!r}: the suffix {which!r} is not known{meant}\n"
                "expected name, name.first or name.last"
            )
        found = self._named(row, name, length)
        return {"": found, "first": found[:1], "last": found[-1:]}[which]

    def _named(self, row: Row, name: str, length: int) -> tuple[int, ...]:
        if name == END:
            return (length - 1,)
        if row.pair is None:
            raise SiteError(
                f"position {name!r} has a name, but the prompt is not part of a pair; "
                "use 'end' or token indices, or pass a Pair"
            )
        return self.locate(row, row.pair.place(name, row.side))

    def _index(self, index: int, length: int, row: Row) -> int:
        if -length <= index < length:
            return index % length
        whose = "the prompt" if row.pair is None else f"{row.side} of pair {row.pair.id}"
        raise SiteError(f"position {index} does not exist: {whose} has {length} tokens")

    def _indices(self, indices: tuple[int, ...], length: int, row: Row) -> tuple[int, ...]:
        found = tuple(self._index(index, length, row) for index in indices)
        if len(set(found)) < len(found):
            whose = "the prompt" if row.pair is None else f"{row.side} of pair {row.pair.id}"
            raise SiteError(
                f"positions {list(indices)} name a token of {whose} ({length} tokens) twice"
            )
        return found

    def locate(self, row: Row, place: Place) -> tuple[int, ...]:
        """Return the token indices of a place in one row.

        Raises
        ------
        PairError
            The place is outside the prompt, or its text shares a token with other text.
        """
        length = len(self.ids(row.prompt))
        if isinstance(place, Tokens):
            return self._indices(place.indices, length, row)
        return self._characters(row, place)

    def _characters(self, row: Row, place: Characters) -> tuple[int, ...]:
        text = row.prompt
        whose = "the prompt" if row.pair is None else f"{row.side} of pair {row.pair.id}"
        if not isinstance(text, str) or self.tokenizer is None:
            raise PairError(f"{whose} is token ids; give its positions as token indices")
        if not getattr(self.tokenizer, "is_fast", False):
            raise PairError(
                f"the tokenizer of {self.name} does not tell where its tokens stand in the text; "
                "give positions as token indices"
            )
        if text not in self._offsets:
            found = self.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
            self._offsets[text] = tuple(found)
        offsets = self._offsets[text]
        wanted = text[place.start : place.stop]
        pieces = self.tokens(text)
        found = tuple(
            index
            for index, (start, stop) in enumerate(offsets)
            if start < place.stop
            and stop > place.start
            and text[start:stop].strip()
            # Some tokenizers set a space of their own before a prompt, on its first letter.
            and pieces[index].strip(_SPACES)
        )
        if not found:
            raise PairError(f"{wanted!r} in {whose} falls on no token of {self.name}")
        for index in found:
            start, stop = offsets[index]
            outside = text[start : max(start, place.start)] + text[min(stop, place.stop) : stop]
            if outside.strip():
                raise PairError(
                    f"{wanted!r} in {whose} shares the token {text[start:stop]!r} with other text; "
                    "choose a position that covers whole tokens"
                )
        return found


class Batch(NamedTuple):
    """Rows padded on the right to one length.

    Parameters
    ----------
    ids
        (rows, tokens), padded with `padding`.
    lengths
        Unpadded length of each row.
    start
        Index in the prompts of the first token of the batch; earlier ones are not run again.
    """

    rows: tuple[Row, ...]
    ids: Tensor
    lengths: tuple[int, ...]
    start: int = 0

    @property
    def mask(self) -> Tensor:
        """(rows, tokens), 1 on real tokens."""
        reach = torch.arange(self.ids.shape[1], device=self.ids.device)
        return (reach[None] < torch.tensor(self.lengths, device=self.ids.device)[:, None]).long()

    @property
    def ragged(self) -> bool:
        """Whether any row is padded."""
        return len(set(self.lengths)) > 1

    @property
    def tokens(self) -> int:
        """Length of the longest row with its padding."""
        return self.ids.shape[1]

    @property
    def padded(self) -> bool:
        """Whether any row is shorter than the batch."""
        return any(length != self.tokens for length in self.lengths)

    def say_which(self, path: str) -> str:
        """Return what to do about a module that runs several times."""
        return (
            f"say which call is meant, e.g. module({path!r}, call=0), or choose a site whose "
            "module runs once"
        )


def batch(rows: Sequence[Row], prompts: Prompts, device: torch.device, padding: int) -> Batch:
    """Pad rows on the right, so that a token's index is the same in and out of a batch."""
    ids = [prompts.ids(row.prompt) for row in rows]
    longest = max(map(len, ids))
    padded = [list(each) + [padding] * (longest - len(each)) for each in ids]
    return Batch(tuple(rows), torch.tensor(padded, device=device), tuple(map(len, ids)))


def places(found: Sequence[tuple[int, ...]], device: torch.device, start: int = 0) -> Places:
    """Flatten per-row positions, counted from a first token, to one entry for each (row, token)."""
    rows = [row for row, positions in enumerate(found) for _ in positions]
    flat = [position - start for positions in found for position in positions]
    return Places(torch.tensor(rows, device=device), torch.tensor(flat, device=device))
