"""Writing token after token: by the network's own `generate`, or by a loop of plain passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from causaltest.engine.applied import operations_of
from causaltest.engine.apply import random_stream
from causaltest.engine.hooks import Operation, Side, announced, attached, evaluating
from causaltest.engine.hosts import Host
from causaltest.engine.model import Model
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.steps import Clock, StepEdit
from causaltest.errors import ModelError
from causaltest.sites import KEYED, Site

_MOST_ROWS = 64


@dataclass(frozen=True)
class Generated:
    """What a model wrote after one prompt.

    Parameters
    ----------
    row
        The prompt.
    ids
        The new tokens, up to and including the one that ends the text.
    text
        The new tokens as text, without special tokens; token ids where there is no tokenizer.
    logits
        (new tokens, classes), before any sampling settings; None unless they were asked for.
    read
        Site to (new tokens, width): the activation at the token that gave each new one.
    """

    row: Row
    ids: tuple[int, ...]
    text: str
    logits: Tensor | None = None
    read: Mapping[Site, Tensor] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Clocks:
    """Which pass runs, of what writes the text and of what reads the prompt.

    They are one clock where the text goes on from the prompt, and two where an encoder reads it.
    """

    text: Clock
    prompt: Clock


@dataclass(frozen=True)
class Writer:
    """Writes batches of texts, by the network's own generate or by a loop of plain passes.

    Parameters
    ----------
    model
        What writes.
    host
        The part of it whose `generate` is used; None for plain passes.
    most, use_cache, keep_logits, seed, settings
        As for `Model.generate`.
    ends
        The tokens that end a text.
    """

    model: Model
    host: Host | None
    most: int
    use_cache: bool
    keep_logits: bool
    seed: int
    settings: dict[str, Any]
    ends: tuple[int, ...]

    def batches(self, rows: Sequence[Row], sites: Sequence[Site] = ()) -> Iterator[list[int]]:
        """Yield indices of rows that are run together; of one length where sites count keys."""
        if self.host is None:
            for indices, _ in self.model.batches(rows, sites):
                yield indices
            return
        if self.settings.get("do_sample"):
            # What is drawn for a prompt must not depend on its company.
            yield from ([index] for index in range(len(rows)))
            return
        lengths = [len(self.model.prompts.ids(row.prompt)) for row in rows]
        order = sorted(range(len(rows)), key=lambda i: lengths[i])
        short, long = order[0], order[-1]
        pads = lengths[short] < lengths[long] and not any(site.component in KEYED for site in sites)
        ragged = pads and self._padding_is_exact(rows[short], rows[long])
        most = max(1, _MOST_ROWS // int(self.settings.get("num_beams") or 1))
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and stop - start < most:
                if lengths[order[stop]] != lengths[order[start]] and not ragged:
                    break
                stop += 1
            yield order[start:stop]
            start = stop

    def _padding_is_exact(self, short: Row, long: Row) -> bool:
        """Return whether a prompt padded on the left gets the logits that it gets alone."""
        plain = replace(self, most=2, keep_logits=True, settings={}, ends=())
        logits: list[Tensor] = []
        for rows in ([short], [short, long]):
            each = self.model.batch(rows)
            first = plain.write(each, plain.clocks(each), [])[0].logits
            assert first is not None
            logits.append(first.double())
        alone, padded = logits
        tolerance = max(1e-4, 32 * torch.finfo(self.model.dtype).eps)
        return bool((alone - padded).abs().max() <= tolerance * alone.abs().max())

    def clocks(self, rows: Batch) -> Clocks:
        """Return the clocks of one batch of prompts."""
        if self.host is not None and self.host.encodes:
            return Clocks(Clock((0,) * len(rows.rows), left=True), Clock(rows.lengths, left=False))
        clock = Clock(rows.lengths, left=self.host is not None)
        return Clocks(clock, clock)

    def write(
        self,
        rows: Batch,
        clocks: Clocks,
        edits: Sequence[StepEdit],
        reads: Sequence[tuple[str, Side, Operation]] = (),
    ) -> list[Generated]:
        """Write on after one batch of prompts, with edits in place, and reads behind them."""
        operations = [*operations_of(edits), *reads]
        if self.host is None:
            return self._loop(rows, clocks.text, operations)
        return self._native(self.host, rows, clocks, operations)

    def _native(
        self,
        host: Host,
        rows: Batch,
        clocks: Clocks,
        operations: Sequence[tuple[str, Side, Operation]],
    ) -> list[Generated]:
        pads = [0] * len(rows.rows)
        if clocks.text.left and not host.encodes:
            pads = [max(rows.lengths) - length for length in rows.lengths]
        ids = torch.stack([row.roll(pad) for row, pad in zip(rows.ids, pads, strict=True)])
        mask = torch.stack([row.roll(pad) for row, pad in zip(rows.mask, pads, strict=True)])
        network: Any = self.model.network
        with (
            evaluating(network),
            _own_settings(host.network),
            self._seeded(rows),
            attached(network, operations),
            _ticking(host, network, clocks),
        ):
            found = network.generate(
                input_ids=ids, attention_mask=mask, generation_config=self._config()
            )
        beams = getattr(found, "beam_indices", None)
        texts: list[Generated] = []
        for index, sequence in enumerate(found.sequences[:, max(clocks.text.lengths) :]):
            new = self._cut(sequence.tolist())
            logits = None
            if self.keep_logits:
                at = [index] * len(new) if beams is None else beams[index].tolist()
                logits = torch.stack([found.logits[step][at[step]] for step in range(len(new))])
            row = rows.rows[index * len(rows.rows) // len(found.sequences)]
            texts.append(self._generated(row, new, logits))
        return texts

    def _config(self) -> Any:
        from transformers import GenerationConfig

        settings = dict(self.settings)
        if settings.get("do_sample"):
            settings.setdefault("top_k", 0)  # transformers cuts to 50 unless told
        settings["eos_token_id"] = list(self.ends) or None
        config = GenerationConfig(
            max_new_tokens=self.most,
            use_cache=self.use_cache,
            return_dict_in_generate=True,
            output_logits=self.keep_logits,
            **settings,
        )
        if config.pad_token_id is None:
            # Finished rows are filled up with it, and cut off again.
            config.pad_token_id = self.ends[0] if self.ends else 0
        return config

    @contextmanager
    def _seeded(self, rows: Batch) -> Iterator[None]:
        """Draw from a stream of the seed and the prompts alone; leave the caller's as it is."""
        devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
        with torch.random.fork_rng(devices=devices):
            ids = [self.model.prompts.ids(row.prompt) for row in rows.rows]
            torch.manual_seed(int(random_stream(self.seed, ids).integers(2**63)))
            yield

    def _loop(
        self, rows: Batch, clock: Clock, operations: Sequence[tuple[str, Side, Operation]]
    ) -> list[Generated]:
        """Write greedily by plain forward passes over the whole text."""
        ids = [list(self.model.prompts.ids(row.prompt)) for row in rows.rows]
        logits: list[list[Tensor]] = [[] for _ in ids]
        for _ in range(self.most):
            each = self.model.batch([Row(tuple(one)) for one in ids])
            clock.tick(each.ids)
            for one, said, output in zip(
                ids, logits, self.model.run_batch(each, operations), strict=True
            ):
                if output.logits.ndim != 2:
                    raise ModelError(
                        f"{self.model.name} answers once for each prompt, not at every token; "
                        "it cannot write on"
                    )
                said.append(output.logits[-1])
                one.append(int(output.logits[-1].argmax()))
            new = [one[length:] for one, length in zip(ids, rows.lengths, strict=True)]
            if all(set(each) & set(self.ends) for each in new):
                break
        texts: list[Generated] = []
        for row, one, said, length in zip(rows.rows, ids, logits, rows.lengths, strict=True):
            cut = self._cut(one[length:])
            kept = torch.stack(said[: len(cut)]) if self.keep_logits else None
            texts.append(self._generated(row, cut, kept))
        return texts

    def _cut(self, new: list[int]) -> tuple[int, ...]:
        """Return new tokens up to the first that ends the text."""
        ends = [index for index, token in enumerate(new) if token in self.ends]
        return tuple(new[: ends[0] + 1] if ends else new)

    def _generated(self, row: Row, ids: tuple[int, ...], logits: Tensor | None) -> Generated:
        tokenizer = self.model.prompts.tokenizer
        text = " ".join(map(str, ids))
        if tokenizer is not None:
            text = str(tokenizer.decode(list(ids), skip_special_tokens=True))
        return Generated(row, ids, text, logits)


@contextmanager
def _own_settings(host: Any) -> Iterator[None]:
    """Put the sampling settings that came with a network aside, so that greedy means greedy."""
    from transformers import GenerationConfig

    given = host.generation_config
    tokens = ("bos_token_id", "pad_token_id", "decoder_start_token_id")
    host.generation_config = GenerationConfig(**{key: getattr(given, key, None) for key in tokens})
    try:
        yield
    finally:
        host.generation_config = given


@contextmanager
def _ticking(host: Host, network: Any, clocks: Clocks) -> Iterator[None]:
    """Let the clocks go with the passes of what they stand for."""
    with announced(host.steps, clocks.text.tick):
        if clocks.prompt is clocks.text:
            yield
            return
        with announced(network.get_submodule(host.once[0]), clocks.prompt.tick):
            yield
