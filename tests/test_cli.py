"""The command line says what it does, refuses in words, and loads nothing before it must."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner
from scipy.stats import nct, t

from causaltest import records
from causaltest.cli import main
from causaltest.cli.plan import smallest_effect

ROOT = Path(__file__).resolve().parents[1]
SCHOOLBOOK = ROOT / "hypotheses" / "schoolbook"


def run(*arguments: str):
    """Run the command line in this process."""
    return CliRunner().invoke(main, list(map(str, arguments)))


def part(values, units, **changes) -> records.Part:
    """A measured comparison."""
    interval = records.Interval(0.0, 1.0, 0.95)
    return records.Part(
        **{
            "statement": "effect > 0.2",
            "subject": "x",
            "verdict": "inconclusive",
            "relation": ">",
            "bound": 0.2,
            "estimate": 0.5,
            "interval": interval,
            "adjusted_interval": interval,
            "p_support": 0.1,
            "p_refute": 0.9,
            "alpha": 0.01,
            "n_pairs": len(values),
            "n_units": len(set(units)),
            "unit": "template",
            "method": "hull",
            "floor": 0.0,
            "values": tuple(values),
            "units": tuple(units),
            **changes,
        }
    )


@pytest.fixture
def results(tmp_path) -> Path:
    """A results.json with one measured claim of three templates, two pairs each."""
    claim = records.Claim(
        id="h.py::test_a",
        claim="A.",
        file="h.py",
        line=1,
        verdict="inconclusive",
        expected="supported",
        outcome="failed",
        parts=(part([0.0, 0.2, 0.4, 0.6, 0.9, 0.9], ["a", "a", "b", "b", "c", "c"]),),
        deciding=0,
    )
    path = tmp_path / "results.json"
    run_of = records.Run(alpha=0.05, correction="bonferroni", seed=0)
    records.write(records.Results(1, "complete", run_of, (claim,)), path)
    return path


@pytest.mark.parametrize("command", ["init", "components", "plan", "register", "report"])
def test_help_has_examples(command):
    """Every command explains itself with examples, and stands in the overview."""
    assert "Examples:" in run(command, "--help").output
    assert f"causaltest {command}" in run(command, "-h").output
    assert command in run("--help").output
    # click remembers the options for help of the first call, be it of the command alone.
    assert "-h, --help" in CliRunner().invoke(main.commands[command], ["-h"]).output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["regster"], "there is no command 'regster'; did you mean 'register'?"),
        (["components", "x", "--jsn"], "--json"),
        (["components", "x", "--dtype", "float23"], "did you mean 'float32'?"),
        (["plan"], "give --pilot RESULTS, or --sd with --distance or --units"),
        (["plan", "--sd", "1"], "with --sd give --distance, or --units (at least 2), or both"),
        (["plan", "--sd", "-1", "--units", "9"], "-1.0 is no spread"),
        (["plan", "--sd", "1", "--units", "9", "--power", "2"], "2.0 lies outside 0 to 1"),
    ],
)
def test_wrong_words_are_refused_with_the_nearest(arguments, message):
    """Unknown commands, options and values end with status 2 and a hint."""
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_our_errors_come_without_traceback(tmp_path):
    """A missing file is one message and status 1."""
    done = run("report", tmp_path / "results.json")
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert "Traceback" not in done.output


def test_a_real_process_answers():
    """The entry point runs apart, and the version is the package's."""
    code = "from causaltest.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("causaltest, version ")


def test_importing_the_command_line_is_light():
    """Help needs neither torch nor scipy nor the report's tools."""
    code = (
        "import sys, causaltest.cli; print(sorted({'torch', 'transformers', 'scipy', 'numpy', "
        "'altair', 'jinja2', 'msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_report_writes_every_figure_as_a_file(results, tmp_path):
    """The command says how many; an unknown format is refused."""
    done = run("report", results, "--figures", tmp_path / "figures", "--format", "pdf")
    assert done.exit_code == 0, done.output
    found = sorted((tmp_path / "figures").iterdir())
    assert f"figures: {len(found)} in {tmp_path / 'figures'}" in done.output
    assert found
    assert all(path.read_bytes().startswith(b"%PDF") for path in found)
    refused = run("report", results, "--figures", tmp_path, "--format", "gif")
    assert refused.exit_code == 2
    assert "'gif' is not one of 'svg', 'png', 'pdf'" in refused.output


def test_report_renders_results_and_what_a_killed_run_left(results, tmp_path):
    """A page comes from results.json, and from a running file that was cut."""
    done = run("report", results, "-o", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    assert "A." in (tmp_path / "page.html").read_text()
    running = tmp_path / "results.jsonl"
    found = records.read(results)
    records.append_jsonl(running, found.run)
    records.append_jsonl(running, found.claims[0])
    with running.open("ab") as file:
        file.write(b'{"id": "h.py::te')
    done = run("report", running)
    assert done.exit_code == 0, done.output
    assert "the claim on it is missing" in done.output
    assert "The run did not end" in (tmp_path / "report.html").read_text()


def test_report_says_that_a_later_run_was_killed(results, tmp_path):
    """Its claims lie beside; those of the run itself, or of an earlier one, are nothing to tell."""
    found = records.read(results)
    dated = msgspec.structs.replace(found.run, started="2026-03-02T10:00:00+00:00")
    path, beside = tmp_path / "dated" / "results.json", tmp_path / "dated" / "results.jsonl"
    records.write(msgspec.structs.replace(found, run=dated), path)

    def told(started: str) -> list[str]:
        beside.unlink(missing_ok=True)
        records.append_jsonl(beside, msgspec.structs.replace(dated, started=started))
        records.append_jsonl(beside, found.claims[0])
        done = run("report", path)
        assert done.exit_code == 0, done.output
        return [line for line in done.output.splitlines() if "jsonl" in line]

    assert told("2026-03-02T10:00:01+00:00") == [
        "note: this page is of the run of 2026-03-02T10:00:00+00:00; a later one, of "
        f"2026-03-02T10:00:01+00:00, did not end and left 1 claim in {beside}",
        f"to see them: causaltest report {beside}",
    ]
    assert told("2026-03-02T10:00:00+00:00") == []
    assert told("2026-03-01T10:00:00+00:00") == []
    beside.write_text('{"what": "is this"}\n')
    done = run("report", path)
    assert f"note: {beside} lies beside it and cannot be read" in done.output


def test_report_does_not_call_a_run_cut_that_ended(results, tmp_path):
    """The running file of a run whose results lie beside it is refused, and its page is kept."""
    found = records.read(results)
    dated = msgspec.structs.replace(found.run, started="2026-03-02T10:00:00+00:00")
    path, running = tmp_path / "dated" / "results.json", tmp_path / "dated" / "results.jsonl"
    records.write(msgspec.structs.replace(found, run=dated), path)
    records.append_jsonl(running, dated)
    records.append_jsonl(running, found.claims[0])
    done = run("report", running)
    assert done.exit_code == 2
    told = " ".join(done.output.split())
    assert f"{running} was written while a run went, and that run ended: its results are in" in told
    assert f"causaltest report {path}" in told
    assert not (tmp_path / "dated" / "report.html").exists()
    path.write_text("{")
    assert run("report", running).exit_code == 0


def test_plan_from_a_pilot_by_hand(results):
    """Spread, level and distance are those of the pilot; the count agrees with scipy."""
    (plan,) = json.loads(run("plan", "--pilot", results, "--json").output)
    means = [0.1, 0.5, 0.9]
    assert plan["sd"] == pytest.approx(0.4)
    assert plan["distance"] == pytest.approx(0.3)
    assert (plan["units"], plan["pairs"], plan["alpha"]) == (len(means), 6, 0.01)

    def power(n: int) -> float:
        return float(nct.sf(t.isf(0.005, n - 1), n - 1, 0.3 / 0.4 * n**0.5))

    needed = next(n for n in range(3, 500) if power(n) >= 0.8)
    assert plan["units_needed"] == needed
    assert plan["pairs_needed"] == 2 * needed
    table = run("plan", "--pilot", results).output.splitlines()
    assert table[0].split()[:3] == ["claim", "sd", "distance"]
    assert table[1].startswith("test_a")


@pytest.mark.parametrize("units, expected", [(10, 1.00), (20, 0.66), (50, 0.40), (100, 0.28)])
def test_smallest_effects_are_those_of_the_tables(units, expected):
    """Two-sided .05 at 80 % power: the figures of standard power tables, and scipy's power."""
    found = smallest_effect(units, 0.05, 0.8)
    assert found == pytest.approx(expected, abs=0.006)
    assert nct.sf(t.isf(0.025, units - 1), units - 1, found * units**0.5) == pytest.approx(
        0.8, abs=1e-6
    )


def test_plan_from_numbers():
    """A family divides the level; pairs follow from units."""
    arguments = [
        "plan",
        "--sd",
        "1",
        "--distance",
        "0.5",
        "--family",
        "10",
        "--pairs-per-unit",
        "4",
    ]
    (plan,) = json.loads(run(*arguments, "--json").output)
    assert plan["alpha"] == pytest.approx(0.005)
    assert (plan["units_needed"], plan["pairs_needed"]) == (58, 232)
    (seen,) = json.loads(run("plan", "--sd", "2", "--units", "20", "--json").output)
    assert seen["smallest"] == pytest.approx(2 * 0.66, abs=0.02)
    assert seen["units_needed"] is None


def test_components_lists_what_the_model_has():
    """Layers, heads and widths of the default model, as text and as JSON."""
    rows = json.loads(run("components", SCHOOLBOOK, "--json").output)
    by_name = {row["component"]: row for row in rows}
    assert (by_name["block_output"]["layers"], by_name["block_output"]["width"]) == (3, 64)
    head = by_name["head_attention_value_output"]
    assert (head["layers"], head["heads"], head["width"]) == (3, 4, 16)
    text = run("components", SCHOOLBOOK).output
    assert text.splitlines()[0].split() == ["component", "layers", "heads", "width", "module"]
    assert len(text.splitlines()) == len(rows) + 1


@pytest.mark.parametrize("configured", [False, True])
def test_init_writes_hypotheses_that_run_and_never_overwrites(tmp_path, configured):
    """What is written passes on the default model; a second init changes nothing."""
    if configured:
        (tmp_path / "pyproject.toml").write_text("[project]\n")
    done = run("init", tmp_path, "--model", SCHOOLBOOK)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "pytest.ini").exists() is not configured
    if configured:
        settings = done.output.split("pyproject.toml:\n\n")[1].split("\nthen run")[0]
        (tmp_path / "pyproject.toml").write_text(settings)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "hypotheses", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert "3 claims: 2 supported, 1 refuted" in ran.stdout
    again = run("init", tmp_path)
    assert again.exit_code == 1
    assert "exist already, and nothing is overwritten" in again.output
    assert all(path.read_bytes() == data for path, data in before.items())


def test_the_workflow_of_init_runs(tmp_path):
    """Its steps are what GitHub expects; its command passes as written, then with a baseline."""
    assert run("init", tmp_path, "--model", SCHOOLBOOK).exit_code == 0
    workflow = yaml.safe_load((tmp_path / ".github" / "workflows" / "hypotheses.yml").read_text())
    assert set(workflow) == {"name", True, "permissions", "jobs"}  # `on` is a boolean in YAML 1.1
    steps = workflow["jobs"]["hypotheses"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    (script,) = [step["run"] for step in steps if "pytest" in step.get("run", "")]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    summary = tmp_path / "summary.md"
    environment |= {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}

    def step():
        return subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    first = step()
    assert first.returncode == 0, first.stdout + first.stderr
    assert (tmp_path / "reports" / "junit.xml").exists()
    assert summary.read_text().startswith("## Causal claims\n\n3 claims: 2 supported, 1 refuted")
    kept = run("baseline", tmp_path / "reports", "-o", tmp_path / "hypotheses" / "baseline.json")
    assert kept.exit_code == 0
    again = step()
    assert again.returncode == 0, again.stdout
    assert "3 claims compared: 3 not worse" in again.stdout


def test_register_without_hypotheses_is_refused(tmp_path, monkeypatch):
    """An empty folder has nothing to freeze; a broken file is shown as pytest shows it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_plain.py").write_text("def test_one():\n    pass\n")
    done = run("register", "test_plain.py")
    assert done.exit_code == 1
    assert "no hypothesis in test_plain.py" in done.output
    (tmp_path / "test_plain.py").write_text("def test_one(:\n")
    done = run("register", "test_plain.py")
    assert "pytest could not collect the hypotheses" in done.output
    assert not (tmp_path / "hypotheses.lock").exists()
