"""Everything about one claim, folded under its sentence, within the size a page may have."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from markupsafe import Markup

from causaltest.records import Claim, Edit, PairSetRecord, Part, Results, Sizes
from causaltest.report import numbers, words
from causaltest.report.pair_table import pair_tables
from causaltest.report.palette import role_of, themed
from causaltest.report.strip import strip
from causaltest.report.templating import block, fill, source_code

_OPEN_AT_FIRST = 3


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


@dataclass(frozen=True)
class _Draft:
    """A claim on its way to a card."""

    claim: Claim
    opened: bool
    brief: bool = False
    strips: Markup = Markup("")
    pairs: Markup = Markup("")

    @property
    def size(self) -> int:
        """Bytes of what depends on single pairs."""
        return len(self.strips.encode()) + len(self.pairs.encode())


def anchor_of(claim: Claim) -> str:
    """Give the fragment that leads to a claim: `claim=` and its quoted id.

    Parameters
    ----------
    claim
        The claim.

    Returns
    -------
    str
        An HTML id; browsers find it with scripts off, too.

    Examples
    --------
    >>> anchor_of.__name__
    'anchor_of'
    """
    return "claim=" + quote(claim.id.encode("utf-8", "backslashreplace"), safe="/:.,-_~[]()+@!*")


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
        One card for each claim.
    """
    sets = {pair_set.name: pair_set for pair_set in results.run.pair_sets}
    odd = [claim.id for claim in claims if claim.outcome != "passed"][:_OPEN_AT_FIRST]
    drafts = [_Draft(claim, opened=claim.id in odd) for claim in claims]
    plain = [_html(draft, results, sets) for draft in drafts]
    room = budget - sum(len(html.encode()) for html in plain)
    if room < 0:
        drafts = [replace(draft, brief=draft.claim.verdict == "supported") for draft in drafts]
        plain = [_html(draft, results, sets) for draft in drafts]
        room = budget - sum(len(html.encode()) for html in plain)
    drafts, left_out = _with_pairs(drafts, sets, room)
    html = [
        _html(draft, results, sets) if draft.size else bare
        for draft, bare in zip(drafts, plain, strict=True)
    ]
    cards = tuple(Card(anchor_of(d.claim), h) for d, h in zip(drafts, html, strict=True))
    return Cards(cards, _note(drafts, left_out))


def _with_pairs(
    drafts: list[_Draft], sets: dict[str, PairSetRecord], room: int
) -> tuple[list[_Draft], list[Claim]]:
    """Add single pairs: to supported claims only where all of them fit, to others one by one."""
    filled: dict[str, _Draft] = {}
    left_out: list[Claim] = []
    for draft in drafts:
        if draft.claim.verdict != "supported":
            candidate = _paired(draft, sets)
            if candidate.size <= room:
                room -= candidate.size
                filled[draft.claim.id] = candidate
            else:
                left_out.append(draft.claim)
    supported: list[_Draft] = []
    for draft in drafts:
        if draft.claim.verdict == "supported":
            supported.append(_paired(draft, sets))
            room -= supported[-1].size
            if room < 0:
                left_out.extend(d.claim for d in drafts if d.claim.verdict == "supported")
                supported = []
                break
    filled.update({draft.claim.id: draft for draft in supported})
    return [filled.get(draft.claim.id, draft) for draft in drafts], left_out


def _paired(draft: _Draft, sets: dict[str, PairSetRecord]) -> _Draft:
    """Add the strips and tables of single pairs to a draft."""
    drawn = [
        f'<figure class="strip">{themed(figure.svg)}</figure>'
        for part in draft.claim.parts
        if (figure := strip(part)) is not None
    ]
    strips = Markup("".join(drawn))  # noqa: S704 (figures escape what they show)
    return replace(draft, strips=strips, pairs=pair_tables(draft.claim.parts, sets))


def _note(drafts: Sequence[_Draft], left_out: Sequence[Claim]) -> str:
    """Say what the cards hold, and what had to be left out of them."""
    text = "How each claim was tested, what its verdict rests on, and the pairs behind it."
    if left_out:
        supported = sum(claim.verdict == "supported" for claim in left_out)
        kinds = [
            f"{number:,} {kind}"
            for number, kind in (
                (supported, "supported"),
                (len(left_out) - supported, "other"),
            )
            if number
        ]
        text += (
            f" To keep this page small, the values of single pairs are left out for "
            f"{' and '.join(kinds)} claims; results.json has them."
        )
    if any(draft.brief for draft in drafts):
        text += " Supported claims are shown without their edits, effect sizes and source."
    return text


def _html(draft: _Draft, results: Results, sets: dict[str, PairSetRecord]) -> Markup:
    """Fill the template of a card in."""
    claim = draft.claim
    rest = claim.docstring.strip()
    if rest.splitlines()[:1] == [claim.claim.strip()]:
        rest = "\n".join(rest.splitlines()[1:]).strip()
    view = {
        "role": role_of(claim.verdict),
        "anchor": anchor_of(claim),
        "open": draft.opened,
        "verdict": claim.verdict,
        "mark": words.MARKS[claim.verdict],
        "sentence": claim.claim,
        "headline": _headline(claim),
        "expected": words.expectation(claim).capitalize(),
        "docstring": block(rest),
        "notes": [*claim.notes, *_cluster_notes(claim, sets)],
        "error": block(claim.error.strip()),
        "parts": [_part_view(part, claim, results, sets) for part in claim.parts],
        "edits": [_edit_view(edit) for edit in claim.edits],
        "source": source_code(claim.source) if claim.source.strip() else "",
        "place": f"{claim.file}:{claim.line}",
        "command": f"pytest {shlex.quote(claim.id)}",
    }
    return fill(
        "claim.html.j2", c=view, brief=draft.brief, strips=draft.strips, pairs=draft.pairs
    )


def _headline(claim: Claim) -> str:
    """Give the numbers that stand beside a claim's sentence."""
    if claim.estimate is None or claim.interval is None or claim.bound is None:
        return ""
    shown = " ".join(numbers.estimate_and_interval(claim.estimate, claim.interval))
    return f"{shown} {numbers.bound_text(claim.relation, claim.bound)}"


def _cluster_notes(claim: Claim, sets: dict[str, PairSetRecord]) -> list[str]:
    """Say aloud where pairs were taken as independent."""
    names = {part.pair_set for part in claim.parts}
    return [
        f"cluster=None: each pair of {name} counts as its own unit. If pairs share a template or "
        "a name, the intervals are too narrow."
        for name in sorted(names)
        if name in sets and sets[name].cluster is None
    ]


def _part_view(
    part: Part, claim: Claim, results: Results, sets: dict[str, PairSetRecord]
) -> dict[str, object]:
    """Prepare one part for the template; words.py has made its texts visible."""
    return {
        "verdict": part.verdict,
        "mark": words.MARKS[part.verdict],
        "statement": part.source_text or part.statement,
        "why": words.why(part),
        "change": words.what_would_change(part),
        "how": " ".join(words.how_tested(part, claim, results.run, sets.get(part.pair_set))),
        "sizes": _sizes(part, part.sizes),
    }


def _sizes(part: Part, sizes: Sizes) -> list[tuple[str, str]]:
    """List the effect sizes that were computed."""
    level = numbers.percent(part.interval.level)
    scale = words.scale_of(part)
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
    return rows


def _edit_view(edit: Edit) -> dict[str, object]:
    """Prepare one edit for the template."""
    return {
        "intervention": edit.intervention,
        "site": edit.site,
        "module": edit.module,
        "fired": f"{edit.fired:,}",
        "rows": f"{edit.rows:,}",
        "positions": f"{edit.positions:,}",
        "dims": f"{edit.dims:,}",
        "changed": f"{edit.changed:,} of {edit.rows:,}",
    }
