"""A headless Chromium, driven over its debugging pipe by nothing but the standard library."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from causaltest.records.figures import (
    Axis,
    CircuitGraph,
    CircuitNode,
    ControlStrip,
    DoseCurve,
    EvidencePath,
    Map,
    Shown,
    Specification,
)
from causaltest.report import html

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
    "--force-renderer-accessibility",  # as with a screen reader, so that off-screen rows are told
)
# The browser reads commands from descriptor 3 and answers on 4.
_START = """
import os, sys
commands, answers = (os.dup(int(number)) for number in sys.argv[1:3])
os.dup2(commands, 3)
os.dup2(answers, 4)
os.set_inheritable(3, True)  # a duplicate that was 3 already is closed by exec
os.set_inheritable(4, True)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Chromium:
    """A browser and its debugging pipe."""

    def __init__(self, profile: Path) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._commands, self._answers = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self._numbers, self._half = itertools.count(1), b""

    def call(self, method, session=None, **params):
        """Give a command and wait for its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while (answer := self._next()).get("id") != number:
            pass
        assert "error" not in answer, f"{method}: {answer.get('error')}"
        return answer["result"]

    def _next(self):
        """Read the next answer or event."""
        while b"\0" not in self._half:
            more = self._answers.read1(1 << 20)
            assert more, "Chromium has ended"
            self._half += more
        message, _, self._half = self._half.partition(b"\0")
        return json.loads(message)

    def close(self):
        """End the browser."""
        self._commands.close()
        self._answers.close()
        self._process.terminate()
        self._process.wait(timeout=30)


class Tab:
    """A page in the browser."""

    def __init__(self, browser: Chromium) -> None:
        self._browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call(
            "Target.attachToTarget", targetId=self._target, flatten=True
        )["sessionId"]  # fmt: skip
        self.call("Page.enable")

    def call(self, method, **params):
        """Give this page a command."""
        return self._browser.call(method, self._session, **params)

    def resize(self, width, height=900):
        """Give the page a width in CSS pixels; 320 is a wide window zoomed to 400 %."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip

    def prefer(self, **features):
        """Set what the reader prefers, e.g. `color_scheme="dark"`."""
        chosen = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in features.items()
        ]
        self.call("Emulation.setEmulatedMedia", features=chosen)

    def open(self, path: Path, fragment=""):
        """Load a file anew, at a fragment, and wait until its scripts have run."""
        self.call("Page.navigate", url="about:blank")
        self.until("location.href === 'about:blank'")
        self.call("Page.navigate", url=path.as_uri() + fragment)
        self.until("location.protocol === 'file:' && document.readyState === 'complete'")
        return self

    def run(self, expression):
        """Evaluate JavaScript, which no policy of the page forbids; promises are awaited."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True,
                          returnByValue=True)  # fmt: skip
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression, seconds=60):
        """Wait for something to become true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({expression})"):
            assert time.monotonic() < end, f"still not so: {expression}"
            time.sleep(0.02)

    def press(self, key, *, shift=False):
        """Press a key as a reader does."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
        code = codes.get(key, ord(key[0].upper()))
        event = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def close(self):
        """Close the page."""
        self._browser.call("Target.closeTarget", targetId=self._target)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Start a browser, or skip where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium or Chrome is installed")
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def tab(chromium):
    """Open an empty page."""
    opened = Tab(chromium)
    yield opened
    opened.close()


def _shown():
    """Show one of everything that a claim's figures can show."""
    axes = (Axis("layer", ("0", "1", "2")), Axis("position", ("name", "verb", "end")))
    means = (0.02, 0.4, 0.9, 0.01, 0.03, 0.8, -0.01, 0.2, 0.95)
    area = Map("recovery of block_output", axes, means, tuple(m - 0.1 for m in means),
               tuple(m + 0.1 for m in means), tuple(0.001 if m > 0.15 else 0.9 for m in means),
               margin=0.2, scale="fraction", n_pairs=24, n_units=12, unit="template")  # fmt: skip
    curve = DoseCurve("logit of steering", (0.0, 1.0, 2.0), (0.0, 0.7, 1.1), (0.0, 0.7, 1.1),
                      (-0.1, 0.5, 0.9), (0.1, 0.9, 1.3), scale="logits")  # fmt: skip
    strip = ControlStrip("recovery", "random sites", 0.8, 0.7, 0.9, 0.95,
                         tuple(0.01 * n for n in range(39)))  # fmt: skip
    path = EvidencePath("recovery", ">", 0.5, 4, (0.1, 0.9, 1.9), (-0.1, -0.4, -0.9), 1.6, 1.6,
                        looks=(4, 6), available=12, unit="template")  # fmt: skip
    graph = CircuitGraph(
        (
            CircuitNode("0.1", "head_attention_value_output", 0, 1, "end", member=True, effect=0.4),
            CircuitNode("mlp 2", "mlp_output", 2, position="end"),
        ),
        (("0.1", "mlp 2", ""),),
    )
    return Shown((area,), (curve,), (strip,), (path,), (graph,))


@pytest.fixture(scope="session")
def illustrated(sample):
    """Add to the sample's claims every figure that a page can draw."""
    with_figures = msgspec.structs.replace(sample.claims[0], shown=_shown())
    ways = [
        msgspec.structs.replace(
            claim,
            specification=Specification(of="test_logits", choices={"metric": name}),
        )
        for claim, name in zip(sample.claims[1:3], ("recovery", "logits"), strict=True)
    ]
    return msgspec.structs.replace(sample, claims=(with_figures, *ways, *sample.claims[3:]))


@pytest.fixture(scope="session")
def report(sample, tmp_path_factory):
    """Write the page of the sample; beside it the same page with its script switched off."""
    return _written(sample, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def gallery(illustrated, tmp_path_factory):
    """Write a page with every kind of figure, with and without its script."""
    return _written(illustrated, tmp_path_factory.mktemp("gallery"))


def _written(results, folder):
    """Write a page, and beside it the same page with its script switched off."""
    html.write(results, folder / "report.html")
    text = (folder / "report.html").read_text(encoding="utf-8")
    # Its own policy switches the script off; the browser's scripts stay on, for the tests to ask.
    scriptless = re.sub(r"script-src 'sha256-[^']*'", "script-src 'none'", text)
    assert scriptless != text
    (folder / "scriptless.html").write_text(scriptless, encoding="utf-8")
    return folder
