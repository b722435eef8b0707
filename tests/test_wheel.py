"""What is installed: the package with all it reads, and nothing of the repository around it."""

import subprocess
import sys
import zipfile
from email import message_from_bytes

import pytest

pytest.importorskip("hatchling")


@pytest.fixture(scope="module")
def wheel(repository, tmp_path_factory):
    """Build the wheel as pip does, without fetching anything."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel, repository):
    """Templates, style sheets and the marker of types are in it; tests and reports are not."""
    package = repository / "causaltest"
    files = {
        path.relative_to(repository).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == files
    assert {"causaltest/py.typed", "causaltest/report/templates/report.html.j2"} <= inside


def test_the_wheel_says_what_it_is(wheel):
    """Licence, Python versions, the command and the plugin are in its metadata; no address is."""
    (name,) = [each for each in wheel.namelist() if each.endswith("/METADATA")]
    metadata = message_from_bytes(wheel.read(name))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_all("Project-URL") is None
    points = wheel.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert "causaltest = causaltest.cli:main" in points
    assert "[pytest11]\ncausaltest = causaltest.plugin" in points
