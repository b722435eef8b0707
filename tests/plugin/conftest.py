"""A suite of hypotheses on a model small enough to reason about, run in pytest's own sandbox."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

# Runs in process forget the modules they imported; torch does not survive a second import.
for _name in (
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.generation.utils",
    "torch.distributed._functional_collectives",
    "causaltest.experiment",
    "causaltest.records.history",
    "causaltest.report.figures",
    "vl_convert",
):
    importlib.import_module(_name)

_CONFTEST = '''
"""A network that answers with its last token, and pairs whose effects are written on them."""

import pytest
import torch

from causaltest import Model, Pair, Pairs

VOCABULARY = 8


@pytest.fixture(scope="session")
def model():
    """Embedding and read-out are the identity: the top answer is the last token."""
    network = torch.nn.Sequential(
        torch.nn.Embedding(VOCABULARY, VOCABULARY),
        torch.nn.Linear(VOCABULARY, VOCABULARY, bias=False),
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(VOCABULARY))
        network[1].weight.copy_(torch.eye(VOCABULARY))
    return Model(network, name="echo")


def make_pairs(effects, name="echoes", cluster="template"):
    """One pair for each number: interchanging the embedding changes `written` by that number."""
    return Pairs(
        [
            Pair(
                (0, 1), (0, 2), base_answer=1, source_answer=2,
                labels={"template": f"t{i % 12}", "effect": repr(effect)},
            )
            for i, effect in enumerate(effects)
        ],
        name=name,
        cluster=cluster,
    )


def written(output, pair):
    """The number written on the pair where the answer is the source's, else 0."""
    return float(pair.labels["effect"]) * float(output.at()[2])


@pytest.fixture(scope="session")
def strong():
    return make_pairs([1.0 + 0.01 * (i % 5) for i in range(24)], name="strong")


@pytest.fixture(scope="session")
def mixed():
    return make_pairs([(-1.0) ** i + 0.3 * (i % 3) for i in range(24)], name="mixed")
'''

_HEADER = """
import pytest

from causaltest import Pair, Pairs, interchange, module, recovery, zero_ablate
from conftest import make_pairs, written

EMBEDDING = interchange(module("0", pos=-1))

"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    """A folder with the toy network's conftest and room for hypotheses; nothing is re-used."""
    pytester.makeconftest(_CONFTEST)
    pytester.makeini("[pytest]\npythonpath = .\naddopts = --causal-no-cache\n")
    return Suite(pytester)


class Suite:
    """Hypotheses in a folder of their own, run in process or apart."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path

    def write(self, body: str, name: str = "test_claims") -> None:
        """Write a file of hypotheses; the imports are there already."""
        self.pytester.makepyfile(**{name: _HEADER + body})

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run in this process."""
        return self.pytester.runpytest_inprocess(*arguments)

    def run_apart(self, *arguments: str) -> pytest.RunResult:
        """Run in a process of its own."""
        return self.pytester.runpytest_subprocess(*arguments)

    @property
    def results(self) -> dict:
        """What the run wrote to results.json."""
        return json.loads((self.path / "reports" / "results.json").read_text())

    def claims(self) -> dict[str, dict]:
        """Claims of the run by the test's name."""
        return {claim["id"].split("::", 1)[1]: claim for claim in self.results["claims"]}

    def files(self) -> set[str]:
        """Names of what lies in the report folder."""
        folder = Path(self.path) / "reports"
        return {each.name for each in folder.iterdir()} if folder.exists() else set()
