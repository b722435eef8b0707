"""Learning an alignment beside pyvene's training loop: same model, pairs, width, order and steps.

    python benchmarks/align.py --pyvene ENVIRONMENT/bin/python

`ENVIRONMENT` is a virtual environment with pyvene, see `peers.py`. Both learn the same number of
directions at the last token of a middle block of a random GPT-2-small shape; the answer to learn is
the one that the network gives to the source.
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


def prepare(folder: Path, train: int, test: int) -> None:
    """Write a random model, and prompts with the answers it gives."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    network = GPT2LMHeadModel(GPT2Config()).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 2 and "wpe" not in name:
                weight.mul_(3.0)
        ids = torch.randint(1, 5000, (2, train + test, _TOKENS))
        answers = torch.cat([network(rows).logits[:, -1].argmax(-1) for rows in ids[1].split(64)])
    network.save_pretrained(folder)
    torch.save({"ids": ids, "answers": answers, "train": train}, folder / "pairs.pt")


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
    from causaltest.alignments.recipe import Recipe

    (base, source), answers, train = data["ids"].tolist(), data["answers"].tolist(), data["train"]
    pairs = Pairs(
        [
            Pair(tuple(one), tuple(other), source_answer=answer)
            for one, other, answer in zip(base, source, answers, strict=True)
        ],
        name="pairs",
        cluster=None,
    )
    recipe = Recipe(epochs=epochs, patience=epochs, batch=_BATCH, learning_rate=_RATE)
    causal = Causal(Model(network))
    on, dev, test = pairs[:train], pairs[train : train + _BATCH], pairs[train + _BATCH :]
    site = block_output(_LAYER, pos="end")
    fitting = Fitting(causal.model, (site,), ("answer",), _WIDTH, on, dev, "end", recipe)
    found, _ = fitting.fit(0, tick=tick)
    return causal.accuracy(found, on=test).estimate


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
    steps = epochs * -(-data["train"] // _BATCH)
    optimiser = torch.optim.Adam(model.get_trainable_parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps)),
    )
    base, source = data["ids"]
    last = _TOKENS - 1

    def logits(rows: Tensor) -> Tensor:
        _, changed = model(
            {"input_ids": base[rows]},
            [{"input_ids": source[rows]}],
            {"sources->base": ([[[last]] * len(rows)], [[[last]] * len(rows)])},
        )
        return changed.logits[:, -1]

    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(data["train"], generator=order).split(_BATCH):
            loss = torch.nn.functional.cross_entropy(logits(rows), data["answers"][rows])
            loss.backward()
            optimiser.step()
            schedule.step()
            model.set_zero_grad()
            tick()
    with torch.no_grad():
        test = torch.arange(data["train"] + _BATCH, len(data["answers"]))
        found = torch.cat([logits(each).argmax(-1) for each in test.split(_BATCH)])
    return float((found == data["answers"][test]).float().mean())


def main() -> None:
    """Measure both and write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pyvene", default="", help="python of an environment with pyvene")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--train", type=int, default=256)
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
        prepare(Path(temporary), options.train, _BATCH + 128)
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
        "include what is run beforehand."
    )
    record(
        "Learning an alignment", "python benchmarks/align.py", f"{note}\n\n{table(header, rows)}"
    )


if __name__ == "__main__":
    main()
