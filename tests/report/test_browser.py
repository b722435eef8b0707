"""The page in a browser: filters, sorting, links and folding do what they say."""

import re
import shutil
import subprocess
from urllib.parse import quote

import pytest

from causaltest.report import html
from causaltest.report.cards import anchor_of

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def browse(sample, tmp_path_factory):
    """Open the sample's page at a fragment and give back the page as scripts left it."""
    folder = tmp_path_factory.mktemp("browser")
    html.write(sample, folder / "report.html")
    text = (folder / "report.html").read_text(encoding="utf-8")
    # The page's policy is what switches its script off: dumping needs scripts in the browser.
    scriptless = re.sub(r"script-src 'sha256-[^']*'", "script-src 'none'", text)
    (folder / "scriptless.html").write_text(scriptless, encoding="utf-8")

    def dump(fragment="", file="report.html"):
        command = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            (folder / file).as_uri() + fragment,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    return dump


def shown(dom):
    """List the claims whose rows are visible, in the order of the table."""
    table = dom[dom.index('<table id="claims-table"') : dom.index('id="details-heading"')]
    rows = re.findall(r"<tr class=\"(\w+)\"([^>]*)>.*?<code>(\w+)</code>", table)
    return [(verdict, name) for verdict, rest, name in rows if "hidden" not in rest]


def status(dom):
    """Read what the live region says."""
    return re.search(r'role="status"[^>]*>([^<]*)<', dom)[1]


def test_scripts_run_under_the_pages_own_policy(browse):
    """The policy lets the page's own script through: controls appear and the count is said."""
    dom = browse()
    assert re.search(r'<html[^>]*class="js"', dom)
    assert status(dom) == "11 of 11 claims shown"
    assert len(shown(dom)) == 11


def test_without_scripts_everything_is_there(browse):
    """With scripts off no control shows and every row and card is in the page."""
    dom = browse(file="scriptless.html")
    assert not re.search(r'<html[^>]*class="js"', dom)
    assert len(shown(dom)) == 11
    assert dom.count('<details class="c') == 12


def test_a_link_can_carry_a_filter(browse):
    """A verdict in the link shows those claims only, in table and cards."""
    dom = browse("#status=refuted")
    assert {verdict for verdict, _ in shown(dom)} == {"refuted"}
    assert status(dom) == "2 of 11 claims shown"
    visible = re.findall(r'<details class="c (\w+)" id="[^"]*"(?![^>]*hidden)[^>]*>', dom)
    assert sorted(visible) == ["error", "refuted", "refuted"]


def test_a_link_can_carry_a_search(browse):
    """Words are searched in names, sites and prompts; all of them must occur."""
    assert [name for _, name in shown(browse("#q=one%20head"))] == ["one_head_suffices"]
    names = [name for _, name in shown(browse("#q=mean_ablate"))]
    assert names == ["the_last_mlp_is_necessary"]
    assert shown(browse("#q=nothing-like-this")) == []


def test_a_link_can_carry_an_order(browse, sample):
    """Sorting goes by exact numbers, up and down, across files."""
    names = [name for _, name in shown(browse("#sort=effect"))]
    decided = [c for c in sample.claims if c.estimate is not None]
    ordered = sorted(decided, key=lambda c: c.estimate)
    expected = [c.id.split("::test_")[1].split("[")[0] for c in ordered]
    assert names == expected
    dom = browse("#sort=-effect")
    assert [name for _, name in shown(dom)] == expected[::-1]
    assert re.search(r'data-key="effect" aria-sort="descending"', dom)


def test_a_link_opens_its_claim(browse, sample):
    """A link to a claim unfolds it, whatever characters its id has."""
    claim = sample.claims[1]
    dom = browse("#" + anchor_of(claim))
    start = dom.index(f'id="{anchor_of(claim)}"')
    tag = dom[dom.rindex("<", 0, start) : dom.index(">", start)]
    assert " open" in tag
    assert "Copy command" in dom[start:]


def test_damaged_links_show_everything(browse):
    """A fragment that means nothing hides nothing."""
    for fragment in (
        "#q=%E0%A4%A",
        "#status=&q",
        "#claim=gone",
        "#sort=nonsense",
        "#" + quote("<b>"),
    ):
        dom = browse(fragment)
        expected = 0 if fragment.startswith("#status=") else 11
        assert len(shown(dom)) == expected, fragment
