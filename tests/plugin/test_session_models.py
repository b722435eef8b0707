"""Models as the command line names them: folders, adapters on a base, spread over devices."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch
import transformers

from causaltest.engine.loading import load_network
from causaltest.errors import ModelError

peft = pytest.importorskip("peft")

_CLAIM = '''
import pytest
from causaltest import Pair, Pairs, block_output, interchange, logit_diff, recovery

@pytest.fixture(scope="session")
def toys():
    return Pairs(
        [Pair((i % 8, 8, 9), (i % 8, 9, 8), base_answer=1, source_answer=2,
              labels={"template": f"t{i}"}) for i in range(12)],
        name="toys", cluster="template",
    )

@pytest.mark.causal(suppress=("weak_baseline", "flat_pairs"))
def test_the_last_block_is_all(causal, toys):
    """What the last block writes at the last token decides the answer."""
    edit = interchange(block_output(0, pos="end"))
    assert abs(causal.effect(edit, on=toys, metric=logit_diff)) < 100
    assert causal.effect(edit, on=toys, metric=recovery) > 0.99
'''


@pytest.fixture
def folders(suite):
    """A suite beside the folders of a tiny model and of an adapter that changes it."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=1, n_embd=8, n_head=2, vocab_size=16, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    network = transformers.GPT2LMHeadModel(config)
    network.save_pretrained(suite.path / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lora = peft.LoraConfig(
            r=2, target_modules=["c_attn"], init_lora_weights=False, task_type="CAUSAL_LM"
        )
        adapted = peft.get_peft_model(network, lora)
        adapted.peft_config["default"].base_model_name_or_path = "not/there"
        adapted.save_pretrained(suite.path / "adapter")
    suite.pytester.makeconftest("")
    suite.pytester.makepyfile(test_claims=_CLAIM)
    return suite


def test_a_base_and_an_adapter_on_it_in_one_run(folders):
    """`BASE+ADAPTER` puts the adapter on the base that is named; both are recorded as they are."""
    result = folders.run("-Wignore", "--causal-model=base", "--causal-model=base+adapter")
    result.assert_outcomes(passed=2)
    claims = folders.claims()
    assert set(claims) == {
        "test_the_last_block_is_all[base]",
        "test_the_last_block_is_all[base+adapter]",
    }
    models = {each["name"]: each for each in folders.results["run"]["models"]}
    assert models["base"]["sha256"] != models["base+adapter"]["sha256"]
    assert models["base+adapter"]["architecture"].startswith("Peft")


def test_an_adapter_whose_base_is_not_found_says_how_to_name_it(folders):
    """The folder alone needs the base in its settings."""
    result = folders.run("--causal-model=adapter")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ModelError: the base model of the adapter *adapter: no model*"])


def test_half_a_name_is_refused(tmp_path):
    """A plus without a base or an adapter names nothing."""
    with pytest.raises(
        ModelError, match=r"^\+x names no model and adapter; expected BASE\+ADAPTER"
    ):
        load_network("+x", device="cpu", dtype="float32")


def test_a_model_spread_by_accelerate_gives_the_same(folders, monkeypatch):
    """`--causal-device spread` leaves the placing to accelerate; every number stays."""
    pytest.importorskip("accelerate")
    folders.run("--causal-model=base")
    alone = folders.claims()["test_the_last_block_is_all[base]"]
    folders.run("--causal-model=base", "--causal-device=spread").assert_outcomes(passed=1)
    spread = folders.claims()["test_the_last_block_is_all[base]"]
    assert (spread["estimate"], spread["interval"]) == (alone["estimate"], alone["interval"])


def test_spreading_needs_accelerate(folders, monkeypatch):
    """The message says what to install, or to name one device."""
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ModelError, match=r"^device 'spread' lets accelerate place .*\npip install"):
        load_network(str(folders.path / "base"), device="spread", dtype="float32")
