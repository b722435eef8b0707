"""The Hub, by a client that keeps repositories in a folder."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import HFValidationError

from causaltest.errors import RecordError
from causaltest.sharing import from_pretrained, push_to_hub, save


class Client:
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

    def snapshot_download(self, repo_id, *, revision, allow_patterns):
        self.calls.append(("snapshot_download", repo_id, revision))
        if not (self.folder / repo_id).is_dir():
            raise OSError(f"404: {repo_id} not found\nmore lines")
        target = self.folder / "cache"
        target.mkdir()
        for path in (self.folder / repo_id).iterdir():
            if any(fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, target)
        return str(target)


@pytest.fixture
def client(tmp_path) -> Client:
    """Return a client whose hub is empty."""
    return Client(tmp_path / "hub")


def test_what_is_pushed_comes_back(kind, kinds, client, model):
    """Every kind goes to the Hub and back; only files of an intervention are fetched."""
    address = push_to_hub(
        kinds[kind], "ann/steering", model=model, private=True, revision="try", client=client
    )
    assert address == "https://hub/ann/steering/commit/1"
    assert (
        from_pretrained("ann/steering", model=model, revision="try", client=client) == kinds[kind]
    )
    assert client.calls == [
        ("create_repo", "ann/steering", True),
        ("upload_folder", "ann/steering", "try"),
        ("snapshot_download", "ann/steering", "try"),
    ]
    assert not (client.folder / "cache" / "README.md").exists()


def test_the_card_says_what_it_is(kinds, client, model):
    """The model card names the intervention, the model and how to load it."""
    push_to_hub(kinds["rotated"], "ann/steering", model=model, client=client)
    card = (client.folder / "ann" / "steering" / "README.md").read_text()
    assert str(kinds["rotated"]) in card
    assert "made for `small`" in card
    assert 'from_pretrained("ann/steering")' in card


def test_a_local_folder_needs_no_hub(kinds, folder, client, monkeypatch):
    """A folder is loaded as it is; without a client the account of the machine is used."""
    save(kinds["joint"], folder)
    assert from_pretrained(folder, client=client) == kinds["joint"]
    assert client.calls == []
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: client)
    push_to_hub(kinds["scale"], "ann/scale")
    assert from_pretrained("ann/scale") == kinds["scale"]


def test_a_name_that_is_nowhere(client):
    """The message says that neither a folder nor a repository has the name."""
    with pytest.raises(RecordError) as error:
        from_pretrained("ann/none", client=client)
    assert str(error.value) == (
        "no intervention 'ann/none': there is no such folder, and the Hub gave none of that name "
        "(404: ann/none not found)"
    )


def test_the_hub_refuses(kinds, client, monkeypatch):
    """The Hub's own reason is passed on."""

    def refuse(*args, **kwargs):
        raise HFValidationError("Repo id must use alphanumeric chars")

    monkeypatch.setattr(client, "create_repo", refuse)
    with pytest.raises(RecordError) as error:
        push_to_hub(kinds["scale"], "a b", client=client)
    assert str(error.value) == ("the Hub did not take 'a b': Repo id must use alphanumeric chars")
