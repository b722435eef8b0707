"""Provenance: where a run happened and on what."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from causaltest.engine import Model
    from causaltest.pairs import Pairs, Place, Prompt
    from causaltest.records import Environment, ModelRecord, PairSetRecord

_PACKAGES = ("causaltest", "torch", "transformers", "numpy", "scipy", "pytest")


def describe_environment(config: pytest.Config) -> Environment:
    """Describe interpreter, packages, commit and command."""
    from causaltest.records import Environment

    commit, dirty = _commit(config.rootpath)
    torch = sys.modules.get("torch")
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages={name: version for name in _PACKAGES if (version := _version(name))},
        git_commit=commit,
        git_dirty=dirty,
        command=shlex.join(["pytest", *map(str, config.invocation_params.args)]),
        threads=torch.get_num_threads() if torch is not None else os.cpu_count() or 0,
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _commit(folder: Path) -> tuple[str, bool | None]:
    def git(*arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 - fixed commands, no shell
            ["git", *arguments],  # noqa: S607 - the git that the user has
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.SubprocessError):
        return "", None


def describe_model(model: Model, name: str) -> ModelRecord:
    """Describe a model that was tested."""
    from causaltest.records import ModelRecord

    return ModelRecord(
        name=name,
        architecture=type(model.network).__name__,
        parameters=sum(each.numel() for each in model.network.parameters()),
        sha256=model.sha256,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        layers=model.n_layers,
        components=model.components,
    )


def describe_pairs(pairs: Pairs) -> PairSetRecord:
    """Describe a pair set, every pair included."""
    from causaltest.records import PairRecord, PairSetRecord

    return PairSetRecord(
        name=pairs.name,
        sha256=pairs.sha256,
        cluster=pairs.cluster,
        n_pairs=len(pairs),
        n_units=pairs.n_units,
        pairs=tuple(
            PairRecord(
                id=pair.id,
                base=_text(pair.base),
                source="" if pair.source is None else _text(pair.source),
                base_answer=_answer(pair.base_answer),
                source_answer=_answer(pair.source_answer),
                unit=unit,
                positions={
                    name: f"{_place(each.base, pair.base)} / {_place(each.source, pair.source)}"
                    for name, each in pair.positions.items()
                },
            )
            for pair, unit in zip(pairs, pairs.units, strict=True)
        ),
    )


def _answer(answer: str | int | None) -> str:
    return "" if answer is None else str(answer)


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else " ".join(map(str, prompt))


def _place(place: Place, prompt: Prompt | None) -> str:
    from causaltest.pairs import Characters

    if isinstance(place, Characters):
        return prompt[place.start : place.stop] if isinstance(prompt, str) else ""
    return ",".join(map(str, place.indices))
