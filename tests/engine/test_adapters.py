"""Networks wrapped by PEFT: their components, adapters on and off, texts, and adapter folders."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from causaltest.engine.gradients import differentiable
from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.errors import ModelError
from causaltest.interventions import interchange, scale, zero_ablate
from causaltest.pairs import Pair, Pairs
from causaltest.sites import HEAD_COMPONENTS, Site, block_output, mlp_output

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

TARGETS = {"gpt2": ["c_attn", "c_proj"], "llama": ["q_proj", "v_proj", "o_proj", "down_proj"]}
IDS = (3, 1, 4, 1, 5)
PAIR = Pair((3, 1, 4), (1, 5, 9), id="one")


def wrapped(network: nn.Module, family: str, *, random: bool = True) -> nn.Module:
    """Return a network with LoRA on its attention and MLP; random, or without effect as yet."""
    torch.manual_seed(1)
    config = peft.LoraConfig(
        r=3, target_modules=TARGETS[family], init_lora_weights=not random, task_type="CAUSAL_LM"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(network, config).eval()


@pytest.fixture
def adapted(fresh) -> Callable[[str], Model]:
    """Return a function that builds a model of a family, wrapped."""

    def model(family: str) -> Model:
        return Model(wrapped(fresh(family).network, family), name="adapted")

    return model


def sites(model: Model) -> list[Site]:
    """Return every component of one layer."""
    return [
        Site(name, layer=None if name == "embedding" else 1,
             head=1 if name in HEAD_COMPONENTS else None)
        for name in model.components
    ]  # fmt: skip


@pytest.mark.parametrize("family", TARGETS)
def test_components_are_those_of_the_plain_network(family, adapted, tiny) -> None:
    """Every site of the plain model exists, at the same module; an adapter off changes nothing."""
    model, plain = adapted(family), tiny(family)
    assert model.components == plain.components
    assert model.n_layers == plain.n_layers
    assert model.n_heads("head_key_output") == plain.n_heads("head_key_output")
    every = sites(plain)
    for site in every:
        here, there = model.access(site), plain.access(site)
        assert here.path.removeprefix("base_model.model.") == there.path
        assert (here.side, here.width, here.heads) == (there.side, there.width, there.heads)
    with model.network.disable_adapter():
        read, wanted = model.read(every, [IDS]), plain.read(every, [IDS])
        assert all(torch.equal(read[site][0], wanted[site][0]) for site in every)
        assert torch.equal(model.run([IDS])[0].logits, plain.run([IDS])[0].logits)
    assert not torch.allclose(model.run([IDS])[0].logits, plain.run([IDS])[0].logits, atol=0.1)


@pytest.mark.parametrize("family", TARGETS)
def test_edits_are_those_of_the_merged_network(family, adapted) -> None:
    """An interchange under an adapter equals the same under weights with the adapter merged."""
    model = adapted(family)
    edit = interchange(block_output(0, pos=1)) + zero_ablate(mlp_output(1, pos="end"))
    with intervene(model, edit, PAIR) as run:
        found = run(PAIR.base).logits
    merged = Model(model.network.merge_and_unload(), name="merged")
    with intervene(merged, edit, PAIR) as run:
        expected = run(PAIR.base).logits
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("family", TARGETS)
def test_texts_are_those_of_the_merged_network(family, adapted) -> None:
    """Plain and steered texts, of one prompt and of several, and nothing is left behind."""
    model = adapted(family)
    settings = model.network.base_model.model.generation_config
    before = set(vars(model.network)), settings.to_dict()
    edit = scale(block_output(0), 3.0)

    def texts(model: Model) -> list[tuple[int, ...]]:
        plain = model.generate([IDS, (7, 8)], max_new_tokens=4)
        steered = model.generate([IDS], max_new_tokens=4, intervention=edit, when="every step")
        return [each.ids for each in (*plain, *steered)]

    found = texts(model)
    assert model.network.base_model.model.generation_config is settings
    assert (set(vars(model.network)), settings.to_dict()) == before
    assert found == texts(Model(model.network.merge_and_unload(), name="merged"))


def test_gradients_reach_the_adapter_alone(adapted) -> None:
    """Under an edit the adapter's weights get gradients, the frozen network's do not."""
    model = adapted("llama")
    pairs = Pairs([PAIR], name="one", cluster=None)
    with differentiable(model, interchange(block_output(0, pos=1)), pairs) as (output,):
        output.logits.square().sum().backward()
    grads = {name for name, each in model.network.named_parameters() if each.grad is not None}
    assert grads
    assert all("lora_" in name for name in grads)


# Adapter folders


@pytest.fixture
def folders(tmp_path: Path, fresh) -> tuple[Path, Path, Model]:
    """Return the folders of a network and of an adapter on it, and the model of both."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    fresh("llama").network.save_pretrained(base)
    import transformers

    network = wrapped(transformers.AutoModelForCausalLM.from_pretrained(base), "llama")
    network.save_pretrained(adapter)
    return base, adapter, Model(network, name="in memory")


def test_an_adapter_folder_is_loaded_with_its_base(folders) -> None:
    """The model that the adapter names is loaded, and the adapter put on it."""
    _, adapter, model = folders
    loaded = Model.load(str(adapter))
    assert (loaded.name, loaded.network.training) == ("adapter", False)
    assert torch.equal(loaded.run([IDS])[0].logits, model.run([IDS])[0].logits)
    assert loaded.sha256 == model.sha256
    half = Model.load(str(adapter), dtype="bfloat16")
    assert half.run([IDS])[0].logits.dtype == torch.bfloat16


def test_adapter_folders_that_cannot_be_loaded(folders, monkeypatch) -> None:
    """The base that is missing, not named or of another shape, and peft that is not installed."""
    base, adapter, _ = folders
    settings = adapter / "adapter_config.json"
    written = json.loads(settings.read_text())

    def refused(**changes: object) -> str:
        settings.write_text(json.dumps({**written, **changes}))
        with pytest.raises(ModelError) as error:
            Model.load(str(adapter))
        return str(error.value)

    gone = base.parent / "bse"
    message = refused(base_model_name_or_path=str(gone))
    assert message.startswith(f"the base model of the adapter {adapter}: no model {str(gone)!r}")
    assert f"did you mean {str(base)!r}?" in message
    assert refused(base_model_name_or_path=None) == (
        f"the folder {adapter} holds a PEFT adapter, but its adapter_config.json names no base "
        "model\nwrite the model's folder or hub name there as base_model_name_or_path, or name "
        f"both: BASE+{adapter}"
    )
    assert refused(target_modules=["nowhere"]).startswith(
        f"the adapter in {adapter} does not go on {base}: "
    )
    settings.write_text("{")
    with pytest.raises(ModelError, match=r"adapter_config.json is no JSON: "):
        Model.load(str(adapter))
    settings.write_text(json.dumps(written))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError) as error:
        Model.load(str(adapter))
    assert str(error.value) == (
        f"the folder {adapter} holds a PEFT adapter of {base}, and peft is not installed\n"
        "pip install peft, or load the model merged: merge_and_unload(), save_pretrained()"
    )
