"""The HTML report: complete without scripts, closed to the outside, true to the records."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import msgspec
import pytest

from causaltest import records
from causaltest.errors import RecordError
from causaltest.records import ControlStrip, PairSetRecord, Shown
from causaltest.report import html
from causaltest.report.cards import anchor_of

VOID = {"meta", "link", "input", "br", "img", "hr", "path", "rect", "circle", "line"}


class Node:
    """An element of the page."""

    def __init__(self, tag, attrs, parent):
        self.tag, self.attrs, self.parent, self.children = tag, dict(attrs), parent, []

    def all(self, tag=None, **attrs):
        """Find descendants by tag and attributes; `class_` matches one class."""
        wanted_class = attrs.pop("class_", None)
        for child in self.children:
            if isinstance(child, str):
                continue
            classes = (child.attrs.get("class") or "").split()
            fits = tag is None or child.tag == tag
            fits = fits and (wanted_class is None or wanted_class in classes)
            if fits and all(child.attrs.get(name) == value for name, value in attrs.items()):
                yield child
            yield from child.all(tag, **attrs, **({"class_": wanted_class} if wanted_class else {}))

    def one(self, tag=None, **attrs):
        """Find the only such descendant."""
        found = list(self.all(tag, **attrs))
        assert len(found) == 1, (tag, attrs, len(found))
        return found[0]

    @property
    def text(self):
        """Join the text inside."""
        return "".join(c if isinstance(c, str) else c.text for c in self.children)


class Page(HTMLParser):
    """A page as a tree; unbalanced tags are errors."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.root = self.at = Node("root", [], None)
        self.feed(text)
        self.close()
        assert self.at is self.root, f"<{self.at.tag}> was never closed"

    def handle_starttag(self, tag, attrs):
        """Open an element; an attribute given twice is an error."""
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        node = Node(tag, attrs, self.at)
        self.at.children.append(node)
        if tag not in VOID - {"path", "rect", "circle", "line"}:
            self.at = node

    def handle_startendtag(self, tag, attrs):
        """Add an element that closes itself."""
        self.at.children.append(Node(tag, attrs, self.at))

    def handle_endtag(self, tag):
        """Close the innermost element."""
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>"
        self.at = self.at.parent

    def handle_data(self, data):
        """Add text."""
        self.at.children.append(data)


def page(results, **options):
    """Render results and parse the page."""
    return Page(html.render(results, **options)).root


def changed(sample, index=0, **changes):
    """Change one claim of the sample."""
    claims = list(sample.claims)
    claims[index] = msgspec.structs.replace(claims[index], **changes)
    return msgspec.structs.replace(sample, claims=tuple(claims))


@pytest.fixture(scope="module")
def root(sample):
    """Parse the sample's page once."""
    return page(sample)


def test_the_page_opens_with_the_answer(root):
    """The heading is the sentence a reader came for; the next line is the gate's."""
    assert root.one("h1").text == "8 of 12 claims hold on toy-english at α = 0.05"
    lead = root.one("p", class_="lead").text
    assert lead == "3 claims do not come out as expected: the run fails."
    counts = [" ".join(li.text.split()) for li in root.one("ul", class_="counts").all("li")]
    assert counts == ["8 supported", "2 refuted", "1 inconclusive", "1 error"]


def test_the_sentence_and_the_gate_read_the_same_outcomes(sample):
    """A run in which everything came out as announced passes, refuted claims and all."""
    good = tuple(c for c in sample.claims if c.outcome == "passed")
    passing = page(msgspec.structs.replace(sample, claims=good))
    assert "the run passes" in passing.one("p", class_="lead").text
    assert "(1 of them by not being supported, as announced)" in passing.one(class_="lead").text


def test_the_structure_serves_keyboard_and_screen_reader(root):
    """Language, landmarks, skip link, captions, scopes and live count are there."""
    assert root.one("html").attrs["lang"] == "en"
    assert root.one("main")
    ids = [node.attrs["id"] for node in root.all() if "id" in node.attrs]
    assert len(ids) == len(set(ids))
    body = root.one("body")
    first = next(node for node in body.children if not isinstance(node, str))
    assert (first.tag, first.attrs["class"]) == ("a", "skip")
    assert first.attrs["href"][1:] in ids
    for link in root.all("a"):
        assert link.attrs["href"].startswith("#")
        assert link.attrs["href"][1:] in ids
    table = root.one("table", id="claims-table")
    assert all(one.one("caption").text.strip() for one in root.all("table"))
    for head in table.one("thead").all("th"):
        assert head.attrs["scope"] == "col"
        assert head.text.strip()
    for row in table.all("tr"):
        heads = list(row.all("th"))
        assert heads
        assert all(head.attrs["scope"] in ("col", "row", "rowgroup") for head in heads)
    assert root.one("span", role="status").attrs["aria-live"] == "polite"
    assert root.one("input", type="search").attrs["aria-label"]
    assert all(list(label.all("input")) for label in root.all("label"))
    assert [h.tag for h in root.all() if re.fullmatch("h[12]", h.tag)].count("h1") == 1


def test_numbers_of_the_table_are_those_of_the_records(root, sample):
    """Each row has the claim's numbers as Python formats them, and no row is missing."""
    rows = {
        row.one("th").one("a").attrs["href"][1:]: [cell.text for cell in row.all("td")]
        for row in root.one("table", id="claims-table").all("tr")
        if list(row.all("td"))
    }
    decided = [claim for claim in sample.claims if claim.verdict != "error"]
    assert set(rows) == {anchor_of(claim) for claim in decided}
    for claim in decided:
        verdict, effect, interval, bound, counts, p = rows[anchor_of(claim)]
        minus = str.maketrans("−", "-")
        assert verdict.startswith(claim.verdict)
        assert effect.translate(minus) == f"{claim.estimate:+.3f}"
        low, high = claim.interval.low, claim.interval.high
        assert interval.translate(minus) == f"[{low:+.3f}, {high:+.3f}]"
        assert f"{claim.bound:g}" in bound.translate(minus)
        assert counts == "24 / 12"
        assert p == ("< 0.001" if claim.p_adjusted < 0.001 else f"{claim.p_adjusted:.3f}")


def test_the_table_sorts_by_exact_numbers(root, sample):
    """The numbers that scripts sort by are the records' own, in the order of the rows."""
    data = json.loads(root.one("script", id="numbers").text)
    order = [a.attrs["href"][1:] for a in root.one("table", id="claims-table").all("a")]
    by_anchor = {anchor_of(claim): claim for claim in sample.claims}
    assert data["effect"] == [by_anchor[anchor].estimate for anchor in order]
    assert data["low"] == [by_anchor[anchor].interval.low for anchor in order]
    assert data["p"] == [by_anchor[anchor].p_adjusted for anchor in order]
    assert {len(column) for column in data.values()} == {len(order)}
    keys = {
        th.attrs["data-key"] for th in root.one("table", id="claims-table").all("th", scope="col")
    }
    assert keys == {*data, "claim"}


def card(root, claim):
    """Find the card of a claim."""
    return root.one("details", id=anchor_of(claim))


def test_a_card_has_everything_needed_to_check_the_claim(root, sample):
    """Source, edits, pairs with values and the command are in the page, scripts or not."""
    claim = sample.claims[0]
    found = card(root, claim)
    pieces = [pre.text for pre in found.all("pre")]
    assert claim.source.rstrip() in pieces
    assert f"pytest '{claim.id}'" in pieces
    text = " ".join(found.text.split())
    assert "block_output[2]@name transformer.h.2 3 24 24 64 24 of 24".replace(
        " ", ""
    ) in text.replace(" ", "")
    assert "12 templates" in text
    assert "0.05 shared by the 8 hypotheses of hypotheses/test_pronouns.py" in text
    part = claim.parts[0]
    values = [
        float(row[-1].text.replace("−", "-"))
        for body in found.all("tbody")
        for tr in body.all("tr")
        if len(row := list(tr.all("td"))) == 5
    ]
    assert values == pytest.approx(sorted(part.values), abs=0.0006)
    prompts = {pair.base for pair in sample.run.pair_sets[0].pairs}
    assert prompts <= {td.text for td in found.all("td", class_="q")}


def test_sites_that_were_edited_alike_share_a_row(sample):
    """One row for an intervention's sites; what differs in a count stands apart; many rows fold."""
    edit = sample.claims[0].edits[0]
    replace = msgspec.structs.replace
    alike = [replace(edit, site=f"head[0.{i}]", module=f"h.{i % 2}") for i in range(6)]
    found = card(page(changed(sample, edits=(*alike, replace(edit, changed=3)))), sample.claims[0])
    (table,) = found.all("table", class_="edits")
    rows = [tr.text for tr in table.one("tbody").all("tr")]
    assert len(rows) == 2
    assert "head[0.0]\nhead[0.1]\nhead[0.2]\nhead[0.3]\nand 2 more" in rows[0]
    assert "h.0\nh.1" in rows[0]
    assert "3 of 24" in rows[1]
    several = tuple(replace(edit, changed=count) for count in range(9))
    folded = card(page(changed(sample, edits=several)), sample.claims[0])
    (inner,) = [d for d in folded.all("details") if list(d.all("table", class_="edits"))][-1:]
    assert "The edits that were made, in 9 rows" in inner.text


def test_controls_are_said_to_be_run_or_not(sample):
    """A claim with edits says what it was compared with; one without says nothing of it."""
    bare = card(page(sample), sample.claims[0]).text
    assert "No matched controls were run." in bare
    strip = ControlStrip("recovery", "random sites", 0.8, 0.7, 0.9, 0.95, (0.1, 0.2))
    compared = changed(sample, shown=Shown(controls=(strip,)))
    assert "Compared with 2 random sites." in card(page(compared), sample.claims[0]).text
    unedited = card(page(changed(sample, edits=())), sample.claims[0]).text
    assert "controls were run" not in unedited


def test_what_a_health_check_found_stands_before_the_verdict(sample):
    """Findings are set off and come first; other notes are listed after how it was tested."""
    notes = ("weak_baseline: it fails at the task", "sweep of heads: growing")
    found = card(page(changed(sample, notes=notes)), sample.claims[0])
    assert [p.text for p in found.all("p", class_="note")] == [notes[0]]
    assert [li.text for li in found.all("li")] == [notes[1]]
    assert (
        found.text.index(notes[0]) < found.text.index("Why, and what") < found.text.index(notes[1])
    )


def test_the_parts_of_a_claim_are_named(sample):
    """Where a claim has several parts, text and dots say which is which."""
    part = sample.claims[0].parts[0]
    parts = tuple(
        msgspec.structs.replace(part, statement=name, source_text="") for name in ("a > 1", "b > 1")
    )
    found = card(page(changed(sample, parts=parts)), sample.claims[0])
    assert [each.text.strip() for each in found.all("figcaption")][:2] == ["a > 1", "b > 1"]
    heads = [each.text for each in found.all("h3")]
    assert ["a > 1" in heads[0], "b > 1" in heads[1]] == [True, True]


def test_what_would_change_a_verdict_follows_from_its_interval(root, sample):
    """The bounds that the data support and refute are the ends of the deciding interval."""
    for claim in sample.claims:
        for part in claim.parts:
            if part.relation == ">":
                low, high = part.adjusted_interval.low, part.adjusted_interval.high
                text = f"support any bound below {low:.3g} and refute any above {high:.3g}."
                assert text.replace(" -", " −") in card(root, claim).text
    assert "About 212 pairs would settle it" in card(root, sample.claims[4]).text


def test_surprises_are_opened_and_others_folded(root, sample):
    """The first claims that did not come out as expected are open, the others are not."""
    opened = {d.attrs["id"] for d in root.all("details", class_="c") if "open" in d.attrs}
    odd = {anchor_of(c) for c in sample.claims if c.outcome != "passed"}
    assert opened == odd


def test_errors_stand_apart(root, sample):
    """A test without a verdict is in its own section with its message, and in no table row."""
    apart = root.one("section", id="apart")
    assert "layer 7 does not exist; toy-english has layers 0 to 3.\nUse" in apart.text
    error = next(c for c in sample.claims if c.verdict == "error")
    assert error.claim in apart.text
    assert error.claim not in root.one("table", id="claims-table").text


def test_unclustered_pairs_are_said_aloud(sample):
    """cluster=None is told in each claim and in the data of the run."""
    bare = msgspec.structs.replace(sample.run.pair_sets[0], cluster=None, n_units=24)
    run = msgspec.structs.replace(sample.run, pair_sets=(bare,))
    found = page(msgspec.structs.replace(sample, run=run))
    said = "cluster=None: each pair of pronouns counts as its own unit."
    assert said in card(found, sample.claims[0]).text
    assert "cluster=None: each pair counts as its own unit" in found.one(id="environment").text


def test_claims_notes_and_run_notes_are_shown(root, sample):
    """What a reader must know stands where they read."""
    assert sample.claims[4].notes[0] in card(root, sample.claims[4]).text
    run = msgspec.structs.replace(sample.run, partial=True, notes=("the machine was busy",))
    found = page(msgspec.structs.replace(sample, run=run))
    notes = [p.text for p in found.one("header").all("p", class_="note")]
    assert notes[0].startswith("Not every hypothesis that was collected ran")
    assert notes[1] == "the machine was busy"


def test_methods_and_environment_are_complete(root, sample):
    """Another person finds model, weights, data, seed, versions and command."""
    text = root.one("section", id="environment").text
    model = sample.run.models[0]
    for fact in (
        model.sha256,
        "412,928",
        "float32, cpu",
        sample.run.pair_sets[0].sha256,
        "2f6c1b7e90aa, with uncommitted changes",
        "torch 2.13.0",
        "pytest hypotheses",
    ):
        assert fact in text
    methods = root.one("section", id="methods").text
    assert "hull on 12 template means, 9,999 resamples" in methods
    assert "bonferroni" in methods
    assert "Seed 0" in methods


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&{{ 7 * 7 }}\ud800"


def hostile(sample):
    """Put hostile text wherever text from outside can stand."""
    attack = HOSTILE + "\x00\x1b[31m\u202edlrow\u2066\u200b\x85" + "x" * 30_000
    bases = [
        msgspec.structs.replace(
            pair, base=attack, source=attack + "!", base_answer=HOSTILE, unit=HOSTILE, id=HOSTILE
        )
        for pair in sample.run.pair_sets[0].pairs
    ]
    pair_set = msgspec.structs.replace(sample.run.pair_sets[0], name=HOSTILE, pairs=tuple(bases))
    model = msgspec.structs.replace(sample.run.models[0], name=HOSTILE, components=(HOSTILE,))
    environment = msgspec.structs.replace(
        sample.run.environment, command=HOSTILE, packages={HOSTILE: HOSTILE}
    )
    run = msgspec.structs.replace(
        sample.run,
        models=(model,),
        pair_sets=(pair_set,),
        environment=environment,
        notes=(attack,),
        correction=HOSTILE,
        started=HOSTILE,
    )
    claims = []
    for index, claim in enumerate(sample.claims):
        parts = tuple(
            msgspec.structs.replace(
                part,
                statement=HOSTILE,
                subject=attack,
                method=HOSTILE,
                unit=HOSTILE,
                source_text=f"assert {HOSTILE}",
                units=(HOSTILE,) * 12 + ("b",) * 12,
                scale=HOSTILE,
                pair_set=HOSTILE,
            )
            for part in claim.parts
        )
        edits = tuple(
            msgspec.structs.replace(e, intervention=HOSTILE, site=HOSTILE, module=HOSTILE)
            for e in claim.edits
        )
        claims.append(
            msgspec.structs.replace(
                claim,
                id=f"{HOSTILE} {index}\u202e::test_{HOSTILE}",
                file=HOSTILE,
                claim=attack,
                docstring=attack,
                source=f"def f():\n    assert {attack}",
                error=attack if claim.error else "",
                model=HOSTILE,
                family=HOSTILE,
                parts=parts,
                edits=edits,
                notes=(attack,),
            )
        )
    return msgspec.structs.replace(sample, run=run, claims=tuple(claims))


def test_nothing_from_outside_can_execute_or_load(sample):
    """Hostile text in every field changes neither scripts nor elements nor links."""
    attacked = html.render(hostile(sample))
    found = Page(attacked).root
    scripts = list(found.all("script"))
    assert [s.attrs for s in scripts] == [{"type": "application/json", "id": "numbers"}, {}]
    clean = page(sample)
    assert scripts[1].text == list(clean.all("script"))[1].text
    assert {n.tag for n in found.all()} <= {n.tag for n in clean.all()}
    for node in found.all():
        assert not any(name.startswith("on") or name == "style" for name in node.attrs)
        for name in ("href", "src", "action", "data", "srcset", "xlink:href"):
            assert node.attrs.get(name, "#").startswith("#")
    assert "49" not in found.one("h1").text


def test_hidden_characters_are_made_visible(sample):
    """No control, bidirectional or invisible character reaches the page as itself."""
    attacked = html.render(hostile(sample))
    assert not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f]", attacked
    )
    assert "⟨U+202E⟩dlrow⟨U+2066⟩" in attacked
    assert "\\x1b[31m" in attacked


def test_ids_of_any_length_have_anchors_of_their_own(sample):
    """Claims whose long ids differ at the end only are told apart by the links to them."""
    claims = tuple(
        msgspec.structs.replace(sample.claims[0], id=f"h.py::test_it[{'x' * 9_000}{ending}]")
        for ending in "ab"
    )
    root = page(msgspec.structs.replace(sample, claims=claims))
    links = [a.attrs["href"][1:] for a in root.one("table", id="claims-table").all("a")]
    assert len(set(links)) == 2
    assert all(len(link) < 1_100 and root.one("details", id=link) for link in links)


def test_long_texts_are_cut_and_said(sample):
    """A prompt of 30,000 characters does not fill the page once for each claim."""
    attacked = html.render(hostile(sample))
    assert "more characters; all of it is in results.json" in attacked


def test_the_page_asks_the_network_for_nothing(sample):
    """No address stands in the page, and its policy forbids loading and foreign scripts."""
    text = html.render(sample)
    assert not re.search(r"(?:https?:)?//(?!www\.w3\.org/)[\w.]+\.\w+", text)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket", text)
    found = Page(text).root
    policy = found.one("meta", **{"http-equiv": "Content-Security-Policy"}).attrs["content"]
    for tag, body in (
        ("script-src", list(found.all("script"))[1].text),
        ("style-src", found.one("style").text),
    ):
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_script_and_style_stay_small():
    """At most 15 KB of script and 10 KB of style."""
    text = html.render(records.Results(1, "complete", records.Run(0.05, "none", 0)))
    found = Page(text).root
    assert len(list(found.all("script"))[-1].text.encode()) <= 15_000
    assert len(found.one("style").text.encode()) <= 10_000


def test_an_empty_run_has_a_page():
    """A run without claims is reported as such."""
    found = page(records.Results(1, "complete", records.Run(0.05, "none", 0)))
    assert found.one("h1").text == "No claim was tested on the model"
    assert "No claim was decided" in found.one("main").text


def test_a_run_of_errors_has_a_page(sample):
    """A run in which everything broke shows what broke."""
    only = tuple(c for c in sample.claims if c.verdict == "error")
    found = page(msgspec.structs.replace(sample, claims=only))
    assert found.one("h1").text.startswith("0 of 1 claim holds on toy-english")
    assert "layer 7 does not exist" in found.one(id="apart").text


@pytest.mark.parametrize("share", [1.0, 0.9, 0.5, 0.0])
def test_two_thousand_claims_stay_under_five_megabytes(many, share):
    """Whatever their verdicts, the page stays small, has every claim, and says what it lacks."""
    results = many(2000, share_supported=share)
    text = html.render(results)
    assert len(text.encode()) <= 5_000_000
    found = Page(text).root
    assert len(list(found.all("details", class_="c"))) == 2000
    rows = [r for r in found.one("table", id="claims-table").all("tr") if list(r.all("td"))]
    assert len(rows) == 2000
    said = " ".join(found.one("section", id="main").text.split())
    assert "the values of single pairs are left out for" in said
    if share == 1.0:
        assert "left out for 2,000 supported claims" in said


def test_values_are_left_out_for_supported_claims_first(sample, many):
    """Where something must go, claims that did not hold keep their pairs."""
    results = many(200, share_supported=0.9)
    full = html.render(results)
    found = page(results, budget=int(len(full.encode()) * 0.6))
    for one in found.one(id="details").all("details", class_="c"):
        classes = one.attrs["class"].split()
        assert bool(list(one.all("figure"))) == ("supported" not in classes)


def test_a_small_run_keeps_every_pair(root, sample):
    """Within the budget nothing is left out."""
    assert "left out" not in root.one("section", id="main").text
    figures = list(root.one(id="details").all("figure"))
    assert len(figures) == sum(len(claim.parts) for claim in sample.claims)


def test_prompts_are_never_shown_beside_values_they_may_not_belong_to(sample):
    """A slice that kept the name of its pair set shows numbers without prompts."""
    part = sample.claims[0].parts[0]
    sliced = msgspec.structs.replace(part, values=part.values[:5], units=part.units[:5])
    found = card(page(changed(sample, parts=(sliced,))), sample.claims[0])
    assert not list(found.all("td", class_="q"))
    assert "5 pairs of pronouns" in found.text


def test_pair_sets_of_one_name_are_told_apart_by_hash(sample):
    """Two sets may share a name; values stand beside the prompts of their own set, or of none."""
    own = sample.run.pair_sets[0]
    pairs = tuple(msgspec.structs.replace(pair, base="WRONG") for pair in own.pairs)
    other = msgspec.structs.replace(own, sha256="ff", pairs=pairs)
    run = msgspec.structs.replace(sample.run, pair_sets=(other, own))
    part = msgspec.structs.replace(sample.claims[0].parts[0], pair_set_sha256=own.sha256)
    claims = (msgspec.structs.replace(sample.claims[0], parts=(part,)), *sample.claims[1:])
    found = page(msgspec.structs.replace(sample, run=run, claims=claims))
    prompts = {td.text for td in card(found, claims[0]).all("td", class_="q")}
    assert {pair.base for pair in own.pairs} <= prompts
    assert "WRONG" not in found.text


def test_hypotheses_that_did_not_run_are_not_counted_as_failing(sample):
    """The sentence counts what ran; what did not is counted and listed apart."""
    idle = msgspec.structs.replace(
        sample.claims[-1], id="h.py::test_idle", verdict="not run", outcome="skipped", error=""
    )
    found = page(msgspec.structs.replace(sample, claims=(*sample.claims, idle)))
    assert found.one("h1").text.startswith("8 of 12 claims hold")
    assert "1 not run" in " ".join(found.one("ul", class_="counts").text.split())


def test_what_differs_between_base_and_source_is_marked(root, sample):
    """The contrast of a pair is set off in both prompts, and nothing else is."""
    marks = [m.text for m in card(root, sample.claims[0]).all("mark")]
    assert sorted(set(marks)) == ["Anna", "Ben", "Lily", "Tim"]
    assert len(marks) == 48


def test_several_models_are_told_apart(sample):
    """With two models each row names its own."""
    other = msgspec.structs.replace(sample.run.models[0], name="gpt2")
    run = msgspec.structs.replace(sample.run, models=(*sample.run.models, other))
    claims = (
        sample.claims[0],
        msgspec.structs.replace(
            sample.claims[0], id=sample.claims[0].id.replace("toy-english", "gpt2"), model="gpt2"
        ),
    )
    found = page(msgspec.structs.replace(sample, run=run, claims=claims))
    assert found.one("h1").text == "2 of 2 claims hold on toy-english and gpt2 at α = 0.05"
    names = [code.text for code in found.one("table", id="claims-table").all("code")]
    assert names[1:] == [
        "the_name_decides_the_pronoun[gpt2]",
        "the_name_decides_the_pronoun[toy-english]",
    ]


def test_the_page_is_put_in_place_whole(sample, tmp_path):
    """Writing makes folders, replaces the old page and leaves nothing else behind."""
    path = tmp_path / "reports" / "report.html"
    html.write(sample, path)
    html.write(sample, path)
    assert path.read_text(encoding="utf-8") == html.render(sample)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    with pytest.raises(RecordError, match="cannot be written"):
        html.write(sample, path / "report.html")


def test_a_pair_set_without_pairs_is_no_obstacle(sample):
    """Runs that did not record prompts still have a report."""
    bare = PairSetRecord("pronouns", "00", "template", 24, 12)
    run = msgspec.structs.replace(sample.run, pair_sets=(bare,))
    assert "left out" not in html.render(msgspec.structs.replace(sample, run=run))


def test_the_same_records_make_the_same_page(sample):
    """Rendering twice gives the same bytes, whatever order the claims are in."""
    again = msgspec.structs.replace(sample, claims=sample.claims[::-1])
    assert html.render(sample) == html.render(again)


def test_exploratory_claims_stand_apart(sample):
    """They are not counted among the claims, show their q, and say that they decide nothing."""
    explored = tuple(
        msgspec.structs.replace(
            claim,
            verdict="exploratory",
            q_value=0.031,
            p_adjusted=None,
            parts=tuple(msgspec.structs.replace(p, verdict="exploratory") for p in claim.parts),
        )
        for claim in sample.claims[:2]
    )
    page = html.render(msgspec.structs.replace(sample, claims=explored))
    assert "2 exploratory claims on" in page
    assert "and none that decides" in page
    assert page.count(">q 0.0310<") == 4, "in the table and in the figure"
    assert "it suggests what to test on fresh data and decides nothing" in page
    assert "Benjamini-Hochberg" in page


def test_gates_are_explained(sample):
    """A claim that got its level from its gates says so, and the methods say how."""
    first, second = sample.claims[:2]
    gated = msgspec.structs.replace(second, requires=(first.id,))
    page = html.render(msgspec.structs.replace(sample, claims=(first, gated)))
    assert "passed on by its 1 gate, of 0.05 for" in page
    assert "(serial gatekeeping); its p is adjusted along its gates" in page
