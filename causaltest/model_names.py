"""Names of models, as far as they can be judged without loading anything."""

from __future__ import annotations

import re
from pathlib import Path

from causaltest.spelling import did_you_mean_path

ADAPTER = "adapter_config.json"
"""What makes a folder that of a PEFT adapter."""
_CONFIG = "config.json"
_HUB = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


def trouble(name: str) -> str:
    """Say why a name can be no model; empty where only loading it can tell.

    A folder must be there and hold a configuration. What may be a name on the hub is left to
    whoever loads it.

    Parameters
    ----------
    name
        A folder, a hub name, or `BASE+ADAPTER`.

    Examples
    --------
    >>> trouble("gpt2")
    ''
    >>> print(trouble("./nowhere"))
    no model './nowhere': there is no such folder
    name a folder written by save_pretrained, or a model on the hub such as gpt2
    """
    folder = Path(name)
    if folder.is_file():
        return f"{name} is a file and no model\nname the folder that {_CONFIG} lies in"
    if folder.exists():
        held = any((folder / file).is_file() for file in (_CONFIG, ADAPTER))
        return "" if held else f"the folder {name} holds no model: {_CONFIG} is missing"
    base, plus, adapter = name.partition("+")
    for piece in (base, adapter) if plus else (name,):
        # Half of BASE+ADAPTER is for the loader, which says what the two are.
        if piece and not Path(piece).exists() and not _HUB.fullmatch(piece):
            return (
                f"no model {piece!r}: there is no such folder{beside(piece)}\n"
                "name a folder written by save_pretrained, or a model on the hub such as gpt2"
            )
    return ""


def beside(name: str) -> str:
    """Return the end of a message that offers a folder of nearly the same name.

    Parameters
    ----------
    name
        A path that does not exist.
    """
    parent = Path(name).parent
    siblings = sorted(path for path in parent.glob("*") if path.is_dir())
    return did_you_mean_path(Path(name), siblings)
