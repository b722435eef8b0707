"""The page of results: each benchmark rewrites its own section and leaves the others."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

PAGE = Path(__file__).with_name("results.md")
_HEAD = """# Benchmarks

Every figure was measured beside its rivals in one run of the command named with it. Only ratios
carry over to another machine.
"""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table.

    Examples
    --------
    >>> print(table(["tool", "s"], [["plain", "1.0"]]))
    | tool | s |
    | --- | --- |
    | plain | 1.0 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def record(title: str, command: str, text: str, page: Path = PAGE) -> None:
    """Write a section of the page anew.

    Parameters
    ----------
    title
        Heading of the section.
    command
        What was run.
    text
        Markdown below the heading.
    page
        The file.
    """
    known = page.read_text(encoding="utf-8") if page.exists() else _HEAD
    section = f"## {title}\n\n`{command}` on {machine()}.\n\n{text.strip()}\n"
    parts = re.split(r"(?m)^(?=## )", known)
    kept = [part for part in parts if not part.startswith(f"## {title}\n")]
    page.write_text("\n".join(part.strip() + "\n" for part in [*kept, section]), encoding="utf-8")


def machine() -> str:
    """Describe this machine, and how busy it was."""
    import torch

    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), load {load:.1f} at the end, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )
