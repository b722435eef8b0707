"""The hook engine: reads and edits activations of any PyTorch model, and leaves it as found."""

from causaltest.engine.model import Model
from causaltest.engine.output import Output

__all__ = ["Model", "Output"]
