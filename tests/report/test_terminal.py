"""The claims table: everything at a width, names cut, numbers never."""

import re

import msgspec
import pytest

from causaltest.records import Interval
from causaltest.report.terminal import claims_table
from causaltest.report.text import width_of


def lines_of(results, **options):
    """Draw the table and split it."""
    return claims_table(results, **options).splitlines()


def one_claim(sample, **changes):
    """Keep the sample's first claim, changed."""
    return msgspec.structs.replace(
        sample, claims=(msgspec.structs.replace(sample.claims[0], **changes),)
    )


@pytest.mark.parametrize("width", [60, 72, 80, 88, 100, 140])
@pytest.mark.parametrize("unicode", [True, False])
def test_every_line_of_the_table_fits(sample, width, unicode):
    """From 60 columns on no line but the node ids to copy is wider than the terminal."""
    for line in lines_of(sample, width=width, unicode=unicode):
        if not line.startswith(("INCONCLUSIVE", "  about")):
            assert width_of(line) <= width


@pytest.mark.parametrize("width", [60, 80, 140])
def test_numbers_are_never_cut(sample, width):
    """At every width the table has each estimate, interval and bound in full."""
    text = claims_table(sample, width=width)
    for claim in sample.claims:
        if claim.estimate is not None:
            low, high = claim.interval.low, claim.interval.high
            assert f"{claim.estimate:+.3f}" in text
            assert f"[{low:+.3f}, {high:+.3f}]" in text
    assert text.count("n=24/12") == 12  # eleven claims, one of them in two parts


def test_names_are_cut_where_they_do_not_fit(sample):
    """A long name ends in an ellipsis, and its numbers stay on the same line."""
    long = one_claim(sample, id=f"hypotheses/test_pronouns.py::test_{'very_' * 30}long")
    row = lines_of(long, width=80)[1]
    assert re.match(r"  ✓ very_very_.*…  \+0\.823 \[", row)
    row = lines_of(long, width=80, unicode=False)[1]
    assert re.match(r"  S very_very_.*\.\.\.  \+0\.823 \[", row)


def test_columns_are_aligned(sample):
    """Opening brackets stand under each other at a width that has room."""
    rows = [line for line in lines_of(sample, width=100) if "n=24" in line]
    assert len({row.index("[") for row in rows}) == 1
    assert len({row.index("n=") for row in rows}) == 1


def test_claims_stand_by_file_and_line_whatever_order_they_came_in(sample):
    """Processes deliver claims as they finish; the table does not show it."""
    shuffled = msgspec.structs.replace(sample, claims=sample.claims[::-1])
    assert claims_table(shuffled) == claims_table(sample)
    files = [line for line in lines_of(sample) if line.startswith("hypotheses/")]
    assert files == ["hypotheses/test_indirect_object.py", "hypotheses/test_pronouns.py"]


def test_the_model_is_named_only_where_there_are_several(sample):
    """One model needs no suffix; two models do."""
    assert "[toy-english]" not in claims_table(one_claim(sample))
    first = sample.claims[0]
    second = msgspec.structs.replace(
        first, id=first.id.replace("toy-english", "gpt2"), model="gpt2"
    )
    text = claims_table(msgspec.structs.replace(sample, claims=(first, second)), width=120)
    assert "[toy-english]" in text
    assert "[gpt2]" in text


def test_parameters_stay_when_the_model_goes(sample):
    """Only the model leaves the brackets of a parametrised test."""
    base = "hypotheses/test_pronouns.py::test_layer"
    for inside in ("toy-english-3", "3-toy-english"):
        text = claims_table(one_claim(sample, id=f"{base}[{inside}]"))
        assert " layer[3] " in text


def test_verdicts_that_were_foretold_say_so(sample):
    """A refuted claim that its test expects refuted is told apart from a surprise."""
    lines = lines_of(sample)
    row = next(i for i, line in enumerate(lines) if "the_first_layer_decides" in line)
    assert lines[row + 1].strip() == "refuted, as expected"
    surprise = one_claim(sample, expected="refuted", outcome="failed")
    assert "expected refuted" in claims_table(surprise)


def test_parts_are_named_by_their_asserts(sample):
    """A claim of two asserts has a row for each, under its own."""
    lines = lines_of(sample)
    row = next(i for i, line in enumerate(lines) if "attention_moves_it" in line)
    assert lines[row + 1].split()[:4] == ["✓", "effect", ">", "0.4"]
    assert lines[row + 2].split()[:4] == ["✓", "effect", "<", "0.2"]


def test_the_counts_add_up(sample):
    """The counts line has every verdict that occurs, and their sum."""
    line = next(line for line in lines_of(sample) if re.match(r"\d+ claims", line))
    assert line == "12 claims: 8 supported, 2 refuted, 1 inconclusive, 1 error"


def test_inconclusive_claims_are_named_with_what_would_settle_them(sample):
    """The node id can be copied, and the pairs needed are said."""
    assert lines_of(sample)[-2:] == [
        "INCONCLUSIVE hypotheses/test_pronouns.py::test_one_head_suffices[toy-english]",
        "  about 212 pairs would settle it (80 % power at this spread)",
    ]


def test_an_error_shows_its_first_line(sample):
    """A claim without numbers shows why."""
    lines = lines_of(sample, width=100)
    row = next(i for i, line in enumerate(lines) if "the_subject_is_inhibited" in line)
    assert lines[row].split()[0] == "!"
    assert lines[row + 1].strip().startswith("error: SiteError: layer 7 does not exist")


def test_ascii_streams_get_ascii(sample):
    """Marks, plus-minus and text from outside all fit a stream that knows only ASCII."""
    named = one_claim(sample, file="hypotheses/test_größe.py", relation="within", bound=0.1)
    text = claims_table(named, unicode=False)
    assert text.isascii()
    assert "within +-0.1" in text
    assert "gr\\xf6\\xdfe" in text


def test_escape_codes_from_outside_are_shown_not_sent(sample):
    """A test id cannot move the cursor or recolour the terminal."""
    hostile = one_claim(sample, id="hypotheses/t.py::test_\x1b[31mred\u202e")
    text = claims_table(hostile)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[31mred" in text


def test_colour_is_only_added(sample):
    """Without its colour codes the coloured table is the plain one."""
    coloured = claims_table(sample, colour=True)
    assert "\x1b[32m✓\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == claims_table(sample)


def test_wide_characters_keep_the_columns(sample):
    """East Asian names take two columns a character, and the numbers stay in line."""
    wide = one_claim(sample, id="hypotheses/t.py::test_" + "猫" * 60)
    for line in lines_of(wide, width=80):
        assert width_of(line) <= 80


def test_uncorrected_runs_name_what_holm_would_not_keep(sample):
    """Without correction, supported claims that Holm would drop are counted and named."""
    run = msgspec.structs.replace(sample.run, correction="none")
    claims = (msgspec.structs.replace(sample.claims[0], p_adjusted=0.03), *sample.claims[1:])
    text = claims_table(msgspec.structs.replace(sample, run=run, claims=claims), width=200)
    assert (
        "1 of 8 supported claims does not survive Holm at 0.05: the_name_decides_the_pronoun"
        in text
    )
    assert "survive" not in claims_table(sample)


def test_small_and_large_numbers_stay_readable(sample):
    """Tiny effects show powers of ten, large ones no false digits."""
    tiny = one_claim(sample, estimate=2.5e-7, interval=Interval(1e-7, 4e-7, 0.95))
    assert "+2.50e-07 [+1.00e-07, +4.00e-07]" in claims_table(tiny)
    large = one_claim(sample, estimate=1234.5, interval=Interval(1100.0, 1400.0, 0.95))
    assert "+1234 [+1100, +1400]" in claims_table(large)
