"""Pairs from templates: products, positions, labels, refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causaltest.errors import PairError
from causaltest.pairs import Characters, Pairs

LILY_TIM = {
    "base": {"name": "Lily", "verb": "ran"},
    "source": {"name": "Tim"},
    "base_answer": " she",
    "source_answer": " he",
    "labels": {"gender": "female"},
}
BOB_ANN = {
    "base": {"name": "Bob", "verb": "sat"},
    "source": {"name": "Ann", "verb": "sat"},
    "base_answer": " he",
    "source_answer": " she",
    "labels": {"gender": "male"},
}


def make(templates, contrasts=(LILY_TIM, BOB_ANN), **others):
    """Return the pairs of templates and contrasts."""
    return Pairs.from_templates(templates, contrasts, **({"name": "pronouns"} | others))


def refusal(templates, contrasts=(LILY_TIM,), **others):
    """Return the message with which templates and contrasts are refused."""
    with pytest.raises(PairError) as caught:
        make(templates, contrasts, **others)
    return str(caught.value)


def test_every_template_is_filled_in_with_every_contrast():
    """Two templates and two contrasts give four pairs, template by template."""
    pairs = make(["{name} {verb}, and", "So {name} {verb}, and"])
    assert [(pair.base, pair.source) for pair in pairs] == [
        ("Lily ran, and", "Tim ran, and"),
        ("Bob sat, and", "Ann sat, and"),
        ("So Lily ran, and", "So Tim ran, and"),
        ("So Bob sat, and", "So Ann sat, and"),
    ]
    assert [pair.base_answer for pair in pairs] == [" she", " he", " she", " he"]
    assert repr(pairs) == "<Pairs pronouns: 4 pairs, 2 templates>"


def test_labels_are_template_field_values_and_those_given():
    """A pair is labelled with its template, its values in base, and every label given."""
    pair = make(["{name} {verb}, and"], labels={"source": "hand-made"})[0]
    assert pair.labels == {
        "template": "{name} {verb}, and",
        "name": "Lily",
        "verb": "ran",
        "gender": "female",
        "source": "hand-made",
    }


def test_fields_are_positions_where_they_stand_in_each_prompt():
    """A field's span is that of its value in base and of its value in source."""
    pair = make(["So {name} {verb}, and"])[0]
    assert pair.place("name") == Characters(3, 7)
    assert pair.place("name", "source") == Characters(3, 6)
    assert pair.place("verb") == Characters(8, 11)
    assert pair.place("verb", "source") == Characters(7, 10)


name = st.text("abc", min_size=1, max_size=5)


@given(first=name, second=name, other=name.map("d".__add__))
def test_spans_cut_out_the_values_even_where_they_repeat(first, second, other):
    """Spans are exact when one value is part of another or of the template."""
    [pair] = make(
        ["abc {one}{two} abc"],
        [{"base": {"one": first, "two": second}, "source": {"one": other}}],
    )
    for side, prompt, values in (
        ("base", pair.base, (first, second)),
        ("source", pair.source, (other, second)),
    ):
        for field, value in zip(("one", "two"), values, strict=True):
            span = pair.place(field, side)
            assert isinstance(span, Characters)
            assert prompt[span.start : span.stop] == value


def test_a_repeated_field_names_each_of_its_places():
    """`{name:first_name}` fills in `name` and calls the place `first_name`."""
    pair = make(["{name:first_name} {verb}, and {name:second_name}"])[0]
    assert pair.base == "Lily ran, and Lily"
    assert pair.place("first_name") == Characters(0, 4)
    assert pair.place("second_name") == Characters(14, 18)
    assert "name" not in pair.positions
    assert pair.labels["name"] == "Lily"


def test_a_template_may_differ_between_base_and_source():
    """A dict gives base and source their own texts; shared fields are positions."""
    template = {
        "base": "{name} {verb}, and",
        "source": "And so {name} left",
        "labels": {"kind": "rephrased"},
    }
    pair = make([template])[0]
    assert (pair.base, pair.source) == ("Lily ran, and", "And so Tim left")
    assert pair.place("name", "source") == Characters(7, 10)
    assert "verb" not in pair.positions
    assert pair.labels["template"] == "{name} {verb}, and | And so {name} left"
    assert pair.labels["kind"] == "rephrased"


def test_a_dict_template_may_name_itself():
    """The label 'template' of a dict replaces its text."""
    text = "{name} {verb}"
    pairs = make([{"base": text, "source": text, "labels": {"template": "plain"}}])
    assert set(pairs.units) == {"plain"}


def test_doubled_braces_are_braces():
    """{{ and }} stand for braces, and spans count them once."""
    pair = make(["{{x}} {name} {verb}"])[0]
    assert pair.base == "{x} Lily ran"
    assert pair.place("name") == Characters(4, 8)


@pytest.mark.parametrize(
    "templates, expected",
    [
        ([], "there are no templates; give at least one"),
        ("{name}", "templates are '{name}' (str); expected a list"),
        ([3], "template 0 is 3 (int); expected a dict with 'base', 'source', 'labels'"),
        (["{name} {verb"], "template 0: '{name} {verb' cannot be read: expected '}' before end"),
        (["{} {verb}"], "template 0: {} is no field; expected a name in braces, e.g. {name}"),
        (["{0} {verb}"], "template 0: {0} is no field"),
        (["{name.x} {verb}"], "template 0: {name.x} is no field"),
        (["{name!r} {verb}"], "template 0: {name!r} is no field"),
        (
            ["{name} {verb} {name}"],
            "template 0: the position 'name' stands in it twice; name each place, "
            "e.g. {name:first_name} and {name:second_name}",
        ),
        (
            ["{name} {verb}", "{nam} {verb}"],
            "template 1, contrast 0: no value for the field 'nam'; "
            "the contrast has 'name', 'verb'; did you mean 'name'?",
        ),
        (["{name:end} {verb}"], "template 0, contrast 0: pair 'Lily ran': 'end' is built in"),
        ([{"base": "{name} {verb}"}], "template 0: 'source' is None; expected a text with {field}"),
        (
            [{"base": "{name}", "sorce": "{verb}"}],
            "template 0: unknown part 'sorce'; did you mean 'source'?",
        ),
        (["{verb}", "{name}"], "template 0, contrast 0: pair 'ran': base and source are equal"),
    ],
)
def test_a_malformed_template_is_refused(templates, expected):
    """The message counts the template and says what is wrong with it."""
    assert expected in refusal(templates)


@pytest.mark.parametrize(
    "contrasts, expected",
    [
        ([], "there are no contrasts; give at least one"),
        (LILY_TIM, "(dict); expected a list"),
        ([{"base": {"name": "A"}}], "contrast 0: 'source' is missing; the contrast has 'base'"),
        (
            [{"base": {"name": "A"}, "source": {"name": "B"}, "answer": "x"}],
            "contrast 0: unknown part 'answer'; did you mean 'base_answer'?",
        ),
        (
            [{"base": {"nme": "A"}, "source": {"name": "B"}}],
            "contrast 0: the field 'nme' stands in no template; did you mean 'name'?\n"
            "the templates have 'name'",
        ),
        (
            [{"base": {"name": 3}, "source": {"name": "B"}}],
            "contrast 0: base: 'name' is 3; expected a text that is not empty",
        ),
        (
            [{"base": {"name": ""}, "source": {"name": "B"}}],
            "contrast 0: base: 'name' is ''; expected a text that is not empty",
        ),
        ([{"base": "A", "source": "B"}], "contrast 0: base is 'A' (str); expected a dict"),
        (
            [{"base": {"name": "A"}, "source": {"name": "B"}, "base_answer": True}],
            "template 0, contrast 0: pair 'A ran': base_answer is True (bool)",
        ),
        (
            [{"base": {"name": "A"}, "source": {"name": "B"}, "labels": {"name": "C"}}],
            "template 0, contrast 0: label 'name' is set twice, to 'A' and to 'C'; rename one",
        ),
    ],
)
def test_a_malformed_contrast_is_refused(contrasts, expected):
    """The message counts the contrast and says what is wrong with it."""
    assert expected in refusal(["{name} ran"], contrasts)
