"""The colours can be read: WCAG contrast, computed from the definition."""

import pytest

from causaltest.report.palette import DARK, LIGHT, themed


def luminance(colour):
    """Compute relative luminance (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, two):
    """Compute the contrast ratio of two colours."""
    bright, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_the_contrast_formula_is_right():
    """Black on white is 21, and a published pair has its published ratio."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "card", "sunken"])
@pytest.mark.parametrize(
    "role", ["text", "muted", "link", "supported", "refuted", "inconclusive", "error"]
)
def test_text_reaches_double_a(colours, ground, role):
    """Every colour of words has at least 4.5:1 on every ground."""
    assert contrast(colours[role], colours[ground]) >= 4.5


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    "role, ground",
    [
        ("control", "paper"),
        ("control", "card"),
        ("dot", "region"),
        ("dot", "paper"),
        ("supported", "region"),
        ("refuted", "region"),
        ("inconclusive", "region"),
        ("muted", "region"),
    ],
)
def test_marks_and_controls_reach_three(colours, role, ground):
    """Borders of controls and marks of figures have at least 3:1 on their ground."""
    assert contrast(colours[role], colours[ground]) >= 3


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_marked_words_can_be_read(colours):
    """Words on the highlight keep 4.5:1."""
    assert contrast(colours["text"], colours["mark"]) >= 4.5


def test_both_schemes_have_the_same_roles_and_no_colour_twice():
    """A colour stands for one role, so that figures can be themed by colour."""
    assert list(LIGHT) == list(DARK)
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_theming_leaves_the_text_of_a_figure_alone():
    """A figure that quotes a colour in its text keeps the quotation."""
    svg = '<text fill="#1a7f37">fill="#1a7f37"</text>'
    assert themed(svg) == '<text fill="var(--supported)">fill="#1a7f37"</text>'
