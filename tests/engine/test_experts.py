"""Routers and experts: edits of them against mixtures written by hand, and what is refused."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.nn import functional

from causaltest.cli.components import components
from causaltest.engine.conformance import conformance
from causaltest.engine.gradients import differentiable
from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.errors import InterventionError, SiteError
from causaltest.interventions import (
    Intervention,
    add,
    constant,
    interchange,
    scale,
    zero_ablate,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sharing import load, save
from causaltest.sites import Site, block_output, expert_output, mlp_output, router_output

SMALL = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 20, "moe_intermediate_size": 12,
    "shared_expert_intermediate_size": 14, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8, "num_experts_per_tok": 2,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
EXPERTS = 5
FAMILIES = {
    "mixtral": ("Mixtral", {"num_local_experts": EXPERTS}),
    "qwen2_moe": ("Qwen2Moe", {"num_experts": EXPERTS}),
    "qwen3_moe": ("Qwen3Moe", {"num_experts": EXPERTS, "norm_topk_prob": True}),
    "gpt_oss": ("GptOss", {"num_local_experts": EXPERTS}),
    "olmoe": ("Olmoe", {"num_experts": EXPERTS}),
}
PAIRS = Pairs(
    [
        Pair((9, 12, 30, 41, 17, 25), (23, 33, 11, 19, 28, 40)),
        Pair((7, 8, 44, 3), (31, 20, 5, 14)),
    ],
    name="routed",
    cluster=None,
)
LAYER = 0


def build(family: str, **changes: object) -> Model:
    """Return a small model with random weights."""
    import transformers

    prefix, settings = FAMILIES.get(family, (family, {}))
    config = getattr(transformers, f"{prefix}Config")(**{**SMALL, **settings, **changes})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = getattr(transformers, f"{prefix}ForCausalLM")(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return Model(network, name=family)


@pytest.fixture(scope="module")
def mixed() -> Callable[[str], Model]:
    """Return a function that gives the model of a family, built once."""
    built: dict[str, Model] = {}

    def model(family: str) -> Model:
        if family not in built:
            built[family] = build(family)
        return built[family]

    return model


class ByHand:
    """A mixture computed token by token, with its scores and each expert's part open to edits."""

    def __init__(self, family: str, mixture: nn.Module) -> None:
        self.family = family
        self.mixture = mixture
        self.scores: Callable[[Tensor, int, int], Tensor] = lambda scores, *_: scores
        self.part: Callable[[Tensor, int, int, int], Tensor] = lambda part, *_: part
        self.seen: dict[tuple[int, int], Tensor] = {}
        self.parts: dict[tuple[int, int, int], Tensor] = {}

    def weights(self, scores: Tensor) -> dict[int, float]:
        """Return the chosen experts and their routing weights, as the papers define them."""
        order = sorted(range(len(scores)), key=lambda index: -float(scores[index]))[:2]
        if self.family == "gpt_oss":
            shared = torch.softmax(scores[order], dim=0)
        else:
            shared = torch.softmax(scores, dim=0)[order]
            if self.family in ("mixtral", "qwen3_moe"):
                shared = shared / shared.sum()
        return {index: float(weight) for index, weight in zip(order, shared, strict=True)}

    def expert(self, index: int, x: Tensor) -> Tensor:
        """Return the output of one expert."""
        held = self.mixture.experts
        if self.family == "gpt_oss":
            both = x @ held.gate_up_proj[index] + held.gate_up_proj_bias[index]
            gate, up = both[::2].clamp(max=7.0), both[1::2].clamp(-7.0, 7.0)
            inner = (up + 1) * gate * torch.sigmoid(1.702 * gate)
            return inner @ held.down_proj[index] + held.down_proj_bias[index]
        half = held.gate_up_proj.shape[1] // 2
        gate, up = held.gate_up_proj[index][:half] @ x, held.gate_up_proj[index][half:] @ x
        return held.down_proj[index] @ (functional.silu(gate) * up)

    def forward(self, x: Tensor) -> object:
        """Stand in for the mixture's own forward."""
        router = self.mixture.router if self.family == "gpt_oss" else self.mixture.gate
        out = torch.zeros_like(x)
        for row in range(x.shape[0]):
            for token in range(x.shape[1]):
                scores = router.weight @ x[row, token]
                scores = scores + router.bias if self.family == "gpt_oss" else scores
                self.seen[row, token] = scores
                weights = self.weights(self.scores(scores, row, token))
                for index in range(EXPERTS):
                    part = torch.zeros_like(x[row, token])
                    if index in weights:
                        part = weights[index] * self.expert(index, x[row, token])
                    self.parts[index, row, token] = part
                    out[row, token] += self.part(part, index, row, token)
                if self.family == "qwen2_moe":
                    shared = self.mixture.shared_expert
                    inner = functional.silu(shared.gate_proj.weight @ x[row, token])
                    inner = inner * (shared.up_proj.weight @ x[row, token])
                    gate = torch.sigmoid(self.mixture.shared_expert_gate.weight @ x[row, token])
                    out[row, token] += gate * (shared.down_proj.weight @ inner)
        return (out, None) if self.family == "gpt_oss" else out


def by_hand(monkeypatch, model: Model, ids: tuple[int, ...], **edits: object) -> tuple:
    """Return logits with the mixture of one layer computed by hand, and the computation."""
    mixture = model.network.model.layers[LAYER].mlp
    hand = ByHand(model.name, mixture)
    for name, edit in edits.items():
        setattr(hand, name, edit)
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(mixture, "forward", hand.forward)
        logits = model.network(torch.tensor([ids]), use_cache=False).logits[0]
    return logits, hand


def close(one: Tensor, other: Tensor) -> bool:
    """Return whether logits are equal but for rounding."""
    return bool((one - other).abs().max() <= 2e-5 * other.abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_read_is_what_is_computed_by_hand(family, mixed, monkeypatch) -> None:
    """Scores are the router's linear map; parts are weighted outputs, 0 where not chosen."""
    model = mixed(family)
    sites = [router_output(LAYER), *(expert_output(LAYER, each) for each in range(EXPERTS))]
    read = model.read(sites, PAIRS)
    for index, pair in enumerate(PAIRS):
        logits, hand = by_hand(monkeypatch, model, pair.base)
        assert close(model.run([pair])[0].logits, logits)
        for token in range(len(pair.base)):
            assert torch.allclose(read[sites[0]][index][token], hand.seen[0, token], atol=1e-5)
            for expert in range(EXPERTS):
                part = read[sites[1 + expert]][index][token]
                assert torch.allclose(part, hand.parts[expert, 0, token], atol=1e-5)
                assert bool(part.any()) == bool(hand.parts[expert, 0, token].any())


@pytest.mark.parametrize("family", FAMILIES)
def test_edited_scores_route_anew(family, mixed, edited, monkeypatch) -> None:
    """With one score raised at one token, choice and weights are those of the new scores."""
    model = mixed(family)
    site = router_output(LAYER, pos=1, dims=4)
    got = edited(model, constant(site, 9.0), PAIRS)
    for index, pair in enumerate(PAIRS):

        def raised(scores: Tensor, row: int, token: int) -> Tensor:
            new = scores.clone()
            new[4] = 9.0 if token == 1 else scores[4]
            return new

        logits, hand = by_hand(monkeypatch, model, pair.base, scores=raised)
        assert hand.parts[4, 0, 1].any()
        assert close(got[index], logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_of_another_prompt(family, mixed, edited, monkeypatch) -> None:
    """With the source's scores at every token, each token goes where the source's token goes."""
    model = mixed(family)
    got = edited(model, interchange(router_output(LAYER)), PAIRS)
    for index, pair in enumerate(PAIRS):
        _, source = by_hand(monkeypatch, model, pair.source)
        logits, _ = by_hand(
            monkeypatch,
            model,
            pair.base,
            scores=lambda _s, row, token, s=source: s.seen[row, token],
        )
        assert close(got[index], logits)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["interchange", "zero"])
def test_an_edited_expert(family, kind, mixed, edited, monkeypatch) -> None:
    """An expert's part is replaced at the tokens that are meant, and nothing else."""
    model = mixed(family)
    _, plain = by_hand(monkeypatch, model, PAIRS[0].base)
    busy = next(index for index in range(EXPERTS) if plain.parts[index, 0, 3].any())
    site = expert_output(LAYER, busy, pos=(1, 3))
    got = edited(model, interchange(site) if kind == "interchange" else zero_ablate(site), PAIRS)
    for index, pair in enumerate(PAIRS):
        _, source = by_hand(monkeypatch, model, pair.source)

        def put(part: Tensor, expert: int, row: int, token: int, source=source) -> Tensor:
            if expert != busy or token not in (1, 3):
                return part
            return (
                source.parts[busy, row, token] if kind == "interchange" else torch.zeros_like(part)
            )

        logits, _ = by_hand(monkeypatch, model, pair.base, part=put)
        assert close(got[index], logits)


def test_all_experts_together_are_the_mixture(mixed, edited) -> None:
    """Where no expert is shared, the parts sum to what the MLP writes, and swap as it does."""
    model = mixed("mixtral")
    sites = [expert_output(LAYER, each) for each in range(EXPERTS)]
    read = model.read([*sites, mlp_output(LAYER)], PAIRS)
    for index in range(len(PAIRS)):
        total = torch.stack([read[site][index] for site in sites]).sum(dim=0)
        assert torch.allclose(total, read[mlp_output(LAYER)][index], atol=1e-5)
    one = edited(model, interchange(*sites), PAIRS)
    other = edited(model, interchange(mlp_output(LAYER)), PAIRS)
    assert all(map(close, one, other))


@pytest.mark.parametrize("implementation", ["eager", "batched_mm"])
def test_however_experts_are_computed(implementation, mixed, edited) -> None:
    """Each implementation that transformers has of a mixture gives the same edited logits."""
    model = build("mixtral")
    model.network.set_experts_implementation(implementation)
    for part in (
        interchange(expert_output(1, 0)),
        interchange(expert_output(1, 3, pos=2, dims=range(4))),
        scale(router_output(0), -1.0),
    ):
        got, wanted = (edited(each, part, PAIRS) for each in (model, mixed("mixtral")))
        assert all(map(close, got, wanted))


def test_an_edit_by_itself_changes_no_bit(mixed, edited) -> None:
    """What is read is put back without a trace, and no hook stays."""
    model = mixed("qwen2_moe")
    plain = [output.logits for output in model.run(PAIRS)]
    for site in (router_output(1), expert_output(1, 1)):
        same = edited(model, scale(site, 1.0), PAIRS, allow_inert=True)
        assert all(torch.equal(one, other) for one, other in zip(same, plain, strict=True))
    assert not any(
        each._forward_hooks or each._forward_pre_hooks for each in model.network.modules()
    )


def test_gradients_flow_through_a_part(mixed) -> None:
    """The slope by an added vector agrees with finite differences."""
    model = mixed("mixtral")
    pairs = PAIRS[:1]
    direction = torch.randn(16, generator=torch.Generator().manual_seed(5))

    def logit(vector: Tensor) -> Tensor:
        part = add(expert_output(LAYER, 1, pos=2), vector)
        with differentiable(model, part, pairs) as (output,):
            return output.at()[7]

    vector = torch.zeros(16, requires_grad=True)
    (slope,) = torch.autograd.grad(logit(vector), vector)
    step = 1e-2
    ahead, behind = (logit((sign * step * direction).requires_grad_()) for sign in (1, -1))
    assert float(slope @ direction) == pytest.approx((ahead - behind).item() / (2 * step), rel=2e-3)


def test_edits_while_writing(mixed) -> None:
    """Experts silenced at every step gives the same logits with and without a cache."""
    model = mixed("mixtral")
    part = zero_ablate(*(expert_output(LAYER, each) for each in (0, 1, 3)))
    logits = [
        model.generate(
            (9, 12, 30), max_new_tokens=4, intervention=part, when="every step",
            use_cache=cached, keep_logits=True, eos_token_id=None,
        )[0].logits
        for cached in (True, False)
    ]  # fmt: skip
    plain = model.generate((9, 12, 30), max_new_tokens=4, keep_logits=True, eos_token_id=None)
    assert torch.allclose(*logits, atol=1e-4)
    assert not torch.allclose(logits[0], plain[0].logits, atol=1e-3)


@pytest.mark.parametrize("part", [interchange(router_output(1)), zero_ablate(expert_output(0, 3))])
def test_saved_and_loaded(part: Intervention, tmp_path, mixed) -> None:
    """Sites of routers and experts survive a folder."""
    model = mixed("mixtral")
    assert load(save(part, tmp_path / "saved", model=model), model=model) == part


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_models_with_experts_conform(family, mixed) -> None:
    """Every check holds at routers and experts too."""
    report = conformance(mixed(family))
    assert report.passed, str(report)
    tried = {check.subject for check in report.checks if check.status == "passed"}
    assert {"router_output", "expert_output"} <= tried


def test_the_command_lists_them(tmp_path, mixed) -> None:
    """`causaltest components` says where routers and experts are."""
    mixed("olmoe").network.save_pretrained(tmp_path)
    run = CliRunner().invoke(components, [str(tmp_path), "--json", "--device", "cpu"])
    rows = {row["component"]: row for row in json.loads(run.output)}
    assert (rows["router_output"]["module"], rows["router_output"]["side"]) == (
        "model.layers.0.mlp.gate", "scores",
    )  # fmt: skip
    assert rows["router_output"]["width"] == EXPERTS
    assert rows["expert_output"]["side"] == "expert 0"


def test_an_expert_that_does_not_exist(mixed) -> None:
    """An index too large gets the range."""
    with pytest.raises(SiteError, match=re.escape("does not exist: olmoe has experts 0-4 there")):
        mixed("olmoe").access(expert_output(0, 5))


def test_a_model_without_experts(tiny) -> None:
    """A dense model says that it has no mixture."""
    message = "gpt2 has no router_output: no mixture of experts was found in its blocks"
    with pytest.raises(SiteError, match=message):
        tiny("gpt2").access(router_output(0))


def test_experts_that_are_no_module_of_their_own() -> None:
    """JetMoE sorts tokens by expert: its routers are sites, and why its experts are not is said."""
    model = build("JetMoe", num_local_experts=4, kv_channels=8)
    assert "router_output" in model.components
    with pytest.raises(
        SiteError,
        match=re.escape(
            "input_linear does not take states, indices of experts and their weights, so that one "
            "expert's part cannot be told from the others'"
        ),
    ):
        model.access(expert_output(0, 0))


class Homemade(nn.Module):
    """A mixture of two experts with a router that may be deaf."""

    def __init__(self, *, deaf: bool) -> None:
        super().__init__()
        self.router = nn.Linear(8, 2)
        self.up = nn.Parameter(torch.randn(2, 8, 8))
        self.deaf = deaf

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.router(x), dim=-1)
        weights = torch.full_like(weights, 0.5) if self.deaf else weights
        return torch.einsum("rtd,edf,rte->rtf", x, self.up, weights)


class Block(nn.Module):
    """A block that is a mixture alone."""

    def __init__(self, *, deaf: bool) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(8), Homemade(deaf=deaf)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm(x))


class Stack(nn.Module):
    """A stack of such blocks."""

    def __init__(self, *, deaf: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.table = nn.Embedding(20, 8)
        self.blocks = nn.ModuleList(Block(deaf=deaf) for _ in range(2))
        self.head = nn.Linear(8, 20)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def test_a_router_that_decides_nothing_is_no_site() -> None:
    """Structure alone is not believed: scores must move the mixture at their token."""
    assert "router_output" in Model(Stack(deaf=False), name="live").components
    deaf = Model(Stack(deaf=True), name="deaf")
    message = "what blocks.1.mlp.router computes does not decide on the experts of each token alone"
    with pytest.raises(SiteError, match=re.escape(message)):
        deaf.access(router_output(0))


def test_a_hook_that_changes_the_router_is_in_the_way(mixed) -> None:
    """A router whose output a hook of the user changes is not computed again behind its back."""
    model = mixed("mixtral")
    gate = model.network.model.layers[0].mlp.gate
    handle = gate.register_forward_hook(lambda _m, _a, out: (out[0], 0.5 * out[1], out[2]))
    part = scale(router_output(0), -1.0)
    try:
        message = "another hook changes what this router gives"
        with pytest.raises(InterventionError, match=message), intervene(model, part) as run:
            run((3, 4, 5))
        with intervene(model, zero_ablate(block_output(1, pos=0))) as run:
            run((3, 4, 5))
    finally:
        handle.remove()


def test_text_of_sites() -> None:
    """The index of an expert stands where that of a head does."""
    site = Site.parse("expert_output[3.7]{0,2}@end")
    assert site == expert_output(3, 7, dims=(0, 2), pos="end")
    with pytest.raises(
        SiteError, match=re.escape("expert_output needs an expert, e.g. expert_output(0, 0)")
    ):
        Site.parse("expert_output[3]")
    with pytest.raises(SiteError, match="router_output takes no expert; got expert=2"):
        Site("router_output", layer=1, expert=2)


def test_exploring_a_mixture_is_not_seen_by_the_callers_hooks() -> None:
    """A caller's hook does not fire while routers and experts are looked for."""
    model = build("mixtral")
    seen: list[str] = []
    model.network.model.layers[0].mlp.register_forward_hook(lambda *_: seen.append("fired"))
    assert "router_output" in model.components
    assert seen == []
