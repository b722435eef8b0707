"""The default model and its pair sets, as they are committed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from causaltest.pairs import Pairs
from hypotheses.schoolbook.parts import TASKS

HYPOTHESES = Path(__file__).parents[2] / "hypotheses"


@pytest.fixture(scope="session")
def folder() -> Path:
    """The folder of the default model."""
    return HYPOTHESES / "schoolbook"


@pytest.fixture(scope="session")
def model(folder: Path) -> PreTrainedModel:
    """The committed weights, loaded as any user would."""
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="session")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The committed tokenizer, loaded as any user would."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="session", params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    """Each task in turn."""
    return request.param


@pytest.fixture(scope="session")
def pairs(task: str) -> Pairs:
    """The committed pair set of the task."""
    return Pairs.read(HYPOTHESES / "pairs" / f"{task}.jsonl", cluster="template")
