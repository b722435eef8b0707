"""Sweeps beside the peers: same inputs, same run, all answers compared.

    python benchmarks/peers.py ENVIRONMENTS           # once: an environment for each peer
    python benchmarks/sweep.py --environments ENVIRONMENTS --peers ../shared/bench/peers

Every tool is loaded, warmed up and timed in a process of its own, one after the other, on an idle
machine with pinned threads. A variant that would take longer than `--limit` seconds, judged by a
smaller case, is timed less often, or left out (never ours), and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from floor import products
from results import record, table

_LAYERS, _WIDTH, _CLASSES, _HEADS = 12, 768, 50257, 12
_AGREEMENT = 1e-3


@dataclass(frozen=True)
class Tool:
    """One way to do the sweep: which environment, script and variant, and how it is called."""

    label: str
    environment: str
    script: str
    variant: str
    kind: str


TOOLS = (
    Tool("causaltest", "", "causaltest_patch.py", "sweep", "ours"),
    Tool("causaltest, batched plan", "", "causaltest_patch.py", "batched", "ours"),
    Tool("plain hooks, one cell a pass", "tl", "ref_patch.py", "naive", "idiomatic"),
    Tool("hand-written suffix (reference)", "tl", "ref_patch.py", "suffix", "reference"),
    Tool("TransformerLens helper", "tl", "tl_patch.py", "helper", "idiomatic"),
    Tool("TransformerLens batched", "tl", "tl_patch.py", "batched", "best effort"),
    Tool("TransformerLens 3.9 start-at", "tl3", "tl_patch.py", "startat-ht", "best effort"),
    Tool("nnsight invokes", "nns", "nnsight_patch.py", "invokes", "idiomatic"),
    Tool("nnsight batched", "nns", "nnsight_patch.py", "batched", "best effort"),
    Tool("nnsight skip", "nns", "nnsight_patch.py", "skip", "best effort"),
    Tool("pyvene", "pv", "pyvene_patch.py", "cell", "idiomatic"),
    Tool("pyvene batched", "pv", "pyvene_patch.py", "batched", "best effort"),
)
HEAD_TOOLS = tuple(
    Tool(label, "", "causaltest_patch.py", variant, kind)
    for label, variant, kind in (
        ("causaltest", "heads", "ours"),
        ("causaltest, batched plan", "heads-batched", "ours"),
        ("causaltest, one cell a pass", "heads-loop", "idiomatic"),
    )
)


@dataclass(frozen=True)
class Case:
    """One size of the task."""

    tokens: int
    pairs: int
    first: int
    sweep: str = "layer x position"

    def __str__(self) -> str:
        differ = "everywhere" if self.first <= 1 else f"from token {self.first}"
        many = f"{self.pairs} pairs" if self.pairs > 1 else "1 pair"
        return f"{self.sweep}, {many} of {self.tokens} tokens that differ {differ}"

    @property
    def cells(self) -> int:
        """Number of forward passes of one cell each."""
        return self.pairs * _LAYERS * (self.tokens if "position" in self.sweep else _HEADS)


CASES = (
    Case(15, 1, 1),
    Case(15, 1, 7),
    Case(15, 16, 1),
    Case(15, 16, 7),
    Case(64, 1, 1),
    Case(64, 1, 32),
    Case(64, 16, 1),
    Case(64, 16, 32),
    Case(15, 1, 1, "layer x head"),
    Case(15, 16, 1, "layer x head"),
)


def run(
    tool: Tool, options: argparse.Namespace, folder: Path, case: Case, repeats: int
) -> dict[str, Any] | None:
    """Run one tool in its own process and return what it reports; None where it failed."""
    python = sys.executable
    here = Path(__file__).parent
    peers = Path(options.peers).resolve()
    script = here / tool.script
    if tool.environment:
        python = str(Path(options.environments) / tool.environment / "bin" / "python")
        script = peers / tool.script
    out = folder / "out.npy"
    command = [python, str(script), "--model", str(folder / "model")]
    command += ["--pairs", str(folder / _inputs(case)), "--variant", tool.variant]
    command += ["--threads", str(options.threads), "--device", options.device]
    command += ["--warmup", "1", "--repeat", str(repeats), "--out", str(out)]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{here.parent}{os.pathsep}{peers}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": str(options.threads),
        "MKL_NUM_THREADS": str(options.threads),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.stderr.write(f"{tool.label} failed:\n{done.stderr[-1500:]}\n")
        return None
    turns = [json.loads(each) for each in done.stdout.splitlines() if each.startswith("{")]
    seconds = [each for turn in turns for each in turn["seconds_all"]]
    return {
        "seconds": float(np.median(seconds)),
        "rate": float(np.median([turn.get("rate", 0.0) for turn in turns])),
        "memory": max(turn["max_rss_mb"] for turn in turns) / 1024,
        "answer": np.load(out),
    }


def _inputs(case: Case) -> str:
    return f"pairs-{case.tokens}-{case.pairs}-{case.first}.npz"


def prepare(options: argparse.Namespace, folder: Path, case: Case) -> None:
    """Write the model and the pairs, with the peers' own script."""
    python = str(Path(options.environments) / "tl" / "bin" / "python")
    shape = {
        "n-layer": _LAYERS, "n-embd": _WIDTH, "n-head": _HEADS, "vocab": _CLASSES, "n-pos": 128,
        "seq": case.tokens, "pairs": case.pairs, "diff-from": case.first, "diff-to": case.tokens,
        "gain": 1.0,
    }  # fmt: skip
    command = [python, str(Path(options.peers) / "make_inputs.py")]
    command += ["--out-model", str(folder / "model"), "--out-pairs", str(folder / _inputs(case))]
    for name, value in shape.items():
        command += [f"--{name}", str(value)]
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )


def _products(case: Case) -> float:
    return products(
        layers=_LAYERS,
        tokens=case.tokens,
        width=_WIDTH,
        classes=_CLASSES,
        first=case.first,
        pairs=case.pairs,
    )


def measure(case: Case, options: argparse.Namespace, folder: Path, pace: dict[str, float]) -> str:
    """Run all tools on one case and return its table."""
    prepare(options, folder, case)
    heads = "head" in case.sweep
    rows: list[list[str]] = []
    ours: float | None = None
    least: float | None = None
    answer: np.ndarray | None = None
    for tool in HEAD_TOOLS if heads else TOOLS:
        expected = pace.get(tool.label, 0.0) * case.cells * case.tokens / 15
        # One run more warms up. Ours is what the others are compared with.
        repeats = min(options.repeat, int(options.limit / max(expected, 1e-9)) - 1)
        repeats = max(repeats, 1 if ours is None else 0)
        if repeats < 1:
            rows.append([tool.label, tool.kind, f"not run (about {expected:.0f} s)", *[""] * 5])
            continue
        found = run(tool, options, folder, case, repeats)
        if found is None:
            rows.append([tool.label, tool.kind, "failed", *[""] * 5])
            continue
        seconds = found["seconds"]
        pace.setdefault(tool.label, seconds / case.cells / (case.tokens / 15))
        if ours is None:
            ours = seconds
            if found["rate"] and not heads:
                least = _products(case) / found["rate"]
        given: np.ndarray = found["answer"]
        answer = given if answer is None else answer
        differs = float(np.abs(given - answer).max() / np.abs(answer).max())
        if differs > _AGREEMENT:
            raise SystemExit(f"{tool.label} disagrees with causaltest by {differs:.2g} on {case}")
        floor = "" if least is None else f"{seconds / least:.2f}"
        memory = f"{found['memory']:.2f}"
        times = f"{seconds / ours:.2f}"
        rows.append(
            [tool.label, tool.kind, f"{seconds:.3f}", str(repeats), times, floor, memory,
             f"{differs:.0e}"]
        )  # fmt: skip
        print(case, *rows[-1], sep=" | ", flush=True)
    header = ["tool", "", "seconds", "runs", "x causaltest", "x floor", "GB", "difference"]
    floor = "" if least is None else f" The matrix products alone take {least:.3f} s."
    return f"### {case}\n\n{case.cells} cells.{floor}\n\n{table(header, rows)}"


def main() -> None:
    """Measure the chosen cases and write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", required=True, help="folder written by peers.py")
    parser.add_argument("--peers", default="../shared/bench/peers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--limit", type=float, default=150.0, help="seconds for one tool and case")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--cases", type=int, nargs="*", help="numbers of cases, from 0; all if left out"
    )
    options = parser.parse_args()
    chosen = range(len(CASES)) if options.cases is None else options.cases
    title = "Sweeps beside the peers" + ("" if options.device == "cpu" else f" ({options.device})")
    command = f"python benchmarks/sweep.py --threads {options.threads} --device {options.device}"
    texts = [
        "GPT-2-small shape (12 blocks x 768, 50,257 words), float32, medians; GB is peak memory."
    ]
    pace: dict[str, float] = {}
    with TemporaryDirectory() as temporary:
        for index in chosen:
            texts.append(measure(CASES[index], options, Path(temporary), pace))
            record(title, command, "\n\n".join(texts))  # an interrupt loses one case


if __name__ == "__main__":
    main()
