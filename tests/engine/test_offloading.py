"""Networks that accelerate shards or offloads: the same activations, edits, texts and hash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from causaltest.engine.intervening import intervene
from causaltest.engine.loading import device_of, fingerprint
from causaltest.engine.model import Model
from causaltest.engine.run import score_identity
from causaltest.errors import ModelError
from causaltest.interventions import add, interchange, noise, zero_ablate
from causaltest.pairs import Pair
from causaltest.sites import HEAD_COMPONENTS, Site, block_output, embedding, mlp_output

accelerate = pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

IDS = (3, 1, 4, 1, 5)
PAIR = Pair((3, 1, 4), (1, 5, 9), id="one")
CPU = torch.device("cpu")


def parts(family: str, *, blocks: str) -> dict[str, str]:
    """Return a device map: blocks on one device, everything else on the CPU."""
    names = {
        "gpt2": [*(f"transformer.h.{n}" for n in range(3)), "transformer.wte", "transformer.wpe",
                 "transformer.drop", "transformer.ln_f", "lm_head"],
        "llama": [*(f"model.layers.{n}" for n in range(2)), "model.embed_tokens", "model.norm",
                  "model.rotary_emb", "lm_head"],
    }  # fmt: skip
    return {name: blocks if name.rsplit(".", 1)[-1].isdigit() else "cpu" for name in names[family]}


# How a network is put in place: its family and a folder for weights on disk are given.
PLACED: dict[str, Callable[[nn.Module, str, str], nn.Module]] = {
    "sharded": lambda net, family, _: accelerate.dispatch_model(
        net, parts(family, blocks="cpu"), main_device="cpu", force_hooks=True
    ),
    "offloaded": lambda net, _family, _folder: accelerate.cpu_offload(net, CPU),
    "on disk": lambda net, _family, folder: accelerate.disk_offload(net, folder, CPU),
    "blocks on disk": lambda net, family, folder: accelerate.dispatch_model(
        net, parts(family, blocks="disk"), main_device="cpu", offload_dir=folder, force_hooks=True
    ),
}


@pytest.fixture
def placed(fresh, tmp_path: Path) -> Callable[[str, str], Model]:
    """Return a function that builds a model of a family whose weights are somewhere."""

    def model(family: str, how: str) -> Model:
        return Model(PLACED[how](fresh(family).network, family, str(tmp_path)), name=family)

    return model


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("how", PLACED)
def test_a_placed_network_is_the_plain_one(how, family, placed, tiny) -> None:
    """Components, activations, edits, texts and hash are bit for bit those of the plain network."""
    model, plain = placed(family, how), tiny(family)
    forwards = {path: each.forward for path, each in model.network.named_modules()}
    assert (model.device, model.dtype) == (CPU, torch.float32)
    assert model.components == plain.components
    assert model.sha256 == plain.sha256
    sites = [
        Site(name, layer=None if name == "embedding" else 1,
             head=1 if name in HEAD_COMPONENTS else None)
        for name in plain.components
    ]  # fmt: skip
    read, wanted = model.read(sites, [IDS]), plain.read(sites, [IDS])
    assert all(torch.equal(read[site][0], wanted[site][0]) for site in sites)
    width = plain.access(embedding()).width or 0
    for edit in (
        interchange(block_output(0, pos=1)) + zero_ablate(mlp_output(1, pos="end")),
        add(mlp_output(0), [0.5] * width) + noise(embedding(pos=0), sd=1.0, draws=1),
    ):
        with intervene(model, edit, PAIR) as run, intervene(plain, edit, PAIR) as wanted_run:
            assert torch.equal(run(PAIR.base).logits, wanted_run(PAIR.base).logits)
    found: list[torch.Tensor] = []
    # Within attention the kernel is another one, so only places between modules are bit for bit.
    between = [site for site in sites if isinstance(model.access(site).side, str)]
    score_identity(model, between, [PAIR], lambda output: found.append(output.logits) or 0.0)
    assert torch.equal(found[0], plain.run([PAIR])[0].logits)
    texts, expected = (
        each.generate([IDS, (7, 8)], max_new_tokens=3, intervention=edit, when="prompt")
        for each in (model, plain)
    )
    assert [each.ids for each in texts] == [each.ids for each in expected]
    assert all(each.forward == forwards[path] for path, each in model.network.named_modules())


def test_weights_that_are_nowhere_are_refused(fresh) -> None:
    """A network on the meta device has no numbers to hash or run, and the error says so."""
    network = fresh("gpt2").network.to("meta")
    message = (
        "its weights are on the meta device, which holds no numbers; load them, or let accelerate "
        "offload them (dispatch_model)"
    )
    with pytest.raises(ModelError) as error:
        Model(network).run([IDS])
    assert str(error.value) == f"GPT2LMHeadModel: {message}"
    with pytest.raises(ModelError) as error:
        fingerprint(network)
    assert str(error.value) == f"GPT2LMHeadModel: lm_head.weight: {message}"


def test_the_device_is_where_weights_are_brought_to() -> None:
    """Networks without weights stand on the CPU; others where their first weight is."""
    assert device_of(nn.Identity()) == CPU
    assert device_of(nn.Linear(2, 2)) == CPU
