"""From asserts to claims: the verdict that a hypothesis comes to, and how its test ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, cast

import pytest

from causaltest.errors import Inconclusive
from causaltest.plugin import checking, identity, registered
from causaltest.plugin.marks import VERDICTS, marks
from causaltest.plugin.session import STATE

if TYPE_CHECKING:
    from causaltest.plugin.hearing import Hearing
    from causaltest.records import VerdictName


def conclude(item: pytest.Item, hearing: Hearing, error: BaseException | None) -> None:
    """Name the claim's verdict and let the test pass or fail accordingly.

    Raises
    ------
    BaseException
        Whatever the test shall end with.
    """
    marked = marks(item)
    _note_status(item, hearing)
    hearing.name, hearing.deciding = _verdict(hearing, error, exploratory=marked.exploratory)
    unsound = ""
    if hearing.name in VERDICTS:
        unsound = checking.misused(item, hearing, error) or checking.ailing(item, hearing)
    if unsound:
        hearing.name, hearing.deciding, hearing.error = "error", None, unsound
    item.user_properties.extend(_properties(item, hearing))
    if isinstance(error, pytest.skip.Exception):
        raise error
    if unsound:
        pytest.fail(unsound, pytrace=False)
    if hearing.name == "error":
        _end_in_error(hearing, error)
    if hearing.name in (marked.expect, "exploratory"):
        _check_registered(item, hearing)
        return
    if marked.expect != "supported":
        pytest.fail(_unexpected(hearing, marked.expect), pytrace=False)
    if hearing.name == "inconclusive":
        _end_undecided(item, hearing, error)
    if error is not None:
        raise error


def _end_in_error(hearing: Hearing, error: BaseException | None) -> NoReturn:
    if error is not None:
        hearing.error = str(error) or type(error).__name__
        raise error
    hearing.error = (
        "the test asked no claim: it measured, but no comparison's truth was asked\n"
        "write the claim as an assert, e.g. assert effect > 0.5"
    )
    pytest.fail(hearing.error, pytrace=False)


def _end_undecided(item: pytest.Item, hearing: Hearing, error: BaseException | None) -> NoReturn:
    """End as the settings say; lack of evidence never passes, also where the test swallowed it."""
    chosen, explained = _on_inconclusive(item), _explain(hearing)
    if chosen == "skip":
        pytest.skip(explained)
    if chosen == "xfail":
        pytest.xfail(explained)
    raise error or Inconclusive(explained)


def _note_status(item: pytest.Item, hearing: Hearing) -> None:
    assert isinstance(item, pytest.Function)
    hearing.status = registered.status_of(item.config.stash[STATE], item, hearing)


def _on_inconclusive(item: pytest.Item) -> str:
    if registered.is_strict(item.config):
        return "fail"
    return item.config.stash[STATE].settings.inconclusive


def _check_registered(item: pytest.Item, hearing: Hearing) -> None:
    """Fail a claim that holds but was not frozen before, where that is asked for."""
    status = hearing.status
    if status is None or status.standing == "registered" or hearing.name == "exploratory":
        return
    if registered.is_strict(item.config):
        pytest.fail(
            f"the claim is {hearing.name}, but {status.standing}: {', '.join(status.changes)}\n"
            "--causal-strict takes registered claims only; register it, then judge it on pairs "
            "that it was not fitted to",
            pytrace=False,
        )


def _verdict(
    hearing: Hearing, error: BaseException | None, *, exploratory: bool
) -> tuple[VerdictName, int | None]:
    """Name the verdict; what only looks is never supported or refuted."""
    name, deciding = _decided(hearing, error)
    return ("exploratory" if exploratory and name in VERDICTS else name), deciding


def _decided(hearing: Hearing, error: BaseException | None) -> tuple[VerdictName, int | None]:
    """Decide the whole claim: all parts must hold, and the first that does not decides."""
    if isinstance(error, pytest.skip.Exception):
        return "not run", None
    names = [verdict.name for verdict in hearing.verdicts]
    failed = next((i for i, name in enumerate(names) if name != "supported"), None)
    if error is not None:
        # An assertion that has nothing to do with a verdict is no evidence about the claim.
        if isinstance(error, AssertionError) and failed is not None:
            return cast("VerdictName", names[failed]), failed
        return "error", None
    if not names:
        return "error", None
    if failed is not None:
        return cast("VerdictName", names[failed]), failed
    weakest = max(range(len(names)), key=lambda i: hearing.verdicts[i].p_support)
    return "supported", weakest


def _explain(hearing: Hearing) -> str:
    if hearing.deciding is None:
        return hearing.name
    return "\n".join(hearing.verdicts[hearing.deciding].explain())


def _unexpected(hearing: Hearing, expected: str) -> str:
    return f"the claim was expected to be {expected}, but it is {hearing.name}\n{_explain(hearing)}"


def _properties(item: pytest.Item, hearing: Hearing) -> list[tuple[str, object]]:
    """Return what JUnit files hold of a claim: one line for people, fields for machines."""
    found: list[tuple[str, object]] = [(f"causal:{_identifier(item)}", _property(hearing))]
    found.append(("causal.verdict", hearing.name))
    if hearing.deciding is not None:
        verdict = hearing.verdicts[hearing.deciding]
        low, high = verdict.interval.low, verdict.interval.high
        found.append(("causal.estimate", f"{verdict.estimate:.6g}"))
        found.append(("causal.interval", f"[{low:.6g}, {high:.6g}]"))
    return found


def _identifier(item: pytest.Item) -> str:
    assert isinstance(item, pytest.Function)
    return identity.claim_id(item)


def _property(hearing: Hearing) -> str:
    if hearing.deciding is None:
        return hearing.name
    verdict = hearing.verdicts[hearing.deciding]
    low, high = verdict.interval.low, verdict.interval.high
    return f"{hearing.name} {verdict.estimate:+.3f} [{low:+.3f}, {high:+.3f}] n={verdict.n_pairs}"


def explanation(hearing: Hearing | None, op: str, left: object, right: object) -> list[str] | None:
    """Return the lines that pytest prints below a comparison that was refuted."""
    if hearing is None or not hearing.verdicts or op not in (">", "<"):
        return None
    if not any(type(side).__module__.startswith("causaltest.stats") for side in (left, right)):
        return None
    return list(hearing.verdicts[-1].explain())
