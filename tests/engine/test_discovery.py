"""Structure found where a plain look would miss it, or take for one what is none."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from causaltest.engine.conformance import conformance
from causaltest.engine.model import Model
from causaltest.engine.run import score
from causaltest.engine.softmax import hidden_from
from causaltest.errors import InterventionError, ModelError, SiteError
from causaltest.interventions import Intervention, interchange
from causaltest.pairs import Pair, Pairs
from causaltest.sites import (
    attention_input,
    attention_scores,
    block_input,
    block_output,
    head_value_output,
    query_output,
)

BASE, SOURCE = (7, 3, 21, 9, 40, 12, 2), (5, 11, 2, 30, 17, 8, 33)
PAIRS = Pairs([Pair(BASE, SOURCE)], name="one", cluster=None)
WIDTH, WORDS = 8, 50


def edited(model: Model, intervention: Intervention) -> Tensor:
    """Return the base's logits under an intervention."""
    found: list[Tensor] = []
    score(model, intervention, PAIRS, lambda output: found.append(output.logits) or 0.0)
    return found[0]


def given(network: nn.Module, path: str, ids: tuple[int, ...]) -> Tensor:
    """Return what a module gives, noted by a plain hook."""
    found: list[Tensor] = []

    def note(_module: nn.Module, _args: object, out: Tensor | tuple[Tensor, ...]) -> None:
        found.append(out if isinstance(out, Tensor) else out[0])

    handle = network.get_submodule(path).register_forward_hook(note)
    with torch.no_grad():
        network(torch.tensor([ids]))
    handle.remove()
    return found[0]


def replaced(network: nn.Module, path: str, ids: tuple[int, ...], new: Tensor) -> Tensor:
    """Return the logits with what a module gives replaced, by a plain hook."""

    def put(_module: nn.Module, _args: object, out: Tensor | tuple[Tensor, ...]) -> object:
        return new if isinstance(out, Tensor) else (new, *out[1:])

    handle = network.get_submodule(path).register_forward_hook(put)
    with torch.no_grad():
        result = network(torch.tensor([ids]))
    handle.remove()
    return getattr(result, "logits", result)[0]


@pytest.fixture(scope="module")
def funnel() -> Model:
    """Return a network that pools its tokens, and so takes no prompts of one token or two."""
    import transformers

    torch.manual_seed(0)
    config = transformers.FunnelConfig(
        vocab_size=WORDS, block_sizes=[2, 2], num_decoder_layers=1, d_model=16, n_head=2, d_head=8,
        d_inner=32, initializer_std=1.0,
    )  # fmt: skip
    return Model(transformers.FunnelForMaskedLM(config).eval(), name="funnel")


def test_a_network_that_takes_no_short_prompts_has_its_stacks(funnel) -> None:
    """What runs on several tokens only is probed with several, in the lists of its lists too."""
    assert funnel.architecture.blocks == ("funnel.decoder.layers.0",)
    assert funnel.architecture.others["blocks.1"].blocks == tuple(
        f"funnel.encoder.blocks.1.{layer}" for layer in range(2)
    )
    assert "head_attention_pattern" in funnel.components


@pytest.mark.parametrize("stack", ["blocks.0", "blocks.1"])
def test_the_input_of_a_block_is_what_the_one_before_gives(stack, funnel) -> None:
    """A block that takes its input three times over, as queries, keys and values, gets all new."""
    path = f"funnel.encoder.{stack}.0"
    wanted = replaced(funnel.network, path, BASE, given(funnel.network, path, SOURCE))
    got = edited(funnel, interchange(block_input(1, stack=stack)))
    assert torch.allclose(got, wanted, atol=1e-5)
    assert not torch.allclose(got, funnel.run([BASE])[0].logits, atol=1e-2)


def test_values_of_a_pooled_block_are_its_own(funnel) -> None:
    """A head's values in a further stack are columns of its value projection."""
    site = head_value_output(1, 1, stack="blocks.1")
    path = "funnel.encoder.blocks.1.1.attention.v_head"
    both = [given(funnel.network, path, ids) for ids in (BASE, SOURCE)]
    both[0][..., 8:] = both[1][..., 8:]
    wanted = replaced(funnel.network, path, BASE, both[0])
    assert torch.allclose(edited(funnel, interchange(site)), wanted, atol=1e-5)


class Attention(nn.Module):
    """Attention over three arguments, which may be one; `kernel` mixes the values."""

    def __init__(self, kernel: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(WIDTH, WIDTH) for _ in range(4)
        )  # fmt: skip
        self.num_heads, self.kernel = 2, kernel

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        parts = (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        q, k, v = (each.unflatten(2, (2, -1)).transpose(1, 2) for each in parts)
        return self.o_proj(self.kernel(q, k, v).transpose(1, 2).flatten(2))


def softly(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Mix values by a softmax."""
    return torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v


def steeply(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Mix values by the softmax of scores that lie thousands apart, none of them masked."""
    return torch.softmax(4000 * (q @ k.transpose(-1, -2)), dim=-1) @ v


def nothing(q: Tensor, _k: Tensor, _v: Tensor) -> Tensor:
    """Mix no values, as where the kernel that would is not there."""
    return torch.zeros_like(q)


class Block(nn.Module):
    """Attention and a perceptron on a residual stream."""

    def __init__(self, kernel: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.self_attn = Attention(kernel)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 12), nn.Tanh(), nn.Linear(12, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(x, x, value=x)
        return x + self.mlp(x)


class Stacked(nn.Module):
    """Blocks in a row, with something beside them between two if `beside` is there."""

    def __init__(self, block: Callable[[], nn.Module], beside: nn.Module | None = None) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS)
        self.layers = nn.ModuleList(block() for _ in range(3))
        self.beside = beside

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
            if self.beside is not None:
                x = x + self.beside(x)
        return self.out(x)


def made(
    kernel: Callable[[Tensor, Tensor, Tensor], Tensor], beside: nn.Module | None = None
) -> Model:
    """Return a network of blocks with attention."""
    torch.manual_seed(4)
    return Model(Stacked(lambda: Block(kernel), beside).eval(), name="made")


def test_an_activation_given_as_several_arguments_is_edited_in_all() -> None:
    """The input of an attention module that takes queries, keys and values is each of these."""
    model = made(softly)
    network: Stacked = model.network  # pyright: ignore[reportAssignmentType]
    with torch.no_grad():
        streams = [network.embed(torch.tensor([ids])) for ids in (BASE, SOURCE)]
        block: Block = network.layers[0]  # pyright: ignore[reportAssignmentType]
        x = streams[0] + block.self_attn(streams[1], streams[1], streams[1])
        x = x + block.mlp(x)
        for layer in network.layers[1:]:
            x = layer(x)
        wanted = network.out(x)[0]
    got = edited(model, interchange(attention_input(0)))
    assert torch.allclose(got, wanted, atol=1e-6)


def test_blocks_with_something_between_them_are_a_stack() -> None:
    """What is added to the stream behind a block, as by cross-attention, does not break it."""
    torch.manual_seed(1)
    model = made(softly, nn.Linear(WIDTH, WIDTH))
    assert model.n_layers == 3
    wanted = replaced(model.network, "layers.0", BASE, given(model.network, "layers.0", SOURCE))
    assert torch.allclose(edited(model, interchange(block_output(0))), wanted, atol=1e-6)
    assert torch.allclose(wanted, model.run([SOURCE])[0].logits, atol=1e-5)


def test_blocks_with_something_that_the_stream_passes_are_a_stack() -> None:
    """What takes the stream between two blocks and gives it on, as gated attention, is no break."""

    class Passing(Stacked):
        """Has the stream pass another module behind each block."""

        def forward(self, ids: Tensor) -> Tensor:
            x = self.embed(ids)
            for layer in self.layers:
                x = layer(x)
                assert self.beside is not None
                x = self.beside(x)
            return self.out(x)

    torch.manual_seed(1)
    beside = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())
    model = Model(Passing(lambda: Block(softly), beside).eval(), name="passing")
    assert model.n_layers == 3
    wanted = replaced(model.network, "layers.1", BASE, given(model.network, "layers.1", SOURCE))
    assert torch.allclose(edited(model, interchange(block_output(1))), wanted, atol=1e-6)


def test_sublayers_that_write_to_the_stream_are_no_stack() -> None:
    """What a module gives and the stream that it read are the next one's: it carries no stream."""

    class Writes(nn.Sequential):
        """Writes to the stream."""

        def __init__(self) -> None:
            super().__init__(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))

    class Beside(Stacked):
        """Adds what each module gives to what it takes."""

        def forward(self, ids: Tensor) -> Tensor:
            x = self.embed(ids)
            for layer in self.layers:
                x = x + layer(x)
            return self.out(x)

    model = Model(Beside(Writes), name="beside")
    assert model.n_layers == 0
    with pytest.raises(SiteError, match=re.escape("none of layers.0 to layers.2 takes what the")):
        model.access(block_output(0))


def test_attention_that_mixes_nothing_has_no_queries() -> None:
    """Queries, keys and values that reach nothing are refused by name; the rest stays."""
    model = made(nothing)
    assert {"attention_output", "mlp_output"} <= set(model.components)
    with pytest.raises(
        SiteError,
        match=re.escape(
            "made has no query_output: layers.2.self_attn.o_proj takes only zeros, whatever the "
            "values are: attention that mixes nothing, perhaps since a kernel of it is not "
            "installed"
        ),
    ):
        model.access(query_output(0))
    assert "head_attention_value_output" not in model.components
    assert {"query_output", "head_attention_value_output"} <= set(made(softly).components)


def test_scores_thousands_apart_are_not_masked() -> None:
    """Scores of another prompt are put in where a head, but no mask, thinks little of a key."""
    model = made(steeply)
    network: Stacked = model.network  # pyright: ignore[reportAssignmentType]
    block: Block = network.layers[1]  # pyright: ignore[reportAssignmentType]
    with torch.no_grad():
        streams = [network.layers[0](network.embed(torch.tensor([ids]))) for ids in (BASE, SOURCE)]
        parts = [[each(x).unflatten(2, (2, -1)).transpose(1, 2) for each in (
            block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj,
        )] for x in streams]  # fmt: skip
        scores = 4000 * (parts[1][0] @ parts[1][1].transpose(-1, -2))
        apart = scores.amax(-1) - scores.amin(-1)
        assert bool((apart > 5000).any())
        assert bool((apart < 50000).all())
        mixed = (torch.softmax(scores, dim=-1) @ parts[0][2]).transpose(1, 2).flatten(2)
        x = streams[0] + block.self_attn.o_proj(mixed)
        wanted = network.out(network.layers[2](x + block.mlp(x)))[0]
    assert torch.allclose(edited(model, interchange(attention_scores(1))), wanted, atol=1e-4)


@pytest.mark.parametrize("mask", [-1e4, -65504.0, torch.finfo(torch.float32).min, -torch.inf])
@pytest.mark.parametrize("shape", [(2, 4, 5, 5), (2, 2, 2, 5, 5)], ids=["heads", "groups"])
def test_a_mask_hides_from_every_head(mask, shape) -> None:
    """Keys that are masked are hidden, whatever the number, and no others."""
    torch.manual_seed(2)
    ahead = torch.ones(5, 5, dtype=torch.bool).triu(1)
    scores = torch.where(ahead, torch.randn(shape) + mask, torch.randn(shape))
    assert torch.equal(hidden_from(scores), ahead.expand(shape))


def test_a_mask_of_one_head_alone_hides() -> None:
    """Heads with masks of their own, as in sparse attention, hide by numbers that none computes."""
    scores = torch.zeros(1, 2, 3, 3)
    scores[0, 1, :, 2] = torch.finfo(scores.dtype).min
    assert hidden_from(scores).nonzero().tolist() == [[0, 1, query, 2] for query in range(3)]


def test_keys_that_a_mask_hides_are_refused_still() -> None:
    """Scores from where a key was seen are not put in where a mask hides it, though steep."""

    def ahead(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = 4000 * (q @ k.transpose(-1, -2))
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return torch.softmax(scores.masked_fill(hidden, -torch.inf), dim=-1) @ v

    late = Pairs(
        [Pair(BASE, SOURCE, positions={"late": {"base": 1, "source": 4}})], name="l", cluster=None
    )
    with pytest.raises(InterventionError, match=r"reaches a key \(number 2\) that the mask"):
        score(made(ahead), interchange(attention_scores(1, pos="late")), late, lambda _: 0.0)


class Deciding(nn.Module):
    """Answers by one stack; by another it only decides whether to turn the answer round."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (Stacked(lambda: Block(softly)) for _ in range(2))

    def get_input_embeddings(self) -> nn.Module:
        return self.second.embed

    def forward(self, ids: Tensor) -> Tensor:
        turns = bool(self.first(ids).amax() > 30)
        answer = self.second(ids)
        return -answer if turns else answer


def test_a_stack_by_which_a_network_only_decides_is_remarked() -> None:
    """An edit that moves what a decision rests on, and not the decision, is no failure."""
    torch.manual_seed(4)
    report = conformance(Model(Deciding().eval(), name="deciding"))
    assert report.passed, str(report)
    found = {check.subject: check for check in report.checks if check.property.startswith("edit c")}
    assert found["first.block_output[0]"].status == "not applicable"
    assert found["first.block_output[0]"].detail == (
        "by first the network only decides something, here the same"
    )
    assert found["block_output[0]"].status == "passed"


def test_a_stack_that_reaches_nothing_fails() -> None:
    """Where not even a coarse edit changes the answer, there is no decision, but nothing wired."""

    class Idle(Deciding):
        """Runs a stack for nothing."""

        def forward(self, ids: Tensor) -> Tensor:
            self.first(ids)
            return self.second(ids)

    torch.manual_seed(4)
    report = conformance(Model(Idle().eval(), name="idle"))
    assert not report.passed
    assert {check.property for check in report.failures} == {"edit changes the logits"}
    assert all(check.subject.startswith("first.") for check in report.failures)


def test_a_model_that_answers_all_prompts_alike_does_not_conform() -> None:
    """Where two prompts differ by rounding alone, edits that change no more show nothing."""

    class Fading(Stacked):
        """Lets next to nothing of the prompt through."""

        def forward(self, ids: Tensor) -> Tensor:
            return 1 + 1e-6 * super().forward(ids)

    torch.manual_seed(4)
    report = conformance(Model(Fading(lambda: Block(softly)).eval(), name="fading"))
    assert [check.property for check in report.failures] == [
        "the two prompts give different logits"
    ]
    assert "logits reach 1" in report.failures[0].detail


class Reading(nn.Module):
    """Answers by one stack, which reads the keys and values of the last block of another."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

        def keeping(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self.kept[:] = [k, v]
            return softly(q, k, v)

        self.first = Stacked(lambda: Block(keeping))
        self.second = Stacked(lambda: Block(softly))

    def get_input_embeddings(self) -> nn.Module:
        return self.first.embed

    def forward(self, ids: Tensor) -> Tensor:
        self.first(ids)
        k, v = self.kept
        x = (k + v).transpose(1, 2).flatten(2)
        for layer in self.second.layers:
            x = layer(x)
        return self.second.out(x)


def test_a_last_block_of_which_only_keys_are_read_is_remarked() -> None:
    """What comes behind the keys and values that another stack reads moves nothing, and is said."""
    torch.manual_seed(4)
    report = conformance(Model(Reading().eval(), name="reading"))
    assert report.passed, str(report)
    found = {check.subject: check for check in report.checks if check.property.startswith("edit c")}
    for name in ("block_output", "query_output", "mlp_output"):
        assert found[f"first.{name}[2]"].status == "not applicable"
        assert found[f"first.{name}[2]"].detail == (
            "of the last block of first only keys and values are read"
        )
        assert found[f"first.{name}[1]"].status == "passed"
    assert found["first.key_output[2]"].status == found["first.block_input[2]"].status == "passed"


class Least(nn.Module):
    """Takes no prompts of fewer tokens than some number."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.inner, self.least = Stacked(lambda: Block(softly)), least

    def get_input_embeddings(self) -> nn.Module:
        return self.inner.embed

    def forward(self, ids: Tensor) -> Tensor:
        if ids.shape[1] < self.least:
            raise ValueError("too short")
        return self.inner(ids)


@pytest.mark.parametrize(
    "least, found",
    [(5, ("passed", "")), (6, ("not applicable", "it runs no shorter prompt, even alone"))],
)
def test_prompts_too_short_to_be_run_alone_are_not_padded(least, found) -> None:
    """Padding is tried with a shorter prompt that the network takes; there may be none."""
    torch.manual_seed(4)
    checks = conformance(Model(Least(least).eval(), name="least")).checks
    padding = [check for check in checks if "unequal lengths" in check.property]
    assert padding
    status, detail = found
    assert all(check.status == status for check in padding)
    assert not detail or padding[0].detail == detail


def test_a_network_that_takes_none_of_the_probes_says_which() -> None:
    """The refusal names the shortest prompt that was tried."""
    with pytest.raises(
        ModelError, match=re.escape("least could not run on token ids of shape (1, 2): too short")
    ):
        Model(Least(9).eval(), name="least").access(block_output(0))
