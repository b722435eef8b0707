"""The import direction of the package: data below, engine above, pytest on top."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "causaltest"

LEAVES = {"errors", "spelling"}
DATA = LEAVES | {"sites", "pairs", "interventions", "circuits"}
RESULTS = LEAVES | {"stats", "records"}
RUN = DATA | RESULTS | {"engine", "metrics"}
MEASURING = RUN | {"measuring"}

TORCH = {"torch", "transformers", "safetensors", "huggingface_hub", "accelerate", "peft", "numpy"}
STATISTICS = {"numpy", "scipy"}
REPORT = {"msgspec", "jinja2", "markupsafe", "altair", "vl_convert"}

PACKAGE_ITSELF = "the package itself"  # import causaltest, for its version or folder


@dataclass(frozen=True)
class Layer:
    """What one component, a module or package in causaltest/, may import."""

    own: frozenset[str]
    """Other components."""
    others: frozenset[str]
    """Other distributions, beside the standard library."""


def layer(own: set[str], others: set[str]) -> Layer:
    """Return a layer."""
    return Layer(frozenset(own), frozenset(others))


LAYERS = {
    "errors": layer(set(), set()),
    "spelling": layer(set(), set()),
    "model_names": layer({"spelling"}, set()),
    "sites": layer(LEAVES, {"msgspec"}),
    "causal_models": layer(LEAVES, {"altair", "hypothesis"}),
    "pairs": layer(LEAVES | {"sites", "causal_models"}, {"msgspec"}),
    "interventions": layer(LEAVES | {"sites", "pairs"}, {"msgspec"}),
    "circuits": layer(LEAVES | {"sites", "interventions"}, {"msgspec"}),
    "stats": layer(LEAVES, STATISTICS | {"msgspec"}),
    "records": layer(LEAVES | {"stats"}, {"msgspec"}),
    "baseline": layer(RESULTS, {"msgspec"}),
    "registration": layer(LEAVES, {"msgspec"}),
    "report": layer(RESULTS | {"baseline"}, REPORT),
    "engine": layer(DATA | {"model_names"}, TORCH | {"msgspec", "tqdm", "pandas"}),
    "metrics": layer(DATA | {"engine"}, TORCH),
    "sharing": layer(DATA | {"engine"}, TORCH | {"msgspec"}),
    "health": layer(DATA | RESULTS, {"msgspec"}),
    "controls": layer(MEASURING, TORCH),
    "texts": layer(MEASURING | {"cache", "fitted"}, TORCH),
    "completeness": layer(MEASURING, TORCH),
    "fitted": layer(DATA | {"stats"}, TORCH),
    "alignments": layer(
        MEASURING | {"fitted", "grids", "progress", "report", "sharing", "sweeps"},
        TORCH | {"altair", "msgspec"},
    ),
    "doses": layer(MEASURING, TORCH),
    "looks": layer(MEASURING | {"controls"}, TORCH),
    "cache": layer(RUN | {"sharing"} | {PACKAGE_ITSELF}, TORCH | {"msgspec"}),
    "progress": layer(set(), {"tqdm"}),
    "grids": layer(RESULTS | {"report"}, {"numpy", "pandas", "altair", "vl_convert", "msgspec"}),
    "plain_runs": layer(RUN | {"cache"}, set()),
    "measuring": layer(RUN | {"cache", "fitted", "health", "plain_runs"}, TORCH),
    "sweeps": layer(
        MEASURING | {"cache", "controls", "fitted", "grids", "plain_runs", "progress"},
        TORCH | {"msgspec", "pandas"},
    ),
    "experiment": layer(
        MEASURING
        | {"alignments", "completeness", "controls", "doses", "health", "looks", "sweeps", "texts"}
        | {"cache", "plain_runs"},
        TORCH | {"scipy", "msgspec", "tqdm"},
    ),
    "pyvene": layer(RUN | {"causal_models", "experiment", "sharing"}, TORCH | {"msgspec", "tqdm"}),
    "strategies": layer(RUN, {"hypothesis"}),
    "plugin": layer(
        RUN
        | {"experiment", "health", "baseline", "registration", "report", "progress"}
        | {"cache", "measuring", "model_names", PACKAGE_ITSELF},
        TORCH | {"pytest", "_pytest", "pluggy", "xdist", "msgspec", "tqdm", "hypothesis"},
    ),
    "__main__": layer({"cli"}, set()),
    "cli": layer(
        RUN
        | {"alignments", "experiment", "health", "baseline", "registration", "report"}
        | {PACKAGE_ITSELF},
        TORCH | {"click", "msgspec", "tqdm"},
    ),
}
"""Who may import what. A new component gets its line here, as low as it can stand."""


@dataclass(frozen=True)
class Import:
    """One import, wherever in a module it stands."""

    line: int
    name: str
    """The full name: causaltest.pairs.sets, torch.nn."""


def component(path: Path) -> str:
    """Return the component that a module belongs to: pairs for causaltest/pairs/sets.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    """Return every module of the package but the top, which imports nothing until asked."""
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imports(source: str, package: str) -> Iterator[Import]:
    """Yield all imports of a module: at its top, in functions, in TYPE_CHECKING blocks, by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            parents = parts[: len(parts) - node.level + 1] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(node.lineno, f"{origin}.{alias.name}")
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            match node.args:
                case [ast.Constant(value=str(name)), *_]:
                    yield Import(node.lineno, name)


def called(call: ast.Call) -> str:
    """Return the last name of what is called: import_module for importlib.import_module(...)."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def offences(source: str, package: str, home: str) -> list[str]:
    """Return what a module of the component `home` imports and may not."""
    allowed = LAYERS[home]
    found: list[str] = []
    for each in imports(source, package):
        top, *rest = each.name.split(".")
        if top == "causaltest":
            target = rest[0] if rest else PACKAGE_ITSELF
            if target != home and target not in allowed.own:
                found.append(f"line {each.line}: {home} may not import {target}")
        elif top not in sys.stdlib_module_names and top not in allowed.others:
            found.append(f"line {each.line}: {home} may not import {top}")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_only_what_their_layer_allows(path):
    """No module imports from a layer above it, or a library that its layer does without."""
    home = component(path)
    assert home in LAYERS, f"causaltest/{home} stands in no layer; add it to LAYERS"
    package = ".".join(["causaltest", *path.relative_to(PACKAGE).parts[:-1]])
    assert offences(path.read_text(encoding="utf-8"), package, home) == []


def test_the_layers_have_a_direction():
    """No two components may import each other, even by way of others."""

    def reachable(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        below = set(LAYERS[name].own - seen - {PACKAGE_ITSELF})
        return below.union(*(reachable(each, seen | below) for each in below))

    assert [name for name in LAYERS if name in reachable(name)] == []


def test_only_the_plugin_may_import_pytest():
    """Nothing but the plugin depends on pytest."""
    assert [name for name, each in LAYERS.items() if "pytest" in each.others] == ["plugin"]


@pytest.mark.parametrize(
    "home", ["errors", "sites", "pairs", "interventions", "stats", "records", "report"]
)
def test_data_statistics_and_reports_do_without_torch(home):
    """A report can be rebuilt, and statistics be tested, where torch is not installed."""
    reached = {home} | LAYERS[home].own
    assert not {"torch", "transformers"} & set().union(*(LAYERS[each].others for each in reached))


@pytest.mark.parametrize(
    "source",
    [
        "import causaltest.engine",
        "import causaltest",
        "from causaltest import engine",
        "from causaltest import Effect",
        "from causaltest.engine.hooks import edit",
        "from ..engine import hooks",
        "from .. import engine",
        "def f():\n    from causaltest.engine import hooks",
        "if TYPE_CHECKING:\n    from causaltest.engine import Model",
        "import importlib\nimportlib.import_module('causaltest.engine')",
        "import torch.nn",
        "from torch import nn",
        "try:\n    import torch\nexcept ImportError:\n    torch = None",
        "__import__('torch')",
    ],
)
def test_every_way_to_import_is_seen(source):
    """An import that pairs may not have is found however it is written."""
    assert len(offences(source, "causaltest.pairs", "pairs")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import json",
        "import msgspec",
        "from causaltest.errors import PairError",
        "from causaltest.pairs.pair import Pair",
        "from .pair import Pair",
        "from ..errors import PairError",
        "from __future__ import annotations",
    ],
)
def test_allowed_imports_pass(source):
    """The standard library, msgspec and lower layers are open to pairs."""
    assert offences(source, "causaltest.pairs", "pairs") == []
