"""The same calls on pyvene itself give the same numbers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("against_pyvene.py")
PYTHON = os.environ.get("CAUSALTEST_PYVENE_PYTHON", "")


@pytest.mark.slow
@pytest.mark.skipif(
    not PYTHON, reason="CAUSALTEST_PYVENE_PYTHON names no interpreter that has pyvene"
)
def test_outputs_equal_those_of_pyvene(tmp_path):
    """Logits, collected activations, gradients and texts equal pyvene's to 1e-5 in every case."""
    found = {}
    for library, python in (("pyvene", PYTHON), ("causaltest.pyvene", sys.executable)):
        path = tmp_path / f"{library}.pt"
        command = [python, str(SCRIPT), library, str(path)]
        subprocess.run(command, check=True, capture_output=True)
        found[library] = torch.load(path)
    theirs, ours = found["pyvene"], found["causaltest.pyvene"]
    assert theirs.keys() == ours.keys()
    assert len(theirs) > 150
    for name, expected in theirs.items():
        assert not isinstance(expected, str), f"{name}: pyvene raises {expected}"
        assert not isinstance(ours[name], str), f"{name}: {ours[name]}"
        for one, other in zip(expected, ours[name], strict=True):
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5, msg=name)
