"""Hooks that a conftest.py or another plugin can implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import nn

    from causaltest.engine import Model
    from causaltest.records import Claim, Results


@pytest.hookspec(firstresult=True)
def pytest_causal_load_model(name: str, config: pytest.Config) -> Model | nn.Module | None:
    """Load a model that `--causal-model` or `causal_models` names; None leaves it to causaltest.

    Parameters
    ----------
    name
        As it was given.
    config
        pytest's configuration.

    Notes
    -----
    In a conftest.py::

        def pytest_causal_load_model(name, config):
            if name == "ours":
                from causaltest import Model
                from ours import network, tokenizer

                return Model(network(), tokenizer=tokenizer, name="ours")
    """


@pytest.hookspec
def pytest_causal_provenance(config: pytest.Config, provenance: dict[str, str]) -> None:
    """Add facts about the run, which the report shows and `results.json` keeps.

    Parameters
    ----------
    config
        pytest's configuration.
    provenance
        Facts by name; add to it.

    Notes
    -----
    In a conftest.py::

        import os


        def pytest_causal_provenance(config, provenance):
            provenance["cluster"] = os.environ.get("CLUSTER", "none")
    """


@pytest.hookspec
def pytest_causal_claim(item: pytest.Item, claim: Claim) -> None:
    """See a claim as soon as it is decided, in the process that ran it.

    Parameters
    ----------
    item
        The hypothesis.
    claim
        Its record, which cannot be changed.

    Notes
    -----
    In a conftest.py::

        def pytest_causal_claim(item, claim):
            if claim.verdict == "inconclusive":
                print("undecided:", claim.claim)
    """


@pytest.hookspec
def pytest_causal_report(config: pytest.Config, results: Results) -> None:
    r"""See the results of the run, once all claims are in and before anything is written.

    Parameters
    ----------
    config
        pytest's configuration.
    results
        The records, which cannot be changed.

    Notes
    -----
    In a conftest.py::

        import pathlib


        def pytest_causal_report(config, results):
            refuted = [claim.id for claim in results.claims if claim.verdict == "refuted"]
            pathlib.Path("refuted.txt").write_text("\n".join(refuted))
    """
