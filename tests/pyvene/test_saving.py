"""Interventions go to a folder and come back, ours and pyvene's."""

import json

import pytest
import torch

import causaltest.pyvene as pv
from causaltest.errors import InterventionError

KINDS = (
    "Vanilla", "Zero", "Noise", "Skip", "RotatedSpace", "LowRankRotatedSpace",
    "BoundlessRotatedSpace", "SigmoidMaskRotatedSpace", "SigmoidMask", "Autoencoder",
    "JumpReLUAutoencoder", "LoRA",
)  # fmt: skip


class Doubling(pv.ConstantSourceIntervention, pv.LocalistRepresentationIntervention):
    """An intervention of a user."""

    def forward(self, base, source=None, subspaces=None):
        return 2 * base


def scrambled(model):
    """Give every parameter that is free random numbers."""
    torch.manual_seed(4)
    with torch.no_grad():
        for name, each in model.named_parameters():
            if "rotate_layer" not in name:
                each.copy_(torch.randn(each.shape))
    return model


@pytest.mark.parametrize(
    "kind", [*(getattr(pv, f"{name}Intervention") for name in KINDS), Doubling]
)
def test_every_kind_gives_the_same_logits_after_a_round_trip(network, inputs, tmp_path, kind):
    """Saving and loading keeps every number that matters."""
    each = pv.RepresentationConfig(
        layer=1, component="mlp_output", intervention_type=kind, low_rank_dimension=3, latent_dim=9
    )
    model = scrambled(pv.IntervenableModel([each, {"layer": 2, "intervention_type":
        pv.CollectIntervention}], network))  # fmt: skip
    model.save(tmp_path / "saved")
    loaded = pv.IntervenableModel.load(tmp_path / "saved", network)
    call = inputs(1), [inputs(2), None], {"sources->base": 3}
    (_, before), one = model(*call)
    (_, after), other = loaded(*call)
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(before[0], after[0])
    assert not list((tmp_path / "saved").glob("*.bin"))


def test_linked_interventions_stay_one(network, tmp_path):
    """Two linked sites share one module after loading too."""
    each = {"intervention_type": pv.SigmoidMaskIntervention, "intervention_link_key": 0}
    model = pv.IntervenableModel([{"layer": 0, **each}, {"layer": 1, **each}], network)
    assert len(model.get_trainable_parameters()) == 1
    assert model.count_parameters() == 24
    model.save(tmp_path)
    loaded = pv.IntervenableModel.load(tmp_path, network)
    assert len(loaded.get_trainable_parameters()) == 1


def test_what_does_not_fit_is_refused(network, llama, tmp_path):
    """A function, another width, a missing folder, an unknown class and version are errors."""
    with pytest.raises(InterventionError, match="cannot be saved, because a function is code"):
        pv.IntervenableModel({"intervention": lambda *both: both[0]}, network).save(
            tmp_path / "function"
        )
    model = pv.IntervenableModel({"intervention_type": pv.SigmoidMaskIntervention}, network)
    model.save(tmp_path / "mask")
    with pytest.raises(InterventionError, match=r"saved for a site 24 wide .* is 32 wide"):
        pv.IntervenableModel.load(tmp_path / "mask", llama)
    with pytest.raises(
        InterventionError, match="no intervention 'nobody/nothing': there is no such"
    ):
        pv.IntervenableModel.load("nobody/nothing", network)
    path = tmp_path / "mask" / "config.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "version": 9}))
    with pytest.raises(InterventionError, match="is of version 9; this causaltest reads version 1"):
        pv.IntervenableModel.load(tmp_path / "mask", network)
    said["interventions"][0]["class"] = "os:system"
    path.write_text(json.dumps(said))
    with pytest.raises(InterventionError, match="the folder holds a system, and no such class is"):
        pv.IntervenableModel.load(tmp_path / "mask", network)


def test_folders_of_pyvene_are_read(network, inputs, tmp_path):
    """config.json and intkey_*.bin as pyvene writes them give the intervention they hold."""
    made = pv.LowRankRotatedSpaceIntervention(embed_dim=24, low_rank_dimension=3)
    key = "layer_1_comp_block_output_unit_pos_nunit_1#0"
    numbers = {"embed_dim": torch.tensor(24), "interchange_dim": torch.tensor(24)}
    torch.save({**made.state_dict(), **numbers}, tmp_path / f"intkey_{key}.bin")
    plus = "layer_2_comp_block_output_unit_pos_nunit_1#0"
    vector = torch.linspace(-1, 1, 24)
    torch.save({**numbers, "source_representation": vector}, tmp_path / f"intkey_{plus}.bin")
    empty = [None] * 7
    config = {
        "mode": "parallel",
        "model_type": "GPT2LMHeadModel",
        "representations": [
            [1, "block_output", "pos", 1, 3, *empty, None, None],
            [2, "block_output", "pos", 1, None, *empty, True, None],
        ],
        "intervention_types": [
            f"<class 'pyvene.models.interventions.{name}Intervention'>"
            for name in ("LowRankRotatedSpace", "Addition")
        ],
        "intervention_dimensions": [24, 24],
        "intervention_constant_sources": [False, True],
        # The order in which a model applies them need not be that of the representations.
        "sorted_keys": [plus, key],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = pv.IntervenableModel.load(tmp_path, network)
    built = pv.IntervenableModel(
        [{"layer": 1, "intervention": made},
         {"layer": 2, "intervention": pv.AdditionIntervention(source_representation=vector)}],
        network,
    )  # fmt: skip
    call = inputs(1), [inputs(2)], {"sources->base": 3}
    assert torch.equal(loaded(*call)[1].logits, built(*call)[1].logits)
