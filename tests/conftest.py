"""Settings and fixtures that all tests share."""

import os
import shutil
from fnmatch import fnmatch
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


class Calibration:
    """Notes what a check of error rates found; `make calibrate` tabulates the notes."""

    def __init__(self, node: pytest.Item) -> None:
        self._node = node

    def record(
        self, check, setting, observed, *, bound, runs, nominal=None, quantity="", least=False
    ):
        """Note what was observed in a setting, and its bound: an upper one, or the least."""
        self._note(check, quantity, setting=setting, mutant=None, observed=observed,
                   bound=bound, runs=runs, nominal=nominal, least=least)  # fmt: skip

    def mutant(self, check, mutant, observed, *, bound, runs, quantity="", least=False):
        """Note what a wrong implementation gives, which the same bound has to catch."""
        self._note(check, quantity, setting="", mutant=mutant, observed=observed,
                   bound=bound, runs=runs, nominal=None, least=least)  # fmt: skip

    def _note(self, check, quantity, *, observed, bound, **more):
        note = {"check": check, "quantity": quantity, **more}
        note |= {"observed": float(observed), "bound": float(bound)}
        self._node.user_properties.append(("calibration", note))


@pytest.fixture
def calibration(request) -> Calibration:
    """Return where a calibration check notes its figures."""
    return Calibration(request.node)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what notes figures, so that `-m calibration` selects it."""
    for item in items:
        if "calibration" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.calibration)


class Hub:
    """Does what `huggingface_hub.HfApi` does, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[tuple] = []

    def create_repo(self, repo_id, *, private, exist_ok):
        assert exist_ok
        self.calls.append(("create_repo", repo_id, private))
        (self.folder / repo_id).mkdir(parents=True, exist_ok=True)

    def upload_folder(self, *, repo_id, folder_path, revision, commit_message):
        assert commit_message
        self.calls.append(("upload_folder", repo_id, revision))
        shutil.copytree(folder_path, self.folder / repo_id, dirs_exist_ok=True)
        return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(self, repo_id, *, revision, allow_patterns, local_dir=None):
        self.calls.append(("snapshot_download", repo_id, revision))
        if not (self.folder / repo_id).is_dir():
            raise OSError(f"404: {repo_id} not found\nmore lines")
        target = Path(local_dir or self.folder / "cache")
        target.mkdir()
        for path in (self.folder / repo_id).iterdir():
            if any(fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, target)
        return str(target)


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    """Return a client of an empty Hub."""
    return Hub(tmp_path / "hub")
