"""Conformance: sound models pass, and each kind of broken model fails the check that is meant."""

from __future__ import annotations

import json
import re

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from causaltest.cli.check import check
from causaltest.engine import conformance as module_under_test
from causaltest.engine.access import put
from causaltest.engine.conformance import Check, Report, conformance
from causaltest.engine.model import Model
from causaltest.errors import InterventionError, ModelError


def statuses(report: Report, words: str) -> set[str]:
    """Return the outcomes of the checks of one property."""
    found = {each.status for each in report.checks if words in each.property}
    assert found, words
    return found


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox-parallel", "gemma2", "bert"])
def test_sound_models_pass(family, tiny) -> None:
    """Every check that applies to a sound model holds, and each property is tried."""
    report = conformance(tiny(family))
    assert report.passed, str(report)
    for words in (
        "identity edit", "changes the logits", "whole stream", "all heads", "projection",
        "unequal lengths", "left as found",
    ):  # fmt: skip
        assert statuses(report, words) == {"passed"}
    ahead = statuses(report, "tokens before it")
    assert ahead == ({"not applicable"} if family == "bert" else {"passed"})


def test_a_decoder_of_one_token_weighs_nothing() -> None:
    """BART's decoder begins with one token, whose queries, keys and scores cannot matter."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BartConfig(
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=40, decoder_ffn_dim=40, vocab_size=60,
        max_position_embeddings=40,
    )  # fmt: skip
    report = conformance(Model(transformers.BartForConditionalGeneration(config).eval()))
    assert report.passed, str(report)
    weighed = {
        each.subject: each for each in report.checks if "changes the logits" in each.property
    }
    assert weighed["query_output[1]"].status == "not applicable"
    assert "attends to itself alone whatever this is" in weighed["key_output[1]"].detail
    assert weighed["value_output[1]"].status == "passed"


def test_heads_that_cannot_be_edited_are_told(monkeypatch, tiny) -> None:
    """An edit of heads that fails is a failed check, not the end of the suite."""
    edited = module_under_test.Trial.edited

    def fails(self, intervention):
        if len(intervention.sites) > 1 and intervention.sites[0].head is not None:
            raise InterventionError("no heads today")
        return edited(self, intervention)

    monkeypatch.setattr(module_under_test.Trial, "edited", fails)
    report = conformance(tiny("gpt2"))
    assert not report.passed
    assert statuses(report, "all heads") == {"failed"}
    assert "no heads today" in str(report)


class Reading(nn.Module):
    """One block's attention by averaging earlier tokens, and a feed-forward part."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.v_proj, self.out = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self.v_proj(x).cumsum(dim=1) / torch.arange(1, x.shape[1] + 1)[None, :, None]
        return x + self.out(mixed)


class Walk(nn.Module):
    """Blocks, and what a subclass does to go wrong."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(40, 8)
        self.blocks = nn.ModuleList(Reading(8) for _ in range(3))
        self.head = nn.Linear(8, 40)
        self.runs = 0

    def answer(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.head(x)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return self.answer(x, ids)

    def get_input_embeddings(self) -> nn.Module:
        return self.table


class Deaf(Walk):
    """Answers without its last blocks."""

    def answer(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(ids))


class Bypassing(Walk):
    """Adds the tokens' embeddings once more at the end."""

    def answer(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.head(x + self.table(ids))


class Restless(Walk):
    """Changes its own weights whenever it runs."""

    def answer(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.head.weight.mul_(1.0001)
        return self.head(x)


def test_a_model_of_nobodys_family_passes() -> None:
    """A homemade stack of blocks conforms."""
    report = conformance(Model(Walk(), name="walk"))
    assert report.passed, str(report)
    assert report.layers == 3


def test_prompts_differ_however_few_tokens_there_are() -> None:
    """With a vocabulary of two, base and source still differ in every token."""
    network = Walk()
    network.table, network.head = nn.Embedding(2, 8), nn.Linear(8, 2)
    report = conformance(Model(network, name="few"))
    assert report.passed
    assert statuses(report, "changes the logits") == {"passed"}


def test_blocks_that_do_not_reach_the_answer_are_found() -> None:
    """An edit that moves no logits is reported, with the site."""
    report = conformance(Model(Deaf(), name="deaf"))
    assert not report.passed
    silent = [each for each in report.failures if each.property == "edit changes the logits"]
    assert Check(silent[0].property, "block_input[0]", "failed", silent[0].detail) == silent[0]
    assert "moves them by 0" in silent[0].detail


def test_a_way_around_the_stream_is_found() -> None:
    """Where the residual stream does not carry everything, its swap fails, with the numbers."""
    report = conformance(Model(Bypassing(), name="bypassing"))
    (failed,) = report.failures
    assert failed.property == "the source's whole stream gives the source's logits"
    assert re.fullmatch(r"off by \d\S*, logits reach \d\S*", failed.detail)


def test_a_model_that_changes_itself_is_found() -> None:
    """Weights that drift while it runs make identity edits differ, and are named at the end."""
    report = conformance(Model(Restless(), name="restless"))
    found = {each.property: each for each in report.failures}
    assert found["the network is left as found"].detail == "changed: weights"
    assert "identity edit leaves logits bit-equal" in found


def test_a_layer_that_takes_the_tokens_again_is_said() -> None:
    """Blocks that are given the prompt by another way make the swap of the stream not apply."""

    class Again(Walk):
        """Gives every block the embeddings as well."""

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = given = self.table(ids)
            for block in self.blocks:
                x = block(x, given)
            return self.head(x)

    class Block(Reading):
        """Adds what it is given."""

        def forward(self, x: torch.Tensor, given: torch.Tensor | float = 0.0) -> torch.Tensor:
            return super().forward(x) + 0.3 * given

    network = Again()
    network.blocks = nn.ModuleList(Block(8) for _ in range(3))
    report = conformance(Model(network, name="again"))
    (check_,) = [each for each in report.checks if "whole stream" in each.property]
    assert check_.status == "not applicable"
    assert check_.detail == "blocks behind it also take argument 1, which depends on the prompt"


def test_a_hook_engine_that_does_nothing_would_be_found(monkeypatch) -> None:
    """With edits that are silently lost, conformance fails at every component."""
    monkeypatch.setattr("causaltest.engine.applied.put", lambda tensor, *_: tensor)
    report = conformance(Model(Walk(), name="walk"))
    assert statuses(report, "changes the logits") == {"failed"}
    assert statuses(report, "whole stream") == {"failed"}


def test_an_engine_that_edits_too_much_would_be_found(monkeypatch) -> None:
    """With edits that spill onto the token before, the tokens before an edit do not stay."""

    def spill(tensor, places, access, values):
        changed = put(tensor, places, access, values).clone()
        if places.positions is not None and len(places.positions) == 1:
            changed[:, places.positions - 1] += 1
        return changed

    monkeypatch.setattr("causaltest.engine.applied.put", spill)
    report = conformance(Model(Walk(), name="walk"))
    assert statuses(report, "tokens before it") == {"failed"}


def test_a_model_without_blocks_does_not_pass() -> None:
    """Where nothing was recognised, nothing is claimed."""
    report = conformance(Model(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9)), name="toy"))
    assert not report.passed
    assert report.failures == ()
    assert "toy (Sequential): DOES NOT CONFORM" in str(report)
    assert "without block_output: no stack of blocks was recognised" in str(report)


def test_the_outcome_is_plain_data() -> None:
    """The report survives JSON."""
    report = conformance(Model(Walk(), name="walk"))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["passed"] is True
    assert data["components"] == list(report.components)
    assert len(data["checks"]) == len(report.checks)


def test_prompts_of_unequal_length_are_refused() -> None:
    """Everything is compared token by token."""
    with pytest.raises(ModelError, match=re.escape("two prompts of equal length; got [3, 2] tok")):
        conformance(Model(Walk()), ((1, 2, 3), (4, 5)))


def test_state_is_compared_before_and_after(monkeypatch) -> None:
    """Hooks that stay behind are named."""
    network = Walk()

    def leave(trial):
        trial.model.network.head.register_forward_hook(lambda *_: None)
        return iter(())

    monkeypatch.setattr(module_under_test, "_heads", leave)
    (failed,) = conformance(Model(network, name="walk")).failures
    assert failed.detail == "changed: hooks"


def test_the_command_prints_and_exits(tmp_path, tiny) -> None:
    """`check` loads a folder, prints what holds, and exits with 0."""
    tiny("gpt2").network.save_pretrained(tmp_path)
    run = CliRunner().invoke(check, [str(tmp_path), "--device", "cpu"])
    assert run.exit_code == 0, run.output
    assert "conforms" in run.output
    run = CliRunner().invoke(check, [str(tmp_path), "--device", "cpu", "--json"])
    assert json.loads(run.output)["network"] == "GPT2LMHeadModel"


def test_the_command_says_what_fails(monkeypatch, tmp_path, tiny) -> None:
    """`check` exits with 1 where a check fails."""
    monkeypatch.setattr("causaltest.engine.applied.put", lambda tensor, *_: tensor)
    tiny("gpt2").network.save_pretrained(tmp_path)
    run = CliRunner().invoke(check, [str(tmp_path), "--device", "cpu"])
    assert run.exit_code == 1
    assert "DOES NOT CONFORM" in run.output
    assert "FAILED edit changes the logits: block_input[0]" in run.output


def test_the_command_without_a_model(tmp_path) -> None:
    """`check` exits with 2 and the loader's message where there is no model."""
    run = CliRunner().invoke(check, [str(tmp_path)])
    assert run.exit_code == 2
    assert "config.json is missing" in run.output
