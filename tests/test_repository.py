"""The repository itself: nothing private, nothing large, and a README that tells the truth."""

import re
import subprocess
from pathlib import Path

import pytest

LARGEST = 2_000_000  # bytes

PRIVATE = re.compile(
    r"""(?<![\w.~-])/(?:work|tmp/env|root|opt|home/\w+|Users/\w+)/   # a path of one machine
    | (?:--(?:extra-)?index-url|--find-links|--trusted-host)         # a private package host
    """,
    re.VERBOSE,
)


@pytest.fixture(scope="module")
def tracked(repository):
    """Return the files that git tracks, or skip outside a checkout."""
    listing = subprocess.run(
        ["git", "-C", str(repository), "ls-files", "-z"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("this is no git checkout")
    paths = [repository / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def quick_start(readme: str) -> list[str]:
    """Return the commands of the README's quick start."""
    section = readme.split("## Quick start", 1)[1].split("\n## ", 1)[0]
    block = re.search(r"```(?:sh|bash)\n(.*?)```", section, re.DOTALL)
    assert block is not None, "the quick start has no block of commands"
    return [line.split("#")[0].strip() for line in block[1].splitlines() if line.strip()]


def test_no_tracked_file_names_a_private_place(tracked, repository):
    """No tracked text holds a path of the machine it was written on, or a private package host."""
    found = [
        f"{path.relative_to(repository)}: {match[0]}"
        for path in tracked
        if path != Path(__file__).resolve()
        for match in PRIVATE.finditer(path.read_bytes().decode(errors="ignore"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text", ["see /home/ada/x", '"/root/y"', "cd /opt/z", "pip install --find-links wheels"]
)
def test_private_places_are_recognised(text):
    """The pattern finds what it is meant to find."""
    assert PRIVATE.search(text)


@pytest.mark.parametrize("text", ["https://x.org/home/ada/", "docs/root/y", "a/opt/b", "../work/"])
def test_public_places_are_not_taken_for_private(text):
    """Addresses and relative paths pass."""
    assert not PRIVATE.search(text)


def test_no_tracked_file_is_large(tracked, repository):
    """A clone stays small: no tracked file exceeds 2 MB."""
    large = {
        str(path.relative_to(repository)): path.stat().st_size
        for path in tracked
        if path.stat().st_size > LARGEST
    }
    assert large == {}


def test_the_quick_start_is_what_continuous_integration_runs(repository):
    """The README's commands are targets of the Makefile and the commands of .ci/run, in order."""
    commands = quick_start((repository / "README.md").read_text(encoding="utf-8"))
    assert commands == ["make hypotheses", "make test"]
    script = (repository / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in script if line.startswith("make ")] == commands
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    for command in commands:
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE)


def test_every_dependency_has_an_exact_version(repository):
    """Each package that pyproject.toml asks for is pinned in constraints.txt."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = project["dependencies"] + extras["dev"] + extras["docs"]
    pinned = re.findall(
        r"^([\w.-]+)==[\w.]+$", (repository / "constraints.txt").read_text(), re.MULTILINE
    )
    names = {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in asked}

    def normal(values):
        return {re.sub(r"[-_.]+", "-", value).lower() for value in values}

    assert normal(names) <= normal(pinned)


def test_dependencies_have_no_upper_bounds(repository):
    """A library that forbids new versions of others makes environments that cannot be solved."""
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    dependencies = re.search(r"^dependencies = \[(.*?)\]", text, re.DOTALL | re.MULTILINE)
    assert dependencies is not None
    assert re.findall(r"<|==|~=", dependencies[1]) == []


def test_the_licence_is_the_whole_licence(repository):
    """LICENSE is the text of the Apache License 2.0, from its title to its appendix."""
    text = (repository / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "APPENDIX: How to apply the Apache License to your work." in text
