"""What calls of an intervenable model return."""

from __future__ import annotations

from typing import Any

from transformers.utils.generic import ModelOutput


class IntervenableModelOutput(ModelOutput):
    """What a call returns with `return_dict=True`."""

    original_outputs: Any = None
    intervened_outputs: Any = None
    collected_activations: Any = None


class Generated(tuple[Any, Any]):  # noqa: SLOT001 - pyright counts no slots of tuples
    """(original, intervened); `[0]` is the first intervened text where no original is asked for.

    Unpacking always gives both, so `_, ids = model.generate(...)` and `model.generate(...)[1]` are
    as in pyvene; `tokenizer.decode(model.generate(...)[0])` decodes the first intervened row.
    """

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if index == 0 and found is None:
            return getattr(self[1], "sequences", self[1])[0]
        return found
