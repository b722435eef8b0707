"""Everything about one claim, folded under its sentence, within the size a page may have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup

from causaltest.records import Claim, Edit, PairSetRecord, Part, Results, Sizes, count, pair_set_of
from causaltest.report import numbers
from causaltest.report.again import command_of
from causaltest.report.claim_figures import ClaimFigures, claim_figures
from causaltest.report.pair_table import pair_tables, prompt_tables
from causaltest.report.palette import role_of, themed
from causaltest.report.parts import scale_of
from causaltest.report.reasons import what_would_change, why
from causaltest.report.standing import expectation
from causaltest.report.strip import strip
from causaltest.report.summary import count_phrases
from causaltest.report.templating import block, fill, source_code
from causaltest.report.tested import how_tested, measured
from causaltest.report.text import visible

_OPEN_AT_FIRST = 3
_FOR_FIGURES = 0.5
"""Share of the room for cards that figures may take, beside those of single pairs."""
_NOTHING = Markup("")
_LONGEST_ANCHOR = 1_000
_MOST_EDITS = 8
"""Rows of edits that stand open."""
_MOST_SITES = 4
"""Sites that a row of edits names."""
_HEALTH = re.compile(r"[a-z]+(?:_[a-z]+)+: ")
"""How what a health check found begins: with its name."""


@dataclass(frozen=True)
class Card:
    """One claim in full, as HTML."""

    anchor: str
    html: Markup


@dataclass(frozen=True)
class Cards:
    """The claims in full, and what was left out of them."""

    cards: tuple[Card, ...]
    note: str
    pair_sets: Markup = _NOTHING
    """The prompts, where the cards refer to pairs by number."""


@dataclass(frozen=True)
class _Plan:
    """How much of each claim a page shows; the richest plan that fits is taken."""

    supported_pairs: bool = False
    brief_supported: bool = False
    brief_others: bool = False
    by_number: bool = False
    """Prompts once for the page; cards give pairs by number."""

    def brief(self, claim: Claim) -> bool:
        """Tell whether a claim is shown without edits, effect sizes and source."""
        return self.brief_supported if claim.verdict == "supported" else self.brief_others

    def pairs(self, claim: Claim) -> bool:
        """Tell whether a claim is shown with its single pairs."""
        return self.supported_pairs or claim.verdict != "supported"


_PLANS = (
    _Plan(supported_pairs=True),
    _Plan(),
    _Plan(by_number=True),
    _Plan(by_number=True, brief_supported=True),
)
_LAST_PLAN = _Plan(by_number=True, brief_supported=True, brief_others=True)


@dataclass(frozen=True)
class _Pieces:
    """What the cards are built from."""

    results: Results
    opened: frozenset[str]
    plan: _Plan
    figures: ClaimFigures

    @property
    def sets(self) -> tuple[PairSetRecord, ...]:
        """The pair sets of the run."""
        return self.results.run.pair_sets

    def card(self, claim: Claim, *, pairs: bool) -> Card:
        """Build one card."""
        strips, table = Markup(""), Markup("")
        if pairs:
            strips = Markup("").join(_strip_html(part, claim) for part in claim.parts)
            table = pair_tables(claim.parts, self.sets, by_number=self.plan.by_number)
        html = fill(
            "claim.html.j2",
            c=_view(claim, self),
            brief=self.plan.brief(claim),
            strips=strips,
            figures=self.figures.html.get(claim.id, ""),
            pairs=table,
            most_edits=_MOST_EDITS,
        )
        return Card(anchor_of(claim), html)


def _strip_html(part: Part, claim: Claim) -> Markup:
    """Show the pairs of a part, named where the claim has several."""
    figure = strip(part)
    if figure is None:
        return _NOTHING
    name = Markup("")
    if len(claim.parts) > 1:
        name = Markup("<figcaption>{}</figcaption>").format(
            visible(part.source_text or part.statement)
        )
    return Markup('<figure class="strip" tabindex="0">{}{}</figure>').format(
        name,
        Markup(themed(figure.svg)),  # noqa: S704 (figures escape)
    )


def anchor_of(claim: Claim) -> str:
    """Give the fragment that leads to a claim: `claim=` and its quoted id.

    Parameters
    ----------
    claim
        The claim.

    Returns
    -------
    str
        An HTML id; browsers find it with scripts off, too. A long one ends in a hash.
    """
    data = claim.id.encode("utf-8", "backslashreplace")
    name = quote(data, safe="/:.,-_~[]()+@!*")
    if len(name) > _LONGEST_ANCHOR:
        name = f"{name[:_LONGEST_ANCHOR]}...{hashlib.sha256(data).hexdigest()[:16]}"
    return f"claim={name}"


def cards_of(results: Results, claims: Sequence[Claim], budget: int) -> Cards:
    """Show claims in full, leaving out single pairs where the page would grow too large.

    Parameters
    ----------
    results
        The run they belong to.
    claims
        The claims, in the order of the page.
    budget
        Bytes that the cards may take.

    Returns
    -------
    Cards
        One card for each claim, with what was left out said in a note.
    """
    odd = [claim.id for claim in claims if claim.outcome != "passed"][:_OPEN_AT_FIRST]
    opened = frozenset(odd)
    figures = claim_figures(claims, int(_FOR_FIGURES * budget))
    for plan in _PLANS:
        pieces = _Pieces(results, opened, plan, figures)
        cards = _all_that_fit(pieces, claims, budget)
        if cards is not None:
            return cards
    # Figures give way: every claim is to have a card.
    bare = _Pieces(results, opened, _LAST_PLAN, ClaimFigures({}))
    least = sum(len(bare.card(claim, pairs=False).html.encode()) for claim in claims)
    room = budget - len(prompt_tables(results.run.pair_sets).encode()) - least
    return _as_many_as_fit(
        _Pieces(results, opened, _LAST_PLAN, figures.within(room)), claims, budget
    )


def _all_that_fit(pieces: _Pieces, claims: Sequence[Claim], budget: int) -> Cards | None:
    """Build the cards of a plan, or give up as soon as they are too large."""
    plan = pieces.plan
    prompts = prompt_tables(pieces.sets) if plan.by_number else Markup("")
    room = budget - len(prompts.encode())
    cards: list[Card] = []
    for claim in claims:
        cards.append(pieces.card(claim, pairs=plan.pairs(claim)))
        room -= len(cards[-1].html.encode())
        if room < 0:
            return None
    left_out = [claim for claim in claims if claim.parts and not plan.pairs(claim)]
    return Cards(tuple(cards), _note(pieces, left_out), prompts)


def _as_many_as_fit(pieces: _Pieces, claims: Sequence[Claim], budget: int) -> Cards:
    """Build brief cards, with single pairs for the first claims that are not supported."""
    prompts = prompt_tables(pieces.sets)
    cards = [pieces.card(claim, pairs=False) for claim in claims]
    room = budget - len(prompts.encode()) - sum(len(card.html.encode()) for card in cards)
    left_out: list[Claim] = []
    for index, claim in enumerate(claims):
        if room > 0 and pieces.plan.pairs(claim):
            full = pieces.card(claim, pairs=True)
            growth = len(full.html.encode()) - len(cards[index].html.encode())
            if growth <= room:
                cards[index] = full
                room -= growth
                continue
        left_out.append(claim)
    return Cards(tuple(cards), _note(pieces, left_out), prompts)


def _note(pieces: _Pieces, left_out: Sequence[Claim]) -> str:
    """Say what the cards hold, and what had to be left out of them."""
    plan = pieces.plan
    text = "How each claim was tested, what its verdict rests on, and the pairs behind it."
    if left_out:
        counted = " and ".join(
            phrase for phrase in count_phrases(count(left_out)) if phrase[0] != "0"
        )
        noun = "claim" if len(left_out) == 1 else "claims"
        text += (
            f" To keep this page small, the values of single pairs are left out for "
            f"{counted} {noun}; results.json has them."
        )
    if plan.by_number:
        text += " Pairs are given by number; their prompts stand under the data of the run."
    if plan.brief_supported:
        which = "Claims" if plan.brief_others else "Supported claims"
        text += f" {which} are shown without their edits, effect sizes and source."
    return f"{text} {pieces.figures.note}".rstrip()


def _view(claim: Claim, pieces: _Pieces) -> dict[str, object]:
    """Prepare a claim for the template."""
    rest = claim.docstring.strip()
    # The sentence of a case ends in its brackets, which no docstring has.
    if rest.splitlines()[:1] in ([claim.claim.strip()], [claim.claim.rpartition(" [")[0]]):
        rest = "\n".join(rest.splitlines()[1:]).strip()
    found = [note for note in claim.notes if _HEALTH.match(note)]
    return {
        "role": role_of(claim.verdict),
        "anchor": anchor_of(claim),
        "open": claim.id in pieces.opened,
        "verdict": claim.verdict,
        "sentence": claim.claim,
        "headline": numbers.typeset(_headline(claim)),
        "expected": expectation(claim).capitalize(),
        "docstring": block(rest),
        "warnings": [*found, *_cluster_notes(claim, pieces.sets)],
        "notes": [note for note in claim.notes if note not in found],
        "error": block(claim.error.strip()),
        "parts": [_part_view(part, claim, pieces) for part in claim.parts],
        "edits": _edit_rows(claim.edits),
        "source": source_code(claim.source) if claim.source.strip() else "",
        "place": f"{claim.file}:{claim.line}",
        "command": command_of(claim, pieces.results.run),
    }


def _headline(claim: Claim) -> str:
    """Give the numbers that stand beside a claim's sentence."""
    if claim.estimate is None or claim.interval is None or claim.bound is None:
        return ""
    shown = " ".join(numbers.estimate_and_interval(claim.estimate, claim.interval))
    return f"{shown} {numbers.bound_text(claim.relation, claim.bound)}"


def _cluster_notes(claim: Claim, sets: Sequence[PairSetRecord]) -> list[str]:
    """Say aloud where pairs were taken as independent."""
    found = [pair_set_of(part, sets) for part in claim.parts]
    names = {each.name for each in found if each is not None and each.cluster is None}
    return [
        f"cluster=None: each pair of {name} counts as its own unit. If pairs share a template or "
        "a name, the intervals are too narrow."
        for name in sorted(names)
    ]


def _part_view(part: Part, claim: Claim, pieces: _Pieces) -> dict[str, object]:
    """Prepare one part for the template; its sentences come with visible texts."""
    return {
        "verdict": part.verdict,
        "statement": part.source_text or part.statement,
        "why": numbers.typeset(why(part)),
        "change": numbers.typeset(what_would_change(part)),
        "measured": measured(part),
        "how": " ".join(
            how_tested(part, claim, pieces.results.run, pair_set_of(part, pieces.sets))
        ),
        "sizes": _sizes(part, part.sizes),
    }


def _sizes(part: Part, sizes: Sizes) -> list[tuple[str, str]]:
    """List the effect sizes that were computed."""
    level = numbers.percent(part.interval.level)
    scale = scale_of(part)
    mean, interval = numbers.estimate_and_interval(part.estimate, part.interval)
    adjusted = numbers.interval_text(part.adjusted_interval)
    rows = [
        (f"estimate ({scale}) and {level} interval", f"{mean} {interval}"),
        (f"{numbers.percent(part.adjusted_interval.level)} interval, which decides", adjusted),
    ]
    if sizes.fraction_of_total is not None:
        rows.append(("share of the total effect", f"{sizes.fraction_of_total:.3f}"))
    if sizes.share_in_direction is not None:
        shown = f"{sizes.share_in_direction:.3f}"
        if sizes.share_interval:
            shown += f" [{sizes.share_interval.low:.3f}, {sizes.share_interval.high:.3f}]"
        rows.append((f"share of {part.unit or 'unit'}s in the claimed direction", shown))
    if sizes.d_z is not None:
        shown = f"{sizes.d_z:.2f}"
        if sizes.d_z_interval:
            shown += f" [{sizes.d_z_interval.low:.2f}, {sizes.d_z_interval.high:.2f}]"
        rows.append(("d_z with Hedges' correction (normal theory)", shown))
    if sizes.prediction is not None:
        name = f"where the mean of a new {part.unit or 'unit'} would lie (normal theory)"
        rows.append((name, numbers.interval_text(sizes.prediction)))
    if sizes.risk_difference is not None:
        shown = f"{sizes.risk_difference:+.3f}"
        rows.append(("risk difference (of two rates, or from the bound)", shown))
    if sizes.odds_ratio is not None:
        shown = f"{sizes.odds_ratio:.3g}"
        if sizes.odds_ratio_interval:
            low, high = sizes.odds_ratio_interval.low, sizes.odds_ratio_interval.high
            shown += f" [{low:.3g}, {high:.3g}]"
        rows.append(("odds ratio (half a pair added to each count)", shown))
    return [(name, numbers.typeset(value)) for name, value in rows]


def _edit_rows(edits: Sequence[Edit]) -> list[dict[str, object]]:
    """Prepare edits for the template: one row for the sites that an intervention treated alike."""
    alike: dict[tuple[object, ...], list[Edit]] = {}
    for edit in edits:
        counts = (edit.fired, edit.rows, edit.positions, edit.dims, edit.changed)
        alike.setdefault((edit.intervention, *counts), []).append(edit)
    return [
        {
            "intervention": members[0].intervention,
            "sites": _some([edit.site for edit in members]),
            "modules": _some([edit.module for edit in members]),
            "fired": f"{members[0].fired:,}",
            "rows": f"{members[0].rows:,}",
            "positions": f"{members[0].positions:,}",
            "dims": f"{members[0].dims:,}",
            "changed": f"{members[0].changed:,} of {members[0].rows:,}",
        }
        for members in alike.values()
    ]


def _some(names: Sequence[str]) -> str:
    """List the first names, each once, and say how many more there are."""
    known = list(dict.fromkeys(names))
    more = [f"and {len(known) - _MOST_SITES} more"] if len(known) > _MOST_SITES else []
    return block("\n".join([*map(visible, known[:_MOST_SITES]), *more]))
