"""A run against its baseline: read before anything runs, compared once all claims are in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from causaltest.errors import RecordError
from causaltest.plugin import options

if TYPE_CHECKING:
    from causaltest.baseline import Baseline, Comparison
    from causaltest.baseline.comparing import Margin
    from causaltest.records import Claim, Results


DEFAULT = Path("hypotheses") / "baseline.json"
"""Where a project keeps its baseline, from the root, unless it says otherwise."""


def path_of(config: pytest.Config) -> Path | None:
    """Return where the baseline lies that is asked for; None where none is.

    On the command line a path starts from where pytest was called, in a file from the root.
    """
    given = options.text(config, "baseline", "none")
    if given == "none":
        return None
    if config.getoption("causal_baseline", None):
        return config.invocation_params.dir / given
    return config.rootpath / given


def read(config: pytest.Config) -> Baseline | None:
    """Read the baseline that a run is compared with.

    Raises
    ------
    pytest.UsageError
        There is none, or it is damaged, foreign or was edited.
    """
    path = path_of(config)
    if config.getoption("causal_update_baseline", default=False):
        if options.text(config, "max_pairs", ""):
            raise pytest.UsageError(
                "--causal-update-baseline with --causal-max-pairs would keep a quick look as the "
                "baseline\nrun all pairs, or keep no baseline of this run"
            )
        return None
    if path is None:
        return None
    _ = margin(config)  # A wrong setting is told before anything runs.
    from causaltest.baseline import read as read_baseline
    from causaltest.report.text import visible

    try:
        return read_baseline(path)
    except RecordError as error:
        raise pytest.UsageError(visible(str(error), block=True)) from error


def kept(config: pytest.Config) -> Baseline | None:
    """Read the baseline that a project keeps, where nothing is said about one; None without.

    Raises
    ------
    RecordError
        It is damaged, foreign or was edited.
    """
    path = config.rootpath / DEFAULT
    unsaid = not options.text(config, "baseline", "")
    if not unsaid or config.getoption("causal_update_baseline", default=False):
        return None
    if not path.is_file():
        return None
    from causaltest.baseline import read as read_baseline

    return read_baseline(path)


def margin(config: pytest.Config) -> Margin:
    """Return the change that matters, as the ini file has it.

    Raises
    ------
    pytest.UsageError
        It is no number and no share.
    """
    from causaltest.baseline.comparing import Margin

    given = str(config.getini("causal_drift"))
    found = Margin.parse(given)
    if found is None:
        raise pytest.UsageError(
            f"causal_drift is {given!r}; expected a number such as 0.05, or a share such as 10%"
        )
    return found


def compared(
    results: Results, baseline: Baseline, margin: Margin | None = None
) -> tuple[Comparison, Results]:
    """Compare a run with its baseline and write the outcome into its records.

    Raises
    ------
    RecordError
        They have no claim in common.
    """
    import msgspec

    from causaltest.baseline import compare, keep
    from causaltest.report.comparison import counted

    found = compare(baseline, keep(results), margin=margin)
    told = {each.id: each for each in found.claims if each.state in {"worse", "better"}}
    claims = tuple(_noted(claim, told.get(claim.id)) for claim in results.claims)
    notes = (*results.run.notes, f"Against the baseline: {counted(found)}.", *found.notes)
    run = msgspec.structs.replace(results.run, notes=notes)
    return found, msgspec.structs.replace(results, claims=claims, run=run)


def _noted(claim: Claim, found: object) -> Claim:
    """Add to a claim what became of it."""
    import msgspec

    from causaltest.baseline import Compared
    from causaltest.report.comparison import drift_text

    if not isinstance(found, Compared):
        return claim
    told = [f"{found.state} than the baseline"]
    if found.old != found.new:
        told.append(f"{found.old} before")
    if found.drift is not None and (text := drift_text(found.drift)):
        told.append(text)
    return msgspec.structs.replace(claim, notes=(*claim.notes, "; ".join(told)))
