"""Loading by folder and name, refusals, and the hash of the weights."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import huggingface_hub
import pytest
import torch
from torch import nn

from causaltest.engine.loading import fingerprint, load_network
from causaltest.engine.model import Model
from causaltest.errors import ModelError


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a saved GPT-2."""
    folder = tmp_path_factory.mktemp("models") / "little-gpt2"
    tiny("gpt2").network.save_pretrained(folder)
    return folder


def test_a_saved_model_is_the_same_model(saved: Path, tiny) -> None:
    """A folder loads with its own class, in eval mode, with its name and its weights."""
    model = Model.load(saved, device="cpu")
    assert model.name == "little-gpt2"
    assert type(model.network) is type(tiny("gpt2").network)
    assert not model.network.training
    assert model.prompts.tokenizer is None
    assert model.sha256 == tiny("gpt2").sha256
    (one,), (other,) = model.run([(1, 2, 3)]), tiny("gpt2").run([(1, 2, 3)])
    assert torch.equal(one.logits, other.logits)


def test_the_type_of_numbers_is_as_asked(saved: Path) -> None:
    """dtype= is the type of all weights."""
    model = Model.load(str(saved), device="cpu", dtype="bfloat16")
    assert {each.dtype for each in model.network.parameters()} == {torch.bfloat16}


def test_a_tokenizer_in_the_folder_is_loaded(real_models: Path) -> None:
    """A folder with a tokenizer takes text."""
    model = Model.load(str(real_models / "stories260k"), device="cpu")
    assert model.prompts.ids("Once")[0] == 1  # the beginning-of-sequence token


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dtype": "float31"}, "unknown dtype 'float31'; did you mean 'float32'?"),
        ({"device": "gpu9"}, "device 'gpu9' cannot be used: "),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used: "),
    ],
)
def test_unknown_types_and_devices(changes, message, saved: Path) -> None:
    """A dtype or device that does not exist is named."""
    with pytest.raises(ModelError, match=re.escape(message)):
        load_network(str(saved), **{"device": "cpu", "dtype": "float32", **changes})


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    """A folder that exists and holds no model is not looked for on the hub."""
    with pytest.raises(
        ModelError, match=re.escape(f"the folder {tmp_path} holds no model: config.json is missing")
    ):
        Model.load(str(tmp_path))


def test_a_folder_with_a_damaged_configuration(tmp_path: Path) -> None:
    """A configuration that transformers cannot read is quoted in one line."""
    (tmp_path / "config.json").write_text('{"model_type": "no-such-kind"}')
    with pytest.raises(ModelError, match="holds no model that can be loaded: ") as caught:
        Model.load(str(tmp_path))
    assert "no-such-kind" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights(saved: Path, tmp_path: Path) -> None:
    """A configuration alone is no model."""
    (tmp_path / "config.json").write_text((saved / "config.json").read_text())
    with pytest.raises(ModelError, match="holds no model that can be loaded: "):
        Model.load(str(tmp_path))


def test_a_weights_file_that_is_cut_off(saved: Path, tmp_path: Path) -> None:
    """Half a download is told in the reader's words, not as its traceback."""
    (tmp_path / "config.json").write_text((saved / "config.json").read_text())
    whole = (saved / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"holds no model that can be loaded: .*incomplete"):
        Model.load(str(tmp_path))


def test_an_unrelated_neighbour_is_not_offered(saved: Path) -> None:
    """Only a folder whose own name is alike is offered, however long the path they share."""
    (saved.parent / "pvwheel").mkdir()
    with pytest.raises(ModelError) as caught:
        Model.load(str(saved.parent / "nowhere"))
    assert str(caught.value) == (
        f"no model {str(saved.parent / 'nowhere')!r}: there is no such folder\n"
        "name a folder written by save_pretrained, or a model on the hub such as gpt2"
    )


def test_a_file_is_no_model(saved: Path) -> None:
    """A file in place of a folder is named as such."""
    with pytest.raises(ModelError) as caught:
        Model.load(str(saved / "config.json"))
    assert str(caught.value) == (
        f"{saved / 'config.json'} is a file and no model\nname the folder that config.json lies in"
    )


def test_a_mistyped_folder(saved: Path) -> None:
    """A path that does not exist offers the folder next to it."""
    with pytest.raises(
        ModelError, match=r"no model '.*litle-gpt2': there is no such folder; did you"
    ):
        Model.load(str(saved.parent / "litle-gpt2"))


def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is neither folder nor on the hub says so."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelError, match="no model 'gtp2-small': there is no such folder, and the hub gave none of"
    ):
        Model.load("gtp2-small")


def test_the_fingerprint_is_over_names_types_shapes_and_bytes() -> None:
    """The hash is SHA-256 over each tensor's header and bytes, in order of names."""
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    digest = hashlib.sha256()
    for name in sorted(network.state_dict()):
        tensor = network.state_dict()[name]
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.numpy().tobytes())
    assert fingerprint(network) == digest.hexdigest()


def test_the_fingerprint_sees_every_weight() -> None:
    """One changed bit, another type, or another name changes the hash; strides do not."""
    network = nn.Linear(3, 4)
    plain = fingerprint(network)
    network.weight.data = network.weight.data.T.contiguous().T
    assert fingerprint(network) == plain
    network.bias.data[2] += 1e-7
    assert fingerprint(network) != plain
    assert fingerprint(nn.Sequential(network)) != fingerprint(network)
    assert fingerprint(network.bfloat16()) != plain
