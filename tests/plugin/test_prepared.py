"""What fixtures measure is part of the hypotheses that ask for them, and of no others."""

from __future__ import annotations

import pytest

FIXTURES = '''
@pytest.fixture(scope="{scope}")
def looked(causal, strong):
    """A place that was chosen by what it does."""
    causal.sweep({{"embedding": module("0", pos=-1)}}, on=strong, metric=written)
    return EMBEDDING

@pytest.fixture(scope="session")
def fresh():
    old = make_pairs([1.0 + 0.01 * (i % 5) for i in range(24)], name="fresh")
    new = [Pair((3, 1), (3, 2), base_answer=1, source_answer=2, labels=p.labels) for p in old]
    return Pairs(new, name="fresh", cluster="template")

'''
TESTS = '''
def test_first(causal, looked, strong):
    """The place carries the answer."""
    assert causal.effect(looked, on=strong, metric=written) > 0.5

def test_second(causal, looked, strong):
    """The same in a later test, for which the fixture is not set up again."""
    assert causal.effect(looked, on=strong, metric=written) > 0.5

def test_elsewhere(causal, looked, fresh):
    """On pairs that were not looked at."""
    assert causal.effect(looked, on=fresh, metric=written) > 0.5

def test_unrelated(causal, strong):
    """A test that does not ask for the fixture."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
'''
WRONG = "leaky_split: strong was mapped before interchange(0.output@-1) was measured on strong"


@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_a_sweep_in_a_fixture_leaks_into_what_depends_on_it(suite, scope):
    """Whatever its scope and whoever set it up; other pairs and other tests are sound."""
    suite.write(FIXTURES.format(scope=scope) + TESTS)
    suite.run("-vv").assert_outcomes(passed=2, failed=2)
    claims = suite.claims()
    for name in ("test_first", "test_second"):
        assert claims[name]["verdict"] == "error"
        assert WRONG in claims[name]["error"]
    for name in ("test_elsewhere", "test_unrelated"):
        assert claims[name]["verdict"] == "supported"
        assert not any("leaky_split" in note for note in claims[name]["notes"])


def test_it_leaks_through_fixtures_that_measure(suite):
    """One fixture chooses, the next measures, the test only compares."""
    suite.write(
        FIXTURES.format(scope="session")
        + '''
@pytest.fixture(scope="module")
def effect(causal, looked, strong):
    return causal.effect(looked, on=strong, metric=written)

def test_one(causal, effect):
    """The place carries the answer."""
    assert effect > 0.5
'''
    )
    suite.run("-vv").assert_outcomes(failed=1)
    assert WRONG in suite.claims()["test_one"]["error"]


def test_an_effect_of_a_fixture_is_on_record_like_one_of_the_test(suite):
    """Edits and notes stand in every claim that uses it."""
    suite.write(
        '''
@pytest.fixture(scope="session")
def effect(causal, strong):
    return causal.effect(EMBEDDING, on=strong, metric=written)

def test_one(causal, effect):
    """The embedding carries the answer."""
    assert effect > 0.5

def test_two(causal, effect):
    """It carries half of it."""
    assert effect > 0.25

def test_here(causal, strong):
    """The same, measured in the test."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
'''
    )
    suite.run().assert_outcomes(passed=3)
    claims = suite.claims()
    here = claims["test_here"]
    for name in ("test_one", "test_two"):
        assert claims[name]["edits"] == here["edits"] != []
        assert claims[name]["notes"] == here["notes"]
    assert [each["name"] for each in suite.results["run"]["pair_sets"]] == ["strong"]


def test_a_selection_changes_nothing(suite):
    """The same claim comes out the same alone and after others."""
    suite.write(FIXTURES.format(scope="session") + TESTS)
    suite.run()
    together = suite.claims()["test_second"]
    suite.run("-k", "test_second")
    alone = suite.claims()["test_second"]
    assert (together["verdict"], together["error"]) == (alone["verdict"], alone["error"])


def test_a_model_that_is_done_with_is_let_go(suite):
    """What fixtures measured on it keeps no model in memory while the next one is tested."""
    suite.write(
        """
import gc
import weakref

import torch
from causaltest import Model

ALIVE = []

@pytest.fixture(scope="session", params=["one", "two"])
def model(request):
    network = torch.nn.Sequential(torch.nn.Embedding(8, 8), torch.nn.Linear(8, 8, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(8))
        network[1].weight.copy_(torch.eye(8))
    gc.collect()
    assert [each() for each in ALIVE] == [None] * len(ALIVE)
    ALIVE.append(weakref.ref(network))
    return Model(network, name=request.param)

@pytest.fixture(scope="session")
def effect(causal, strong):
    return causal.effect(EMBEDDING, on=strong, metric=written)

def test_claim(causal, effect):
    assert effect > 0.5
"""
    )
    suite.run_apart().assert_outcomes(passed=2)
