"""The Hub, by a client that keeps repositories in a folder."""

from __future__ import annotations

import huggingface_hub
import pytest
from huggingface_hub.errors import HFValidationError

from causaltest.errors import RecordError
from causaltest.sharing import from_pretrained, push_to_hub, save


def test_what_is_pushed_comes_back(kind, kinds, hub, model):
    """Every kind goes to the Hub and back; only files of an intervention are fetched."""
    address = push_to_hub(
        kinds[kind], "ann/steering", model=model, private=True, revision="try", client=hub
    )
    assert address == "https://hub/ann/steering/commit/1"
    assert from_pretrained("ann/steering", model=model, revision="try", client=hub) == kinds[kind]
    assert hub.calls == [
        ("create_repo", "ann/steering", True),
        ("upload_folder", "ann/steering", "try"),
        ("snapshot_download", "ann/steering", "try"),
    ]
    assert not (hub.folder / "cache" / "README.md").exists()


def test_the_card_says_what_it_is(kinds, hub, model):
    """The model card names the intervention, the model and how to load it."""
    push_to_hub(kinds["rotated"], "ann/steering", model=model, client=hub)
    card = (hub.folder / "ann" / "steering" / "README.md").read_text()
    assert str(kinds["rotated"]) in card
    assert "made for `small`" in card
    assert 'from_pretrained("ann/steering")' in card


def test_a_local_folder_needs_no_hub(kinds, folder, hub, monkeypatch):
    """A folder is loaded as it is; without a client the account of the machine is used."""
    save(kinds["joint"], folder)
    assert from_pretrained(folder, client=hub) == kinds["joint"]
    assert hub.calls == []
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    push_to_hub(kinds["scale"], "ann/scale")
    assert from_pretrained("ann/scale") == kinds["scale"]


def test_a_name_that_is_nowhere(hub):
    """The message says that neither a folder nor a repository has the name."""
    with pytest.raises(RecordError) as error:
        from_pretrained("ann/none", client=hub)
    assert str(error.value) == (
        "no intervention 'ann/none': there is no such folder, and the Hub gave none of that name "
        "(404: ann/none not found)"
    )


def test_the_hub_refuses(kinds, hub, monkeypatch):
    """The Hub's own reason is passed on."""

    def refuse(*args, **kwargs):
        raise HFValidationError("Repo id must use alphanumeric chars")

    monkeypatch.setattr(hub, "create_repo", refuse)
    with pytest.raises(RecordError) as error:
        push_to_hub(kinds["scale"], "a b", client=hub)
    assert str(error.value) == ("the Hub did not take 'a b': Repo id must use alphanumeric chars")
