"""The names at the top of the package: all there, loaded when asked, near misses answered."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import causaltest
from causaltest import stats


@pytest.mark.parametrize("name", [name for name in causaltest.__all__ if name != "__version__"])
def test_every_public_name_is_what_its_module_defines(name):
    """Each name resolves, and to the object of the module it is said to come from."""
    home = causaltest._HOMES[name]
    __import__(home)
    assert getattr(causaltest, name) is getattr(sys.modules[home], name)


def test_type_checkers_see_the_same_names():
    """The imports for type checkers list exactly the names that resolve at run time."""
    tree = ast.parse(Path(causaltest.__file__).read_text(encoding="utf-8"))
    block = next(
        node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node)
    )
    listed = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert listed == causaltest._HOMES


def test_names_are_listed_before_they_are_loaded():
    """`dir(causaltest)` offers every public name to completion."""
    assert set(causaltest.__all__) <= set(dir(causaltest))
    assert {"Effect", "Judge", "Verdict"} <= set(dir(stats))


@pytest.mark.parametrize(
    "wrong, near",
    [("interchnge", "interchange"), ("Effects", "Effect"), ("block_ouput", "block_output")],
)
def test_a_misspelt_name_is_answered_with_the_nearest(wrong, near):
    """An AttributeError names the module, the name and what was probably meant."""
    message = f"module 'causaltest' has no attribute {wrong!r}; did you mean {near!r}?"
    with pytest.raises(AttributeError, match=re.escape(message)):
        getattr(causaltest, wrong)


def test_a_name_like_none_gets_no_guess():
    """Where nothing is near, and for private names, there is no guess."""
    with pytest.raises(AttributeError, match=r"module 'causaltest' has no attribute 'zzz'$"):
        _ = causaltest.zzz
    with pytest.raises(AttributeError, match=r"module 'causaltest' has no attribute '_add'$"):
        _ = causaltest._add
    with pytest.raises(
        AttributeError, match=r"module 'causaltest\.stats' has no attribute 'Efect'"
    ):
        _ = stats.Efect


def test_asking_for_a_judge_loads_no_scipy():
    """The plugin reads levels at collection, where nothing heavy may be loaded."""
    program = (
        "import sys\n"
        "from causaltest.stats import Judge, check_resolution\n"
        "check_resolution(Judge().alpha)\n"
        "assert not {'scipy', 'numpy'} & sys.modules.keys()"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
