"""Running interventions: over whole pair sets, or on one prompt inside a context."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from causaltest.engine.access import Access, Places, put, take
from causaltest.engine.apply import Edit, donors, edited, has_source, own_input
from causaltest.engine.calls import Turns
from causaltest.engine.hooks import Operation, Side
from causaltest.engine.keys import (
    check_keys,
    check_lengths,
    check_mean,
    check_unpadded,
    seen_only,
    switched,
)
from causaltest.engine.ledger import Done, Entry, check_changed, total
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.reading import read_batch
from causaltest.engine.rows import as_row, for_each_row
from causaltest.errors import InterventionError, PairError
from causaltest.interventions import (
    FromSource,
    Interchange,
    Intervention,
    MeanAblation,
    Noise,
    ResampleAblation,
)
from causaltest.pairs import Pair, Pairs, Prompt
from causaltest.sites import KEYED, MODULE, Site

if TYPE_CHECKING:
    from causaltest.engine.generation import Generation
    from causaltest.engine.steps import When

Score = Callable[[Output], float]


@dataclass(frozen=True)
class Scores:
    """One number for each pair, and the proof that the edits happened.

    Parameters
    ----------
    values
        In the order of the pairs; random draws are averaged within each pair.
    ledger
        One entry for each intervention and site.
    """

    values: tuple[float, ...]
    ledger: tuple[Entry, ...]


def score(
    model: Model,
    intervention: Intervention,
    pairs: Pairs,
    metric: Score,
    *,
    allow_inert: bool = False,
) -> Scores:
    """Run an intervention on the base prompt of every pair and score the outputs.

    Parameters
    ----------
    model
        The model.
    intervention
        What to edit.
    pairs
        Where.
    metric
        A number for one output.
    allow_inert
        Accept an intervention that changes nothing (the identity does, on purpose).

    Returns
    -------
    Scores

    Raises
    ------
    InterventionError
        An edit did not fire exactly once for each run, does not fit, or nothing changed.
    """
    means = means_for(model, intervention, pairs)
    sums = [0.0] * len(pairs)
    entries: list[Entry] = []
    sources: list[Entry] = []
    rows = [Row.of(pair, "base") for pair in pairs]
    draws = intervention.draws
    with torch.no_grad():
        for indices, each in model.batches(rows, intervention.sites):
            chosen = [pairs[index] for index in indices]
            known: Known = {}
            for draw in range(draws):
                stored = reads_for(model, intervention, chosen, pairs, draw, known=known)
                sources.extend(stored.ledger)
                outputs, ledger = _edited(
                    model, intervention, each, draw=draw, stored=stored, means=means
                )
                entries.extend(ledger)
                scores = [metric(output) for output in outputs]
                del outputs  # else these logits would be held while the next are computed
                for index, value in zip(indices, scores, strict=True):
                    sums[index] += value / draws
    ledger = total(entries)
    if not allow_inert:
        check_changed(ledger, str(intervention))
        check_changed(total(sources), f"what {intervention} does to its sources")
    return Scores(tuple(sums), ledger + total(sources))


def score_identity(
    model: Model, sites: Sequence[Site], pairs: Sequence[Pair], metric: Score
) -> list[float]:
    """Score the base prompts with every site replaced by its own activation.

    Whatever differs from a plain run is numeric noise or a defect of the hooks.
    """
    rows = [Row.of(pair, "base") for pair in pairs]
    part = Interchange(tuple(sites))
    values: dict[int, float] = {}
    with torch.no_grad():
        for indices, each in model.batches(rows, sites):
            own = read_batch(model, part.sites, each)
            outputs, _ = _edited(model, part, each, draw=0, stored=Stored({part: own}), means={})
            values.update((i, metric(output)) for i, output in zip(indices, outputs, strict=True))
    return [values[index] for index in range(len(rows))]


class Stored(dict[Intervention, dict[Site, tuple[Tensor, list[int]]]]):
    """What parts put in at their sites: numbers, and how many entries each row has of them.

    Attributes
    ----------
    ledger
        What was edited in the source runs themselves.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ledger: list[Entry] = []


Known = dict[tuple[object, ...], dict[Site, tuple[Tensor, list[int]]]]
"""What was read for one batch and is the same in every draw."""


def reads_for(
    model: Model,
    intervention: Intervention,
    pairs: Sequence[Pair],
    over: Pairs,
    draw: int,
    *,
    known: Known | None = None,
    gradients: bool = False,
) -> Stored:
    """Read what the parts put in, one pass for all parts that read the same prompts.

    With `known`, what does not depend on the draw is read once for all draws. With `gradients`,
    they flow to what is read.
    """
    wanted: dict[tuple[tuple[Row | None, ...], Intervention | None], list[Intervention]] = {}
    for part in intervention.parts:
        rows = donors(part, pairs, over, draw)
        if rows is not None:
            under = part.under if isinstance(part, FromSource) else None
            wanted.setdefault((tuple(rows), under), []).append(part)
    stored = Stored()
    for (rows, under), parts in wanted.items():
        sites = tuple(dict.fromkeys(site for part in parts for site in part.sites))
        reads = (known or {}).get((rows, under, sites))
        if reads is None:
            present = [row for row in rows if row is not None]
            if under is None:
                read = model.read(sites, present, gradients=gradients)
            elif gradients:
                raise InterventionError(
                    f"{parts[0]} reads runs that are themselves intervened on, through which no "
                    "gradients flow\ntake sources from plain runs, or as constants"
                )
            else:
                read, ledger = _read_under(model, sites, present, under, over=over, draw=draw)
                stored.ledger.extend(ledger)
            reads = {site: _aligned(site, read[site], rows) for site in sites}
            if known is not None and not any(map(drawn, parts)):
                known[rows, under, sites] = reads
        for part in parts:
            stored[part] = {site: reads[site] for site in part.sites}
    return stored


def needs_reading(part: Intervention) -> bool:
    """Return whether a part puts in numbers that are read in some run."""
    return part.needs_source or isinstance(part, (FromSource, MeanAblation, ResampleAblation))


def drawn(part: Intervention) -> bool:
    """Return whether what a part reads is another thing in each draw."""
    if isinstance(part, FromSource):
        inner = () if part.under is None else part.under.parts
        return any(isinstance(each, Noise) or drawn(each) for each in inner)
    return isinstance(part, ResampleAblation)


def _aligned(
    site: Site, found: list[Tensor], rows: Sequence[Row | None]
) -> tuple[Tensor, list[int]]:
    """Join what was read, entries in the order of the rows, none for rows that were not read."""
    lengths = iter([len(each) for each in found])
    counts = [0 if row is None else next(lengths) for row in rows]
    return _joined(site, found) if found else torch.empty(0), counts


def _read_under(
    model: Model,
    sites: Sequence[Site],
    rows: Sequence[Row],
    under: Intervention,
    *,
    over: Pairs,
    draw: int,
) -> tuple[dict[Site, list[Tensor]], list[Entry]]:
    """Read sites in runs that are themselves intervened on."""
    means = means_for(model, under, over)
    found: dict[Site, dict[int, Tensor]] = {site: {} for site in sites}
    ledger: list[Entry] = []
    with torch.no_grad():
        for indices, each in model.batches(rows, (*sites, *under.sites)):
            pairs = [row.pair or Pair(row.prompt) for row in each.rows]
            stored = reads_for(model, under, pairs, over, draw)
            edits, operations = declared(model, under, each, draw=draw, stored=stored, means=means)
            for site, (flat, counts) in read_batch(model, sites, each, operations).items():
                parts = torch.split(flat, counts)
                found[site].update(zip(indices, parts, strict=True))
            ledger += [*stored.ledger, *(edit.entry() for edit in edits)]
    whole = range(len(rows))
    return {site: [found[site][index] for index in whole] for site in sites}, ledger


def _joined(site: Site, activations: list[Tensor]) -> Tensor:
    shapes = sorted({tuple(each.shape[1:]) for each in activations})
    if site.component in KEYED:
        check_lengths(site, [shape[-1] for shape in shapes])
    if len(shapes) > 1:
        raise InterventionError(
            f"{site}: the activation has no (rows, tokens, width) axes, and its shape differs "
            f"between prompts ({', '.join(map(str, shapes))}); use prompts of equal length"
        )
    return torch.cat(activations)


def means_for(
    model: Model, intervention: Intervention, pairs: Pairs
) -> dict[tuple[Intervention, Site], Tensor]:
    """Average each mean-ablated site over all prompts and tokens of its reference set."""
    wanted: dict[Pairs, list[MeanAblation]] = {}
    for part in intervention.parts:
        if isinstance(part, MeanAblation):
            wanted.setdefault(part.over or pairs, []).append(part)
    means: dict[tuple[Intervention, Site], Tensor] = {}
    for reference, parts in wanted.items():
        rows = [Row.of(pair, "base") for pair in reference]
        rows += [Row.of(pair, "source") for pair in reference if pair.source is not None]
        sites = dict.fromkeys(site for part in parts for site in part.sites)
        for site, activations in model.read(sites, rows).items():
            entries = _joined(site, activations)
            mean = entries.double().mean(dim=0, keepdim=True).to(entries.dtype)
            if site.component in KEYED:
                check_mean(site, entries, mean)
            means.update({(part, site): mean for part in parts if site in part.sites})
    return means


def _edited(
    model: Model,
    intervention: Intervention,
    rows: Batch,
    *,
    draw: int,
    stored: Stored,
    means: dict[tuple[Intervention, Site], Tensor],
) -> tuple[list[Output], list[Entry]]:
    """Run one batch with all edits and prove that each fired exactly once."""
    edits, operations = declared(model, intervention, rows, draw=draw, stored=stored, means=means)
    outputs = model.run_batch(rows, operations)
    return outputs, [edit.entry() for edit in edits]


def declared(
    model: Model,
    intervention: Intervention,
    rows: Batch,
    *,
    draw: int,
    stored: Stored | None = None,
    means: dict[tuple[Intervention, Site], Tensor] | None = None,
    targets: Sequence[Target] = (),
) -> tuple[list[Applied], list[tuple[str, Side, Operation]]]:
    """Return the edits of one batch, and the operations on modules that make them.

    Parameters
    ----------
    model, intervention, rows, draw
        What is to be run.
    stored, means
        What `reads_for` and `means_for` read for it.
    targets
        What `targets_of` gives, where it is known already.
    """
    model.verify(intervention.sites, rows)
    edits: list[Applied] = []
    operations: list[tuple[str, Side, Operation]] = []
    notes: list[tuple[str, Side, Operation]] = []
    for part, site, access in targets or targets_of(model, intervention):
        applied = Applied(model, part, site, access, rows, draw)
        # Asked first whether there are any: hashing an intervention takes a while.
        if stored and part in stored:
            applied.values, applied.value_counts = stored[part][site]
        elif means and (part, site) in means:
            applied.values = means[part, site]
        edits.append(applied)
        operations.append((access.path, access.side, applied))
        notes += applied.notes()
    # After all edits of inputs, so that what is noted is what the modules really get.
    operations += notes
    return edits, operations


Target = tuple[Intervention, Site, Access]
"""One part of an intervention, one of its sites, and where that lives."""


def targets_of(model: Model, intervention: Intervention) -> list[Target]:
    """Return where the parts of an intervention are made, in the order in which they are.

    Raises
    ------
    SiteError
        The network has no such component, layer, head, dim or module.
    """
    return [(part, site, model.access(site)) for part in intervention.parts for site in part.sites]


@dataclass
class Applied:
    """An edit in action: called by a hook with the activation, it keeps count of what it did."""

    model: Model
    part: Intervention
    site: Site
    access: Access
    rows: Batch
    draw: int
    values: Tensor | None = None
    value_counts: list[int] | None = None
    fired: int = 0
    counts: list[int] = field(default_factory=list)
    width: int = 0
    changed: int = 0
    given: Tensor | None = None
    turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        self.turns = Turns(self.access.call)

    def notes(self) -> list[tuple[str, Side, Operation]]:
        """Return what must be noted before the edit: the module's input where the part needs it."""
        if not self.part.needs_input:
            return []
        if self.access.side != "output":
            raise InterventionError(
                f"{self.part}: {self.site} is the {self.access.side} of {self.access.path}; choose "
                "the output of a module"
            )
        turns = Turns(self.access.call)

        def note(tensor: Tensor) -> None:
            if turns.comes():
                self.given = for_each_row(tensor, self.rows)

        return [(self.access.path, "input", note)]

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return the activation with the edit made."""
        if not self.turns.comes():
            return tensor
        self.fired += 1
        if len(self.rows.rows) > 1:
            tensor = for_each_row(tensor, self.rows)
        if self.site.component in KEYED:
            check_unpadded(self.site, self.rows)
        where, self.counts = self.model.places(self.site, self.access, tensor, self.rows)
        if self.value_counts is not None:
            where = self._without_skipped(where)
            self.check_spans()
        if not any(self.counts):
            return tensor
        edit = Edit(self.site, self.rows.rows, tuple(self.counts), self.draw, self.values)
        new, changed = self.rewritten(tensor, where, edit)
        self.changed += len(changed)
        return new

    def rewritten(self, tensor: Tensor, where: Places, edit: Edit) -> tuple[Tensor, set[int]]:
        """Return the activation with new numbers at some places, and the rows that changed."""
        part = self.part.taken if isinstance(self.part, FromSource) else self.part
        keyed = self.site.component in KEYED
        old = take(tensor, where, self.access, copies=False)
        if keyed:
            check_keys(part, self.site, edit.stored, old)
        if self.given is not None:
            edit = edit._replace(whole=tuple(tensor.shape))
            edit = own_input(part, edit, self.access, self.given, where)
        new = edited(part, old, edit)
        if new.shape != old.shape:
            raise InterventionError(
                f"{self.part}: {self.site} takes numbers of shape {tuple(old.shape)}, but got "
                f"{tuple(new.shape)}"
            )
        if keyed:
            new = seen_only(
                part, self.site, edit.stored, access=self.access, where=where, old=old, new=new
            )
        self.width = prod(old.shape[1:]) if old.ndim != 2 else old.shape[1]
        return put(tensor, where, self.access, new), _changed(old, new, where, len(edit.rows))

    def skips(self, row: int) -> bool:
        """Return whether a row is left alone, for want of a source that is optional."""
        optional = isinstance(self.part, FromSource) and self.part.optional
        return optional and self.value_counts is not None and not self.value_counts[row]

    def _without_skipped(self, where: Places) -> Places:
        skipped = [row for row in range(len(self.counts)) if self.skips(row)]
        if not skipped:
            return where
        for row in skipped:
            self.counts[row] = 0
        kept = ~torch.isin(where.rows, torch.tensor(skipped, device=where.rows.device))
        positions = None if where.positions is None else where.positions[kept]
        return Places(where.rows[kept], positions)

    def check_spans(self) -> None:
        """Refuse numbers read at more or fewer tokens than they are to be put at."""
        if self.value_counts is None or self.value_counts == self.counts:
            return
        for row, given, wanted in zip(self.rows.rows, self.value_counts, self.counts, strict=True):
            if given == wanted:
                continue
            pair = row.pair.id if row.pair is not None else "?"
            giver = "source" if self.part.needs_source else "the prompt drawn"
            giver = self.part.source if isinstance(self.part, FromSource) else giver
            if self.site.pos is None:
                raise PairError(
                    f"site {self.site} has no pos, but base ({wanted} tokens) and {giver} ({given} "
                    f"tokens) differ in pair {pair}; give pos= or positions of equal span"
                )
            raise PairError(
                f"position {self.site.pos!r} covers {wanted} tokens in base and {given} in {giver} "
                f"of pair {pair}; use '{self.site.pos}.last' or '{self.site.pos}.first', or pairs "
                "of equal span"
            )

    def did(self) -> Done:
        """Return how much was done, or refuse to go on if it was not done exactly once."""
        turns = self.turns
        if turns.call is not None and (
            wrong := turns.missed(self.site, self.access.path, self.model.name)
        ):
            raise InterventionError(f"{self.part} did not happen as declared\n{wrong}")
        if self.fired != 1:
            how = "was never reached" if self.fired == 0 else f"ran {self.fired} times"
            raise InterventionError(
                f"{self.part} did not happen as declared: {self.access.path} {how} in one forward "
                f"pass of {self.model.name}\n"
                "Each edit must happen exactly once; say which call is meant, e.g. "
                f"module({self.access.path!r}, call=0), or choose a site whose module runs once"
            )
        edited = len(self.counts) - self.counts.count(0)
        return Done(1, edited, sum(self.counts), self.width, self.changed)

    def entry(self) -> Entry:
        """Return what was done in words, or refuse to go on if it was not done exactly once."""
        return self.said(self.did())

    def said(self, done: Done) -> Entry:
        """Return in words what this edit did, in one run or several."""
        return Entry(
            str(self.part),
            str(self.site),
            f"{self.access.path}.{self.access.side}{self.turns}",
            *done,
            note=switched(self.access, self.site, self.model.network),
        )


def _changed(old: Tensor, new: Tensor, where: Places, rows: int) -> set[int]:
    """Return the rows in which some number changed."""
    if rows == 1 and old.dtype == new.dtype:
        return set() if torch.equal(old, new) else {0}
    differs = (new.detach() != old.detach()).flatten(1).any(dim=1)
    return set(where.rows[differs].tolist())


class Tally:
    """Adds up what the edits of one intervention do, run after run.

    The words for it, which take longer to find than a small network to run, are found when
    somebody looks.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int], tuple[Applied, Done]] = {}
        self._entries: list[Entry] = []

    @property
    def entries(self) -> tuple[Entry, ...]:
        """One entry for each edit so far."""
        said = [edit.said(done) for edit, done in self._sums.values()]
        return total([*said, *self._entries])

    @property
    def begun(self) -> bool:
        """Whether anything was added."""
        return bool(self._sums or self._entries)

    def add(self, edits: Sequence[Applied], others: Sequence[Entry], what: object) -> None:
        """Add what the edits did in one run, and what is in words already.

        Raises
        ------
        InterventionError
            An edit did not happen exactly once, or all of them changed nothing.
        """
        done = [edit.did() for edit in edits]
        check_changed(done, what)
        if others:
            check_changed(others, f"what {what} does to its sources")
            self.note(others)
        for index, edit in enumerate(edits):
            key = index, edit.turns.seen
            if key in self._sums:
                first, so_far = self._sums[key]
                self._sums[key] = first, so_far.and_then(done[index])
            else:
                self._sums[key] = edit, done[index]

    def note(self, entries: Iterable[Entry]) -> None:
        """Add what was done and is in words already."""
        self._entries.extend(entries)


def _prepared(model: Model, intervention: Intervention) -> tuple[bool, list[Target]]:
    """Return whether an intervention reads anything, and where it is made.

    The last is remembered, for loops over prompts; but not modules by their paths, which the user
    may take out of the network.
    """
    known = model.prepared
    if known is not None and known[0] is intervention:
        return known[1], known[2]
    reads, targets = any(map(needs_reading, intervention.parts)), targets_of(model, intervention)
    if not any(site.component == MODULE for _, site, _ in targets):
        model.prepared = intervention, reads, targets
    return reads, targets


class Intervened:
    """Runs prompts under one intervention; given by `intervene`.

    Attributes
    ----------
    intervention
        What is edited.
    ledger
        What the edits did so far, one entry for each intervention and site.
    """

    _open: bool | None = None

    def __init__(self, model: Model, intervention: Intervention, pair: Pair | None) -> None:
        self.intervention = intervention
        self._model = model
        self._pair = pair
        self._reads, self._targets = _prepared(model, intervention)
        if self._reads:
            check_pair(intervention, pair)
        self._tally = Tally()

    def __enter__(self) -> Self:
        self._open = True
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._open = False
        if kind is None and not self._tally.begun:
            raise InterventionError(
                f"no prompt was run under {self.intervention}: call the value of "
                "`with ... as run:`, e.g. run(pair.base)"
            )

    @property
    def ledger(self) -> tuple[Entry, ...]:
        """What the edits did so far."""
        return self._tally.entries

    def __call__(self, prompt: Prompt | list[int]) -> Output:
        """Run one prompt with the edits in place.

        Parameters
        ----------
        prompt
            The pair's base or source, or any prompt if no site's position has a name of the pair.

        Returns
        -------
        Output

        Raises
        ------
        InterventionError
            The context has ended, or an edit did not happen.
        """
        self._check_open()
        row = self._row(prompt)
        each = self._model.batch([row])
        stored = means = None
        with torch.no_grad():
            if self._reads:
                over = _alone(self._pair or row.prompt)
                means = means_for(self._model, self.intervention, over)
                stored = reads_for(self._model, self.intervention, list(over), over, 0)
            edits, operations = declared(
                self._model, self.intervention, each,
                draw=0, stored=stored, means=means, targets=self._targets,
            )  # fmt: skip
            outputs = self._model.run_batch(each, operations)
        self._tally.add(edits, stored.ledger if stored else (), self.intervention)
        return outputs[0]

    def generate(
        self, prompt: Prompt | list[int], *, max_new_tokens: int, when: When, **settings: Any
    ) -> Generation:
        """Write on after one prompt with the edits in place.

        Parameters
        ----------
        prompt
            As for a call.
        max_new_tokens, when, settings
            As for `Model.generate`.

        Returns
        -------
        Generation

        Raises
        ------
        InterventionError
            The context has ended, or an edit did not happen.
        """
        from causaltest.engine.generation import generate

        self._check_open()
        written = generate(
            self._model,
            self._row(prompt),
            max_new_tokens=max_new_tokens,
            intervention=self.intervention,
            when=when,
            **settings,
        )
        self._tally.note(written.ledger)
        return written

    def _check_open(self) -> None:
        if not self._open:
            state = "not begun" if self._open is None else "ended"
            raise InterventionError(f"this intervention has {state}; run prompts inside its `with`")

    def _row(self, prompt: Prompt | list[int]) -> Row:
        prompt = tuple(prompt) if isinstance(prompt, list) else prompt
        if self._pair is not None:
            for side in ("base", "source"):
                if prompt == getattr(self._pair, side):
                    return Row(prompt, self._pair, side)
        return as_row(prompt)


@lru_cache(maxsize=64)
def _alone(pair: Pair | Prompt) -> Pairs:
    """Return one pair, or one prompt, as a pair set."""
    pair = pair if isinstance(pair, Pair) else Pair(pair)
    return Pairs([pair], name="one pair", cluster=None)


def intervene(model: Model, intervention: Intervention, pair: Pair | None = None) -> Intervened:
    """Run prompts under an intervention.

    Parameters
    ----------
    model
        The model.
    intervention
        What to edit.
    pair
        Gives the source run and the named positions; None where neither is needed.

    Returns
    -------
    Intervened
        A context; within it, call its value with a prompt to run that with the edits in place.

    Raises
    ------
    InterventionError
        The intervention needs a pair and there is none, or no prompt was run inside.

    Examples
    --------
    >>> import torch
    >>> from causaltest.interventions import zero_ablate
    >>> from causaltest.sites import module
    >>> toy = Model(torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5)))
    >>> with intervene(toy, zero_ablate(module("0", pos=-1))) as run:
    ...     same = torch.equal(run((0, 1)).at(), toy.network[1].bias)
    >>> same
    True
    """
    if not isinstance(intervention, Intervention):
        raise InterventionError(
            f"intervene takes an intervention such as interchange(block_output(0)); got "
            f"{intervention!r} ({type(intervention).__name__})"
        )
    return Intervened(model, intervention, pair)


def check_pair(intervention: Intervention, pair: Pair | None, over: Pairs | None = None) -> None:
    """Refuse an intervention on one prompt that needs a source, or prompts to draw from."""
    for part in intervention.parts:
        if isinstance(part, FromSource) and not part.optional and part.source != "base":
            name = part.source
            if pair is None or not has_source(pair, name):
                raise InterventionError(
                    f"{part} needs a prompt {name!r}: pass a pair that has it, e.g. "
                    f"Pair(base, sources={{{name!r}: prompt}})"
                )
        elif part.needs_source and (pair is None or pair.source is None):
            raise InterventionError(
                f"{part} needs a source run: pass a pair, e.g. intervene({part}, pair)"
            )
        if isinstance(part, (MeanAblation, ResampleAblation)) and (part.over or over) is None:
            raise InterventionError(
                f"{part} needs reference prompts for one pair: say over=<pair set>"
            )
