"""Hooks for each test; registered only where a suite has tests that use the plugin."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from causaltest.plugin import claims, families, models, recording, tracebacks, watching
from causaltest.plugin.marks import marks
from causaltest.plugin.session import STATE


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark hypotheses, so that `-m causal` selects them."""
    if families.is_hypothesis(item):
        with item.config.stash[STATE].refusals:
            marks(item)
        item.add_marker(pytest.mark.causal)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Make sure that the gates of a hypothesis are decided in this process."""
    item.config.stash[STATE].decide_gates(item)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what a gate keeps closed; let `causal` follow a `model` that another file overrides."""
    item.config.stash[STATE].check_gates(item)
    models.follow_override(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Keep what a fixture measures for the hypotheses that ask for it."""
    __tracebackhide__ = True
    with request.config.stash[STATE].prepared.noted(fixturedef, request):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Leave the bodies of tests alone where hypotheses are only registered."""
    return True if pyfuncitem.config.stash[STATE].collecting is not None else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Run a hypothesis and turn what its asserts asked into one claim."""
    if not families.is_hypothesis(item):
        return (yield)
    collecting = item.config.stash[STATE].collecting
    if collecting is not None:
        assert isinstance(item, pytest.Function)
        collecting.add(item.config.stash[STATE], item)
        return (yield)
    hearing = item.config.stash[STATE].open(item)
    try:
        with watching.shown(item.config):
            yield
    except (KeyboardInterrupt, pytest.exit.Exception):
        raise
    except BaseException as error:  # noqa: BLE001 - skips and failures are no Exceptions
        claims.conclude(item, hearing, error)
    else:
        claims.conclude(item, hearing, None)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send each claim with its test's report, which survives xdist and crashes."""
    if not item.config.getoption("fulltrace", default=False):
        tracebacks.shorten(call)
    report = yield
    report.causal_not_loaded = models.not_loaded(call, item.config)  # pyright: ignore[reportAttributeAccessIssue]
    if families.is_hypothesis(item) and item.config.stash[STATE].collecting is None:
        recording.attach(item, call, report)
    return report


def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    """Explain a comparison that was refuted."""
    return claims.explanation(config.stash[STATE].hearing, op, left, right)
