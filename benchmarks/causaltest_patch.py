"""causaltest on the peers' own task: their inputs, their timing, their output.

Run by `sweep.py`, with the folder of the peers on the path: every cell of block output x position,
patched from the clean into the corrupt run, through the public call a user would write.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np
import peer_common as pc  # pyright: ignore[reportMissingImports] - the peers' own
import torch
from floor import rate

VARIANTS = ["sweep", "batched", "loop", "heads", "heads-batched", "heads-loop"]
args = pc.parse(VARIANTS, __doc__)

from causaltest import (  # noqa: E402
    Causal,
    Model,
    Pair,
    Pairs,
    block_output,
    head_attention_value_output,
)

network = pc.load_hf(args)
model = Model(network)
clean, corrupt, target, foil = (each.tolist() for each in pc.load_pairs(args))
pairs = Pairs(
    [
        Pair(tuple(base), tuple(source), base_answer=right, source_answer=wrong)
        for source, base, right, wrong in zip(clean, corrupt, target, foil, strict=True)
    ],
    name="peers",
    cluster=None,
)
layers = range(network.config.num_hidden_layers)
heads = args.variant.startswith("heads")
plan: Any = {"sweep": "auto", "heads": "auto"}.get(
    args.variant, args.variant.removeprefix("heads-")
)
said: list[str] = []


# The peers give the metric itself, a grid what changes against the base run.
outputs = model.run([pair.base for pair in pairs])
base = float(
    np.mean([run.at()[a] - run.at()[b] for run, a, b in zip(outputs, target, foil, strict=True)])
)


def sweep() -> np.ndarray:
    """Measure all cells; nothing is kept from an earlier call but what is known of the network."""
    causal = Causal(model)
    if heads:
        every = range(network.config.num_attention_heads)
        grid = causal.sweep(
            head_attention_value_output, layers=layers, heads=every, on=pairs, plan=plan
        )
    else:
        grid = causal.sweep(block_output, layers=layers, positions="all", on=pairs, plan=plan)
    said[:] = [str(grid.plan)]
    return grid.estimate + base


torch.set_num_threads(args.threads)
for _ in range(args.warmup):
    sweep()
once = Namespace(**{**vars(args), "warmup": 0, "repeat": 1})
for _ in range(args.repeat):
    # Speeds waver: the machine's own is measured in turn with ours.
    also = {"rate": rate(network.config.hidden_size)} if args.device == "cpu" else {}
    pc.bench(once, "causaltest", sweep, {"plan": said, **also})
