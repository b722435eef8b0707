"""Whatever happens to a saved folder: it is refused in words, or gives back what was saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causaltest.errors import RecordError
from causaltest.sharing import load, read_pyvene, save

FILES = ("intervention.json", "intervention.safetensors", "pairs_0.jsonl")


@pytest.fixture(scope="module")
def saved(tmp_path_factory, kinds) -> Path:
    """Return a folder that holds files of each sort."""
    return save(kinds["joint"], tmp_path_factory.mktemp("whole") / "saved")


@settings(max_examples=150)
@given(
    name=st.sampled_from(FILES),
    share=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
    cut=st.sampled_from(["change", "insert", "drop", "end"]),
)
def test_one_damaged_byte_is_noticed(saved, kinds, tmp_path_factory, name, share, byte, cut):
    """A changed, added or lost byte anywhere leads to a RecordError, or to no difference."""
    folder = tmp_path_factory.mktemp("damaged") / "saved"
    shutil.copytree(saved, folder)
    data = (folder / name).read_bytes()
    at = int(share * len(data))
    new = {
        "change": data[:at] + bytes([byte]) + data[at + 1 :],
        "insert": data[:at] + bytes([byte]) + data[at:],
        "drop": data[:at] + data[at + 1 :],
        "end": data[:at],
    }[cut]
    (folder / name).write_bytes(new)
    refusal, loaded = "", None
    try:
        loaded = load(folder)
    except RecordError as error:
        refusal = str(error)
    shutil.rmtree(folder.parent)
    if loaded is None:
        assert str(folder) in refusal
        return
    # A changed letter in a position's name or a digit of a scale is another valid intervention;
    # numbers and pairs are hashed, and never come back changed.
    if name == "intervention.json":
        assert type(loaded) is type(kinds["joint"])
    else:
        assert loaded == kinds["joint"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
fields = st.sampled_from(
    ["kind", "sites", "subspace", "value", "vector", "scale", "over", "seed", "basis", "dims"]
)
trees = st.recursive(
    st.fixed_dictionaries({"kind": st.sampled_from(["add", "interchange", "rotation", "joint"])}),
    lambda inner: st.dictionaries(fields, inner | json_values, max_size=5).map(
        lambda tree: {"kind": "add"} | tree
    ),
    max_leaves=4,
)


@settings(max_examples=150)
@given(tree=trees | json_values)
def test_any_json_is_read_or_refused(saved, tmp_path_factory, tree):
    """No tree of JSON values leads to an error of Python's own."""
    folder = tmp_path_factory.mktemp("foreign") / "saved"
    shutil.copytree(saved, folder)
    whole = json.loads((folder / "intervention.json").read_text())
    (folder / "intervention.json").write_text(json.dumps({**whole, "intervention": tree}))
    (folder / "config.json").write_text(json.dumps(tree))
    with pytest.raises(RecordError):
        load(folder)
    with pytest.raises(RecordError):
        read_pyvene(folder)
    shutil.rmtree(folder.parent)


@settings(max_examples=100)
@given(
    types=json_values | st.just(["<class 'pyvene.models.interventions.ZeroIntervention'>"]),
    keys=json_values | st.just(["key#0"]),
    representations=json_values
    | st.lists(st.lists(json_values, max_size=15), min_size=1, max_size=1)
    | st.lists(st.dictionaries(st.just("component"), json_values), min_size=1, max_size=1),
)
def test_any_configuration_of_pyvene_is_refused(tmp_path_factory, types, keys, representations):
    """A foreign config.json never leads to an error of Python's own."""
    folder = tmp_path_factory.mktemp("foreign")
    config = {"intervention_types": types, "sorted_keys": keys, "representations": representations}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RecordError):
        read_pyvene(folder)
    shutil.rmtree(folder)
