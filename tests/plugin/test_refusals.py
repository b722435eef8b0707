"""Usage errors at collection under xdist: our message, the usual exit code, no internal error."""

from __future__ import annotations

import pytest

pytest.importorskip("xdist")

GOOD = '''
def test_good(causal, strong):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
'''


@pytest.mark.parametrize(
    "before, arguments, message",
    [
        pytest.param(
            "@pytest.mark.causal(requires='test_nothing')", (),
            "ERROR: test_claims.py::test_good: requires names 'test_nothing', which is no *",
            id="unknown gate",
        ),
        pytest.param(
            "@pytest.mark.causal(expect='suported')", (),
            "ERROR: test_claims.py::test_good: expect is 'suported'; did you mean 'supported'*",
            id="marker", marks=pytest.mark.slow,
        ),
        pytest.param(
            "", ("--causal-alpha", "7"),
            "ERROR: causal_alpha is '7'; expected an error rate between 0 and 1, such as 0.05",
            id="setting", marks=pytest.mark.slow,
        ),
        pytest.param(
            "", ("--causal-alpha", "1e-9"),
            "ERROR: test_claims.py::test_good: no verdict is possible at level 1e-09*",
            id="resolution", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_a_refusal_of_a_worker_is_told_once_by_the_controller(suite, before, arguments, message):
    """Exit code 4 and the message on stderr, as without xdist; no test runs."""
    suite.write(f"{before}{GOOD}")
    apart = suite.run_apart("-p", "xdist", "-n", "2", *arguments)
    assert apart.ret == pytest.ExitCode.USAGE_ERROR
    apart.stderr.fnmatch_lines([message])
    assert apart.stderr.str().count("ERROR: ") == 1
    assert "INTERNALERROR" not in apart.stdout.str() + apart.stderr.str()
    apart.assert_outcomes()
    assert suite.files() == set()


MODELLED = """
import pytest

@pytest.mark.parametrize("i", range(4))
def test_claim(causal, i):
    pass

def test_engine(model):
    pass
"""


@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.slow)])
def test_a_model_that_is_not_there_is_told_once_before_any_test(suite, workers):
    """Exit code 4 and one message, in one process or several; nothing runs, torch is not loaded."""
    suite.pytester.makeconftest(
        "import sys\n"
        "def pytest_unconfigure(config):\n"
        "    if not hasattr(config, 'workerinput'):\n"
        "        print('LOADED', sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    suite.pytester.makepyfile(test_claims=MODELLED)
    result = suite.run_apart("-p", "xdist", "-n", workers, "--causal-model=./nowhere/at/all")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: no model './nowhere/at/all': there is no such folder",
            "name a folder written by save_pretrained, or a model on the hub such as gpt2",
        ]
    )
    result.stdout.fnmatch_lines(["LOADED []"])
    said = result.stdout.str() + result.stderr.str()
    assert said.count("nowhere/at/all") == 1
    assert "INTERNALERROR" not in said
    result.assert_outcomes()
    assert suite.files() == set()


def test_every_model_that_is_not_there_is_named(suite):
    """A folder without a model is told with one that is missing."""
    suite.pytester.makeconftest("")
    suite.pytester.makepyfile(test_claims=MODELLED)
    suite.pytester.mkdir("empty")
    result = suite.run("--causal-model=a/b/c", "--causal-model=empty")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: no model 'a/b/c': there is no such folder",
         "the folder empty holds no model: config.json is missing"]
    )  # fmt: skip


def test_tests_are_listed_and_selected_without_their_model(suite):
    """`--collect-only`, and a selection that needs no model, do not ask for it."""
    suite.pytester.makeconftest("")
    suite.pytester.makepyfile(test_claims=MODELLED, test_other="def test_one():\n    pass\n")
    suite.run("--causal-model=a/b/c", "-k", "test_one").assert_outcomes(passed=1, deselected=5)
    listed = suite.run("--causal-model=a/b/c", "--collect-only", "-q")
    listed.stdout.fnmatch_lines(["test_claims.py::test_engine*"])


def test_a_name_that_a_conftest_knows_is_left_to_it(suite):
    """A model that the hook loads needs no folder."""
    suite.pytester.makeconftest(
        """
import torch

def pytest_causal_load_model(name, config):
    return torch.nn.Linear(2, 2) if name == "my:own/linear/model" else None
"""
    )
    suite.pytester.makepyfile("def test_one(model):\n    assert model.network.in_features == 2\n")
    suite.run("--causal-model=my:own/linear/model").assert_outcomes(passed=1)


@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.slow)])
def test_a_model_that_does_not_load_is_explained_once(suite, workers):
    """The first test says it in full; the others name that test."""
    suite.pytester.makeconftest("")
    suite.pytester.makepyfile(test_claims=MODELLED)
    suite.pytester.mkdir("broken").joinpath("config.json").write_text('{"model_type": "no-such"}')
    result = suite.run_apart("-p", "xdist", "-n", workers, "--causal-model=broken")
    result.assert_outcomes(errors=5)
    explained = "E       causaltest.ModelError: the folder broken holds no model that can be loaded"
    assert sum(line.startswith(explained) for line in result.outlines) == 1
    briefly = "its model could not be loaded; test_claims.py::test_"
    assert sum(line.startswith(briefly) for line in result.outlines) == 4
    assert all("no-such" in each["error"] for each in suite.results["claims"])


@pytest.mark.slow
def test_no_model_is_an_error_of_collection_under_xdist_too(suite):
    """A missing model is told as an error of the file."""
    suite.pytester.makeconftest("")
    suite.pytester.makepyfile(test_claims="def test_claim(causal):\n    pass\n")
    result = suite.run_apart("-p", "xdist", "-n", "2")
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    result.stdout.fnmatch_lines(["*no model to test: pass --causal-model NAME*"])
    assert "INTERNALERROR" not in result.stdout.str()
