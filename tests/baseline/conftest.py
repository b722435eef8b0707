"""Runs built by hand: claims on a pair set of twelve templates with two pairs each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from causaltest import records

TEMPLATES = 12


def pair_set(
    effects: int = 24,
    *,
    changed: Sequence[int] = (),
    name: str = "pronouns",
    units: str = "t",
    n_units: int = TEMPLATES,
):
    """A pair set; the pairs at the places in `changed` hold other prompts."""
    pairs = tuple(
        records.PairRecord(
            id=f"{name}/{i}",
            base=f"base {i}{' anew' if i in changed else ''}",
            source=f"source {i}",
            unit=f"{units}{i % n_units}",
        )
        for i in range(effects)
    )
    sha256 = hashlib.sha256(repr(pairs).encode()).hexdigest()
    return records.PairSetRecord(name, sha256, "template", len(pairs), n_units, pairs)


def part(values, *, on=None, **changes) -> records.Part:
    """A comparison on values of balanced templates, so that their mean is the estimate."""
    on = on or pair_set(len(values))
    mean = sum(values) / len(values)
    interval = records.Interval(mean - 0.1, mean + 0.1, 0.95)
    fields = {
        "statement": "recovery > 0.5",
        "subject": "recovery of interchange(block_output[2]@name)",
        "verdict": "supported",
        "relation": ">",
        "bound": 0.5,
        "estimate": mean,
        "interval": interval,
        "adjusted_interval": interval,
        "p_support": 0.001,
        "p_refute": 0.999,
        "alpha": 0.05,
        "n_pairs": len(values),
        "n_units": TEMPLATES,
        "unit": "template",
        "method": "hull",
        "floor": 1e-6,
        "values": tuple(values),
        "units": tuple(pair.unit for pair in on.pairs),
        "pair_set": on.name,
        "pair_set_sha256": on.sha256,
        **changes,
    }
    return records.Part(**fields)


def claim(name: str, *parts: records.Part, **changes) -> records.Claim:
    """A claim of a test of that name."""
    fields = {
        "id": f"h/test_a.py::test_{name}",
        "claim": f"{name.capitalize()}.",
        "file": "h/test_a.py",
        "line": 1,
        "verdict": "supported",
        "expected": "supported",
        "outcome": "passed",
        "model": "toy",
        "source": "def test(): ...",
        "parts": parts,
        "deciding": 0 if parts else None,
        **changes,
    }
    return records.Claim(**fields)


def results(*claims: records.Claim, sets=None, sha256="a" * 64, **changes) -> records.Results:
    """A run of these claims."""
    model = records.ModelRecord("toy", "Toy", 10, sha256, "float32", "cpu", 2)
    fields = {
        "alpha": 0.05,
        "correction": "bonferroni",
        "seed": 0,
        "models": (model,),
        "pair_sets": tuple(sets or (pair_set(),)),
        **changes,
    }
    run = records.Run(**fields)
    return records.Results(1, "partial" if run.partial else "complete", run, claims)


@pytest.fixture(scope="session")
def runs() -> SimpleNamespace:
    """The makers above; import mode importlib lets no test import them."""
    return SimpleNamespace(pair_set=pair_set, part=part, claim=claim, results=results)


@pytest.fixture
def values():
    """Twenty-four effects around 1."""
    return [1.0 + 0.01 * ((7 * i) % 24 - 11.5) for i in range(24)]
