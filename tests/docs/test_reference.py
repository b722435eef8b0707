"""The reference names every option, key, fixture and command that there is, and no other."""

import re
import subprocess
import sys

import pytest

from causaltest.cli import main


@pytest.fixture(scope="module")
def page(repository):
    """Read the page of options, fixtures, markers and commands."""
    return (repository / "docs" / "reference" / "pytest.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def offered(repository):
    """Ask pytest for its help."""
    command = [sys.executable, "-m", "pytest", "--help", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    return done.stdout


def test_every_option_is_in_the_reference(page, offered):
    """Options of the page are those of `pytest --help`."""
    there = set(re.findall(r"^ +(--causal-[a-z-]+)", offered, re.MULTILINE))
    assert there
    assert set(re.findall(r"--causal-[a-z-]+", page)) == there


def test_every_ini_key_is_in_the_reference(page, offered):
    """A key of an ini file has a line of its own, or the name of an option."""
    keys = set(re.findall(r"^ +(causal_[a-z_]+) \(", offered, re.MULTILINE))
    options = set(re.findall(r"--causal-[a-z-]+", page))
    named = set(re.findall(r"\bcausal_[a-z_]+", page))
    assert keys
    assert {key for key in keys if f"--{key.replace('_', '-')}" not in options} <= named
    assert named <= keys


def test_every_command_is_in_the_reference(page):
    """Commands of the page are those of the command line, each once."""
    told = re.findall(r"^\| `causaltest (\w+)", page, re.MULTILINE)
    assert sorted(told) == sorted(main.commands)
