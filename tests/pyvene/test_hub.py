"""The Hub paths of causaltest.pyvene, by a client that keeps repositories in a folder."""

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import HFValidationError

import causaltest.pyvene as pv
from causaltest.errors import InterventionError


@pytest.fixture
def account(hub, monkeypatch):
    """Let the account of the machine be that of an empty Hub."""
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    return hub


@pytest.fixture
def steering(llama):
    """Return a model that adds a stored vector."""
    each = pv.RepresentationConfig(
        layer=1, intervention_type=pv.AdditionIntervention,
        source_representation=torch.linspace(-3, 3, 32),
    )  # fmt: skip
    return pv.IntervenableModel(each, llama)


def test_what_is_saved_to_the_hub_is_loaded_from_it(steering, llama, inputs, account, tmp_path):
    """The guide's two calls: save with the name of a repository, and load by that name."""
    steering.save(tmp_path / "local", save_to_hf_hub=True, hf_repo_name="ann/honest")
    loaded = pv.IntervenableModel.load("ann/honest", model=llama)
    assert torch.equal(steering(inputs(1))[1].logits, loaded(inputs(1))[1].logits)
    assert account.calls == [
        ("create_repo", "ann/honest", None),
        ("upload_folder", "ann/honest", None),
        ("snapshot_download", "ann/honest", None),
    ]
    fetched = {path.name for path in (account.folder / "cache").iterdir()}
    assert fetched == {"config.json", "interventions.safetensors"}


def test_save_intervention_shares_too(steering, llama, inputs, account, tmp_path, monkeypatch):
    """Without a name the repository is called as the folder is."""
    monkeypatch.chdir(tmp_path)
    steering.save_intervention("ann/honest", save_to_hf_hub=True)
    loaded = pv.IntervenableModel.load(
        "ann/honest", model=llama, from_huggingface_hub=True, local_directory="here"
    )
    assert torch.equal(steering(inputs(1))[1].logits, loaded(inputs(1))[1].logits)
    assert (tmp_path / "here" / "config.json").exists()
    assert account.calls[-1] == ("snapshot_download", "ann/honest", None)


def test_a_folder_is_taken_before_the_hub(steering, llama, account, tmp_path):
    """A name that is a folder asks the Hub nothing."""
    steering.save(tmp_path / "local")
    pv.IntervenableModel.load(tmp_path / "local", model=llama)
    assert account.calls == []


def test_weights_of_the_model_go_along(llama, inputs, account, script, tmp_path):
    """With include_model the weights that were trained are shared and come back."""
    model = pv.IntervenableModel({"intervention_type": pv.ZeroIntervention}, llama)
    model.enable_model_gradients()
    with torch.no_grad():
        llama.lm_head.weight.mul_(2)
    model.save(tmp_path / "l", save_to_hf_hub=True, hf_repo_name="ann/all", include_model=True)
    fresh = script.build("llama")
    loaded = pv.IntervenableModel.load("ann/all", model=fresh, include_model=True)
    assert torch.equal(model(inputs(1))[1].logits, loaded(inputs(1))[1].logits)


def test_what_the_hub_refuses(steering, llama, account, tmp_path, monkeypatch):
    """The Hub's own reason is passed on, when saving and when loading."""
    with pytest.raises(InterventionError) as caught:
        pv.IntervenableModel.load("ann/none", model=llama)
    assert str(caught.value) == (
        "no intervention 'ann/none': there is no such folder, and the Hub gave none of that name "
        "(404: ann/none not found)"
    )

    def refuse(*_args, **_kwargs):
        raise HFValidationError("Repo id must use alphanumeric chars")

    monkeypatch.setattr(account, "create_repo", refuse)
    with pytest.raises(InterventionError) as caught:
        steering.save(tmp_path / "local", save_to_hf_hub=True, hf_repo_name="a b")
    assert str(caught.value) == ("the Hub did not take 'a b': Repo id must use alphanumeric chars")
