"""Text from outside, hostile in every field of the records, stays text in a browser."""

import re
import typing

import msgspec
import pytest

from causaltest.records import Results
from causaltest.report import html

PWN = "document.title='pwned'"
ATTACKS = (
    f"</script><script>{PWN}</script>",
    f"<img src=x onerror={PWN}>",
    f"\"'><svg/onload={PWN}>",
    f"</title></style></caption></table></svg></details><script>{PWN}</script>",
    f"javascript:{PWN}",
    f"<!--<script>{PWN}//-->",
    f"]]><script>{PWN}</script>&lt;script&gt;",
    "{{ 7 * 7 }}{% raw %}${7*7}",
    "\x00\x07\x1b[31m\r\x85\u2028\u202eback\u2066\u200b\ufeff\ud800\udfff",
    "<iframe srcdoc='x'><base href=//x><meta http-equiv=refresh content=0;url=//x>",
)
FIXED = ("verdict", "expected", "outcome", "relation", "status", "test")


def poisoned(value, attack, name=""):
    """Put an attack around every text of a record; equal texts stay equal, so that links hold."""
    if isinstance(value, msgspec.Struct):
        changed = {
            field: poisoned(getattr(value, field), attack, field)
            for field in value.__struct_fields__
        }
        return msgspec.structs.replace(value, **changed)
    if isinstance(value, tuple):
        return tuple(poisoned(each, attack, name) for each in value)
    if isinstance(value, dict):
        return {poisoned(key, attack): poisoned(each, attack) for key, each in value.items()}
    if isinstance(value, str) and name not in FIXED:
        return f"{attack}{value}{attack}"
    return value


def literals(record, seen):
    """Collect the fields of the records whose type is a choice of words."""
    for field in msgspec.structs.fields(record):
        for kind in (field.type, *typing.get_args(field.type)):
            if typing.get_origin(kind) is typing.Literal:
                seen.add(field.name)
            elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                literals(kind, seen)
    return seen


def test_no_other_field_is_spared():
    """What is not poisoned cannot hold text from outside: it is a choice of our own words."""
    assert literals(Results, set()) == set(FIXED)


@pytest.mark.parametrize("policy", [True, False], ids=["policy", "no policy"])
def test_nothing_executes_and_nothing_is_asked_for(tab, illustrated, tmp_path, policy):
    """Scripts run and every card is open, but not one attack does; nor without the policy."""
    clean = html.render(illustrated)
    for number, attack in enumerate(("".join(ATTACKS), "".join(reversed(ATTACKS)))):
        text = html.render(poisoned(illustrated, attack))
        if not policy:
            text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        page = tmp_path / f"{number}.html"
        page.write_text(text, encoding="utf-8")
        tab.open(page)
        title = tab.run("document.title")
        assert not title.startswith("pwned")
        tab.run("for (const one of document.querySelectorAll('details')) one.open = true; 0")
        tab.run("new Promise((done) => setTimeout(done, 50))")
        assert tab.run("document.title") == title
        assert tab.run("document.documentElement.className") == "js"
        assert tab.run("document.scripts.length") == clean.count("<script")
        assert tab.run("document.querySelectorAll('iframe,img,base,object,embed').length") == 0
        assert tab.run("""[...document.querySelectorAll("*")].flatMap((one) => [...one.attributes])
            .filter((each) => /^on/i.test(each.name)).length""") == 0  # fmt: skip
        links = tab.run("""[...document.querySelectorAll("[href],[src]")]
            .map((one) => one.getAttribute("href") || one.getAttribute("src"))""")
        assert all(link.startswith("#") for link in links)
        loaded = tab.run("performance.getEntriesByType('resource').length")
        assert loaded == 0


def test_a_hostile_page_still_works(tab, illustrated, tmp_path):
    """Search, links and filters do with hostile names what they do with others."""
    attack = ATTACKS[2] + "\u202e%41#&"
    results = poisoned(illustrated, attack)
    html.write(results, tmp_path / "report.html")
    tab.open(tmp_path / "report.html")
    link = tab.run("document.querySelector('#claims-table tbody th a').getAttribute('href')")
    tab.run("document.querySelector('#claims-table tbody th a').click()")
    tab.until("document.activeElement.tagName === 'SUMMARY'")
    assert tab.run("document.activeElement.parentElement.open")
    assert tab.run("'#' + document.activeElement.parentElement.id") == link
    tab.run("""const search = document.getElementById("search");
        search.value = "one_head onload="; search.dispatchEvent(new Event("input"))""")
    assert tab.run("document.querySelector('[role=status]').textContent").startswith("1 of 11")
    assert tab.run("document.title").count("pwned") == tab.run("document.title").count("title='p")


def test_a_line_without_end_does_not_widen_the_page(tab, illustrated, tmp_path):
    """100,000 characters without a space are cut, said to be, and need no scrolling sideways."""
    results = poisoned(illustrated, "x" * 100_000)
    html.write(results, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size <= html.BUDGET
    for width in (1280, 320):
        tab.resize(width)
        tab.open(tmp_path / "report.html")
        tab.run("for (const one of document.querySelectorAll('details')) one.open = true; 0")
        assert tab.run("document.documentElement.scrollWidth") <= width
    assert "more characters" in tab.run("document.body.textContent")
