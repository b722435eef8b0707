"""Models of any kind: what they answer, padding, batches, and early ends of reading passes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.engine.run import score
from causaltest.errors import InterventionError, MetricError, ModelError, PairError, SiteError
from causaltest.interventions import interchange, mean_ablate, zero_ablate
from causaltest.pairs import Pair, Pairs
from causaltest.sites import (
    attention_output,
    block_output,
    embedding,
    head_attention_value_output,
    head_value_output,
    mlp_activation,
    mlp_output,
    module,
    query_output,
)


def toy(*layers: nn.Module) -> nn.Module:
    """Return a network of an embedding of 9 tokens, 4 wide, and what follows."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(9, 4), *layers)


class Lstm(nn.Module):
    """A recurrent language model."""

    def __init__(self, vocabulary: int = 9, width: int = 4, layers: int = 1, **options) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, **{"batch_first": True, **options})
        wide = width * 2 if options.get("bidirectional") else width
        self.head = nn.Linear(wide, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        return self.head(self.lstm(x)[0])


# Padding and batches


@pytest.mark.parametrize(
    "family", ["gpt2", "llama", "neox-parallel", "bert", "qwen3", "gemma2", "mistral"]
)
def test_a_padded_batch_equals_single_runs(family, tiny, edited) -> None:
    """Prompts of unequal length give in one batch, edited or not, what each gives alone."""
    model = tiny(family, torch.float64)
    prompts = [(5, 6), (7, 8, 9, 10, 11, 12, 13), (20,), (30, 31, 32, 33), (40, 5, 6, 7)]
    together = model.run(prompts)
    pairs = Pairs([Pair(each) for each in prompts], name="lengths", cluster=None)
    cut = zero_ablate(mlp_output(0, pos=-1), query_output(1))
    under_edits = edited(model, cut, pairs)
    for index, prompt in enumerate(prompts):
        with torch.no_grad():
            alone = model.network(input_ids=torch.tensor([prompt])).logits[0]
        assert together[index].logits.shape == alone.shape
        assert torch.allclose(together[index].logits, alone, atol=1e-6, rtol=0)
        with intervene(model, cut) as run:
            single = run(prompt).logits
        assert torch.allclose(under_edits[index], single, atol=1e-6, rtol=0)
        assert not torch.allclose(single, alone, atol=1e-3)


def test_equal_lengths_share_a_batch_and_others_wait(count_calls) -> None:
    """A network that knows no mask is never padded: one pass for each length."""
    model = Model(Lstm())
    model.run([(1, 2), (3, 4)])  # the proof that rows do not touch each other is done once
    calls = count_calls(model.network)
    outputs = model.run([(1, 2, 3), (4, 5), (6, 7, 8), (2, 1), (8,)])
    assert calls == [3]
    assert [len(output.logits) for output in outputs] == [3, 2, 3, 2, 1]


def test_rows_that_touch_each_other_are_refused() -> None:
    """An LSTM that takes the rows of a batch for time is found out each time it is run so."""
    model = Model(Lstm(batch_first=False), name="sideways")
    for _ in range(2):
        with pytest.raises(
            ModelError, match="sideways answers a prompt differently in a batch than alone"
        ) as caught:
            model.run([(1, 2), (3, 4)])
        assert "module without batch_first=True takes rows for tokens" in str(caught.value)


def test_padding_that_changes_answers_is_given_up() -> None:
    """If a network reads padding although it was given a mask, lengths are run apart, correctly."""
    network = Lstm(bidirectional=True)
    careless = Model(network, forward=lambda net, ids, _mask: net(ids))
    prompts = [(1, 2), (3, 4, 5, 6), (7,), (3, 5)]
    for output, prompt in zip(careless.run(prompts), prompts, strict=True):
        with torch.no_grad():
            alone = network(torch.tensor([prompt]))[0]
        assert torch.allclose(output.logits, alone, atol=1e-6)


def test_a_forward_of_the_users_own_gets_a_mask() -> None:
    """forward= gets ids and a mask of 1 on real tokens, of all ones where nothing is padded."""
    masks: list[Tensor] = []

    def forward(network: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
        masks.append(mask)
        return network(ids)

    model = Model(toy(nn.Linear(4, 9)), forward=forward)
    model.run([(1, 2, 3), (4,)])
    assert masks[-1].tolist() == [[1, 0, 0], [1, 1, 1]]
    model.run([(1, 2)])
    assert masks[-1].tolist() == [[1, 1]]


def test_padding_uses_the_networks_own_token(count_calls) -> None:
    """A classifier that looks for its padding token to find a prompt's end gets that token."""
    import transformers

    config = transformers.GPT2Config(
        n_embd=24, n_layer=2, n_head=4, vocab_size=50, n_positions=32, pad_token_id=49,
        bos_token_id=1, eos_token_id=2, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Model(transformers.GPT2ForSequenceClassification(config).eval(), name="classifier")
    prompts = [(5, 6), (7, 8, 9, 10), (11, 12, 13)]
    model.run(prompts)
    calls = count_calls(model.network)
    outputs = model.run(prompts)
    assert calls == [1]  # with another token the engine would find padding at fault
    for output, prompt in zip(outputs, prompts, strict=True):
        with torch.no_grad():
            alone = model.network(input_ids=torch.tensor([prompt])).logits[0]
        assert output.logits.shape == (3,)
        assert torch.allclose(output.logits, alone, atol=1e-6)


def test_large_sets_are_cut_into_batches(count_calls) -> None:
    """No batch has more than 256 rows, and outputs come in the order of the prompts."""
    model = Model(toy(nn.Linear(4, 9)))
    model.run([(1,), (2,)])
    calls = count_calls(model.network)
    outputs = model.run([(index % 9,) for index in range(600)])
    assert calls == [3]
    assert all(
        torch.equal(outputs[index].logits, outputs[index % 9].logits) for index in range(600)
    )


# What a network may return


def test_an_mlp_answers_once_for_each_prompt() -> None:
    """Logits (rows, classes) are one answer a prompt, read at any position, edited whole."""
    model = Model(toy(nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), name="mlp")
    (output,) = model.run([(1, 2)])
    with torch.no_grad():
        expected = model.network(torch.tensor([[1, 2]]))[0]
    assert torch.equal(output.logits, expected)
    assert torch.equal(output.at("end"), expected)
    assert model.top(output) == int(expected.argmax())
    with intervene(model, zero_ablate(module("3"))) as run:
        assert torch.equal(run((1, 2)).logits, model.network[4].bias)
    hidden = module("2", dims=(5, 0))
    (read,) = model.read(hidden, [(1, 2)])[hidden]
    with torch.no_grad():
        assert torch.equal(read[0], model.network[:3](torch.tensor([[1, 2]]))[0, [5, 0]])


def test_an_activation_without_tokens_has_no_positions() -> None:
    """pos= on an activation (rows, width) is refused, with its shape."""
    model = Model(toy(nn.Flatten(), nn.Linear(8, 3)), name="mlp")
    with pytest.raises(
        InterventionError,
        match=re.escape(
            "2.output@-1: 2.output has shape (1, 3); expected (rows, tokens, ...) = (1, 2) and a"
        ),
    ):
        model.read(module("2", pos=-1), [(1, 2)])


class Dictionary(nn.Module):
    """Returns a dict."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.names = names

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        x = self.table(ids)
        return {name: x + index for index, name in enumerate(self.names)}


@pytest.mark.parametrize(
    "names, meant", [(("scores",), 0), (("loss", "logits"), 1), (("last_hidden_state", "x"), 0)]
)
def test_logits_in_a_dict_are_found(names, meant) -> None:
    """The only tensor, or the one called logits, is what a network answers."""
    model = Model(Dictionary(*names))
    (output,) = model.run([(1, 2)])
    assert torch.equal(output.logits, model.network.table.weight[[1, 2]] + meant)


def test_a_dict_of_unnamed_tensors_is_refused() -> None:
    """Of several tensors none is taken for the logits by guess."""
    with pytest.raises(
        ModelError, match=re.escape("odd returned no logits (it returned a dict with one, two)")
    ):
        Model(Dictionary("one", "two"), name="odd").run([(1, 2)])


@pytest.mark.parametrize(
    "forward, shape",
    [
        (lambda net, ids, _mask: net(ids)[:, -1:], "(1, 1, 4)"),
        (lambda net, ids, _mask: net(ids).sum((1, 2)), "(1,)"),
        (lambda net, ids, _mask: net(ids)[0], "(3, 4)"),
        (lambda net, ids, _mask: net(ids)[..., None], "(1, 3, 4, 1)"),
    ],
)
def test_logits_of_another_shape_are_refused(forward, shape) -> None:
    """Logits that are neither a row for each prompt nor for each token are no answer."""
    with pytest.raises(
        ModelError,
        match=re.escape(f"odd returned logits of shape {shape} for 1 prompts of up to 3"),
    ):
        Model(toy(), name="odd", forward=forward).run([(1, 2, 3)])


def test_only_modules_are_models() -> None:
    """A name is not a network, and the message says how to load one."""
    with pytest.raises(ModelError, match=re.escape("got str. To load one by name: Model.load('gp")):
        Model("gpt2")


def test_repr_names_model_and_class() -> None:
    """The repr says what the model is called and what it is."""
    assert repr(Model(toy(), name="toy")) == "<Model toy: Sequential>"
    assert Model(toy()).name == "Sequential"


# Answers


def test_an_output_is_read_at_one_position() -> None:
    """Positions count from both ends; several at once are refused."""
    model = Model(toy(), name="toy")
    pair = Pair((1, 2, 3), positions={"two": [0, 1]}, id="p")
    (output,) = model.run([pair])
    rows = model.network[0].weight[[1, 2, 3]]
    assert torch.equal(output.at(), rows[2])
    assert torch.equal(output.at(-2), rows[1])
    assert torch.equal(output.at("two.first"), rows[0])
    assert torch.equal(output.at("two.last"), rows[1])
    with pytest.raises(
        MetricError,
        match=re.escape(
            "position 'two' covers 2 tokens of '1 2 3'; a metric reads the answer at one: use"
        ),
    ):
        output.at("two")


def test_an_answer_is_a_class_the_model_has() -> None:
    """A class number beyond the logits is refused with the pair and what there is."""
    model = Model(toy(), name="toy")
    (output,) = model.run([Pair((1, 2), base_answer=4, id="p")])
    assert output.answer_id(3) == 3
    with pytest.raises(
        MetricError, match=re.escape("pair p: answer 4 is class 4, but toy has classes 0-3")
    ):
        output.answer_id(4)


# Reading


def test_one_source_pass_serves_eight_sites(fresh, count_calls) -> None:
    """Eight interchanges cost one source pass and one base pass."""
    model = fresh("gpt2")
    pairs = Pairs(
        [Pair((1, 2, 3), (4, 5, 6)), Pair((7, 8, 9), (2, 2, 1))], name="two", cluster=None
    )
    model.run(list(pairs))
    sites = (
        embedding(pos=0), block_output(0, pos=1), attention_output(0), mlp_output(1, pos=2),
        mlp_activation(1, pos=-1), head_attention_value_output(1, 2), query_output(2, pos=1),
        head_value_output(2, 0),
    )  # fmt: skip
    model.access(sites[0])
    calls = count_calls(model.network)
    last = count_calls(model.network.lm_head)
    score(model, interchange(*sites), pairs, lambda output: float(output.logits.sum()))
    assert calls == [2]
    assert last == [1]


@pytest.mark.parametrize(
    "site, blocks",
    [(embedding(), 0), (mlp_output(0), 1), (query_output(1), 2), (block_output(2), 3)],
)
def test_reading_ends_at_the_last_module_read(site, blocks, fresh, count_calls) -> None:
    """Blocks after the last site do not run."""
    model = fresh("gpt2")
    model.access(site)
    counts = [count_calls(block) for block in model.network.transformer.h]
    model.read([embedding(), site], [(1, 2, 3)])
    assert counts == [[1]] * blocks + [[0]] * (3 - blocks)


class Twice(nn.Module):
    """Runs one module twice and another never."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.shared, self.idle = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.shared(torch.relu(self.shared(self.table(ids))))


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_module_that_runs_twice_is_not_read(side) -> None:
    """Which of two calls is meant is not guessed, alone or beside another site."""
    for more in ((), (module("table"),)):
        with pytest.raises(
            InterventionError,
            match=f"shared.{side} cannot be read: shared runs several times in one forward pass",
        ):
            Model(Twice()).read([module("shared", side=side), *more], [(1, 2)])


class Scribbling(nn.Module):
    """A network that writes on the ids that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up the next ids."""
        return self.table(ids.add_(1))


def test_ids_are_given_anew_in_every_run() -> None:
    """A network, or a hook, that writes on its ids does not change the prompt of later runs."""
    model = Model(Scribbling())
    for _ in range(3):
        logits = model.run([(1, 2, 3)])[0].logits
        assert torch.equal(logits, model.network.table.weight[2:5].detach())


def test_prompts_first_run_in_inference_mode_serve_autograd_later(fresh) -> None:
    """What is remembered of a prompt is no tensor of inference mode."""
    model = fresh("gpt2")
    with torch.inference_mode():
        model.run([(1, 2, 3)])
    found = model.read(block_output(0), [(1, 2, 3)], gradients=True)[block_output(0)][0]
    found.sum().backward()
    assert model.network.transformer.wte.weight.grad.any()


def test_ids_go_where_the_weights_are(fresh) -> None:
    """Weights of another type or place, and parts put in the place of others, are noticed."""
    model = fresh("gpt2")
    assert model.device == torch.device("cpu")
    assert model.run([(1, 2)])[0].logits.dtype == torch.float32
    model.network.to(torch.float64)
    assert model.run([(1, 2)])[0].logits.dtype == torch.float64
    table = model.network.transformer.wte
    model.network.transformer.wte = nn.Embedding(*table.weight.shape, device="meta")
    with pytest.raises(ModelError, match="its weights are on the meta device"):
        _ = model.device
    model.network.transformer.wte = table
    assert model.device == torch.device("cpu")
    model.network.to("meta")
    with pytest.raises(ModelError, match="its weights are on the meta device"):
        model.run([(1, 2)])


def test_a_network_without_weights_takes_ids_on_the_cpu() -> None:
    """Where nothing tells of a device, it is the CPU."""
    assert Model(nn.Identity()).device == torch.device("cpu")


def test_a_module_that_runs_twice_is_not_edited() -> None:
    """An edit that would happen twice is refused with the count."""
    with (
        pytest.raises(
            InterventionError,
            match=re.escape(
                "zero_ablate(shared.output) did not happen as declared: shared ran 2 times in one "
                "forward pass of Twice\nEach edit must happen exactly once"
            ),
        ),
        intervene(Model(Twice()), zero_ablate(module("shared"))) as run,
    ):
        run((1, 2))


def test_a_module_that_never_runs_is_said() -> None:
    """Neither reading nor editing a module that does not run passes in silence."""
    model = Model(Twice(), name="twice")
    with pytest.raises(
        InterventionError,
        match=re.escape("idle.output could not be read: twice never called the module"),
    ):
        model.read(module("idle"), [(1, 2)])
    with (
        pytest.raises(
            InterventionError, match="idle was never reached in one forward pass of twice"
        ),
        intervene(model, zero_ablate(module("idle"))) as run,
    ):
        run((1, 2))


class Crossed(nn.Module):
    """Has activations whose second axis is not the tokens."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.table, self.heads = nn.Embedding(9, 12), heads
        self.split, self.turned = nn.Identity(), nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        self.turned(x.transpose(0, 1))
        self.split(x.unflatten(-1, (self.heads, -1)).transpose(1, 2))
        return x


def test_an_axis_that_only_looks_like_tokens_is_not_taken_for_them() -> None:
    """Where rows, heads and tokens are three each, tokens are those of a run of other lengths."""
    prompts = [(1, 2, 3), (4, 5, 6), (7, 8, 1)]
    network = Crossed(heads=3)
    with pytest.raises(InterventionError, match=r"split\.output has shape .* expected"):
        Model(network).read(module("split", pos=1), prompts)
    site = module("turned", pos=1)
    got = torch.cat(Model(network).read(site, prompts)[site])
    assert torch.equal(got, network.table(torch.tensor([2, 5, 8])))


def test_dims_of_a_module_are_checked() -> None:
    """A dim beyond a module's width is refused when the width is known: at the run."""
    model = Model(toy(), name="toy")
    assert model.read(module("0", dims=(3,)), [(1,)])[module("0", dims=(3,))][0].shape == (1, 1)
    with pytest.raises(SiteError, match=re.escape("0.output{4} does not exist: toy has dims 0-3")):
        model.read(module("0", dims=(4,)), [(1,)])
    site, network = module("1", dims=(0,)), toy()
    network.append(_Total())
    flat = Model(
        network, name="flat", forward=lambda net, ids, _mask: net(ids)[:, None].expand(-1, 3)
    )
    with pytest.raises(SiteError, match=re.escape("has no dims, only shape (2,), there")):
        flat.read(site, [(1, 2), (3, 4)])


class _Total(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum((1, 2))


def test_shapes_that_differ_between_prompts_are_refused() -> None:
    """Activations whose inner axes depend on the prompt's length cannot be interchanged across."""
    pairs = Pairs([Pair((1, 2), (3, 4)), Pair((1, 2, 3), (4, 5, 6))], name="two", cluster=None)
    with pytest.raises(
        InterventionError, match=re.escape("prompts ((2, 2, 6), (2, 3, 6)); use prompts of equal")
    ):
        score(Model(Crossed(2)), mean_ablate(module("split")), pairs, lambda _output: 0.0)
    uneven = Pairs([Pair((1, 2, 3), (3, 4))], name="uneven", cluster=None)
    with pytest.raises(
        InterventionError,
        match=re.escape("split.output takes numbers of shape (1, 2, 3, 6), but got (1, 2, 2, 6)"),
    ):
        score(Model(Crossed(2)), interchange(module("split")), uneven, lambda _output: 0.0)


# Third-party networks


def test_lstm_of_others(real_models: Path, edited) -> None:
    """A trained two-layer LSTM: an edit at t changes its output from t on and not before."""
    folder = real_models / "char-lstm-darwin"
    config = json.loads((folder / "config.json").read_text())
    vocabulary = json.loads((folder / "vocab.json").read_text())
    network = Lstm(config["vocab_size"], config["embedding_dim"], config["num_layers"])
    network.load_state_dict(load_file(folder / "model.safetensors"))
    model = Model(network.eval(), name="darwin")
    prompts = [
        tuple(vocabulary[c] for c in text) for text in ("natural selectio", "of the species o")
    ]
    nexts = [
        max(vocabulary, key=lambda c: float(out.at()[vocabulary[c]])) for out in model.run(prompts)
    ]
    assert nexts[0] == "n"
    pairs = Pairs([Pair(*prompts), Pair(*prompts[::-1])], name="text", cluster=None)
    site = module("lstm", pos=5)
    plain = [out.logits for out in model.run(list(pairs))]
    for before, after, other in zip(
        plain, edited(model, interchange(site), pairs), plain[::-1], strict=True
    ):
        assert torch.allclose(after[5], other[5], atol=1e-6)
        assert torch.equal(after[:5], before[:5])
        assert torch.equal(after[6:], before[6:])
    early = zero_ablate(module("embedding", pos=5))
    for before, after in zip(plain, edited(model, early, pairs), strict=True):
        assert torch.equal(after[:5], before[:5])
        assert not torch.allclose(after[5:], before[5:], atol=1e-3)


class Tracr(nn.Module):
    """The norm-free toy transformer of the models' FORMAT.md."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.config = json.loads((folder / "toy_config.json").read_text())
        weights = load_file(folder / "model.safetensors")
        self.weights = nn.ParameterDict(
            {
                name.replace(".", "/"): nn.Parameter(w, requires_grad=False)
                for name, w in weights.items()
            }
        )
        layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks"))
        self.mixed = nn.ModuleList(nn.Identity() for _ in range(layers))
        self.neurons = nn.ModuleList(nn.Identity() for _ in range(layers))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        w = {name.replace("/", "."): tensor for name, tensor in self.weights.items()}
        n = ids.shape[1]
        x = w["embed.W_E"][ids] + w["pos_embed.W_pos"][:n]
        allowed = mask[:, None, None, :].bool().expand(-1, 1, n, n)
        if self.config["attention"] == "causal":
            allowed = allowed & torch.ones(n, n, dtype=torch.bool).tril()
        padding = self.config["token_to_id"][self.config["pad_token"]]
        allowed = allowed & (ids != padding)[:, None, None, :]
        for layer, (mixed, neurons) in enumerate(zip(self.mixed, self.neurons, strict=True)):
            a, m = f"blocks.{layer}.attn.", f"blocks.{layer}.mlp."
            q, k, v = (
                torch.einsum("bnd,hdk->bhnk", x, w[f"{a}W_{name}"])
                + w.get(f"{a}b_{name}", torch.zeros(1, 1))[:, None]
                for name in "QKV"
            )
            scores = q @ k.mT / q.shape[-1] ** 0.5
            pattern = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
            z = mixed((pattern @ v).transpose(1, 2).flatten(2))  # (rows, tokens, heads * size)
            x = x + z @ w[f"{a}W_O"].flatten(0, 1) + w.get(f"{a}b_O", 0)
            act = {"relu": torch.relu, "gelu": nn.functional.gelu}[self.config["act_fn"]]
            x = (
                x
                + neurons(act(x @ w[f"{m}W_in"] + w[f"{m}b_in"])) @ w[f"{m}W_out"]
                + w[f"{m}b_out"]
            )
        return x @ w["unembed.W_U"]


@pytest.mark.parametrize("program", ["reverse", "frac_prevs", "sort_unique"])
def test_programs_compiled_to_weights(program, real_models: Path, edited) -> None:
    """The native network and its form in transformers agree under every edit, and with the circuit.

    Heads and MLPs that the compiler calls unused do not matter; those it names, do.
    """
    folder = real_models / "tracr" / program
    network = Tracr(folder).eval()
    native = Model(network, name=program, forward=lambda net, ids, mask: net(ids, mask))
    hosted = Model.load(str(folder / "hf"), device="cpu")
    examples = [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]
    distinct = {tuple(each["ids"]): None for each in examples}
    pairs = Pairs([Pair(ids) for ids in list(distinct)[:8]], name="examples", cluster=None)
    unused = json.loads((folder / "circuit.json").read_text())["unused_components"]
    plain = [output.logits for output in native.run(list(pairs))]
    for layer in range(len(network.mixed)):
        for name, mine, theirs in (
            (f"L{layer}.head0", module(f"mixed.{layer}"), head_attention_value_output(layer, 0)),
            (f"L{layer}.mlp", module(f"neurons.{layer}"), mlp_activation(layer)),
        ):
            got = edited(native, zero_ablate(mine), pairs, allow_inert=True)
            want = edited(hosted, zero_ablate(theirs), pairs, allow_inert=True)
            assert all(
                torch.allclose(a, b[:, : a.shape[1]], atol=1e-3)
                for a, b in zip(got, want, strict=True)
            )
            if name in unused:
                # The beginning-of-sequence token is no part of the program.
                assert all(
                    torch.allclose(a[1:], b[1:], atol=1e-4) for a, b in zip(got, plain, strict=True)
                )
            else:
                moved = [float((a - b)[1:].abs().max()) for a, b in zip(got, plain, strict=True)]
                assert max(moved) > 0.1


def test_prompt_text_without_tokenizer_is_refused() -> None:
    """Text is not fed to a network that has no tokenizer."""
    with pytest.raises(
        ModelError,
        match=re.escape(
            "toy has no tokenizer, but the prompt 'Lily' is text; give prompts as token ids, or"
        ),
    ):
        Model(toy(), name="toy").run(["Lily"])


def test_a_side_that_the_pair_lacks_is_refused() -> None:
    """A source row of a pair without a source says so."""
    with pytest.raises(PairError, match="pair p has no source prompt, and the intervention or met"):
        Row.of(Pair((1, 2), id="p"), "source")


# Types of number and gradients


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_type(dtype, fresh, edited) -> None:
    """Edits in a half-precision network leave its logits in half precision."""
    model = fresh("llama", dtype)
    pairs = Pairs([Pair((1, 2, 3), (4, 5, 6))], name="one", cluster=None)
    assert "head_value_output" in model.components
    assert "attention_output" in model.components
    (logits,) = edited(model, interchange(mlp_activation(0)) + zero_ablate(mlp_output(1)), pairs)
    assert logits.dtype == dtype
    assert model.dtype == dtype


def test_edits_leave_a_network_trainable(fresh) -> None:
    """Hooks of the engine write out of place, so gradients under ReLU are those of a hand edit."""
    from causaltest.engine.access import put
    from causaltest.engine.hooks import attached

    model = fresh("gpt2", activation_function="relu", dtype=torch.float64)
    site = mlp_activation(1, pos=1, dims=(3, 8))
    ids = torch.tensor([[3, 1, 4]])
    access = model.access(site)
    rows = model.batch([Row((3, 1, 4))])

    def zero(tensor: Tensor) -> Tensor:
        where, _ = model.places(site, access, tensor, rows)
        return put(tensor, where, access, torch.zeros(1, 2, dtype=tensor.dtype))

    def mask(_module, args) -> tuple[Tensor]:
        kept = torch.ones_like(args[0])
        kept[0, 1, [3, 8]] = 0
        return (args[0] * kept,)

    gradients = []
    for by_engine in (True, False):
        model.network.zero_grad()
        if by_engine:
            with attached(model.network, [(access.path, access.side, zero)]):
                model.network(ids).logits.square().sum().backward()
        else:
            target = model.network.get_submodule(access.path)
            handle = target.register_forward_pre_hook(mask)
            model.network(ids).logits.square().sum().backward()
            handle.remove()
        gradients.append([each.grad.clone() for each in model.network.parameters()])
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*gradients, strict=True))
