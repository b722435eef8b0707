"""Fits in a folder, finished or on their way, so that a stopped search goes on where it was."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from causaltest.alignments.course import Course
from causaltest.alignments.fitting import Fitting
from causaltest.alignments.origin import Fit
from causaltest.alignments.recipe import Loss
from causaltest.errors import InterventionError, RecordError
from causaltest.interventions import Intervention
from causaltest.sharing import load, save

TASK = "fits.json"
RUNNING = "running.safetensors"
_EVERY = 10.0
"""Seconds after which it is kept again how far a fit has got."""


class _Finished(msgspec.Struct, forbid_unknown_fields=True):
    fit: Fit


class Finished:
    """The fits that a search has finished; each is kept as soon as it is there.

    Parameters
    ----------
    folder
        Where; made where missing. None keeps nothing.
    fitting
        What is learned; a folder serves one such task.

    Raises
    ------
    RecordError
        The folder holds the fits of another task, is damaged, or cannot be written.
    InterventionError
        Fits are to be kept of a loss that a later call could not tell from another.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, fitting: Fitting) -> None:
        self._folder = None if folder is None else Path(folder)
        self._model = fitting.model
        if self._folder is not None:
            _check_loss(fitting.recipe.loss)
            task = fitting.plain()
            self._task = hashlib.sha256(msgspec.json.encode(task, order="sorted")).hexdigest()
            self._claim(self._folder, task)

    def get(self, name: str) -> tuple[Intervention, Fit] | None:
        """Return a finished fit, or None."""
        if self._folder is None or not (page := self._folder / name / TASK).is_file():
            return None
        try:
            fit = msgspec.json.decode(page.read_bytes(), type=_Finished).fit
        except (OSError, msgspec.DecodeError) as error:
            raise RecordError(f"{page} is damaged: {error}\nremove {page.parent}") from error
        return load(page.parent, model=self._model), fit

    def add(self, name: str, learned: Intervention, fit: Fit) -> None:
        """Keep a fit."""
        if self._folder is not None:
            target = save(learned, self._folder / name, model=self._model)
            # Last, so that a fit that was not wholly written does not count as finished.
            _write(target / TASK, msgspec.json.encode(_Finished(fit)))
            (target / RUNNING).unlink(missing_ok=True)

    def running(self, name: str) -> Running | None:
        """Return what keeps how far a fit has got; None where nothing is kept."""
        if self._folder is None:
            return None
        return Running(self._folder / name / RUNNING, f"{self._task} {name}")

    @staticmethod
    def _claim(folder: Path, task: dict[str, object]) -> None:
        page = folder / TASK
        if not page.exists():
            _write(page, msgspec.json.format(msgspec.json.encode(task), indent=1) + b"\n")
            return
        try:
            before = msgspec.json.decode(page.read_bytes(), type=dict[str, object])
        except (OSError, msgspec.DecodeError) as error:
            raise RecordError(f"{page} is damaged: {error}\nremove the folder") from error
        now = msgspec.to_builtins(task)
        other = [name for name in now if before.get(name) != now[name]]
        if other or set(before) != set(now):
            raise RecordError(
                f"{folder} holds fits of another task: {', '.join(other) or 'its entries'} "
                "differ\ngive each search a folder of its own, or remove this one"
            )


class Running:
    """How far one fit has got, in a file that is replaced every few seconds.

    Parameters
    ----------
    path
        The file.
    task
        What is learned, and from which seed; the file serves nothing else.
    """

    def __init__(self, path: Path, task: str) -> None:
        self._path = path
        self._task = task
        self._last = time.monotonic()

    def restore(self, course: Course) -> None:
        """Go on from what was kept, if anything was.

        Raises
        ------
        RecordError
            It is damaged, or of another fit.
        """
        if not self._path.is_file():
            return
        try:
            with safe_open(self._path, framework="pt") as kept:
                said = kept.metadata() or {}
                tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118
            if said["task"] == self._task:
                _check_hash(said["sha256"], tensors, said["course"])
                course.go_on(tensors, msgspec.json.decode(said["course"]))
        except (OSError, SafetensorError, LookupError, RuntimeError, ValueError) as error:
            raise RecordError(
                f"{self._path} is damaged: {error}\nremove it, and this fit begins anew"
            ) from error
        if said["task"] != self._task:
            raise RecordError(
                f"{self._path} is of another fit\nremove it, and this fit begins anew"
            )

    def offer(self, course: Course) -> None:
        """Keep how far the fit has got, if that was a while ago.

        Raises
        ------
        RecordError
            The file cannot be written.
        """
        if time.monotonic() - self._last < _EVERY:
            return
        tensors, numbers = course.state()
        told = msgspec.json.encode(numbers).decode()
        said = {"task": self._task, "course": told, "sha256": _sha256(tensors, told)}
        beside = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: each.contiguous() for name, each in tensors.items()}, beside, said)
            # In one go, so that the file is whole whenever the work is stopped.
            beside.replace(self._path)
        except OSError as error:
            raise RecordError(f"cannot write to {self._path}: {error.strerror or error}") from error
        self._last = time.monotonic()


def _check_hash(sha256: str, tensors: dict[str, Tensor], told: str) -> None:
    if sha256 != _sha256(tensors, told):
        raise ValueError("its hash is that of other numbers")


def _sha256(tensors: dict[str, Tensor], told: str) -> str:
    digest = hashlib.sha256(told.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} ".encode())
        digest.update(tensors[name].detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _check_loss(loss: Loss | None) -> None:
    """Refuse what keeps its name when it is rewritten, or set otherwise."""
    if loss is None:
        return
    name = getattr(loss, "__name__", "")
    if not name or str(loss.__module__).partition(".")[0] != "torch":
        raise InterventionError(
            f"keep_in= cannot tell later whether the loss {name or type(loss).__name__} is still "
            "the same\nleave keep_in= out, or take a function of torch as it is"
        )


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise RecordError(f"cannot write to {path}: {error.strerror or error}") from error
