"""Learning an alignment beside pyvene's training loop: same model, pairs, width, order and steps.

    python benchmarks/align.py --pyvene ENVIRONMENT/bin/python

`ENVIRONMENT` is a virtual environment with pyvene, see `peers.py`. Both learn the same number of
directions at the last token of a middle block of the GPT-2-small shape, each in a process of its
own. The network names the colour and the shape of its last word; what is looked for is the colour,
and the accuracy is that on words that neither has seen.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

_LAYER, _WIDTH, _TOKENS, _BATCH, _RATE = 6, 32, 15, 16, 0.005
_KINDS, _WORDS_OF_A_KIND = 8, 16
_FIRST_WORD, _FIRST_ANSWER, _FILLERS = 1, 2000, (3000, 5000)
_SPLITS = {"train": (0, 10), "dev": (10, 12), "test": (12, 16)}
"""Which words of each kind: the parts of the data share none."""


def prepare(folder: Path, train: int, test: int) -> None:
    """Write a model that names the colour and the shape of the last word, and pairs for it.

    A random GPT-2-small whose embeddings of 1,024 words carry one of 8 colours and of 8 shapes,
    and whose unembedding of 64 answers, one for each colour with each shape, is fitted to what the
    last block makes of the training words. The answer to learn is the source's colour with the
    base's shape, so that a subspace must hold the one without the other.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    network = GPT2LMHeadModel(GPT2Config()).eval()
    with torch.no_grad():
        table = network.transformer.wte.weight
        kinds = torch.arange(_KINDS**2 * _WORDS_OF_A_KIND) // _WORDS_OF_A_KIND
        colours, shapes = kinds // _KINDS, kinds % _KINDS
        codes = torch.randn(2, _KINDS, table.shape[1]) * 0.02
        table[_FIRST_WORD : _FIRST_WORD + len(kinds)] += codes[0][colours] + codes[1][shapes]
        words, ids = _prompts("train", 512)
        states = torch.cat([network.transformer(rows)[0][:, -1] for rows in ids.split(32)])
        told = torch.cat([_indicators(each[words]) for each in (colours, shapes)], dim=1)
        colour, shape = _ridge(states, told).split(_KINDS, dim=1)
        answers = (colour[:, :, None] + shape[:, None]).flatten(1).T
        table[_FIRST_ANSWER : _FIRST_ANSWER + _KINDS**2] = 20 * answers
    data: dict[str, object] = {}
    for part, count in {"train": train, "dev": 4 * _BATCH, "test": test}.items():
        (base, given), (source, taken) = _prompts(part, count), _prompts(part, count)
        wanted = _FIRST_ANSWER + colours[source] * _KINDS + shapes[base]
        data[part] = {"base": given, "source": taken, "answers": wanted}
    network.save_pretrained(folder)
    torch.save(data, folder / "pairs.pt")


def _prompts(part: str, count: int) -> tuple[Tensor, Tensor]:
    """Draw words of one part of the data, and prompts that end with them."""
    import torch

    first, last = _SPLITS[part]
    kinds = torch.randint(_KINDS**2, (count,))
    words = kinds * _WORDS_OF_A_KIND + torch.randint(first, last, (count,))
    ids = torch.randint(*_FILLERS, (count, _TOKENS))
    ids[:, -1] = _FIRST_WORD + words
    return words, ids


def _indicators(values: Tensor) -> Tensor:
    import torch

    return torch.nn.functional.one_hot(values, _KINDS).double() - 1 / _KINDS


def _ridge(states: Tensor, told: Tensor) -> Tensor:
    """Return the weights, (width, columns), that tell something of states."""
    import torch

    given = states.double()
    penalty = 0.01 * len(given) * torch.eye(given.shape[1], dtype=given.dtype)
    return torch.linalg.solve(given.T @ given + penalty, given.T @ told).float()


def measure(tool: str, folder: Path, epochs: int, threads: int) -> dict[str, float]:
    """Learn with one tool; return seconds of a step, peak memory and accuracy on test pairs."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    data = torch.load(folder / "pairs.pt", weights_only=True)
    ticks = [time.perf_counter()]
    learn = _causaltest if tool == "causaltest" else _pyvene
    accuracy = learn(network, data, epochs, lambda: ticks.append(time.perf_counter()))
    whole = ticks[-1] - ticks[0]
    seconds = [later - sooner for sooner, later in itertools.pairwise(ticks[1:])]
    return {
        "seconds": statistics.median(seconds),
        "whole": whole,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "accuracy": accuracy,
    }


def _causaltest(
    network: nn.Module, data: dict[str, Any], epochs: int, tick: Callable[[], None]
) -> float:
    from causaltest import Causal, Model, Pair, Pairs, block_output
    from causaltest.alignments.fitting import Fitting
    from causaltest.alignments.prepared import Prepared
    from causaltest.alignments.recipe import Recipe

    def pairs(name: str) -> Pairs:
        columns = (data[name][each].tolist() for each in ("base", "source", "answers"))
        return Pairs(
            [
                Pair(tuple(base), tuple(source), source_answer=answer)
                for base, source, answer in zip(*columns, strict=True)
            ],
            name=name,
            cluster=None,
        )

    recipe = Recipe(epochs=epochs, patience=epochs, batch=_BATCH, learning_rate=_RATE)
    causal = Causal(Model(network))
    site = block_output(_LAYER, pos="end")
    fitting = Fitting(
        causal.model, (site,), ("colour",), _WIDTH, pairs("train"), pairs("dev"), "end", recipe
    )
    found, _ = Prepared(fitting).fit(0, tick=tick)
    return causal.accuracy(found, on=pairs("test")).estimate


def _pyvene(
    network: nn.Module, data: dict[str, Any], epochs: int, tick: Callable[[], None]
) -> float:
    import pyvene  # pyright: ignore[reportMissingImports] - in an environment of its own
    import torch

    config = pyvene.IntervenableConfig(
        [
            pyvene.RepresentationConfig(
                _LAYER,
                "block_output",
                low_rank_dimension=_WIDTH,
                intervention_type=pyvene.LowRankRotatedSpaceIntervention,
            )
        ]
    )
    model = pyvene.IntervenableModel(config, model=network)
    model.disable_model_gradients()
    train = data["train"]
    steps = epochs * -(-len(train["answers"]) // _BATCH)
    optimiser = torch.optim.Adam(model.get_trainable_parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps)),
    )
    last = _TOKENS - 1

    def logits(part: dict[str, Tensor], rows: Tensor) -> Tensor:
        _, changed = model(
            {"input_ids": part["base"][rows]},
            [{"input_ids": part["source"][rows]}],
            {"sources->base": ([[[last]] * len(rows)], [[[last]] * len(rows)])},
        )
        return changed.logits[:, -1]

    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(train["answers"]), generator=order).split(_BATCH):
            loss = torch.nn.functional.cross_entropy(logits(train, rows), train["answers"][rows])
            loss.backward()
            optimiser.step()
            schedule.step()
            model.set_zero_grad()
            tick()
    test = data["test"]
    with torch.no_grad():
        rows = torch.arange(len(test["answers"])).split(_BATCH)
        found = torch.cat([logits(test, each).argmax(-1) for each in rows])
    return float((found == test["answers"]).float().mean())


def main() -> None:
    """Measure both and write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pyvene", default="", help="python of an environment with pyvene")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train", type=int, default=256)
    parser.add_argument("--test", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", nargs=2, metavar=("TOOL", "FOLDER"))
    options = parser.parse_args()
    if options.one:
        tool, folder = options.one
        print(json.dumps(measure(tool, Path(folder), options.epochs, options.threads)))
        return
    from results import record, table

    rows: list[list[str]] = []
    ours: float | None = None
    with TemporaryDirectory() as temporary:
        prepare(Path(temporary), options.train, options.test)
        tools = {"causaltest": sys.executable, "pyvene": options.pyvene}
        for tool, python in tools.items():
            if not python:
                continue
            command = [python, __file__, "--one", tool, temporary, "--epochs", str(options.epochs)]
            environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
            done = subprocess.run(
                [*command, "--threads", str(options.threads)],
                check=True,
                capture_output=True,
                text=True,
                env=environment,
            )
            found = json.loads(done.stdout.strip().splitlines()[-1])
            ours = ours or found["seconds"]
            rows.append(
                [
                    tool,
                    f"{found['seconds']:.3f}",
                    f"{found['seconds'] / ours:.2f}",
                    f"{found['whole']:.1f}",
                    f"{found['gigabytes']:.2f}",
                    f"{found['accuracy']:.2f}",
                ]
            )
            print(rows[-1])
    header = ["tool", "s / step", "x causaltest", "all steps (s)", "GB", "test accuracy"]
    note = (
        f"{_WIDTH} directions at block {_LAYER} of 12, last of {_TOKENS} tokens, {options.train} "
        f"pairs in batches of {_BATCH}, {options.epochs} passes in the same order; all steps "
        "include what is run beforehand, GB is the peak of a process. The accuracy is that of "
        f"{options.test} exchanges of the colour of words not seen: 1 in {_KINDS} is right with "
        f"nothing exchanged, and 1 in {_KINDS} with everything."
    )
    record(
        "Learning an alignment", "python benchmarks/align.py", f"{note}\n\n{table(header, rows)}"
    )


if __name__ == "__main__":
    main()
