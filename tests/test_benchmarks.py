"""What the benchmarks count and write, without timing anything."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import causaltest.plugin
from causaltest.records import Run
from causaltest.records.checks import check

_FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Import a script of the benchmarks by its name."""
    monkeypatch.syspath_prepend(str(_FOLDER))

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", _FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


def _multiply_adds(model, tokens, live, attended, *, last):
    """Count one block's multiply-adds by walking over its matrices."""
    width = model["width"]
    queries = 1 if last else live
    keys = values = live * width * width
    query = out = queries * width * width
    mlp = 2 * queries * width * 4 * width
    scores = mixed = (tokens if last else attended) * width
    return keys + values + query + out + mlp + scores + mixed


@pytest.mark.parametrize("first", [1, 3])
def test_the_floor_counts_every_product_once(load, first):
    """The closed form of the floor equals a walk over cells, blocks and matrices."""
    model = {"layers": 3, "width": 8, "classes": 11}
    tokens = 5
    total = 0
    for layer in range(model["layers"] - 1):
        for start in range(first, tokens):
            for block in range(layer + 1, model["layers"]):
                attended = sum(position + 1 for position in range(start, tokens))
                last = block == model["layers"] - 1
                total += _multiply_adds(model, tokens, tokens - start, attended, last=last)
            total += model["width"] * model["classes"]
    every = sum(range(1, tokens + 1))
    plain = model["layers"] * _multiply_adds(model, tokens, tokens, every, last=False)
    plain += model["width"] * model["classes"]
    counted = load("floor").products(**model, tokens=tokens, first=first, pairs=2)
    assert counted == 2 * (total + 2 * plain)


def test_a_benchmark_rewrites_its_own_section_only(load, tmp_path):
    """Recording a section again replaces it and leaves the others."""
    results = load("results")
    page = tmp_path / "results.md"
    results.record("One", "run one", "first", page)
    results.record("Two", "run two", "second", page)
    results.record("One", "run one", "third", page)
    text = page.read_text(encoding="utf-8")
    assert "first" not in text
    assert text.count("## One") == text.count("## Two") == 1
    assert text.index("second") < text.index("third")


def test_a_case_says_what_it_measures(load):
    """Headings of the sweep benchmark name cells, pairs, tokens and where pairs differ."""
    case = load("sweep").Case(15, 16, 7)
    assert str(case) == "layer x position, 16 pairs of 15 tokens that differ from token 7"
    assert case.cells == 16 * 12 * 15


def test_a_slow_tool_is_timed_less_often_and_ours_always(load):
    """Runs of all rounds, warming up included, stay within the limit; ours runs once at least."""
    sweep = load("sweep")
    options = argparse.Namespace(repeat=2, limit=90.0)
    fresh = sweep.Taken()
    assert sweep.repeats(fresh, 0.0, options, ours=False) == 2
    assert sweep.repeats(fresh, 34.0, options, ours=False) == 1
    assert sweep.repeats(fresh, 46.0, options, ours=False) == 0
    assert sweep.repeats(fresh, 46.0, options, ours=True) == 1
    once = sweep.Taken(seconds=[34.0], spent=68.0)
    assert sweep.repeats(once, 0.0, options, ours=True) == 0
    assert sweep.repeats(sweep.Taken(seconds=[5.0], spent=75.0), 0.0, options, ours=False) == 2
    assert sweep.repeats(sweep.Taken(seconds=[5.0], spent=80.0), 0.0, options, ours=False) == 1


def test_the_table_of_a_case_compares_medians_and_answers(load):
    """Times are medians over all rounds; the floor is that of the rates measured beside ours."""
    sweep = load("sweep")
    case = sweep.Case(15, 1, 7)
    answer = np.array([1.0, -2.0])
    ours = sweep.Taken([3.0, 1.0, 2.0], [1e9, 3e9, 2e9], 0.5, 8.0, answer)
    peer = sweep.Taken([8.0, 20.0, 9.0], [], 1.0, 50.0, answer + 1e-6)
    every = dict(zip(sweep.TOOLS, (ours, peer, sweep.Taken()), strict=False))
    pace = {sweep.TOOLS[2].label: 0.5}
    lines = sweep._written(case, every, pace).splitlines()
    times = 2.0 / (sweep._products(case) / 2e9)
    assert lines[-3].split("|")[3:8] == [" 2.000 ", " 3 ", " 1.00 ", f" {times:.2f} ", " 0.50 "]
    assert lines[-2].split("|")[3:6] == [" 9.000 ", " 3 ", " 4.50 "]
    assert "not run (about 90 s)" in lines[-1]
    peer.answer = answer + 0.1
    with pytest.raises(SystemExit, match=r"batched plan disagrees with causaltest by 0\.05"):
        sweep._written(case, every, pace)


def test_reports_of_many_claims_repeat_the_example(load):
    """Each claim has an id of its own, and parts with 24 pairs at most that fit together."""
    results = load("report").many(70)
    assert len({claim.id for claim in results.claims}) == 70
    parts = [part for claim in results.claims for part in claim.parts]
    assert max(len(part.values) for part in parts) == 24
    check(results, "the repeated example")


def test_the_words_to_align_on_are_not_those_to_judge_on(load):
    """Parts of the data share no word, hold every kind, and each prompt ends with its word."""
    align = load("align")
    words: dict[str, set[int]] = {}
    for part in ("train", "dev", "test"):
        drawn, ids = align._prompts(part, 4000)
        assert (ids[:, -1] - align._FIRST_WORD).tolist() == drawn.tolist()
        words[part] = set(drawn.tolist())
        assert {word // align._WORDS_OF_A_KIND for word in words[part]} == set(range(64))
    assert not words["train"] & words["dev"]
    assert not (words["train"] | words["dev"]) & words["test"]
    last = align._FIRST_WORD + max(max(each) for each in words.values())
    assert last < align._FIRST_ANSWER
    assert align._FILLERS[0] >= align._FIRST_ANSWER + align._KINDS**2


@pytest.fixture
def probe(load, monkeypatch):
    """The probe of idle suites, with a clock that goes on only where told."""
    monkeypatch.delenv("IDLE_PROBE", raising=False)
    probe = load("idle_probe")
    probe.now = 0
    monkeypatch.setattr(probe, "_now", lambda: probe.now)
    return probe


def test_the_probe_counts_what_is_inside_once(probe):
    """A hook that calls another is one call, and its time is counted once."""
    clock = probe.Clock()

    def spend(amount):
        probe.now += amount

    inner = probe.timed(spend, clock)

    def outer():
        spend(3)
        inner(4)

    probe.timed(outer, clock)()
    spend(100)
    assert (clock.spent, clock.calls) == (7, 1)


@pytest.mark.parametrize("fails", [False, True])
def test_the_probe_leaves_out_what_a_wrapper_waits_for(probe, fails):
    """Time before and after the hook counts, the hook's own does not; results pass through."""
    clock, seen = probe.Clock(), []

    def wrapper():
        probe.now += 2
        try:
            result = yield
        except ValueError as error:
            seen.append(error)
            result = "mended"
        probe.now += 5
        return result

    around = probe.timed_around(wrapper, clock)()
    next(around)
    probe.now += 1000
    with pytest.raises(StopIteration) as ended:
        around.throw(ValueError("broken")) if fails else around.send("whole")
    assert ended.value.value == ("mended" if fails else "whole")
    assert bool(seen) == fails
    assert (clock.spent, clock.calls) == (7, 2)


def test_the_probe_knows_the_plugin(probe):
    """Modules and objects of the package are its own, others are not."""
    assert probe.is_ours(causaltest.plugin)
    assert probe.is_ours(Run(alpha=0.05, correction="none", seed=0))
    assert not probe.is_ours(pytest)
    assert not probe.is_ours(object())


def test_an_idle_suite_is_measured(load, tmp_path):
    """A suite of plain tests runs under the probe, and each part of the cost is a number."""
    idle = load("idle")
    idle.write_suite(tmp_path, 4)
    found = idle.probed(tmp_path)
    assert found["imports"] > 0
    assert found["modules"] > 10
    assert found["calls"] >= 4
    assert idle.together(found) < found["total"]
