"""Which models a run is about, and loading them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from causaltest.model_names import trouble
from causaltest.plugin import options
from causaltest.plugin.marks import marks

if TYPE_CHECKING:
    from torch import nn

    from causaltest.engine import Model

FIXTURE = "_causal_model_name"
_FAILED: pytest.StashKey[set[str]] = pytest.StashKey()
"""What was said of models that could not be loaded."""


def configured(config: pytest.Config) -> list[str]:
    """Return the models named on the command line, else in the ini file.

    Raises
    ------
    pytest.UsageError
        None is named: an empty list would silently skip every hypothesis.
    """
    given = config.getoption("causal_model", None) or config.getini("causal_models")
    names: list[str] = list(dict.fromkeys(given))
    if not names:
        raise pytest.UsageError(
            "no model to test: pass --causal-model NAME (a folder or a hub name), set "
            "causal_models in the pytest configuration, or override the fixture `model`"
        )
    return names


def ids(names: list[str]) -> list[str]:
    """Return short, distinct, slash-free names for test ids."""
    parts = [
        [Path(each).as_posix().strip("/").split("/") for each in _base_and_adapter(name)]
        for name in names
    ]
    longest = max((len(each) for every in parts for each in every), default=1)
    shown: list[str] = []
    for depth in range(1, longest + 1):
        shown = ["+".join("--".join(each[-depth:]) for each in every) for every in parts]
        if len(set(shown)) == len(shown):
            break
    return shown


def chosen(metafunc: pytest.Metafunc) -> tuple[list[Any], list[str]]:
    """Return the models that a test runs on, with their ids; one that is about others is skipped.

    Parameters
    ----------
    metafunc
        The test while it is collected.
    """
    names = configured(metafunc.config)
    wanted = marks(metafunc.definition).models
    shown = dict(zip(names, ids(names), strict=True))
    kept = [name for name in names if not wanted or {name, shown[name], *_ends(name)} & {*wanted}]
    if kept:
        return kept, [shown[name] for name in kept]
    reason = f"it is about {', '.join(wanted)}; add --causal-model={wanted[0]}"
    skip = pytest.mark.skip(reason=reason)
    return [pytest.param(names[0], marks=skip)], [shown[names[0]]]


def _ends(name: str) -> tuple[str, ...]:
    """Return what a model may be called by: the last part of its path or hub name."""
    return (Path(name).name,)


def check(items: list[pytest.Item], config: pytest.Config) -> None:
    """Refuse models that are not there before any test runs, without loading anything.

    Where only loading can tell, as for names on the hub, it is left to the fixture; so are names
    that a conftest.py may know, and a run that only lists tests.

    Raises
    ------
    pytest.UsageError
        A folder is missing, or holds no model.
    """
    given = config.getoption("causal_model", None) or config.getini("causal_models")
    if not given or config.option.collectonly:
        return
    if config.hook.pytest_causal_load_model.get_hookimpls():
        return
    params = (item.callspec.params for item in items if hasattr(item, "callspec"))  # pyright: ignore[reportAttributeAccessIssue]
    names = dict.fromkeys(each[FIXTURE] for each in params if FIXTURE in each)
    wrong = [told for name in names if (told := trouble(_located(name, config)))]
    if wrong:
        raise pytest.UsageError("\n".join(wrong))


def load(name: str, config: pytest.Config) -> Model:
    """Load a model; a folder may be relative to where pytest runs or to the project's root.

    A conftest.py that implements `pytest_causal_load_model` comes first.

    Raises
    ------
    ModelError
        There is no such model, or it cannot be loaded.
    """
    from causaltest.engine import Model

    try:
        brought = config.hook.pytest_causal_load_model(name=name, config=config)
        if brought is not None:
            return wrap(brought)
        return Model.load(
            _located(name, config),
            name=ids([name])[0] if "+" in name and not Path(name).exists() else "",
            device=options.text(config, "device", "auto"),
            dtype=options.text(config, "dtype", "float32"),
        )
    except Exception as error:
        config.stash.setdefault(_FAILED, set()).add(str(error))
        raise


def not_loaded(call: pytest.CallInfo[None], config: pytest.Config) -> str:
    """Return what was said of the model that a test could not be set up with; empty for others."""
    if call.when != "setup" or call.excinfo is None:
        return ""
    said = str(call.excinfo.value)
    return said if said in config.stash.get(_FAILED, ()) else ""


def _base_and_adapter(name: str) -> list[str]:
    """Split BASE+ADAPTER; any other name is one piece."""
    pieces = name.split("+")
    return pieces if all(pieces) else [name]


def _located(name: str, config: pytest.Config) -> str:
    return "+".join(_found(each, config.rootpath) for each in _base_and_adapter(name))


def _found(name: str, root: Path) -> str:
    """Return a folder where it lies, from here or from the project's root; other names as given."""
    beside_root = root / name
    return str(beside_root) if not Path(name).exists() and beside_root.exists() else name


def case_of(item: pytest.Item) -> str:
    """Return what tells a parametrised hypothesis from its siblings, the model left out."""
    return "-".join(parts_of(item))


def parts_of(item: pytest.Item) -> list[str]:
    """Return the parts of a case, one for each `parametrize`, the model left out."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return []
    parts = list(callspec._idlist)  # noqa: SLF001 - the whole id is public, its parts are not
    if FIXTURE in callspec.indices:
        names = configured(item.config)
        parts.remove(ids(names)[names.index(callspec.params[FIXTURE])])
    return parts


def wrap(model: Model | nn.Module) -> Model:
    """Return what the fixture `model` gave as a Model; a suite may bring any module."""
    from causaltest.engine import Model

    return model if isinstance(model, Model) else Model(model)


_LAST_MODEL: pytest.StashKey[dict[str, object]] = pytest.StashKey()


def follow_override(item: pytest.Item) -> None:
    """Forget `causal` and `intervene` where a test resolves `model` to another fixture than before.

    pytest keeps a session fixture whatever becomes of the fixtures it asked for, so a second file
    that overrides `model` would be measured on the model of the first.

    Parameters
    ----------
    item
        The test about to be set up.
    """
    info = getattr(item, "_fixtureinfo", None)
    definitions = {} if info is None else info.name2fixturedefs
    if "model" not in definitions:
        return
    current = definitions["model"][-1]
    last = item.config.stash.setdefault(_LAST_MODEL, {})
    for name in ("causal", "intervene"):
        if name not in definitions:
            continue
        if last.setdefault(name, current) is not current:
            for definition in definitions[name]:
                # Tears down what was built on it, too.
                definition.finish(item._request)  # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue]
        last[name] = current
