"""Sites: text and back, equality, and every refusal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causaltest import sites
from causaltest.errors import SiteError
from causaltest.sites import (
    COMPONENTS,
    EXPERT_COMPONENTS,
    HEAD_COMPONENTS,
    LAYER_COMPONENTS,
    MODEL_COMPONENTS,
    Site,
    block_output,
    embedding,
    head_query_output,
    mlp_activation,
    mlp_output,
    module,
)

_indices = st.integers(0, 300)
_words = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,8}", fullmatch=True)
_pos = st.one_of(
    st.none(),
    st.integers(-40, 40),
    st.lists(st.integers(-40, 40), min_size=1, max_size=4, unique=True),
    st.just("end"),
    _words,
    _words.map(lambda name: f"{name}.last"),
)
_dims = st.one_of(st.none(), st.lists(_indices, min_size=1, max_size=4, unique=True))
_paths = st.lists(
    st.one_of(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True), st.integers(0, 30)),
    min_size=1,
    max_size=4,
).map(lambda parts: ".".join(map(str, parts)))


@st.composite
def any_site(draw: st.DrawFn) -> Site:
    """A site of any kind, as the functions of the module build it."""
    where = {"pos": draw(_pos), "dims": draw(_dims)}
    component = draw(st.sampled_from([*COMPONENTS, "module"]))
    if component == "module":
        return module(draw(_paths), side=draw(st.sampled_from(["input", "output"])), **where)
    given_layer = [draw(_indices)] if component not in MODEL_COMPONENTS else []
    inner = {*HEAD_COMPONENTS, *EXPERT_COMPONENTS}
    given_head = [draw(_indices)] if component in inner else []
    return getattr(sites, component)(*given_layer, *given_head, **where)


@given(any_site())
def test_text_and_back(site) -> None:
    """Every site is read back from what it prints as."""
    assert Site.parse(str(site)) == site


@given(any_site(), any_site())
def test_equal_text_is_an_equal_site(one, other) -> None:
    """Two sites print alike only if they are the same site."""
    assert (str(one) == str(other)) == (one == other)
    assert one != other or hash(one) == hash(other)


def test_every_component_has_a_function() -> None:
    """The functions are the components, and each makes a site of its name."""
    for name in MODEL_COMPONENTS:
        assert getattr(sites, name)(pos=1).component == name
    for name in LAYER_COMPONENTS:
        assert getattr(sites, name)(3, dims=range(2)) == Site(name, layer=3, dims=(0, 1))
    for name in HEAD_COMPONENTS:
        assert getattr(sites, name)(3, 4, pos="end") == Site(name, layer=3, head=4, pos="end")
    for name in EXPERT_COMPONENTS:
        assert getattr(sites, name)(3, 4, dims=1) == Site(name, layer=3, expert=4, dims=(1,))


@pytest.mark.parametrize(
    "text, site",
    [
        ("blocks.8.hook_resid_pre", Site("block_input", layer=8)),
        ("blocks.8.hook_resid_post@end", block_output(8, pos="end")),
        ("blocks.0.hook_attn_out@-2", Site("attention_output", layer=0, pos=-2)),
        ("blocks.1.attn.hook_z", Site("attention_value_output", layer=1)),
        ("blocks.1.attn.hook_q", Site("query_output", layer=1)),
        ("blocks.1.attn.hook_k", Site("key_output", layer=1)),
        ("blocks.1.attn.hook_v", Site("value_output", layer=1)),
        ("blocks.1.mlp.hook_post", mlp_activation(1)),
        ("blocks.1.hook_mlp_out@3,5", mlp_output(1, pos=(3, 5))),
        ("hook_embed", embedding()),
        ("transformer.h[3].mlp.output", module("transformer.h.3.mlp")),
        ("lstm.input@0", module("lstm", side="input", pos=0)),
        ("blocks.1.hook_thing.output", module("blocks.1.hook_thing")),
        ("lstm.output{1,7}@name.last", module("lstm", dims=(1, 7), pos="name.last")),
    ],
)
def test_other_forms_are_read(text, site) -> None:
    """Names of TransformerLens and module paths, with brackets or dots, are sites."""
    assert Site.parse(text) == site


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "",
            "cannot read '' as a site\nexpected component[layer]@position (mlp_output[5]@end), bl",
        ),
        ("mlp_output[5", "cannot read 'mlp_output[5' as a site"),
        ("lstm.outptu", "cannot read 'lstm.outptu' as a site"),
        ("mlp_output[0]@", "pos is ''; expected a position's name such as 'end'"),
        ("mlp_output[0]{}", "cannot read 'mlp_output[0]{}' as a site"),
        ("mlp_output[0]{1,,2}", "cannot read"),
        ("mlp_ouput[5]", "unknown component 'mlp_ouput'; did you mean 'mlp_output'?"),
        ("mlp_output", "mlp_output needs a layer, e.g. mlp_output(0)"),
        ("head_query_output[3]", "head_query_output needs a head, e.g. head_query_output(0, 0)"),
        ("mlp_output[3.1]", "mlp_output takes no head; got head=1"),
        ("embedding[3]", "embedding takes no layer; got layer=3"),
        (
            "blocks.3.hook_resid_mid",
            "no site for the hook name 'blocks.3.hook_resid_mid'; did you mean 'hook_resid_pre'?",
        ),
    ],
)
def test_text_that_is_no_site(text, message) -> None:
    """A text that is no site is refused with what was expected."""
    with pytest.raises(SiteError, match=re.escape(message)):
        Site.parse(text)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Site("mlp", layer=0), "unknown component 'mlp'; did you mean 'mlp_output'?"),
        (lambda: Site("zebra"), "unknown component 'zebra'\ncomponents: block_input, block_output"),
        (lambda: block_output(-1), "layer of block_output is -1; layers count from 0, never negat"),
        (lambda: block_output("3"), "layer of block_output is '3'; expected a whole number from 0"),
        (lambda: block_output(True), "layer of block_output is True; expected a whole number"),
        (
            lambda: head_query_output(0, -2),
            "head of head_query_output is -2; heads count from 0, never negative",
        ),
        (lambda: module(""), "a module site needs a path, e.g. module('transformer.h.3.mlp')"),
        (
            lambda: module("lstm", side="outptu"),
            "side is 'outptu'; a module has an 'input' and an 'output'",
        ),
        (
            lambda: Site("mlp_output", layer=0, side="input"),
            "mlp_output takes no path and no side; any module: module('path.to.it')",
        ),
        (lambda: Site("mlp_output", layer=0, path="h.0"), "mlp_output takes no path and no side"),
        (lambda: embedding(pos=""), "pos is ''; expected a position's name such as 'end'"),
        (lambda: embedding(pos="a@b"), "pos is 'a@b'; expected a position's name"),
        (lambda: embedding(pos="-1"), "pos is the text '-1'; a token index is a number: pos=-1"),
        (lambda: embedding(pos=(2, 3, 2)), "pos [2, 3, 2] names a token twice"),
        (lambda: embedding(pos=()), "pos is (); expected a name of the pair's positions, a token"),
        (lambda: embedding(pos=1.5), "pos is 1.5; expected a name of the pair's positions"),
        (lambda: embedding(pos=True), "pos is True; expected a name of the pair's positions"),
        (lambda: embedding(pos=(1, "end")), "pos is (1, 'end'); expected a name"),
        (lambda: embedding(dims=(1, 1)), "dims [1, 1] name a dimension twice"),
        (lambda: embedding(dims=-1), "dims is -1; expected indices from 0, e.g. dims=(3, 17) or"),
        (lambda: embedding(dims=()), "dims is (); expected indices from 0"),
        (lambda: embedding(dims=range(0)), "dims is range(0, 0); expected indices from 0"),
        (lambda: embedding(dims=(0, 1.0)), "dims is (0, 1.0); expected indices from 0"),
    ],
)
def test_sites_that_cannot_be(make, message) -> None:
    """A site that could name no place, or two, is refused when it is made."""
    with pytest.raises(SiteError, match=re.escape(message)):
        make()


def test_forms_of_one_place_are_equal() -> None:
    """An index and a list of it, and a range and its numbers, are the same place."""
    assert embedding(pos=[3]) == embedding(pos=3)
    assert embedding(dims=range(2)) == embedding(dims=(0, 1)) == embedding(dims=[0, 1])
    assert embedding(dims=4) == embedding(dims=(4,))
    assert len({embedding(pos=[3]), embedding(pos=3)}) == 1


def test_at_moves_a_site() -> None:
    """at() changes the position and nothing else."""
    site = mlp_activation(2, pos="end", dims=(4, 9))
    assert site.at("name") == mlp_activation(2, pos="name", dims=(4, 9))
    assert site.at(None).pos is None
    assert site.pos == "end"
