"""The page of conformance: its lines are read back, and single ones put in."""

from __future__ import annotations

import pytest

from make_conformance import TABLE, known_lines, line, not_applicable, write
from small_models import KINDS, Subject

PAGE = TABLE.read_text(encoding="utf-8")
SETTING = next(each for each in PAGE.splitlines() if each.startswith("transformers "))


def test_the_page_is_made_of_its_lines() -> None:
    """Lines that are read from the page and written again are the page, counts included."""
    lines = known_lines(PAGE)
    assert {each.kind for each in lines} == set(KINDS)
    assert write(lines, SETTING) == PAGE


def test_one_line_is_put_in() -> None:
    """A class that comes out otherwise changes its own line and the counts."""
    lines = known_lines(PAGE)
    subject = Subject("vision", "vit", "ViTForImageClassification")
    failed = {
        "passed": False, "missing": {}, "stacks": {}, "components": ["block_input"],
        "checks": [{"property": "p", "subject": "s", "status": "failed", "detail": "off"}],
    }  # fmt: skip
    changed = write({**lines, subject: line(subject, failed)}, SETTING).splitlines()
    before = PAGE.splitlines()
    assert len(changed) == len(before)
    differ = [one for one, other in zip(changed, before, strict=True) if one != other]
    assert "| vit | `ViTForImageClassification` | fails | 0 | block_input | p: s (off) |" in differ
    assert len(differ) == 3  # its own line, that of its kind, and the total


@pytest.mark.parametrize(
    "stacks, why, shown",
    [
        ({}, "both in one softmax", ""),
        ({"encoder": []}, "no module of a known name", ""),
        ({"encoder": []}, "both in one softmax", "no cross-attention: both in one softmax"),
    ],
)
def test_stacks_that_are_attended_to_at_once_are_remarked(stacks, why, shown) -> None:
    """The remark of a network whose decoder has no cross-attention apart names the reason."""
    row = {"missing": {"cross_attention_output": why}, "stacks": stacks, "checks": []}
    assert not_applicable(row) == shown


def test_attention_that_mixes_nothing_is_remarked() -> None:
    """The remark of a network whose attention lacks its kernel names the reason."""
    row = {"missing": {"query_output": "a takes only zeros: attention that mixes nothing"}}
    assert not_applicable(row) == (
        "no queries, keys and values: a takes only zeros: attention that mixes nothing"
    )
