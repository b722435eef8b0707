"""Generation: text written token after token, with edits of the prompt or of the steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor

from causaltest.engine.hooks import Operation, Side
from causaltest.engine.hosts import Host, host_of
from causaltest.engine.intervening import check_pair
from causaltest.engine.ledger import Entry, check_changed, total
from causaltest.engine.model import Model
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.rows import as_rows
from causaltest.engine.sources import means_for, reads_for
from causaltest.engine.stepreads import StepRead, check_reads, with_reads
from causaltest.engine.steps import StepEdit, When, check_reached, check_when
from causaltest.engine.writing import Generated, Writer
from causaltest.errors import InterventionError, ModelError
from causaltest.interventions import Intervention
from causaltest.pairs import Pair, Pairs, Prompt
from causaltest.sites import Site
from causaltest.spelling import did_you_mean

# Settings that would change what a step is, or that are set here.
_TAKEN = ("max_length", "max_new_tokens", "return_dict_in_generate", "output_logits", "use_cache")
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


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
    read: Site | Iterable[Site] = (),
    **settings: Any,
) -> Generation:
    """Write on after prompts; see `Model.generate`."""
    if isinstance(max_new_tokens, bool) or max_new_tokens < 1:
        raise ModelError(f"max_new_tokens is {max_new_tokens!r}; expected a number from 1")
    rows = as_rows(prompts)
    host = _host(model)
    steps: tuple[int, ...] | str = "prompt"
    if intervention is not None:
        steps = check_when(when, intervention, max_new_tokens)
        for site in intervention.sites:
            model.access(site)
        _check_sides(model, host, intervention, steps)
    elif when is not None:
        raise InterventionError(f"when={when!r} says when to edit, but there is no intervention")
    settings = _checked(settings, host, model.name)
    wanted = (read,) if isinstance(read, Site) else tuple(dict.fromkeys(read))
    check_reads(model, host, wanted, settings)
    ends = _ends(settings, host)
    writer = Writer(model, host, max_new_tokens, use_cache, keep_logits, seed, settings, ends)
    over = _reference(prompts, rows, intervention)
    found: dict[int, list[Generated]] = {}
    entries: list[Entry] = []
    sources: list[Entry] = []
    with torch.no_grad():
        means = {} if intervention is None else means_for(model, intervention, over)
        for indices in writer.batches(rows, () if intervention is None else intervention.sites):
            chosen = model.batch([rows[index] for index in indices])
            clocks = writer.clocks(chosen)
            edits = list(_edits(model, intervention, chosen, over, means=means, sources=sources))
            for edit in edits:
                once = host is not None and host.runs_once(edit.access.path)
                edit.clock, edit.steps = clocks.prompt if once else clocks.text, steps
            model.verify(wanted, chosen)
            reads = [StepRead(site, model.access(site), clocks.text) for site in wanted]
            noted: list[tuple[str, Side, Operation]] = [
                (each.access.path, each.access.side, each) for each in reads
            ]
            written = with_reads(writer.write(chosen, clocks, edits, noted), reads)
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


def _ends(settings: Mapping[str, Any], host: Host | None) -> tuple[int, ...]:
    """Return the tokens that end a text."""
    end = settings.get("eos_token_id")
    if end is None and "eos_token_id" not in settings and host is not None:
        end = getattr(host.network.generation_config, "eos_token_id", None)
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


def _host(model: Model) -> Host | None:
    """Return what writes text by its own `generate`; None where plain passes have to."""
    host = host_of(model.network) if model.forwards_itself else None
    can = getattr(model.network, "can_generate", None)
    if host is None and callable(can) and not can():
        raise ModelError(
            f"{model.name} ({type(model.network).__name__}) does not write text: it has no "
            "language-model head to be run token after token"
        )
    if host is None and getattr(
        getattr(model.network, "config", None), "is_encoder_decoder", False
    ):
        raise ModelError(
            f"{model.name} is an encoder-decoder behind a function of yours (forward=), which "
            "gives no text token after token; make the model without forward="
        )
    return host


def _check_sides(
    model: Model, host: Host | None, intervention: Intervention, steps: tuple[int, ...] | str
) -> None:
    """Refuse steps of what reads the prompt once, and the prompt of what never reads it."""
    if host is None or not host.encodes:
        return
    for site in intervention.sites:
        once = host.runs_once(model.access(site).path)
        if once and steps != "prompt":
            raise InterventionError(
                f"{site} is in the encoder of {model.name}, which reads the prompt once, before "
                "the first step; say when='prompt'"
            )
        if not once and steps == "prompt":
            raise InterventionError(
                f"{site} is in the decoder of {model.name}, which writes and does not read the "
                "prompt\nsay when='every step' or steps, or edit the encoder, e.g. "
                f"block_output({site.layer or 0}, stack='encoder')"
            )


def _checked(settings: dict[str, Any], host: Host | None, name: str) -> dict[str, Any]:
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
