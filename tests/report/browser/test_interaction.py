"""Search, filters, sorting, links and copying do in a browser what they say."""

from urllib.parse import quote

import pytest

from causaltest.report.cards import anchor_of

ROWS = """[...document.querySelectorAll("#claims-table tbody tr:not(.file)")]
  .filter((row) => row.checkVisibility())
  .map((row) => [row.className, row.querySelector("code").textContent])"""
STATUS = "document.querySelector('.tools [role=status]').textContent"
HASH = "decodeURIComponent(location.hash)"


@pytest.fixture
def browse(tab, report):
    """Open the sample's page at a fragment."""

    def browse_(fragment="", file="report.html"):
        return tab.open(report / file, fragment)

    return browse_


def names(tab):
    """List the claims whose rows can be seen, in the order of the table."""
    return [name for _, name in tab.run(ROWS)]


def write(tab, text):
    """Write into the search field as a reader does."""
    tab.run("document.getElementById('search').focus()")
    for character in text:
        tab.press(character)


def click(tab, selector):
    """Click on the middle of an element."""
    x, y = tab.run(f"""(() => {{
        const one = document.querySelector({selector!r});
        one.scrollIntoView({{block: "center"}});
        const box = one.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    }})()""")
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def test_scripts_run_under_the_pages_own_policy(browse):
    """The policy lets the page's own script through: controls appear and the count is said."""
    tab = browse()
    assert tab.run("document.documentElement.className") == "js"
    assert tab.run(STATUS) == "11 of 11 claims shown"
    assert len(names(tab)) == 11


def test_without_scripts_everything_is_there_and_nothing_is_dead(browse):
    """With scripts off no control shows, and every row and card is in the page."""
    tab = browse(file="scriptless.html")
    assert tab.run("document.documentElement.className") == ""
    assert len(names(tab)) == 11
    assert tab.run("document.querySelectorAll('details.c').length") == 12
    assert tab.run("document.querySelectorAll('button').length") == 0
    assert not tab.run("document.getElementById('search').checkVisibility()")


def test_writing_searches_and_the_link_remembers(browse):
    """Each key narrows table and cards, says the new count, and puts the words into the link."""
    tab = browse()
    write(tab, "one head")
    assert names(tab) == ["one_head_suffices"]
    assert tab.run(STATUS) == "1 of 11 claims shown"
    assert tab.run(HASH) == "#q=one head"
    cards = "[...document.querySelectorAll('#details details.c')]"
    assert tab.run(f"{cards}.filter((card) => card.checkVisibility()).length") == 1
    seen = "[...document.querySelectorAll('#details h3')].filter((one) => one.checkVisibility())"
    assert tab.run(f"{seen}.map((one) => one.textContent)") == ["hypotheses/test_pronouns.py"]


def test_the_names_of_parts_stay_in_sight(browse):
    """Filtering hides the names of files without claims, and nothing inside of cards."""
    tab = browse()
    inside = "[...document.querySelectorAll('#details details h3')]"
    assert tab.run(f"{inside}.length") > 0
    assert tab.run(f"{inside}.every((one) => !one.hidden)")


def test_boxes_filter_and_the_link_remembers(browse):
    """Unticking a verdict hides its claims; the link holds the verdicts that are left."""
    tab = browse()
    click(tab, ".tools input[value=supported]")
    assert {verdict for verdict, _ in tab.run(ROWS)} == {"refuted", "inconclusive"}
    assert tab.run(STATUS) == "3 of 11 claims shown"
    assert tab.run(HASH) == "#status=refuted,inconclusive"
    click(tab, ".tools input[value=supported]")
    assert tab.run("location.hash") == ""


def test_headings_sort_up_down_and_back(browse, sample):
    """A click sorts by exact numbers across files, a second turns it round, a third undoes it."""
    tab = browse()
    before = names(tab)
    numbers = sorted((c for c in sample.claims if c.estimate is not None), key=lambda c: c.estimate)
    upwards = [claim.id.split("::test_")[1].split("[")[0] for claim in numbers]
    head = "th[data-key=effect]"
    told = f"document.querySelector('{head}').getAttribute('aria-sort')"
    for order, said, link in (
        (upwards, "ascending", "#sort=effect"),
        (upwards[::-1], "descending", "#sort=-effect"),
        (before, "none", ""),
    ):
        click(tab, f"{head} button")
        assert names(tab) == order
        assert tab.run(told) == said
        assert tab.run("location.hash") == link


def test_a_link_can_carry_filter_search_and_order(browse):
    """What the link of a page says is what another reader sees."""
    tab = browse("#status=refuted,inconclusive&q=the&sort=-effect")
    assert tab.run("document.getElementById('search').value") == "the"
    shown = names(tab)
    assert set(shown) == {
        "one_head_suffices",
        "the_last_mlp_is_necessary",
        "the_first_layer_decides",
    }
    assert shown[0] == "one_head_suffices"
    assert names(browse("#q=mean_ablate")) == ["the_last_mlp_is_necessary"]
    assert names(browse("#q=nothing-like-this")) == []


def test_a_link_opens_its_claim(browse, sample):
    """A link to a claim unfolds it, shows it and gives it the focus, whatever is in its id."""
    claim = sample.claims[1]
    tab = browse("#" + anchor_of(claim))
    card = f"document.getElementById({anchor_of(claim)!r})"
    assert tab.run(f"{card}.open")
    tab.until(f"document.activeElement === {card}.querySelector('summary')")
    top = tab.run(f"{card}.getBoundingClientRect().top")
    assert 0 <= top < tab.run("innerHeight")


def test_a_row_leads_to_its_claim_and_back(browse, sample):
    """The link of a row opens the card; going back returns to the table as it was."""
    tab = browse("#q=one%20head")
    tab.run("document.querySelector('#claims-table tr:not([hidden]) th a').click()")
    claim = next(c for c in sample.claims if "one_head" in c.id)
    tab.until(f"decodeURIComponent(location.hash) === '#' + {anchor_of(claim)!r}")
    assert tab.run(f"document.getElementById({anchor_of(claim)!r}).open")
    tab.run("history.back()")
    tab.until("decodeURIComponent(location.hash) === '#q=one head'")
    assert names(tab) == ["one_head_suffices"]


def test_damaged_links_show_everything(browse):
    """A fragment that means nothing hides nothing."""
    for fragment in ("#q=%E0%A4%A", "#claim=gone", "#sort=nonsense", "#" + quote("<b>")):
        assert len(names(browse(fragment))) == 11, fragment
    assert names(browse("#status=&q")) == []


def test_links_and_commands_can_be_copied(browse, chromium, sample):
    """The buttons of a card put its link and its command on the clipboard, and say so."""
    chromium.call("Browser.grantPermissions",
                  permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])  # fmt: skip
    claim = sample.claims[1]
    tab = browse("#" + anchor_of(claim))
    for label, copied in (
        ("Copy command", f"pytest '{claim.id}'"),
        ("Copy link to this claim", tab.run("location.href")),
    ):
        buttons = f"[...document.getElementById({anchor_of(claim)!r}).querySelectorAll('button')]"
        tab.run(f"window.pressed = {buttons}.find((one) => one.textContent === '{label}'); 0")
        tab.run("pressed.click()")
        tab.until("pressed.textContent === 'Copied'")
        assert tab.run("navigator.clipboard.readText()") == copied


def test_a_refused_clipboard_is_no_dead_end(browse, chromium, sample):
    """Where copying is refused the command is selected, and the link stands in the address bar."""
    tab = browse("#q=verb")
    tab.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    claim = sample.claims[2]
    card = f"document.getElementById({anchor_of(claim)!r})"
    tab.run(f"{card}.open = true")
    tab.until(f"{card}.querySelectorAll('button').length === 2")
    tab.run(f"{card}.querySelectorAll('button')[0].click()")
    assert tab.run("getSelection().toString().trim()") == f"pytest '{claim.id}'"
    tab.run(f"{card}.querySelectorAll('button')[1].click()")
    assert tab.run("location.hash").endswith(anchor_of(claim))
    assert tab.run(f"{card}.querySelectorAll('button')[1].textContent") == "See the address bar"


def test_refused_storage_is_no_obstacle(browse, report, tab):
    """The page keeps its state in the link alone, and works where storage is refused."""
    refuse = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})"
    script = tab.call("Page.addScriptToEvaluateOnNewDocument", source=refuse)["identifier"]
    assert names(browse("#q=one%20head")) == ["one_head_suffices"]
    tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


def test_printing_unfolds_what_is_not_supported_and_folds_it_again(browse):
    """Claims that do not hold are on paper, those that do as a line each; long tables are not."""
    tab = browse()
    folded = "document.querySelectorAll('details:not([open])').length"
    before = tab.run(folded)
    assert before
    tab.run("dispatchEvent(new Event('beforeprint'))")
    assert tab.run("document.querySelectorAll('details.c:not(.supported, [open])').length") == 0
    assert tab.run("document.querySelectorAll('details.supported[open]').length") == 0
    assert tab.run("document.querySelectorAll('.body details[open]').length") == 0
    tab.call("Emulation.setEmulatedMedia", media="print")
    seen = "[...document.querySelectorAll('.body details')].filter((one) => one.checkVisibility())"
    assert tab.run(f"{seen}.length") == 0
    tab.call("Emulation.setEmulatedMedia", media="")
    assert tab.run(f"{seen}.length") > 0
    tab.run("dispatchEvent(new Event('afterprint'))")
    assert tab.run(folded) == before
