"""Two small things that pyvene's scripts begin with."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn


def set_seed(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global random streams."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global stream is what is asked for
    torch.manual_seed(seed)


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers of a module require gradients."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)
