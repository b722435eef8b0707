"""Folders in pyvene's layout, written here as pyvene writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from causaltest.errors import RecordError
from causaltest.interventions import (
    add,
    autoencoder,
    boundless,
    constant,
    interchange,
    low_rank,
    noise,
    pca,
    rotated,
    sigmoid_mask,
    skip,
    zero_ablate,
)
from causaltest.sharing import read_pyvene
from causaltest.sites import block_output, head_attention_value_output, module

WIDTH = 16
KEY = "layer_1_comp_block_output_unit_pos_nunit_1#0"
SITE = block_output(1, pos="mid")


def entry(
    component: str = "block_output", unit: str = "pos", units: int = 1, layer: int = 1
) -> list:
    """Return a representation as pyvene's named tuple becomes in JSON."""
    return [layer, component, unit, units, *[None] * 10]


def write(folder: Path, *parts: tuple[str, str, dict | None, list], mode: str = "parallel") -> Path:
    """Write a folder of (key, class, numbers, representation)."""
    folder.mkdir(exist_ok=True)
    config = {
        "intervention_constant_sources": [False] * len(parts),
        "intervention_dimensions": [WIDTH] * len(parts),
        "intervention_types": [
            f"<class 'pyvene.models.interventions.{name}'>" for _, name, _, _ in parts
        ],
        "mode": mode,
        "representations": [representation for *_, representation in parts],
        "sorted_keys": [key for key, *_ in parts],
        "transformers_version": "5.23.0",
    }
    (folder / "config.json").write_text(json.dumps(config))
    for key, _, numbers, _ in parts:
        if numbers is not None:
            kept = {"embed_dim": torch.tensor(WIDTH), "interchange_dim": torch.tensor(WIDTH)}
            torch.save(kept | numbers, folder / f"intkey_{key}.bin")
    return folder


def rotation(width: int, rank: int) -> tuple[dict, torch.Tensor]:
    """Return the state of a trained, parametrised layer, and the weight it stands for."""
    torch.manual_seed(rank)
    layer = nn.Module()
    layer.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(width, rank)))
    layer = orthogonal(layer)
    with torch.no_grad():
        # Only what is below the diagonal has a gradient, and changes in training.
        layer.parametrizations.weight.original += 0.1 * torch.randn(width, rank).tril(-1)
    state = {f"rotate_layer.{name}": each for name, each in layer.state_dict().items()}
    return state, layer.weight.detach()


FULL, R = rotation(WIDTH, WIDTH)
LOW, COLUMNS = rotation(WIDTH, 3)
V = torch.linspace(-1, 1, WIDTH)
M = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(1))
HEAT = {"temperature": torch.tensor(0.5)}
SAE = {"W_enc": M.T, "W_dec": M, "b_enc": M[:, 0], "b_dec": V, "threshold": M[:, 1].abs()}
AE = {
    "autoencoder.encoder.0.weight": M, "autoencoder.encoder.0.bias": M[:, 0],
    "autoencoder.decoder.0.weight": M.T, "autoencoder.decoder.0.bias": V,
    "interchange_dim": torch.tensor(7),
}  # fmt: skip
PCA = {"pca_components": R.T, "pca_mean": V, "pca_std": V.exp(), "interchange_dim": torch.tensor(2)}

# Class, what is in its file, and what it is here.
CLASSES = {
    "VanillaIntervention": (None, interchange(SITE)),
    "VanillaIntervention, stored": ({"source_representation": V}, constant(SITE, V)),
    "ZeroIntervention": (None, zero_ablate(SITE)),
    "AdditionIntervention": ({"source_representation": V}, add(SITE, V)),
    "SkipIntervention": (None, skip(SITE)),
    "NoiseIntervention": (None, noise(SITE, sd=0.13462981581687927, seed=1, draws=1)),
    "RotatedSpaceIntervention": (
        FULL | {"interchange_dim": torch.tensor(4)},
        interchange(SITE, subspace=rotated(R, k=4)),
    ),
    "LowRankRotatedSpaceIntervention": (LOW, interchange(SITE, subspace=low_rank(COLUMNS))),
    "BoundlessRotatedSpaceIntervention": (
        FULL | HEAT | {"intervention_boundaries": torch.tensor([0.3])},
        interchange(SITE, subspace=boundless(R, boundary=torch.tensor([0.3]), temperature=0.5)),
    ),
    "SigmoidMaskIntervention": (
        HEAT | {"mask": V},
        interchange(SITE, subspace=sigmoid_mask(V, temperature=0.5)),
    ),
    "SigmoidMaskRotatedSpaceIntervention": (
        FULL | HEAT | {"masks": V},
        interchange(SITE, subspace=sigmoid_mask(V, temperature=0.5, rotation=R)),
    ),
    "PCARotatedSpaceIntervention": (
        PCA,
        interchange(SITE, subspace=pca(R.T, mean=V, scale=V.exp(), k=2, keep_error=False)),
    ),
    "AutoencoderIntervention": (
        AE,
        interchange(
            SITE,
            subspace=autoencoder(
                M.T, M, encoder_bias=M[:, 0], decoder_bias=V, centred=True, features=[7],
                keep_error=False,
            ),
        ),
    ),
    "JumpReLUAutoencoderIntervention": (
        SAE,
        interchange(
            SITE,
            subspace=autoencoder(
                M.T, M, encoder_bias=M[:, 0], decoder_bias=V, activation="jumprelu",
                threshold=M[:, 1].abs(), features=range(WIDTH), keep_error=False,
            ),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_becomes_ours(name, tmp_path, model, pairs, logits):
    """A folder of one class is the intervention of the same formula, and runs."""
    numbers, expected = CLASSES[name]
    folder = write(tmp_path / "saved", (KEY, name.split(",")[0], numbers, entry()))
    got = read_pyvene(folder, pos="mid")
    assert got == expected
    assert len(logits(model, got, pairs)) == len(pairs)


def test_the_rotation_is_that_of_the_trained_layer(tmp_path):
    """The orthogonal weight is recomputed from the parameters: a swap of two columns by hand."""
    folder = write(tmp_path / "saved", (KEY, "LowRankRotatedSpaceIntervention", LOW, entry()))
    got = read_pyvene(folder).subspace
    base, source = np.random.default_rng(0).standard_normal((2, 5, WIDTH))
    basis = np.reshape(list(got.basis), got.basis.shape)
    columns = COLUMNS.double().numpy()
    assert np.abs(columns.T @ columns - np.eye(3)).max() < 1e-5
    want = base + (source @ columns - base @ columns) @ columns.T
    np.testing.assert_allclose(base + (source - base) @ basis @ basis.T, want, atol=1e-6)


def test_several_representations_are_a_sum(tmp_path):
    """Keys keep their order, each with its own position, dims and head."""
    head = "layer_0_comp_head_attention_value_output_unit_h.pos_nunit_1#0"
    path = "comp_transformer.h[0].mlp.output_unit_pos_nunit_1#0"
    folder = write(
        tmp_path / "saved",
        (KEY, "RotatedSpaceIntervention", FULL, entry()),
        (head, "VanillaIntervention", None, entry("head_attention_value_output", "h.pos", layer=0)),
        (path, "ZeroIntervention", None, entry("transformer.h[0].mlp.output")),
    )
    got = read_pyvene(folder, pos={KEY: "end", head: 2}, dims={KEY: (3, 5)}, heads={head: 1})
    assert got == (
        interchange(block_output(1, pos="end"), subspace=rotated(R, dims=(3, 5)))
        + interchange(head_attention_value_output(0, 1, pos=2))
        + zero_ablate(module("transformer.h.0.mlp"))
    )


REFUSED = [
    ("RotatedSpaceIntervention", FULL, entry(), {}, "all 16 of 16 directions would be replaced"),
    ("CollectIntervention", None, entry(), {}, "CollectIntervention has no equal that can be read"),
    ("MyIntervention", None, entry(), {}, "unknown intervention class 'MyIntervention'"),
    ("VanilaIntervention", None, entry(), {}, "did you mean 'VanillaIntervention'?"),
    ("ZeroIntervention", None, entry(units=3), {}, "one basis spans 3 units together"),
    ("ZeroIntervention", None, entry(unit="t"), {}, "its unit is 't'; units that can be read"),
    ("ZeroIntervention", None, entry("block_outptu"), {}, "did you mean 'block_output'?"),
    ("ZeroIntervention", None, "block", {}, "its representation is 'block'"),
    (
        "ZeroIntervention", None, entry("head_key_output", "h.pos"), {},
        f"the head is not saved by pyvene; say which: heads={{{KEY!r}: 0}}",
    ),
    ("ZeroIntervention", None, entry(), {"pos": {"layer": 1}}, "has no key 'layer'; did you mean"),
    ("AdditionIntervention", None, entry(), {}, "the file lacks 'source_representation'"),
    ("SigmoidMaskIntervention", HEAT, entry(), {}, "the file lacks 'mask'"),
    (
        "LowRankRotatedSpaceIntervention",
        {**LOW, "rotate_layer.parametrizations.weight.0.base": torch.zeros(2, 2)},
        entry(), {}, "its rotation is damaged",
    ),
    ("SigmoidMaskIntervention", {**HEAT, "mask": V / 0}, entry(), {}, "expected finite numbers"),
]  # fmt: skip


@pytest.mark.parametrize("name, numbers, representation, options, message", REFUSED)
def test_what_has_no_equal_is_refused(name, numbers, representation, options, message, tmp_path):
    """The class, key or file is named."""
    folder = write(tmp_path / "saved", (KEY, name, numbers, representation))
    with pytest.raises(RecordError) as error:
        read_pyvene(folder, **options)
    assert message in str(error.value)


def test_a_serial_chain_is_refused(tmp_path):
    """In a chain each intervention has another source, which a sum has not."""
    parts = [(f"{KEY}{i}", "VanillaIntervention", None, entry(layer=i)) for i in range(2)]
    with pytest.raises(RecordError, match=r"holds a serial chain of 2 interventions"):
        read_pyvene(write(tmp_path / "saved", *parts, mode="serial"))


def test_files_that_are_no_folder_of_pyvene(tmp_path):
    """Missing, truncated and foreign configurations are told apart."""
    with pytest.raises(RecordError, match=r"config.json cannot be read"):
        read_pyvene(tmp_path)
    config = tmp_path / "config.json"
    for text, message in [
        ('{"mode": ', r"is not whole JSON"),
        ('{"mode": "parallel"}', r"was not written by pyvene"),
        ('{"intervention_types": 3}', r"intervention_types is no list"),
        ('{"intervention_types": [], "sorted_keys": [], "representations": []}', r"0 types"),
    ]:
        config.write_text(text)
        with pytest.raises(RecordError, match=message):
            read_pyvene(tmp_path)


class Loud:
    """Pickles as a call."""

    def __reduce__(self):
        return (print, ("this must not run",))


def test_pickled_code_does_not_run(tmp_path, capsys):
    """A file that holds more than tensors is refused unread."""
    folder = write(tmp_path / "saved", (KEY, "AdditionIntervention", {}, entry()))
    torch.save({"source_representation": Loud()}, folder / f"intkey_{KEY}.bin")
    with pytest.raises(RecordError, match=r"is damaged, or holds more than tensors"):
        read_pyvene(folder)
    assert capsys.readouterr().out == ""


def test_a_key_cannot_leave_the_folder(tmp_path):
    """A key with a path in it reads nothing."""
    folder = write(tmp_path / "saved", ("../../x", "AdditionIntervention", None, entry()))
    with pytest.raises(RecordError, match=r"'\.\./\.\./x' is no key of pyvene"):
        read_pyvene(folder)


def test_a_truncated_file_is_refused(tmp_path):
    """A file of numbers that was cut off is named."""
    folder = write(tmp_path / "saved", (KEY, "AdditionIntervention", {}, entry()))
    path = folder / f"intkey_{KEY}.bin"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RecordError, match=r"intkey_.*bin is damaged"):
        read_pyvene(folder)
    torch.save([1, 2], path)
    with pytest.raises(RecordError, match=r"holds no table of tensors"):
        read_pyvene(folder)
