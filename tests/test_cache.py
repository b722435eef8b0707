"""The result cache: exact numbers, keys that cover what numbers depend on, damage found."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.modules.module import register_module_forward_pre_hook

import causaltest.cache.recall
from causaltest import (
    Causal,
    Model,
    Pair,
    Pairs,
    add,
    apply_function,
    block_output,
    interchange,
    logit_diff,
    mean_ablate,
    mlp_output,
    noise,
    probability,
    recovery,
    resample_ablate,
)
from causaltest.cache import Cache
from causaltest.cache.architectures import from_plain, to_plain
from causaltest.cache.store import CacheWarning, digest
from causaltest.engine.sweeps import Job, sweep
from causaltest.engine.sweeps.fast import Fast

ROOT = Path(__file__).resolve().parents[1]
KEY = digest("one")
OTHER = digest("another")
VOCABULARY = 24


def gpt2(**changes: object) -> torch.nn.Module:
    """A small network with weights of its own."""
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, **changes}
    torch.manual_seed(5)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0, **settings)
    ).eval()


def some_pairs(*, last: int = 9) -> Pairs:
    """Pairs of two lengths; `last` is a token of one of them."""
    prompts = [((1, 2, 3), (4, 5, 6)), ((2, 3, 4, 5), (6, 7, 8, last)), ((3, 1, 2), (9, 8, 7))]
    return Pairs(
        [Pair(base, source, base_answer=5, source_answer=7) for base, source in prompts],
        name="some",
        cluster=None,
    )


def trading() -> Pairs:
    """Pairs of one length whose sources have the base answers of others."""
    prompts = [((1, 2, 3), (4, 5, 6)), ((3, 1, 2), (9, 8, 7)), ((2, 3, 1), (7, 7, 8))]
    return Pairs(
        [Pair(base, source, base_answer=5, source_answer=7) for base, source in prompts],
        name="trading",
        cluster=None,
    )


EDIT = interchange(block_output(0, pos="end"))


@pytest.fixture
def passes():
    """Counts how many times any module runs."""
    count = [0]

    def counted(*_: object) -> None:
        count[0] += 1

    handle = register_module_forward_pre_hook(counted)
    yield count
    handle.remove()


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where entries are."""
    return tmp_path / "cache"


def numbers(values) -> list[bytes]:
    """Doubles as bytes, so that equal means identical."""
    return [struct.pack("<d", each) for each in values]


def measured(folder: Path, network: torch.nn.Module, *, on=None, edit=EDIT, metric=recovery, **how):
    """Measure as a new run does."""
    causal = Causal(Model(network, **how), cache=Cache(folder))
    return causal, causal.effect(edit, on=on or some_pairs(), metric=metric)


# The folder.


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=9))
def test_numbers_come_back_bit_by_bit(tmp_path_factory, values):
    """Any finite double is the same after it was kept, -0.0 and subnormal numbers too."""
    cache = Cache(tmp_path_factory.mktemp("cache"))
    cache.put(KEY, values)
    found = cache.get(KEY, list[float])
    assert numbers(found.value) == numbers(values)


def test_any_damaged_byte_is_found(folder):
    """An entry in which one byte is another, or that ends early, counts as missing."""
    cache = Cache(folder)
    cache.put(KEY, [0.25, -1.5])
    path = folder / f"{KEY}.entry"
    data = path.read_bytes()
    for index in range(len(data)):
        path.write_bytes(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])
        assert cache.get(KEY, list[float]) is None
        path.write_bytes(data[:index])
        assert cache.get(KEY, list[float]) is None
    path.write_bytes(data)
    assert cache.get(KEY, list[float]).value == [0.25, -1.5]


def _under_another_name(folder: Path) -> None:
    Cache(folder).put(OTHER, [1.0])
    (folder / f"{OTHER}.entry").rename(folder / f"{KEY}.entry")


def _of_another_schema(folder: Path) -> None:
    Cache(folder).put(KEY, [1.0])
    path = folder / f"{KEY}.entry"
    head, _, rest = path.read_bytes().partition(b"\n")
    other = json.dumps({**json.loads(head), "schema": 0}).encode()
    path.write_bytes(other + b"\n" + rest)


def _of_another_program(folder: Path) -> None:
    folder.mkdir()
    (folder / f"{KEY}.entry").write_bytes(b"\x80\x04\x95 pickled")


def _of_another_type(folder: Path) -> None:
    Cache(folder).put(KEY, {"values": "none"})


def _a_folder(folder: Path) -> None:
    (folder / f"{KEY}.entry").mkdir(parents=True)


@pytest.mark.parametrize(
    "foreign",
    [_under_another_name, _of_another_schema, _of_another_program, _of_another_type, _a_folder],
)
def test_foreign_entries_count_as_missing(folder, foreign):
    """What another key, schema, program or type left under a name is never taken for numbers."""
    foreign(folder)
    assert Cache(folder).get(KEY, list[float]) is None


def test_the_least_recently_used_go_first(folder):
    """Where entries outgrow the limit, the one that was not read for longest is dropped."""
    cache = Cache(folder)
    keys = [digest(index) for index in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.put(key, "x" * 1000)
        os.utime(folder / f"{key}.entry", (age + 1, age + 1))
    (folder / "new-killed.part").write_bytes(b"half")
    os.utime(folder / "new-killed.part", (0, 0))
    cache.get(keys[0], str)
    Cache(folder, limit=4000).put(keys[3], "x" * 1000)
    left = {path.name for path in folder.glob("*[!e]") if path.name != ".gitignore"}
    assert left == {f"{keys[index]}.entry" for index in (0, 2, 3)}


def test_what_is_larger_than_the_limit_is_not_kept(folder):
    """One entry cannot push out all others."""
    assert not Cache(folder, limit=500).put(KEY, "x" * 1000)
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path):
    """Measuring goes on without a cache, with one warning."""
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache")
    told = re.escape(f"the cache {cache.folder} cannot be written (Not a directory); nothing is ")
    with pytest.warns(CacheWarning, match=told + "kept, and the next run measures everything"):
        assert not cache.put(KEY, 1.0)
    assert not cache.put(KEY, 1.0)
    assert cache.get(KEY, float) is None


def test_version_control_does_not_see_it(folder):
    """The folder tells git to leave it alone."""
    Cache(folder).put(KEY, 1.0)
    assert (folder / ".gitignore").read_text() == "*\n"


def test_processes_can_share_a_folder(folder):
    """Two processes that write and read the same entries see whole entries only."""
    program = textwrap.dedent(
        """
        import sys
        from causaltest.cache.store import Cache, digest

        cache = Cache(sys.argv[1], limit=60_000)
        for turn in range(150):
            key = digest(turn % 7)
            found = cache.get(key, list[float])
            assert found is None or found.value == [float(turn % 7)] * 900, found
            assert cache.put(key, [float(turn % 7)] * 900)
        """
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=ROOT) for _ in range(2)
    ]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert not list(folder.glob("*.part"))


# Measuring.


def test_a_second_run_runs_nothing_and_gives_the_same(folder, passes):
    """Values, scale, floor and ledger of a later run are those of the first, without a pass."""
    bare = Causal(Model(gpt2()))
    plain = bare.effect(EDIT, on=some_pairs(), metric=recovery)
    one, first = measured(folder, gpt2())
    ran = passes[0]
    two, second = measured(folder, gpt2())
    assert ran > 0
    assert passes[0] == ran
    for each in (first, second):
        assert numbers(each.values) == numbers(plain.values)
        assert numbers(each.scale) == numbers(plain.scale)
        assert each.floor == plain.floor
    assert bare.trail.edits == one.trail.edits == two.trail.edits
    (note,) = set(two.trail.notes) - set(one.trail.notes)
    assert re.fullmatch(
        r"re-used from the cache: numbers that the run of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC "
        "measured",
        note,
    )


def test_every_claim_on_kept_numbers_says_so(folder):
    """The second claim of a run, which reads no file, has the note as well."""
    measured(folder, gpt2())
    causal, _ = measured(folder, gpt2())
    causal.trail.clear()
    causal.effect(EDIT, on=some_pairs(), metric=recovery)
    assert any(note.startswith("re-used from the cache") for note in causal.trail.notes)


def test_a_damaged_entry_is_measured_again(folder, passes):
    """Entries that were cut short are run again, and mended."""
    _, first = measured(folder, gpt2())
    for path in folder.glob("*.entry"):
        path.write_bytes(path.read_bytes()[:-3])
    before = passes[0]
    _, again = measured(folder, gpt2())
    ran = passes[0]
    assert ran > before
    assert numbers(again.values) == numbers(first.values)
    measured(folder, gpt2())
    assert passes[0] == ran


def _nudge(network: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        network.transformer.h[1].mlp.c_fc.weight[3, 5] += 1e-4
    return network


def _swapped(network: torch.nn.Module) -> torch.nn.Module:
    """Exchange two weights: the sum of their bits stays."""
    with torch.no_grad():
        weight = network.transformer.h[1].mlp.c_fc.weight
        weight[0, 0], weight[0, 1] = weight[0, 1].clone(), weight[0, 0].clone()
    return network


def _with_buffer(network: torch.nn.Module) -> torch.nn.Module:
    network.transformer.register_buffer("mask", torch.arange(4), persistent=False)
    return network


def _with_epsilon(network: torch.nn.Module) -> torch.nn.Module:
    network.transformer.ln_f.eps = 1e-3
    return network


def _scaled(network: torch.nn.Module) -> torch.nn.Module:
    network.transformer.h[0].attn.scale_attn_weights = False
    return network


def _tokenizer(unknown: str):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {unknown: 0, **{str(index): index for index in range(1, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize(
    "change",
    [
        lambda: {"network": _nudge(gpt2())},
        lambda: {"network": _swapped(gpt2())},
        lambda: {"network": gpt2().double()},
        lambda: {"network": _with_buffer(gpt2())},
        lambda: {"network": _with_epsilon(gpt2())},
        lambda: {"network": _scaled(gpt2())},
        lambda: {"network": gpt2(activation_function="relu")},
        lambda: {"network": gpt2(attn_implementation="eager")},
        lambda: {"tokenizer": _tokenizer("?")},
        lambda: {"on": some_pairs(last=10)},
        lambda: {"on": Pairs(some_pairs()[:2], name="some", cluster=None)},
        lambda: {"metric": logit_diff},
        lambda: {"metric": probability},
        lambda: {"metric": recovery.at(0)},
        lambda: {"edit": interchange(block_output(0, pos=0))},
        lambda: {"edit": mean_ablate(block_output(0, pos="end"))},
        lambda: {"edit": add(block_output(0, pos="end"), [0.5] * 16)},
        lambda: {"edit": resample_ablate(block_output(0, pos="end"), over=some_pairs(last=10))},
    ],
)
def test_whatever_matters_is_part_of_the_key(folder, passes, change):
    """After a change of model, words, pairs, metric or edit, the edited runs are run again."""
    how = change()
    measured(folder, gpt2())
    entries = set(folder.iterdir())
    before = passes[0]
    measured(folder, how.pop("network", None) or gpt2(), **how)
    assert passes[0] > before
    assert set(folder.iterdir()) > entries


@pytest.mark.parametrize(
    "one, other",
    [
        (add(block_output(0), [0.5] * 16), add(block_output(0), [0.5] * 15 + [0.25])),
        (noise(block_output(0), sd=0.1, seed=0), noise(block_output(0), sd=0.1, seed=1)),
        (noise(block_output(0), sd=0.1, draws=2), noise(block_output(0), sd=0.1, draws=3)),
        (
            resample_ablate(block_output(0), over=some_pairs()),
            resample_ablate(block_output(0), over=some_pairs(last=10)),
        ),
        (
            interchange(block_output(0)) + add(mlp_output(1), [1.0] * 16),
            interchange(block_output(0)) + add(mlp_output(1), [2.0] * 16),
        ),
    ],
)
def test_numbers_inside_edits_are_part_of_the_key(one, other):
    """Edits that read the same but hold other arrays, seeds or pair sets have other keys."""
    keys = causaltest.cache.recall.Keys(Model(gpt2()))
    assert digest(keys.intervention(one)) == digest(keys.intervention(one))
    assert digest(keys.intervention(one)) != digest(keys.intervention(other))


def own_metric(output, _pair):
    """A metric of the user's own."""
    return output.at()[3]


def double(activation, _source):
    """An edit of the user's own."""
    return activation * 2


class Home(torch.nn.Module):
    """A module of the user's own around a network."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = gpt2()

    def forward(self, ids):
        """Return logits."""
        return self.inner(ids).logits


def _hooked() -> torch.nn.Module:
    network = gpt2()
    network.transformer.h[0].register_forward_hook(lambda *_: None)
    return network


def _patched() -> torch.nn.Module:
    network = gpt2()
    mlp = network.transformer.h[0].mlp
    mlp.forward = lambda states: 0 * states
    return network


@pytest.mark.parametrize(
    "how, why",
    [
        (lambda: {"metric": own_metric}, ""),
        (lambda: {"edit": apply_function(block_output(0), double)}, ""),
        (
            lambda: {"network": Home()},
            r".*\.Home is code that is known by no version",
        ),
        (
            lambda: {"forward": lambda network, ids, mask: network(ids, attention_mask=mask)},
            r"the model runs through a function of its own \(forward=\)",
        ),
        (lambda: {"network": _hooked()}, "the network has hooks of the caller"),
        (lambda: {"network": _patched()}, r"a module holds the function _patched\.<locals>.*"),
    ],
)
def test_code_of_the_user_is_run_every_time(folder, passes, how, why):
    """What may change unseen is not taken from the cache, and the reason is known."""
    for _ in range(2):
        before = passes[0]
        given_to = how()
        causal, _ = measured(folder, given_to.pop("network", None) or gpt2(), **given_to)
        assert passes[0] > before
        assert re.fullmatch(why, causal._recall.why_not)


def test_a_model_that_changes_on_the_way_is_not_kept(folder):
    """Once weights change under a running instrument, nothing more of it is kept."""
    network = gpt2()
    causal, _ = measured(folder, network)
    entries = set(folder.iterdir())
    _nudge(network)
    causal.effect(EDIT, on=some_pairs(last=11), metric=recovery)
    assert set(folder.iterdir()) == entries
    assert causal._recall.why_not == "the model changed while it was measured"


def test_a_change_behind_autograd_is_seen(folder):
    """Also a change through `.data`, which PyTorch does not count."""
    network = gpt2()
    causal, _ = measured(folder, network)
    entries = set(folder.iterdir())
    network.transformer.wte.weight.data[2, 2] += 1
    causal.effect(EDIT, on=some_pairs(last=11), metric=recovery)
    assert set(folder.iterdir()) == entries


def test_sequential_measuring_bypasses_it(folder):
    """Looks are drawn anew in every run."""
    causal = Causal(Model(gpt2()), cache=Cache(folder), sequential=True)
    causal.effect(EDIT, on=some_pairs(), metric=logit_diff)
    assert not folder.exists()


@pytest.mark.parametrize("metric", [recovery, logit_diff])
def test_sweeps_and_traces_are_kept_whole(folder, passes, metric):
    """A map, its plan, floor and base runs come back without a pass, and exactly."""

    def run():
        causal = Causal(Model(gpt2()), cache=Cache(folder))
        pairs = some_pairs()
        grids = [
            causal.sweep("block_output", on=pairs, metric=metric),
            causal.sweep("block_output", on=trading(), metric=metric, placebo="source"),
            causal.trace("mlp_output", on=pairs, positions="end", metric=metric),
            causal.trace("mlp_output", on=pairs, positions="end", corrupt="end", metric=metric),
        ]
        return grids, causal

    first, one = run()
    ran = passes[0]
    second, two = run()
    assert passes[0] == ran
    for a, b in zip(first, second, strict=True):
        assert (a.values == b.values).all()
        assert (str(a.plan), a.floor) == (str(b.plan), b.floor)
    assert one.trail.edits == two.trail.edits


@pytest.mark.parametrize("plan", ["growing", "batched", "loop"])
def test_an_interrupted_sweep_goes_on_where_it_stopped(folder, plan):
    """Jobs that were finished before the interrupt are not run again, and the map is the same."""
    network, pairs = gpt2(), some_pairs()
    cells = [interchange(block_output(layer, pos=pos)) for layer in (0, 1) for pos in (0, -1)]
    jobs = {"growing": 2, "batched": 3, "loop": 4}[plan]
    # Batches of one pair: as many jobs as there are pairs.
    memory = 1 if plan == "batched" else 1 << 30
    kept: list[Job] = []

    def run(recall, *, stop_after: int):
        done = 0

        def measure(keeper):
            nonlocal done

            class Watched:
                """Counts jobs that are run, and interrupts behind one of them."""

                def get(self, job):
                    return keeper.get(job)

                def put(self, job, finished):
                    nonlocal done
                    keeper.put(job, finished)
                    kept.append(job)
                    done += 1
                    if done == stop_after:
                        raise KeyboardInterrupt

            return sweep(
                recall._model, cells, pairs, recovery, plan=plan, memory=memory, keeper=Watched()
            )

        return recall.sweep(cells, pairs, recovery, measure, plan=plan)

    def recall():
        return causaltest.cache.recall.Recall(Cache(folder), Model(network))

    with pytest.raises(KeyboardInterrupt):
        run(recall(), stop_after=jobs - 1)
    assert len(kept) == jobs - 1
    resumed = run(recall(), stop_after=99)
    assert len(kept) == jobs
    assert len(set(kept)) == jobs
    assert resumed.runs
    whole = sweep(Model(network), cells, pairs, recovery, plan=plan, memory=memory)
    assert (resumed.value.values == whole.values).all()
    assert resumed.value.ledger == whole.ledger
    assert resumed.value.plan == whole.plan
    again = run(recall(), stop_after=99)
    assert len(kept) == jobs
    assert again.value.plan == whole.plan
    # The whole took the place of its jobs: one entry, and that of the architecture.
    assert len(list(folder.glob("*.entry"))) == 2


def test_an_interrupt_at_the_keyboard_leaves_finished_jobs(folder, monkeypatch):
    """Through `causal.sweep`: the second run runs the job that the first did not finish."""
    ran: list[Job] = []
    run = Fast.run

    def interrupted(self, job):
        if self.probing:
            return run(self, job)
        ran.append(job)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return run(self, job)

    monkeypatch.setattr(Fast, "run", interrupted)
    network = gpt2()
    first = Causal(Model(network), cache=Cache(folder))
    with pytest.raises(KeyboardInterrupt, match="sweep of block_output: stopped after"):
        first.sweep("block_output", on=some_pairs(), metric=recovery)
    second = Causal(Model(network), cache=Cache(folder))
    grid = second.sweep("block_output", on=some_pairs(), metric=recovery)
    assert ran[2:] == ran[1:2]
    plain = Causal(Model(network)).sweep("block_output", on=some_pairs(), metric=recovery)
    assert (grid.values == plain.values).all()


def attributed(causal: Causal) -> list[bytes]:
    """Estimates by gradients, the strongest computed."""
    grid = causal.attribution("block_output", on=some_pairs(), metric=logit_diff, verify=2)
    return numbers(grid.values.ravel())


def edges_scored(causal: Causal) -> list[object]:
    """Estimates of edges, one computed."""
    found = causal.edge_attribution(on=some_pairs(), metric=logit_diff, verify=1)
    return [*(edge.name for edge in found.edges), *numbers(found.values.ravel())]


def steering(causal: Causal) -> list[bytes]:
    """A vector to steer with."""
    return numbers(causal.mean_difference(block_output(1, pos="end"), on=some_pairs()).tolist())


@pytest.mark.parametrize(
    "measure", [attributed, edges_scored, steering], ids=["cells", "edges", "vector"]
)
def test_estimates_are_kept(folder, passes, measure):
    """Neither gradients, nor the cells that are computed, nor reads are run a second time."""
    first = measure(Causal(Model(gpt2()), cache=Cache(folder)))
    ran = passes[0]
    assert measure(Causal(Model(gpt2()), cache=Cache(folder))) == first
    assert passes[0] == ran


def test_what_is_said_is_kept_by_the_words_asked_for(folder, passes):
    """Texts and patterns are plain data; a function of the caller is asked every time."""
    suite = ROOT / "hypotheses"
    pronouns = Pairs.read(suite / "pairs" / "pronouns.jsonl", cluster="template")

    def run(what: Any, **settings: Any) -> tuple[bool, list[bytes]]:
        causal = Causal(Model.load(str(suite / "schoolbook")), cache=Cache(folder))
        edit = mean_ablate(block_output(0, pos="end"))
        given = {"max_new_tokens": 2, "when": "prompt", **settings}
        before = passes[0]
        values = causal.says(what, edit, on=pronouns, **given).values
        return passes[0] > before, numbers(values)

    def she(new: Any, _pair: Pair) -> bool:
        return "she" in new.text

    ran, first = run("she")
    assert ran
    assert run("she") == (False, first)
    assert run(re.compile("she")) == (True, first)
    assert run(re.compile("she")) == (False, first)
    assert run(re.compile("she", re.IGNORECASE))[0]
    assert run("she", max_new_tokens=3)[0]
    assert run("she", when=[0])[0]
    assert run(she) == run(she) == (True, first)


def test_placebos_are_kept(folder, passes):
    """What controls run is kept as well."""

    def run():
        causal = Causal(Model(gpt2()), cache=Cache(folder))
        effect = causal.effect(interchange(block_output(0, pos=0)), on=some_pairs())
        found = causal.placebos(effect, 1)
        return [numbers(each.values) for each in found]

    first = run()
    ran = passes[0]
    assert run() == first
    assert passes[0] == ran


# Architectures.


@pytest.mark.parametrize("kind", ["gpt2", "mixtral", "t5"])
def test_architectures_come_back_whole(kind):
    """All components, layers, heads and their places survive plain data."""
    network = gpt2() if kind == "gpt2" else _other(kind)
    found = Model(network).architecture
    plain = msgspec.json.decode(msgspec.json.encode(to_plain(found)))
    again = from_plain(plain)
    assert again.components == found.components
    assert again.blocks == found.blocks
    assert {str(each) for each in again.accesses.items()} == {
        str(each) for each in found.accesses.items()
    }
    assert list(again.others) == list(found.others)


def _other(kind: str) -> torch.nn.Module:
    import transformers

    if kind == "t5":
        return transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2,
                decoder_start_token_id=0,
            )
        ).eval()  # fmt: skip
    return transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, num_local_experts=2,
        )
    ).eval()  # fmt: skip


def test_what_no_plain_data_hold_is_refused():
    """A part of an unknown kind is no architecture, written or read."""
    with pytest.raises(TypeError, match="no plain data for a object"):
        to_plain(object())
    with pytest.raises(TypeError, match="no architecture has a Path"):
        from_plain({"Path": {}})
