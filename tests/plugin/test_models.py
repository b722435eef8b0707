"""Which model a hypothesis runs on."""

from __future__ import annotations

from causaltest.plugin.models import ids


def test_ids_are_short_and_distinct():
    """The last path component names a model, lengthened where two would clash, without a slash."""
    assert ids(["EleutherAI/pythia-70m"]) == ["pythia-70m"]
    assert ids(["a/gpt2", "b/gpt2", "c/opt"]) == ["a--gpt2", "b--gpt2", "c--opt"]
    assert ids(["./models/tiny/"]) == ["tiny"]


OVERRIDING = '''
import pytest, torch
from causaltest import Model, interchange, module
from conftest import make_pairs, written

@pytest.fixture(scope="session")
def model():
    network = torch.nn.Sequential(torch.nn.Embedding(8, 8), torch.nn.Linear(8, 8, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(8))
        network[1].weight.copy_({gain} * torch.eye(8))
    return Model(network, name="{name}")

@pytest.fixture(scope="session")
def effect(causal, strong):
    return causal.effect(interchange(module("0", pos=-1)), on=strong, metric=written)

def test_claim(causal, effect):
    """The embedding carries the answer."""
    assert effect > 0.1

def test_engine(intervene, strong):
    with intervene(interchange(module("0", pos=-1)), strong[0]) as run:
        assert run(strong[0].base).model.name == "{name}"
'''


def test_a_file_that_overrides_model_is_measured_on_its_own(suite):
    """Two files with models of their own, and fixtures built on `causal`, do not mix."""
    suite.pytester.makepyfile(
        test_one=OVERRIDING.format(gain=1, name="one"),
        test_two=OVERRIDING.format(gain=3, name="two"),
    )
    suite.run().assert_outcomes(passed=4)
    found = {claim["model"]: round(claim["estimate"]) for claim in suite.results["claims"]}
    assert found == {"one": 1, "two": 3}
    assert {each["name"] for each in suite.results["run"]["models"]} == {"one", "two"}


def test_a_base_with_an_adapter_is_named_after_both():
    """Each piece by its last component, longer where two clash; other pluses are no pieces."""
    assert ids(["gpt2", "gpt2+runs/one"]) == ["gpt2", "gpt2+one"]
    assert ids(["a/gpt2+x/lora", "b/gpt2+x/lora"]) == ["a--gpt2+x--lora", "b--gpt2+x--lora"]
    assert ids(["src/c++/tiny"]) == ["tiny"]
