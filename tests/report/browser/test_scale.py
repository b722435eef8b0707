"""Two thousand claims in a browser: all there, all found, all reached."""

import pytest

from causaltest.report import html
from causaltest.report.cards import anchor_of

pytestmark = pytest.mark.slow
STATUS = "document.querySelector('.tools [role=status]').textContent"


@pytest.fixture(scope="module")
def large(many, tmp_path_factory):
    """Write the page of 2,000 claims of 24 pairs, half of them supported."""
    results = many(2000, share_supported=0.5)
    path = tmp_path_factory.mktemp("large") / "report.html"
    html.write(results, path)
    return results, path


def test_every_claim_is_there_and_is_found(tab, large):
    """Nothing is put off until it is scrolled to: counts, search and filters know all claims."""
    results, path = large
    tab.resize(1280)
    tab.open(path)
    assert tab.run(STATUS) == "2000 of 2000 claims shown"
    search = "document.getElementById('search')"
    for words in ("one_head", "verb no gender", "test_area_39"):
        tab.run(f"{search}.value = {words!r}; {search}.dispatchEvent(new Event('input'))")
        shown = int(tab.run(STATUS).split()[0])
        texts = [f"{c.id} {c.claim} {c.file}".lower() for c in results.claims]
        assert shown >= sum(all(word in text for word in words.split()) for text in texts) > 0
        seen = "[...document.querySelectorAll('#claims-table tr:not(.file):not([hidden]) code')]"
        assert tab.run(f"{seen}.length") - 1 <= shown <= tab.run(f"{seen}.length")


def test_a_link_to_the_last_of_many_claims_lands_on_it(tab, large):
    """Cards that were never laid out are still reached by their links."""
    results, path = large
    tab.resize(1280)
    for claim in (results.claims[-1], results.claims[999]):
        tab.open(path, "#" + anchor_of(claim))
        card = f"document.getElementById({anchor_of(claim)!r})"
        tab.until(f"document.activeElement === {card}.querySelector('summary')")
        assert tab.run(f"{card}.open")
        assert 0 <= tab.run(f"{card}.getBoundingClientRect().top") < tab.run("innerHeight")
