"""Saving and loading: what comes back is what was saved, and nothing else is let in."""

from __future__ import annotations

import json
import operator

import pytest
import torch
from safetensors.torch import load_file, save_file

from causaltest.errors import RecordError
from causaltest.interventions import (
    Intervention,
    add,
    apply_function,
    from_source,
    interchange,
    low_rank,
)
from causaltest.sharing import load, save
from causaltest.sharing.codec import KINDS
from causaltest.sites import block_output, mlp_activation


def test_every_kind_comes_back_equal_and_does_the_same(kind, kinds, folder, model, pairs, logits):
    """load(save(x)) == x, prints alike, and gives bit-identical logits."""
    before = kinds[kind]
    after = load(save(before, folder, model=model), model=model)
    assert after == before
    assert hash(after) == hash(before)
    assert str(after) == str(before)
    there, back = logits(model, before, pairs), logits(model, after, pairs)
    assert all(map(torch.equal, there, back))
    assert len(there) >= len(pairs)


def test_every_kind_that_files_know_is_tested(kinds, halving):
    """The list of interventions above holds each kind of the format."""
    seen: set[type] = {type(halving)}
    for each in kinds.values():
        for part in (each, *each.parts):
            held = getattr(part, "subspace", None) or getattr(part, "basis", None)
            seen |= {type(part), type(held), type(getattr(held, "basis", None))}
    assert set(KINDS.values()) <= seen


def test_a_subspace_comes_back_with_its_site(folder):
    """A learned subspace is saved alone, and knows where it was found."""
    found = low_rank([[0.6], [0.8]]).at(mlp_activation(1, pos="end", dims=(0, 4)))
    assert load(save(found, folder)) == found


def test_a_trained_tensor_is_saved_as_it_is_now(folder):
    """What is loaded is the snapshot, whatever training does afterwards."""
    steer = torch.tensor([1.0, 2.0], requires_grad=True)
    intervention = add(block_output(0), steer)
    save(intervention, folder)
    with torch.no_grad():
        steer += 1
    assert load(folder) == add(block_output(0), torch.tensor([1.0, 2.0]))
    assert load(folder) != intervention


def test_equal_numbers_are_kept_once(folder, kinds):
    """Arrays and pair sets that occur twice are written once."""
    save(kinds["joint"], folder)
    assert sorted(load_file(folder / "intervention.safetensors")) == ["array_0", "array_1"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "intervention.json", "intervention.safetensors", "pairs_0.jsonl",
    ]  # fmt: skip


def test_saving_twice_writes_the_same_bytes(tmp_path, kinds):
    """A folder depends on the intervention alone."""
    for name, each in kinds.items():
        one, two = save(each, tmp_path / "one" / name), save(each, tmp_path / "two" / name)
        for path in one.iterdir():
            assert path.read_bytes() == (two / path.name).read_bytes()


def test_saving_replaces_what_was_there(folder, kinds):
    """A second intervention in the same folder is the one that is loaded."""
    save(kinds["joint"], folder)
    save(kinds["scale"], folder)
    assert load(folder) == kinds["scale"]


def test_a_function_is_saved_by_name_and_passed_when_loaded(folder):
    """Loading imports nothing: the function is handed over by the name in the file."""
    twice = apply_function(block_output(0), operator.sub, source=True)
    save(twice, folder)
    with pytest.raises(RecordError) as error:
        load(folder)
    assert str(error.value) == (
        f"{folder / 'intervention.json'}: intervention.function is the function _operator:sub, and "
        "loading imports no code on its own\n"
        "pass it: load(..., functions={'_operator:sub': sub})"
    )
    assert load(folder, functions={"_operator:sub": operator.sub}) == twice


def test_a_function_without_a_name_cannot_be_saved(folder):
    """A lambda or an inner function has no name under which another process finds it."""

    def inner(base, source):
        return base

    for function in (inner, lambda base, source: base + (source is None)):
        with pytest.raises(RecordError, match=r"cannot be saved: it cannot be imported as module:"):
            save(apply_function(block_output(0), function), folder)
    assert not folder.exists()


def test_a_kind_of_the_users_own_cannot_be_saved(folder):
    """A subclass is refused by name instead of being saved as something else."""

    class Mine(Intervention):
        pass

    with pytest.raises(RecordError, match=r"^Mine is a kind of its own, which no file can hold"):
        save(Mine((block_output(0),)), folder)


def test_only_interventions_can_be_saved(folder):
    """Anything else is refused with its type."""
    with pytest.raises(RecordError, match=r"^save takes an intervention or a subspace; got Site$"):
        save(block_output(0), folder)


def test_a_folder_that_cannot_be_written(tmp_path, kinds):
    """The system's reason is passed on."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"^cannot write to .*file.*: "):
        save(kinds["scale"], tmp_path / "file" / "under")


# What is wrong with the description, and what the error says.
DAMAGE = [
    (lambda tree: {**tree, "schema_version": 2}, "has schema version 2; this causaltest reads up"),
    (
        lambda tree: {**tree, "schema_version": "1"},
        "has schema version '1', which no version wrote",
    ),
    (lambda tree: {**tree, "format": "other"}, "was not written by causaltest"),
    (lambda _tree: [1], "was not written by causaltest"),
    (lambda tree: {k: v for k, v in tree.items() if k != "intervention"}, "holds no intervention"),
    (lambda tree: {**tree, "intervention": 3}, "expected an object with a kind; got 3"),
    (lambda tree: {**tree, "intervention": {"site": "embedding"}}, "an object with a kind"),
    (lambda tree: {**tree, "arrays": [1]}, "arrays is no object"),
    (lambda tree: {**tree, "arrays": {"array_0": 1}}, "arrays 'array_0' is no object"),
    (lambda tree: {**tree, "arrays": {"../../x": {}}}, "'../../x' is no name of arrays"),
    (lambda tree: {**tree, "pairs": {"/etc/passwd": {}}}, "'/etc/passwd' is no name of pairs"),
    (lambda tree: {**tree, "model": {"name": 3}}, "model: "),
]


@pytest.mark.parametrize("change, message", DAMAGE, ids=[message for _, message in DAMAGE])
def test_a_damaged_description_is_refused(change, message, folder, kinds):
    """What is wrong is said, with the file."""
    path = save(kinds["add"], folder) / "intervention.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(RecordError) as error:
        load(folder)
    assert message in str(error.value)
    assert str(path) in str(error.value)


# Kind, what is wrong with its fields, and what the error says.
FIELDS = [
    ("add", {"kind": "ad"}, "intervention: unknown kind 'ad'; did you mean 'add'?"),
    ("add", {"kind": ["add"]}, "unknown kind ['add']"),
    ("add", {"sclae": 1}, "a add has no field 'sclae'; did you mean 'scale'?"),
    ("add", {"scale": "2"}, "intervention.scale of a add is '2'; expected float"),
    ("add", {"scale": True}, "intervention.scale of a add is True; expected float"),
    ("noise", {"seed": 1.5}, "intervention.seed of a noise is 1.5; expected int"),
    ("add", {"sites": "embedding"}, "intervention.sites of a add is 'embedding'; expected tuple"),
    ("add", {"sites": [{"site": "mlp"}]}, "intervention.sites[0]: unknown component 'mlp'"),
    ("add", {"sites": [{"place": "mlp"}]}, "an object with 'place' is neither"),
    ("add", {"sites": []}, "this add is not valid: Addition names no site"),
    (
        "add",
        {"vector": {"array": "array_9"}},
        "refers to 'array_9', but the folder holds 'array_0'",
    ),
    ("add", {"vector": {"pairs": "pairs_9"}}, "refers to 'pairs_9', but the folder holds none"),
    ("noise", {"sd": -1.0}, "this noise is not valid: noise sd is -1.0"),
    ("rotated", {"subspace": {"kind": "rotation"}}, "intervention.subspace: a rotation needs"),
    ("rotated", {"subspace": {"kind": "noise"}}, "intervention.subspace: a noise needs"),
    ("resample", {"draws_per_pair": 0}, "draws is 0"),
]


@pytest.mark.parametrize("kind, fields, message", FIELDS)
def test_wrong_fields_are_refused(kind, fields, message, folder, kinds):
    """An unknown, missing or mistyped field is named, with the nearest name."""
    path = save(kinds[kind], folder) / "intervention.json"
    tree = json.loads(path.read_text())
    tree["intervention"].update(fields)
    path.write_text(json.dumps(tree))
    with pytest.raises(RecordError) as error:
        load(folder)
    assert message in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("name", ["intervention.json", "intervention.safetensors", "pairs_0.jsonl"])
def test_a_truncated_file_is_refused(name, share, folder, kinds):
    """A file that was cut off anywhere is no intervention."""
    path = save(kinds["joint"], folder) / name
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(RecordError) as error:
        load(folder)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["intervention.safetensors", "pairs_0.jsonl"])
def test_a_missing_file_is_named(name, folder, kinds):
    """The description refers to a file that is not there."""
    path = save(kinds["joint"], folder) / name
    path.unlink()
    with pytest.raises(RecordError) as error:
        load(folder)
    assert str(path) in str(error.value)


# What is done to the tensors, and what the error says.
NUMBERS = [
    (lambda x: x.float(), "'array_0' is float32 of shape [16], but intervention.json says float64"),
    (lambda x: x[:4], "is float64 of shape [4], but intervention.json says float64 of shape [16]"),
    (lambda x: x + 1e-9, "the numbers of 'array_0' are not those that were saved"),
    (lambda x: x * float("nan"), "'array_0': expected finite numbers; one is nan"),
    (lambda x: x / 0, "'array_0': expected finite numbers; one is inf"),
]


@pytest.mark.parametrize("change, message", NUMBERS, ids=[message for _, message in NUMBERS])
def test_other_numbers_are_refused(change, message, folder, kinds):
    """Numbers of another shape, type or content than was saved are refused."""
    path = save(kinds["add"], folder) / "intervention.safetensors"
    save_file({"array_0": change(load_file(path)["array_0"]).contiguous()}, path)
    with pytest.raises(RecordError) as error:
        load(folder)
    assert message in str(error.value)


def test_an_array_that_the_file_lacks(folder, kinds):
    """A file of other tensors is named with what it holds."""
    path = save(kinds["add"], folder) / "intervention.safetensors"
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(RecordError, match=r"holds no 'array_0', only 'weight'"):
        load(folder)


def test_other_pairs_are_refused(folder, kinds):
    """A pair set that was edited after saving is another one."""
    path = save(kinds["mean"], folder) / "pairs_0.jsonl"
    path.write_text(path.read_text().replace("7", "8", 1))
    with pytest.raises(RecordError, match=r"the pairs are not those that were saved"):
        load(folder)


def test_nan_in_the_description_is_refused(folder, kinds):
    """NaN is no JSON."""
    path = save(kinds["scale"], folder) / "intervention.json"
    path.write_text(path.read_text().replace('"factor": 0.3', '"factor": NaN'))
    with pytest.raises(RecordError, match=r"is not whole JSON"):
        load(folder)


def test_folders_that_are_not_ours(tmp_path):
    """A missing folder, an empty one and one of pyvene are told apart."""
    with pytest.raises(RecordError, match=r"^there is no folder .*nowhere; give the folder that"):
        load(tmp_path / "nowhere")
    with pytest.raises(RecordError, match=r"holds no intervention.json; give the folder that"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RecordError, match=r"may be a folder of pyvene: try read_pyvene\(folder\)"):
        load(tmp_path)


def test_another_model_is_refused_by_name(folder, kinds, model, other):
    """Class, width, layers and weights are those of the model that was named when saving."""
    save(kinds["interchange"], folder, model=model)
    assert load(folder, model=model) == kinds["interchange"]
    with pytest.raises(RecordError) as error:
        load(folder, model=other(seed=4))
    assert "the intervention was saved with other weights: small had" in str(error.value)
    assert "say other_weights=True" in str(error.value)
    assert load(folder, model=other(seed=4), other_weights=True) == kinds["interchange"]
    with pytest.raises(RecordError) as error:
        load(folder, model=other(width=8), other_weights=True)
    assert str(error.value) == (
        "the intervention does not fit other: block_output[0]@mid is 8 wide there, and was 16 wide "
        "in small"
    )


def test_another_class_is_refused(folder, kinds, model):
    """An intervention of one architecture is not loaded into another."""
    from causaltest.engine.model import Model

    save(kinds["rotated"], folder, model=model)
    toy = Model(torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5)), name="toy")
    with pytest.raises(RecordError, match=r"saved with small, a GPT2LMHeadModel; toy is a Sequen"):
        load(folder, model=toy)


def test_a_place_that_the_model_lacks(folder, model):
    """A site of another depth is named when saving and when loading."""
    deep = interchange(block_output(7))
    with pytest.raises(RecordError, match=r"the intervention does not fit small: .*7"):
        save(deep, folder, model=model)
    save(deep, folder)
    with pytest.raises(RecordError, match=r"the intervention does not fit small: .*7"):
        load(folder, model=model)


@pytest.mark.parametrize(
    "kind, what",
    [
        ("add", "the vector"),
        ("constant", "the value of constant"),
        ("rotated", r"rotated\(4 of 16 dims\)"),
        ("set features", "relu autoencoder"),
    ],
)
def test_numbers_of_another_width_are_refused_when_loaded(kind, what, folder, kinds, other):
    """Without a recorded model, too, what is made for another width is refused."""
    save(kinds[kind], folder)
    with pytest.raises(RecordError, match=rf"@mid is 8 wide, but {what}.* is made for 16"):
        load(folder, model=other(width=8))


def test_edits_of_source_runs_are_checked_too(folder, model, other):
    """What is taken from a source, and what is edited in the source run, must fit as well."""
    site, wide = block_output(0, pos="mid"), add(block_output(1), [1.0] * 16)
    taken = interchange(site, subspace=low_rank([[1.0]] + [[0.0]] * 15))
    save(from_source("source", taken, under=wide), folder, model=model)
    with pytest.raises(RecordError, match=r"rotated\(1 of 16 dims\) is made for 16"):
        load(save(from_source("source", taken), folder), model=other(width=8))
    with pytest.raises(RecordError, match=r"block_output\[1\] is 8 wide, but the vector is made"):
        load(
            save(from_source("source", interchange(site), under=wide), folder),
            model=other(width=8),
        )
