"""`causaltest init`: a first hypothesis, its pairs, and the settings."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from causaltest.errors import CausaltestError

_TEMPLATES = (
    "{name} went home early because",
    "After dinner, {name} sat down because",
    "Last night {name} ran to the door when",
    "The teacher smiled at {name} because",
    "Nobody at school saw {name} after",
    "The children waited for {name} until",
    "In the end, {name} did very well because",
    "This morning the dog barked at {name} when",
    "The letter from {name} says that",
    "As far as we know, everyone likes {name} because",
    "The friends of {name} say that",
    "When the rain stopped, {name} said that",
)
_NAMES = (("Mary", "John", " she", " he"), ("James", "Anna", " he", " she"))

_CONFTEST = '''"""Pair sets that the hypotheses of this folder share; the units are templates."""

from pathlib import Path

import pytest

from causaltest import Pairs


@pytest.fixture(scope="session")
def pronouns() -> Pairs:
    """A girl's name stands against a boy's: she or he follows."""
    return Pairs.read(Path(__file__).parent / "pairs" / "pronouns.jsonl", cluster="template")
'''

_TEST = '''"""How the model decides between she and he."""

import pytest

from causaltest import interchange, recovery
from causaltest.sites import block_output


def test_the_model_gives_the_right_pronoun(causal, pronouns):
    """A girl's name is followed by she and a boy's by he, more often than not."""
    assert causal.accuracy(on=pronouns) > 0.5


@pytest.mark.causal(requires="test_the_model_gives_the_right_pronoun")
def test_the_name_carries_the_gender(causal, pronouns):
    """After the first block most of the gender stands at the name."""
    effect = causal.effect(
        interchange(block_output(0, pos="name")), on=pronouns, metric=recovery
    )
    assert effect > 0.5


@pytest.mark.causal(
    requires="test_the_model_gives_the_right_pronoun", expect="refuted"
)
def test_the_gender_is_at_the_last_token_from_the_start(causal, pronouns):
    """Most of it stands at the last token after the first block (false, so that you see one)."""
    effect = causal.effect(
        interchange(block_output(0, pos="end")), on=pronouns, metric=recovery
    )
    assert effect > 0.5
'''

_SETTINGS = """[tool.pytest.ini_options]
causal_models = ["{model}"]
addopts = ["--import-mode=importlib"]
"""
_INI = """[pytest]
causal_models = {model}
addopts = --import-mode=importlib
"""
_CONFIGURED = ("pyproject.toml", "pytest.toml", "pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg")

_WORKFLOW = """name: hypotheses
on:
  push:
    branches: [main]
  pull_request:
permissions:
  contents: read
jobs:
  hypotheses:
    runs-on: ubuntu-latest
    timeout-minutes: 60
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Keep models between runs
        uses: actions/cache@v4
        with:
          path: ~/.cache/huggingface
          key: models-${{{{ hashFiles('.github/workflows/hypotheses.yml') }}}}
      - name: Install
        run: python -m pip install causaltest
      - name: Run the hypotheses
        run: |
          baseline=hypotheses/baseline.json
          [ -f "$baseline" ] || baseline=none
          strict=
          [ ! -f hypotheses.lock ] || strict=--causal-strict
          python -m pytest hypotheses --import-mode=importlib --causal-model={model} --causal-baseline="$baseline" $strict --junitxml=reports/junit.xml
      - name: Keep the report
        if: always()
        uses: actions/upload-artifact@v4
        with:
          name: causal-report
          path: reports/
"""  # noqa: E501 - one command


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option("--model", default="gpt2", show_default=True, help="A folder or a hub name.")
def init(folder: Path, model: str) -> None:
    """Write a first hypothesis, its pairs and a conftest.py into FOLDER/hypotheses.

    A workflow for GitHub Actions is written to FOLDER/.github: it runs the hypotheses, compares
    them with hypotheses/baseline.json if there is one, and keeps the report. Nothing is
    overwritten. The settings go into a pytest.ini; where a project has settings already, they are
    printed for its pyproject.toml.

    \b
    Examples:
      causaltest init
      causaltest init my-project --model EleutherAI/pythia-70m
    """  # noqa: D301 - click reads \b
    home = folder / "hypotheses"
    files = {
        home / "conftest.py": _CONFTEST,
        home / "test_pronouns.py": _TEST,
        home / "pairs" / "pronouns.jsonl": _pairs(),
        folder / ".github" / "workflows" / "hypotheses.yml": _WORKFLOW.format(
            model=shlex.quote(model)
        ),
    }
    new = not any((up / name).exists() for up in _upwards(folder) for name in _CONFIGURED)
    if new:
        files[folder / "pytest.ini"] = _INI.format(model=model)
    there = [str(path) for path in files if path.exists()]
    if there:
        raise CausaltestError(
            f"{', '.join(there)} {'exists' if len(there) == 1 else 'exist'} already, and nothing "
            "is overwritten\nchoose another folder: causaltest init FOLDER"
        )
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            click.echo(f"wrote {path}")
    except OSError as error:
        raise CausaltestError(f"cannot write to {home}: {error.strerror or error}") from error
    if not new:
        click.echo("\nput this into pyproject.toml:\n")
        click.echo(_SETTINGS.format(model=model))
    click.echo(f"{'' if new else 'then '}run: pytest {home}")


def _upwards(folder: Path) -> tuple[Path, ...]:
    """Return a folder and those around it, where pytest looks for settings."""
    whole = folder.resolve()
    return (whole, *whole.parents)


def _pairs() -> str:
    lines: list[str] = []
    for template in _TEMPLATES:
        for base, source, base_answer, source_answer in _NAMES:
            pair = {
                "base": template.format(name=base),
                "source": template.format(name=source),
                "base_answer": base_answer,
                "source_answer": source_answer,
                "positions": {"name": {"base": base, "source": source}},
                "labels": {"template": template},
            }
            lines.append(json.dumps(pair))
    return "\n".join(lines) + "\n"
