"""Finished fits in a folder, so that an interrupted search goes on where it stopped."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from causaltest.alignments.alignment import Fit
from causaltest.alignments.fitting import Fitting
from causaltest.alignments.recipe import Loss
from causaltest.errors import InterventionError, RecordError
from causaltest.interventions import Intervention
from causaltest.sharing import load, save

TASK = "fits.json"


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
            self._claim(self._folder, fitting.plain())

    def get(self, seed: int) -> tuple[Intervention, Fit] | None:
        """Return a finished fit, or None."""
        if self._folder is None or not (page := self._folder / f"{seed}" / TASK).is_file():
            return None
        try:
            fit = msgspec.json.decode(page.read_bytes(), type=_Finished).fit
        except (OSError, msgspec.DecodeError) as error:
            raise RecordError(f"{page} is damaged: {error}\nremove {page.parent}") from error
        return load(page.parent, model=self._model), fit

    def add(self, learned: Intervention, fit: Fit) -> None:
        """Keep a fit."""
        if self._folder is not None:
            target = save(learned, self._folder / f"{fit.seed}", model=self._model)
            # Last, so that a fit that was not wholly written does not count as finished.
            _write(target / TASK, msgspec.json.encode(_Finished(fit)))

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
