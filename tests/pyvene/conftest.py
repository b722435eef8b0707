"""A small GPT-2 and Llama, and inputs for them."""

import importlib.util
from pathlib import Path

import pytest


def _script():
    spec = importlib.util.spec_from_file_location(
        "against_pyvene", Path(__file__).with_name("against_pyvene.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def script():
    """Return the module that makes the same calls on either library."""
    return _script()


@pytest.fixture
def network(script):
    """Return a small GPT-2 that no other test shares."""
    return script.build("gpt2")


@pytest.fixture
def llama(script):
    """Return a small Llama that no other test shares."""
    return script.build("llama")


@pytest.fixture
def inputs(script):
    """Return a function that gives random token ids by seed."""
    return script.inputs
