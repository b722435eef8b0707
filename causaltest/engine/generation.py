"""Generation: text written token after token, with edits of the prompt or of the steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, overload

import torch
from torch import Tensor, nn

from causaltest.engine.apply import random_stream
from causaltest.engine.hooks import Operation, Side, announced, attached, evaluating
from causaltest.engine.ledger import Entry, check_changed, total
from causaltest.engine.model import Model, as_rows
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.run import check_pair, means_for, reads_for
from causaltest.engine.steps import Clock, StepEdit, When, check_reached, check_when
from causaltest.errors import InterventionError, ModelError
from causaltest.interventions import Intervention
from causaltest.pairs import Pair, Pairs, Prompt
from causaltest.sites import Site
from causaltest.spelling import did_you_mean

_MOST_ROWS = 64
# Settings that would change what a step is, or that are set here.
_TAKEN = ("max_length", "max_new_tokens", "return_dict_in_generate", "output_logits", "use_cache")
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


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
    """

    row: Row
    ids: tuple[int, ...]
    text: str
    logits: Tensor | None = None


@dataclass(frozen=True)
class Generation(Sequence[Generated]):
    """Texts in the order of their prompts, and the proof that the edits happened.

    Parameters
    ----------
    texts
        One for each prompt; `num_return_sequences` for each, one after another.
    ledger
        One entry for each intervention and site: `fired` counts steps, `positions` tokens, each
        once, whether or not a pass without cache computes them again.
    """

    texts: tuple[Generated, ...]
    ledger: tuple[Entry, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Generated: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Generated, ...]: ...
    def __getitem__(self, index: int | slice) -> Generated | tuple[Generated, ...]:
        return self.texts[index]

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        shown = ", ".join(repr(each.text) for each in self.texts[:3])
        more = f", ... ({len(self)} texts)" if len(self) > 3 else ""
        return f"<Generation {shown}{more}>"


def generate(
    model: Model,
    prompts: Prompt | Pair | Row | Iterable[Prompt | Pair | Row],
    *,
    max_new_tokens: int,
    intervention: Intervention | None = None,
    when: When | None = None,
    seed: int = 0,
    use_cache: bool = True,
    keep_logits: bool = False,
    **settings: Any,
) -> Generation:
    """Write on after prompts; see `Model.generate`."""
    if isinstance(max_new_tokens, bool) or max_new_tokens < 1:
        raise ModelError(f"max_new_tokens is {max_new_tokens!r}; expected a number from 1")
    rows = as_rows(prompts)
    steps: tuple[int, ...] | str = "prompt"
    if intervention is not None:
        steps = check_when(when, intervention, max_new_tokens)
        for site in intervention.sites:
            model.access(site)
    elif when is not None:
        raise InterventionError(f"when={when!r} says when to edit, but there is no intervention")
    host = _host(model)
    settings = _checked(settings, host, model.name)
    ends = _ends(settings, host)
    writer = _Writer(model, host, max_new_tokens, use_cache, keep_logits, seed, settings, ends)
    over = _reference(prompts, rows, intervention)
    found: dict[int, list[Generated]] = {}
    entries: list[Entry] = []
    sources: list[Entry] = []
    with torch.no_grad():
        means = {} if intervention is None else means_for(model, intervention, over)
        for indices in writer.batches(rows):
            chosen = model.batch([rows[index] for index in indices])
            clock = Clock(chosen.lengths, left=host is not None)
            edits = list(_edits(model, intervention, chosen, over, means=means, sources=sources))
            for edit in edits:
                edit.clock, edit.steps = clock, steps
            written = writer.write(chosen, clock, edits)
            entries.extend(edit.entry() for edit in edits)
            check_reached(steps, [len(text.ids) for text in written], chosen, intervention)
            each = len(written) // len(indices)
            for place, index in enumerate(indices):
                found[index] = written[place * each : (place + 1) * each]
    ledger = total(entries)
    check_changed(ledger, str(intervention))
    check_changed(sources, f"what {intervention} does to its sources")
    texts = tuple(text for i in range(len(rows)) for text in found[i])
    return Generation(texts, ledger + total(sources))


def _edits(
    model: Model,
    intervention: Intervention | None,
    rows: Batch,
    over: Pairs,
    *,
    means: Mapping[tuple[Intervention, Site], Tensor],
    sources: list[Entry],
) -> Iterator[StepEdit]:
    """Yield the edits of one batch, with what they put in; edits of sources are added up."""
    if intervention is None:
        return
    model.verify(intervention.sites, rows)
    pairs = [row.pair or Pair(row.prompt) for row in rows.rows]
    stored = reads_for(model, intervention, pairs, over, 0)
    sources.extend(stored.ledger)
    for part in intervention.parts:
        for site in part.sites:
            edit = StepEdit(model, part, site, model.access(site), rows, 0)
            if part in stored:
                edit.values, edit.value_counts = stored[part][site]
            elif (part, site) in means:
                edit.values = means[part, site]
            yield edit


def _ends(settings: Mapping[str, Any], host: nn.Module | None) -> tuple[int, ...]:
    """Return the tokens that end a text."""
    end = settings.get("eos_token_id")
    if end is None and "eos_token_id" not in settings and host is not None:
        end = getattr(host.generation_config, "eos_token_id", None)
    if end is None:
        return ()
    return (end,) if isinstance(end, int) else tuple(end)


def _reference(prompts: object, rows: Sequence[Row], intervention: Intervention | None) -> Pairs:
    """Return the pairs over which means are taken by default, and check what edits need."""
    over = prompts if isinstance(prompts, Pairs) else None
    if intervention is not None:
        for row in rows:
            check_pair(intervention, row.pair, over)
    if over is not None:
        return over
    pairs = dict.fromkeys(row.pair or Pair(row.prompt) for row in rows)
    return Pairs([_unnamed(pair) for pair in pairs], name="prompts", cluster=None)


def _unnamed(pair: Pair) -> Pair:
    return Pair(
        pair.base, pair.source, pair.base_answer, pair.source_answer, positions=pair.positions
    )


def _host(model: Model) -> nn.Module | None:
    """Return the module whose forward passes are the steps of the network's own `generate`."""
    if model.forwards_itself and hasattr(model.network, "generate"):
        for each in model.network.modules():
            if hasattr(each, "generation_config") and hasattr(each, "generate"):
                _check_host(each, model.name)
                return each
    can = getattr(model.network, "can_generate", None)
    if callable(can) and not can():
        raise ModelError(
            f"{model.name} ({type(model.network).__name__}) does not write text: it has no "
            "language-model head to be run token after token"
        )
    return None


def _check_host(host: Any, name: str) -> None:
    if getattr(host.config, "is_encoder_decoder", False):
        raise ModelError(
            f"{name} is an encoder-decoder, and edits in its generation are not supported; "
            "call network.generate yourself, or run prompts one forward pass at a time"
        )


def _checked(settings: dict[str, Any], host: nn.Module | None, name: str) -> dict[str, Any]:
    """Refuse settings that do not exist, would have no effect, or would change what a step is."""
    if host is None:
        stray = [key for key in settings if key != "eos_token_id"]
        if stray:
            raise ModelError(
                f"{name} has no generate of its own, so it writes greedily: the setting "
                f"{stray[0]} is not available (only eos_token_id is)"
            )
        return settings
    from transformers import GenerationConfig

    known = [key for key in vars(GenerationConfig()) if key not in _TAKEN]
    for key in settings:
        if key not in known or key.startswith("_"):
            raise ModelError(
                f"generation has no setting {key!r}{did_you_mean(key, known)}\n"
                "settings are those of transformers' GenerationConfig, e.g. do_sample, "
                "temperature, top_p, num_beams, num_return_sequences, eos_token_id"
            )
    lost = [key for key in _SAMPLING if key in settings]
    if lost and not settings.get("do_sample"):
        raise ModelError(
            f"{lost[0]} has no effect on greedy generation; say do_sample=True with it"
        )
    return settings


@dataclass(frozen=True)
class _Writer:
    """Writes batches of texts, by the network's own generate or by a loop of plain passes."""

    model: Model
    host: nn.Module | None
    most: int
    use_cache: bool
    keep_logits: bool
    seed: int
    settings: dict[str, Any]
    ends: tuple[int, ...]

    def batches(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Yield indices of rows that are run together."""
        if self.host is None:
            for indices, _ in self.model.batches(rows):
                yield indices
            return
        if self.settings.get("do_sample"):
            # What is drawn for a prompt must not depend on its company.
            yield from ([index] for index in range(len(rows)))
            return
        lengths = [len(self.model.prompts.ids(row.prompt)) for row in rows]
        order = sorted(range(len(rows)), key=lambda i: lengths[i])
        short, long = order[0], order[-1]
        ragged = lengths[short] < lengths[long] and self._padding_is_exact(rows[short], rows[long])
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
            first = plain.write(each, Clock(each.lengths, left=True), [])[0].logits
            assert first is not None
            logits.append(first.double())
        alone, padded = logits
        tolerance = max(1e-4, 32 * torch.finfo(self.model.dtype).eps)
        return bool((alone - padded).abs().max() <= tolerance * alone.abs().max())

    def write(self, rows: Batch, clock: Clock, edits: Sequence[StepEdit]) -> list[Generated]:
        """Write on after one batch of prompts, with edits in place."""
        operations: list[tuple[str, Side, Operation]] = [
            (edit.access.path, edit.access.side, edit) for edit in edits
        ]
        operations += [note for edit in edits for note in edit.notes()]
        if self.host is None:
            return self._loop(rows, clock, operations)
        return self._native(rows, clock, operations)

    def _native(
        self, rows: Batch, clock: Clock, operations: Sequence[tuple[str, Side, Operation]]
    ) -> list[Generated]:
        longest = max(rows.lengths)
        pads = [longest - length for length in rows.lengths]
        ids = torch.stack([row.roll(pad) for row, pad in zip(rows.ids, pads, strict=True)])
        mask = torch.stack([row.roll(pad) for row, pad in zip(rows.mask, pads, strict=True)])
        network: Any = self.model.network
        with (
            evaluating(network),
            _own_settings(self.host),
            self._seeded(rows),
            attached(network, operations),
            announced(self._stepped(), clock.tick),
        ):
            found = network.generate(
                input_ids=ids, attention_mask=mask, generation_config=self._config()
            )
        beams = getattr(found, "beam_indices", None)
        texts: list[Generated] = []
        for index, sequence in enumerate(found.sequences[:, longest:]):
            new = self._cut(sequence.tolist())
            logits = None
            if self.keep_logits:
                at = [index] * len(new) if beams is None else beams[index].tolist()
                logits = torch.stack([found.logits[step][at[step]] for step in range(len(new))])
            row = rows.rows[index * len(rows.rows) // len(found.sequences)]
            texts.append(self._generated(row, new, logits))
        return texts

    def _stepped(self) -> nn.Module:
        assert self.host is not None
        return self.host

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
    tokens = ("bos_token_id", "pad_token_id")
    host.generation_config = GenerationConfig(**{key: getattr(given, key, None) for key in tokens})
    try:
        yield
    finally:
        host.generation_config = given
