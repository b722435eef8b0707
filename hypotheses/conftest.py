"""Pair sets that the hypotheses of this folder share; templates are the units of evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from causaltest import Pairs

_PAIRS = Path(__file__).parent / "pairs"


@pytest.fixture(scope="session")
def pronouns() -> Pairs:
    """Return pairs in which a girl's name stands against a boy's: she or he follows."""
    return Pairs.read(_PAIRS / "pronouns.jsonl", cluster="template")


@pytest.fixture(scope="session")
def agreement() -> Pairs:
    """Return pairs whose subject is singular in one prompt and plural in the other."""
    return Pairs.read(_PAIRS / "agreement.jsonl", cluster="template")


@pytest.fixture(scope="session")
def indirect_objects() -> Pairs:
    """Return pairs of stories in which another of two names is the one not repeated."""
    return Pairs.read(_PAIRS / "indirect_objects.jsonl", cluster="template")


@pytest.fixture(scope="session")
def repeated_names() -> Pairs:
    """Return pairs of prompts that mention a name again; the one that went with it follows."""
    return Pairs.read(_PAIRS / "repeated_names.jsonl", cluster="template")
