"""Install each peer into an environment of its own: python benchmarks/peers.py ENVIRONMENTS."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PEERS = {
    "tl": "transformer-lens==4.3.0",
    "tl3": "transformer-lens==3.9.0",
    "nns": "nnsight==0.8.1",
    "pv": "pyvene==0.1.8",
}


def main() -> None:
    """Create what is not there yet."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    for name, package in PEERS.items():
        folder = Path(sys.argv[1]) / name
        if folder.exists():
            continue
        venv.create(folder, with_pip=True)
        for wanted in (["torch==2.13.0", "numpy"], [package]):
            subprocess.run([folder / "bin" / "pip", "install", "-q", *wanted], check=True)


if __name__ == "__main__":
    main()
