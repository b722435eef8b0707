"""Comparisons in words: terminal, Markdown, step summaries; text from outside stays text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import msgspec
import pytest

from causaltest.baseline import compare, keep
from causaltest.report.comparison import table
from causaltest.report.markdown import SUMMARY_BYTES, code, compared, escaped, step_summary

HOSTILE = "x|y `z` <script>alert(1)</script>\n::error::\x1b[31m\u202egnp.exe @octocat **b** [l](u)"


@pytest.fixture
def found(runs, values):
    """One claim fell, one lost its verdict only, one stayed, one is new, one gone."""
    moved = [v - 0.5 + 0.01 * (-1) ** (i // 5) for i, v in enumerate(values)]
    old = [runs.claim(name, runs.part(values)) for name in ("a", "b", "c", "d")]
    new = [
        runs.claim("a", runs.part(moved), source="other"),
        runs.claim("b", runs.part(values), verdict="inconclusive"),
        runs.claim("c", runs.part(values)),
        runs.claim("e", runs.part(values)),
    ]
    return compare(keep(runs.results(*old)), keep(runs.results(*new)))


def test_the_table_shows_what_changed_first(found):
    """Numbers stand in columns; what stayed is counted."""
    lines = table(found, width=100).splitlines()
    assert re.match(r"\s+claim +before +now +change$", lines[0])
    assert re.match(
        r"worse  h/test_a\.py::test_a  \+1\.000  \+0\.50\d  -0\.49\d+ \[.*\]$", lines[1]
    )
    assert lines[2].strip() == "the test was edited"
    assert lines[3].split() == ["worse", "h/test_a.py::test_b", "+1.000", "+1.000", "+0.000"]
    assert [line.strip() for line in lines[4:6]] == [
        "supported -> inconclusive",
        "the verdict was lost, but no change of its estimate was shown",
    ]
    assert lines[6:] == [
        "3 claims compared: 2 worse, 1 not worse",
        "new: h/test_a.py::test_e",
        "gone: h/test_a.py::test_d",
        "2 alarms not confirmed; on fresh pairs: compare OLD NEW --confirm OLD2 NEW2",
        "brackets: the change on the same pairs, 95 % (1 comparison)",
    ]
    assert "not worse  h/test_a.py::test_c" in table(found, everything=True)


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_fits(found, width):
    """Names are cut to the terminal from 80 columns on, numbers never."""
    rows = table(found, width=width, everything=True).splitlines()
    assert all(len(row) <= width for row in rows)
    assert sum("+1.000" in row for row in rows) == 3


def test_markdown_is_a_table_and_a_fold(found):
    """What got worse is bold and first; what stayed is folded away."""
    lines = compared(found).splitlines()
    assert lines[0] == "### Causal claims: 2 claims got worse"
    assert lines[2:4] == [
        "| | claim | before | now | change | verdict |",
        "|---|---|--:|--:|--:|---|",
    ]
    assert lines[4].startswith("| **worse** | `h/test_a.py::test_a`<br>the test was edited | ")
    assert "<details><summary>1 claim not worse</summary>" in lines
    assert lines[-1] == "</details>"


@pytest.mark.parametrize("write", [escaped, code])
def test_nothing_from_outside_is_read_as_markup(write):
    """No line end, control character, bidi mark or table border is left."""
    text = write(HOSTILE)
    assert "\n" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not re.search(r"(?<!\\)\|", text)


def test_prose_is_escaped_and_notifies_nobody():
    """HTML, emphasis, links and mentions are broken up; code needs only its fence."""
    text = escaped(HOSTILE)
    assert "<script>" not in text
    assert "\\*\\*b\\*\\*" in text
    assert "\\[l\\]\\(u\\)" in text
    assert "@octocat" not in text
    assert code("a``b`") == "``` a``b` ```"
    assert code("plain") == "`plain`"


def hostile(runs, values):
    """A run in which every text from outside is hostile."""
    part = runs.part(values, subject=HOSTILE, statement=HOSTILE)
    claims = (
        runs.claim("a", part, id=f"h.py::test_a[{HOSTILE}]", claim=HOSTILE, verdict="refuted"),
        runs.claim("b", claim=HOSTILE, verdict="error", error=HOSTILE),
    )
    run = runs.results(*claims)
    model = msgspec.structs.replace(run.run.models[0], name=HOSTILE)
    return msgspec.structs.replace(
        run, run=msgspec.structs.replace(run.run, models=(model,), notes=(HOSTILE,))
    )


def test_hostile_runs_are_shown_safely(runs, values):
    """Neither terminal nor Markdown carries what would hide, reorder or run."""
    old = hostile(runs, values)
    model = msgspec.structs.replace(old.run.models[0], sha256="c" * 64)
    new = msgspec.structs.replace(
        old,
        run=msgspec.structs.replace(old.run, models=(model,)),
        claims=(
            runs.claim(
                "a",
                runs.part([v - 1 for v in values], subject="other"),
                id=old.claims[0].id,
                verdict="inconclusive",
                expected="refuted",
            ),
        ),
    )
    both = compare(keep(old), keep(new))
    for text in (table(both), compared(both), step_summary(old, both)):
        assert not {"\x1b", "\u202e"} & set(text)
        assert not any(line.startswith("::") for line in text.splitlines())
    for text in (compared(both), step_summary(old, both)):
        assert "<script>" not in re.sub(r"(`+).*?[^`]\1(?!`)", "", text)
    rows = [line for line in step_summary(old, both).splitlines() if line.startswith("|")]
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 7


def test_a_step_summary_stays_below_the_cap(runs, values):
    """GitHub drops a summary of more than 1024 KiB; what does not fit is counted."""
    part = runs.part(values)
    claims = [runs.claim(f"c{i}", part, claim="é" * 300, verdict="refuted") for i in range(3000)]
    text = step_summary(runs.results(*claims))
    assert SUMMARY_BYTES - 2000 < len(text.encode()) <= SUMMARY_BYTES
    assert re.search(r"\.\.\. and [\d,]+ more lines; all of it is in results\.json$", text.strip())


def test_a_cut_fold_is_closed(runs, values):
    """A summary cut inside its fold still is whole HTML."""
    claims = [runs.claim(f"c{i}", runs.part(values), claim="é" * 300) for i in range(3000)]
    text = step_summary(runs.results(*claims))
    assert text.count("<details>") == text.count("</details>") == 1
    assert "more lines" in text


def test_what_needs_a_look_stands_before_the_fold(runs, values):
    """Refuted claims are in the open, claims as expected inside <details>."""
    bad = runs.claim("bad", runs.part(values), verdict="refuted")
    good = runs.claim("good", runs.part(values))
    text = step_summary(runs.results(good, bad))
    assert text.index("test_bad") < text.index("<details>") < text.index("test_good")
    fold = text[text.index("<details>") : text.index("</summary>")] + "</summary></details>"
    assert ElementTree.fromstring(fold)[0].text == "1 claim as expected"
