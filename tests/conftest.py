"""Settings and fixtures that all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test asks a hub; without this a wrong model name waits for the network to time out.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

REPOSITORY = Path(__file__).resolve().parents[1]

# A deadline in milliseconds measures the machine; derandomised, a test says the same twice.
settings.register_profile("causaltest", deadline=None, derandomize=True)
settings.load_profile("causaltest")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_models() -> Path:
    """Return the folder of real third-party models, or skip."""
    folder = Path(os.environ.get("CAUSALTEST_MODELS", REPOSITORY.parent / "shared" / "models"))
    if not folder.is_dir():
        pytest.skip(f"there are no real models in {folder} (CAUSALTEST_MODELS names the folder)")
    return folder
