"""What one intervened forward pass costs, as a ratio to the plain pass of the same network.

    python benchmarks/overhead.py --models ../shared/models --pyvene ENVIRONMENT/bin/python

`ENVIRONMENT` is a virtual environment with pyvene (`pip install torch==2.13.0 pyvene==0.1.8`);
without it the column stays empty. Each way is timed against the plain pass in processes of its
own, plain and intervened in turn: a context for every run, one context for all runs, pyvene, and
the least that any way can cost, a hook that writes the zeros and checks nothing. Processes differ
by more than rounds do on the small models, so there the median of several is taken.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

_TOKENS = 16
_SMALL = ("stories260k", "babyllama-105", "periodic-induction-gpt2")
_VOCABULARY = 26
"""Token ids that every model here has."""


def ratio(plain: Callable[[], object], other: Callable[[], object], rounds: int) -> float:
    """Return the median of time(other) / time(plain), the two run in turn."""
    plain()
    other()
    ratios: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        plain()
        middle = time.perf_counter()
        other()
        ratios.append((time.perf_counter() - middle) / (middle - start))
    return statistics.median(ratios)


def measure(tool: str, folder: str, rounds: int, threads: int) -> dict[str, float]:
    """Time one way on one model: one position of one block output set to zero."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.arange(_TOKENS)[None] % (_VOCABULARY - 1) + 1
    run = _WAYS[tool](network, ids)

    def plain() -> None:
        with torch.no_grad():
            network(input_ids=ids, use_cache=False)

    return {"ratio": ratio(plain, run, rounds)}


def _causaltest(network: nn.Module, ids: Tensor) -> Callable[[], object]:
    from causaltest import Model, block_output, zero_ablate
    from causaltest.engine.intervening import intervene

    model = Model(network)
    prompt = tuple(ids[0].tolist())
    edit = zero_ablate(block_output(1, pos=3))

    def run() -> None:
        with intervene(model, edit) as edited:
            edited(prompt)

    return run


def _open(network: nn.Module, ids: Tensor) -> Callable[[], object]:
    from causaltest import Model, block_output, zero_ablate
    from causaltest.engine.intervening import intervene

    prompt = tuple(ids[0].tolist())
    context = intervene(Model(network), zero_ablate(block_output(1, pos=3)))
    edited = context.__enter__()

    def run() -> None:
        edited(prompt)

    return run


def _bare(network: nn.Module, ids: Tensor) -> Callable[[], object]:
    import torch

    blocks = next(each for each in network.modules() if isinstance(each, torch.nn.ModuleList))

    def zero(_module: nn.Module, _args: object, output: Tensor | tuple[Tensor, ...]) -> object:
        whole = output.clone() if isinstance(output, torch.Tensor) else output[0].clone()
        whole[:, 3] = 0
        return whole if isinstance(output, torch.Tensor) else (whole, *output[1:])

    def run() -> None:
        handle = blocks[1].register_forward_hook(zero)
        try:
            with torch.no_grad():
                network(input_ids=ids, use_cache=False)
        finally:
            handle.remove()

    return run


def _pyvene(network: nn.Module, ids: Tensor) -> Callable[[], object]:
    import pyvene  # pyright: ignore[reportMissingImports] - in an environment of its own
    import torch

    config = pyvene.IntervenableConfig(
        [pyvene.RepresentationConfig(1, "block_output", intervention_type=pyvene.ZeroIntervention)]
    )
    wrapped = pyvene.IntervenableModel(config, model=network)

    def run() -> None:
        with torch.no_grad():
            wrapped({"input_ids": ids}, unit_locations={"base": 3}, use_cache=False)

    return run


_WAYS = {"causaltest": _causaltest, "open": _open, "bare": _bare, "pyvene": _pyvene}


def _in_process(python: str, tool: str, folder: str, rounds: int, threads: int) -> float | None:
    code = [python, __file__, "--one", tool, folder, "--rounds", str(rounds)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*code, "--threads", str(threads)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        sys.stderr.write(done.stderr[-2000:])
        return None
    return float(json.loads(done.stdout.strip().splitlines()[-1])["ratio"])


def _gpt2_small(folder: Path) -> str:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
    return str(folder)


def _shown(ratios: list[float]) -> str:
    if not ratios:
        return "-"
    whole = f"{statistics.median(ratios):.3f}"
    return whole if len(ratios) == 1 else f"{whole} ({min(ratios):.2f}-{max(ratios):.2f})"


def main() -> None:
    """Measure every model and write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="../shared/models")
    parser.add_argument("--pyvene", default="", help="python of an environment with pyvene")
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--processes", type=int, default=5, help="for each small model and way")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", nargs=2, metavar=("TOOL", "FOLDER"))
    options = parser.parse_args()
    if options.one:
        tool, folder = options.one
        print(json.dumps(measure(tool, folder, options.rounds, options.threads)))
        return
    from results import record, table

    rows: list[list[str]] = []
    with TemporaryDirectory() as temporary:
        folders = [str(Path(options.models) / name) for name in _SMALL]
        folders.append(_gpt2_small(Path(temporary) / "gpt2-small-shape"))
        for folder, limit in zip(folders, [1.15] * len(_SMALL) + [1.03], strict=True):
            rounds, times = options.rounds, options.processes
            if limit < 1.1:
                rounds, times = rounds // 10, 1
            shown: list[str] = []
            for way in _WAYS:
                python = options.pyvene if way == "pyvene" else sys.executable
                found = [
                    _in_process(python, way, folder, rounds, options.threads)
                    for _ in range(times if python else 0)
                ]
                shown.append(_shown([each for each in found if each is not None]))
            rows.append([Path(folder).name, *shown, f"{limit:.2f}"])
            print(rows[-1])
    heads = ["causaltest", "causaltest, one context", "bare hook", "pyvene"]
    text = table(["model", *(f"{head} / plain" for head in heads), "to be reached"], rows)
    note = (
        f"One prompt of {_TOKENS} tokens, one position of one block output set to zero; medians of "
        "ratios, and where several processes ran, the median of these and their range. What is to "
        "be reached is meant for a context in every run."
    )
    record(
        "Overhead of one intervened forward", "python benchmarks/overhead.py", f"{note}\n\n{text}"
    )


if __name__ == "__main__":
    main()
