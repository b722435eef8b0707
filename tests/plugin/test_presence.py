"""The plugin is silent where a suite does not use it, and light where it does."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from causaltest.records import read_jsonl


def test_a_suite_without_hypotheses_sees_nothing(suite):
    """No output, no files, no heavy imports."""
    suite.pytester.makeconftest("")
    suite.pytester.makepyfile("def test_one():\n    pass\n")
    result = suite.run_apart()
    result.assert_outcomes(passed=1)
    said = [line for line in result.outlines if not line.startswith("plugins:")]
    assert not any("causal" in line for line in said)
    assert suite.files() == set()


COUNTING = """
import sys
from pathlib import Path

import causaltest

CALLS = []
PACKAGE = str(Path(causaltest.__file__).parent)


def count(frame, event, _):
    if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
        CALLS.append(frame.f_code.co_qualname)


sys.setprofile(count)


def pytest_unconfigure():
    sys.setprofile(None)
    print("CALLS", len(CALLS))
"""


def test_a_test_that_is_no_hypothesis_costs_nothing(suite):
    """However many cases a plain test has, the plugin's own code is called as often."""

    def calls(cases: int) -> str:
        suite.pytester.makepyfile(
            test_plain="import pytest\n\n"
            f"@pytest.mark.parametrize('case', range({cases}))\n"
            "def test_one(case, tmp_path):\n    pass\n"
        )
        result = suite.run_apart("test_plain.py")
        result.assert_outcomes(passed=cases)
        (line,) = (each for each in result.outlines if each.startswith("CALLS"))
        return line

    suite.pytester.makeconftest(COUNTING)
    few = calls(3)
    assert int(few.split()[1]) > 10
    assert calls(60) == few


def test_collection_imports_no_torch(suite):
    """`--collect-only` on hypotheses loads neither a model nor torch."""
    suite.pytester.makeconftest(
        """
import sys

def pytest_unconfigure(config):
    print("LOADED", sorted({"torch", "transformers", "altair", "jinja2"} & set(sys.modules)))
"""
    )
    suite.pytester.makepyfile("def test_claim(causal):\n    pass\n")
    result = suite.run_apart("--collect-only", "--causal-model", "nowhere")
    result.stdout.fnmatch_lines(["*causaltest: 1 hypothesis on 1 model*", "LOADED []"])


def test_quiet_collection_stays_machine_readable(suite):
    """`--collect-only -q` prints node ids and no line of ours."""
    suite.write("def test_claim(causal):\n    pass\n")
    result = suite.run("--collect-only", "-q")
    assert "causaltest:" not in result.stdout.str()
    result.stdout.fnmatch_lines(["test_claims.py::test_claim"])


CLAIMS = '''
def test_supported(causal, strong):
    """The embedding carries the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5

def test_refuted(causal, strong):
    """The embedding carries twice the answer."""
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 2
'''


def test_a_run_leaves_report_results_and_lines(suite):
    """report.html, results.json and results.jsonl agree, and the terminal says where they are."""
    suite.write(CLAIMS)
    result = suite.run()
    assert suite.files() == {"report.html", "results.json", "results.jsonl"}
    result.stdout.fnmatch_lines(["*causal claims*", "report: reports/report.html*"])
    running = read_jsonl(suite.path / "reports" / "results.jsonl")
    assert [claim.verdict for claim in running.claims] == ["supported", "refuted"]
    assert running.run is not None
    assert running.run.alpha == 0.05
    page = (suite.path / "reports" / "report.html").read_text()
    assert "The embedding carries twice the answer." in page
    record = suite.claims()["test_supported"]
    (edit,) = record["edits"]
    assert (edit["site"], edit["rows"], edit["positions"], edit["changed"]) == (
        "0.output@-1", 24, 24, 24,
    )  # fmt: skip
    (pair_set,) = suite.results["run"]["pair_sets"]
    assert (pair_set["name"], pair_set["n_pairs"], pair_set["n_units"]) == ("strong", 24, 12)


def test_no_report_on_request(suite):
    """`--causal-report none` writes nothing; another folder is used as named."""
    suite.write(CLAIMS)
    suite.run("--causal-report", "none")
    assert suite.files() == set()
    suite.run("--causal-report", "out/here")
    assert (suite.path / "out" / "here" / "results.json").exists()


def test_an_unwritable_folder_loses_no_verdict(suite):
    """The table is printed and the trouble named where the report cannot be written."""
    (suite.path / "reports").write_text("a file where the folder should be")
    suite.write(CLAIMS)
    result = suite.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*causal claims*", "*causaltest: cannot write*"])


def test_two_runs_differ_in_time_only(suite):
    """Everything outside `run` is equal, byte for byte."""
    suite.write(CLAIMS)
    suite.run_apart()
    first = json.dumps(suite.results["claims"])
    suite.run_apart("-p", "no:randomly")
    assert json.dumps(suite.results["claims"]) == first


def test_junit_carries_the_verdict(suite):
    """The JUnit file has one property a claim."""
    suite.write(CLAIMS)
    suite.run("--junitxml", "junit.xml")
    text = (suite.path / "junit.xml").read_text()
    assert 'name="causal:test_claims.py::test_supported" value="supported +1.0' in text


def test_a_claim_without_a_docstring_is_named_after_its_test(suite):
    """The test's name in words stands in for a missing docstring."""
    suite.write("""
def test_the_embedding_matters(causal, strong):
    assert causal.effect(EMBEDDING, on=strong, metric=written) > 0.5
""")
    suite.run()
    assert suite.claims()["test_the_embedding_matters"]["claim"] == "The embedding matters"


def test_intervene_runs_the_bare_engine(suite):
    """The `intervene` fixture edits one prompt and needs no statistics."""
    suite.write("""
def test_swap(intervene, model, strong):
    with intervene(EMBEDDING, strong[0]) as run:
        assert model.top(run(strong[0].base)) == strong[0].source_answer
""")
    suite.run().assert_outcomes(passed=1)
    assert suite.files() == set()


def test_a_run_without_a_terminal_writes_its_results(suite):
    """`-p no:terminal` takes options of pytest away that the plugin can do without."""
    suite.write(CLAIMS)
    result = suite.run_apart("-p", "no:terminal")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert suite.files() == {"report.html", "results.json", "results.jsonl"}
    assert result.stdout.str() == ""


def test_importing_the_plugin_is_light():
    """The entry point imports neither torch nor scipy nor the report."""
    code = (
        "import sys, causaltest.plugin; "
        "print(sorted({'torch', 'transformers', 'scipy', 'numpy', 'altair', 'jinja2', 'msgspec'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("option", ["--causal-model", "--causal-alpha", "--causal-report"])
def test_help_lists_the_options(suite, option):
    """`pytest --help` documents every option."""
    suite.run("--help").stdout.fnmatch_lines([f"*{option}=*"])
