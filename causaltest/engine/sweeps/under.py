"""Base runs that are edited before the first block, whatever cells do to them."""

from __future__ import annotations

from causaltest.engine.applied import Applied, declared
from causaltest.engine.hooks import Operation, Side
from causaltest.engine.prompts import Batch
from causaltest.engine.sources import needs_reading
from causaltest.engine.sweeps.capture import Unfit
from causaltest.engine.sweeps.placing import BEFORE, Places
from causaltest.engine.sweeps.task import Task


def made_under(task: Task, rows: Batch) -> tuple[list[Applied], list[tuple[str, Side, Operation]]]:
    """Return what is done to some base runs, and the operations that do it.

    Parameters
    ----------
    task
        The sweep.
    rows
        The base runs of one pass.
    """
    if task.under is None:
        return [], []
    return declared(task.model, task.under, rows, draw=0)


def check_under(task: Task, places: Places) -> None:
    """Make sure that base runs can be run under what is done to them.

    Raises
    ------
    Unfit
        It reads other runs, or is not before the first block; or cells draw at random themselves.
    """
    if task.under is None:
        return
    if any(cell.draws > 1 for cell in task.cells):
        raise Unfit("cells have random draws of their own")
    if any(needs_reading(part) or part.needs_input for part in task.under.parts):
        raise Unfit(f"{task.under} reads other runs")
    paths = (task.model.access(site).path for site in task.under.sites)
    if any(places.layer(path) != BEFORE for path in paths):
        raise Unfit(f"{task.under} is not before the first block")
