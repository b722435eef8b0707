"""Sweeps beside the peers: same inputs, same run, all answers compared.

    python benchmarks/peers.py ENVIRONMENTS           # once: an environment for each peer
    python benchmarks/sweep.py --environments ENVIRONMENTS --peers ../shared/bench/peers

Every tool is loaded, warmed up and timed in a process of its own, one after the other and in
several rounds, on an idle machine with pinned threads. A variant that would take longer than
`--limit` seconds, judged by a smaller case, is timed less often, or left out (never ours), and the
table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

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


@dataclass
class Taken:
    """What one tool took for a case, in all rounds."""

    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    memory: float = 0.0
    spent: float = 0.0
    answer: np.ndarray | None = None
    failed: bool = False


def repeats(taken: Taken, expected: float, options: argparse.Namespace, *, ours: bool) -> int:
    """Return how often a tool is timed in the next round, beside one run that warms up.

    Parameters
    ----------
    taken
        What it took so far.
    expected
        Seconds of a run, judged by a smaller case; 0 where nothing is known.
    options
        `repeat` runs a round at most; all rounds together take `limit` seconds at most.
    ours
        What the others are compared with: run once at least.
    """
    one = float(np.median(taken.seconds)) if taken.seconds else expected
    fits = int((options.limit - taken.spent) / max(one, 1e-9)) - 1
    return max(min(options.repeat, fits), 1 if ours and not taken.seconds else 0)


def run(
    tool: Tool, options: argparse.Namespace, folder: Path, case: Case, *, count: int, taken: Taken
) -> None:
    """Time one tool in its own process."""
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
    command += ["--warmup", "1", "--repeat", str(count), "--out", str(out)]
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
        taken.failed = True
        return
    turns = [json.loads(each) for each in done.stdout.splitlines() if each.startswith("{")]
    seconds = [each for turn in turns for each in turn["seconds_all"]]
    taken.seconds += seconds
    taken.rates += [turn["rate"] for turn in turns if "rate" in turn]
    taken.memory = max(taken.memory, *(turn["max_rss_mb"] / 1024 for turn in turns))
    taken.spent += sum(seconds) + float(np.median(seconds))
    taken.answer = np.load(out)


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
    """Run all tools on one case, in rounds, and return its table."""
    prepare(options, folder, case)
    tools = HEAD_TOOLS if "head" in case.sweep else TOOLS
    every = {tool: Taken() for tool in tools}
    size = case.cells * case.tokens / 15
    # A machine's speed wavers over minutes: in each round all tools have their turn.
    for _ in range(options.rounds):
        for tool, taken in every.items():
            expected = pace.get(tool.label, 0.0) * size
            count = repeats(taken, expected, options, ours=tool is tools[0])
            if count > 0 and not taken.failed:
                run(tool, options, folder, case, count=count, taken=taken)
    for tool, taken in every.items():
        if taken.seconds:
            pace.setdefault(tool.label, float(np.median(taken.seconds)) / size)
    return _written(case, every, pace)


def _written(case: Case, every: Mapping[Tool, Taken], pace: Mapping[str, float]) -> str:
    """Return the table of a case, or stop where a tool gives other numbers than ours."""
    first = next(iter(every.values()))
    if first.answer is None:
        raise SystemExit(f"causaltest failed on {case}")
    ours, largest = float(np.median(first.seconds)), float(np.abs(first.answer).max())
    least = None
    if first.rates and "position" in case.sweep:
        least = _products(case) / float(np.median(first.rates))
    rows: list[list[str]] = []
    for tool, taken in every.items():
        if taken.answer is None:
            expected = pace.get(tool.label, 0.0) * case.cells * case.tokens / 15
            why = "failed" if taken.failed else f"not run (about {expected:.0f} s)"
            rows.append([tool.label, tool.kind, why, *[""] * 5])
            continue
        seconds = float(np.median(taken.seconds))
        differs = float(np.abs(taken.answer - first.answer).max()) / largest
        if differs > _AGREEMENT:
            raise SystemExit(f"{tool.label} disagrees with causaltest by {differs:.2g} on {case}")
        floor = "" if least is None else f"{seconds / least:.2f}"
        rows.append(
            [tool.label, tool.kind, f"{seconds:.3f}", str(len(taken.seconds)),
             f"{seconds / ours:.2f}", floor, f"{taken.memory:.2f}", f"{differs:.0e}"]
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
    parser.add_argument("--rounds", type=int, default=3, help="turns of every tool")
    parser.add_argument("--repeat", type=int, default=5, help="timed runs of a turn")
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
