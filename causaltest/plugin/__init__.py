"""The pytest plugin: hooks and fixtures, silent where a suite does not use it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest

from causaltest.plugin import controller, families, models, options
from causaltest.plugin.session import STATE, Session

if TYPE_CHECKING:
    from causaltest.engine import Model
    from causaltest.engine.intervening import Intervened
    from causaltest.experiment import Causal
    from causaltest.interventions import Intervention
    from causaltest.pairs import Pair, Pairs


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini keys."""
    options.declare(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Offer the hooks of `hookspecs`."""
    from causaltest.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers and start the session's state."""
    config.addinivalue_line(
        "markers",
        "causal(id='', expect='supported', weight=1, requires=(), exploratory=False, min_pairs=12, "
        "models=(), suppress=(), specification=''): a causal hypothesis; `id` names its claim "
        "whatever its test is called, `expect` is the verdict on which the test "
        "passes, `weight` its share of the file's error rate, `requires` names hypotheses that "
        "must be supported first, `exploratory` ones look without deciding, `min_pairs` is how "
        "many are not too few, `models` names those that it is about, `suppress` health checks "
        "that it may fail, `specification` the case that was settled on.",
    )
    config.addinivalue_line(
        "markers", "pairs(file, cluster=): the file of pairs that the fixture `pairs` reads."
    )
    config.stash[STATE] = Session(config)
    if options.text(config, "max_pairs", ""):
        from causaltest.plugin import sets

        config.pluginmanager.register(sets.Shortening(), "causaltest-shortening")
    if not config.stash[STATE].is_worker:
        config.pluginmanager.register(controller.Controller(config), "causaltest-controller")


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """See how xdist was told to distribute, before it fills in what it does by itself."""
    controller.note_distribution(config)
    return (yield)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each hypothesis on every configured model."""
    if models.FIXTURE in metafunc.fixturenames:
        names, ids = models.chosen(metafunc)
        metafunc.parametrize(models.FIXTURE, names, indirect=True, ids=ids)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Count the hypotheses of a file before any selection narrows them."""
    report = yield
    session = collector.config.stash[STATE]
    if families.note(session.families, collector, report):
        session.begin()
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fix each hypothesis's level before any model runs."""
    session = config.stash[STATE]
    with session.refusals:
        if not session.refusals.told:
            models.check(items, config)
    if session.has_begun:
        with session.refusals:
            if not session.refusals.told:
                session.settle(items)
    if session.refusals.told:
        items.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the process that controls a worker of xdist what was collected."""
    controller.tell_roster(session.config, session.items)


def pytest_report_collectionfinish(config: pytest.Config) -> str | list[str]:
    """Say in one line what will be tested, where there is anything to test."""
    return config.stash[STATE].headline()


@pytest.fixture(scope="session")
def _causal_model_name(request: pytest.FixtureRequest) -> str:
    """Name of the configured model; absent where a suite overrides `model`."""
    return request.param


@pytest.fixture(scope="session")
def model(_causal_model_name: str, pytestconfig: pytest.Config) -> Model:
    """The model under test; override it to bring any `torch.nn.Module`."""
    return models.load(_causal_model_name, pytestconfig)


@pytest.fixture(scope="session")
def causal(model: Model, pytestconfig: pytest.Config) -> Causal:
    """Measures effects on the model under test; comparing one makes a claim."""
    return pytestconfig.stash[STATE].causal(model)


@pytest.fixture
def pairs(request: pytest.FixtureRequest) -> Pairs:
    """The pair set of `@pytest.mark.pairs("ioi.jsonl", cluster="template")`, beside the test."""
    from causaltest.plugin import sets

    return sets.of(request)


@pytest.fixture(scope="session")
def intervene(model: Model) -> Callable[..., AbstractContextManager[Intervened]]:
    """The bare engine: `with intervene(interchange(site), pair) as run: run(pair.base)`."""
    from causaltest.engine.intervening import intervene as run_under

    wrapped = models.wrap(model)

    def on_this_model(
        intervention: Intervention, pair: Pair | None = None
    ) -> AbstractContextManager[Intervened]:
        return run_under(wrapped, intervention, pair)

    return on_this_model


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write results and report once all claims are in."""
    state = session.config.stash[STATE]
    if state.collecting is not None:
        state.collecting.write()
    outcome = state.outcome
    if outcome is None:
        return
    outcome.finish()
    if (outcome.is_worse or outcome.is_unwritten) and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of claims and where the report is."""
    outcome = config.stash[STATE].outcome
    if outcome is not None:
        outcome.summarise(terminalreporter)
