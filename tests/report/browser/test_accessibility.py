"""The page serves keyboards, screen readers and all sights: by axe, and by what axe cannot see."""

import importlib.resources

import pytest

CONTROLS = """[...document.querySelectorAll("a[href],button,input,summary,[tabindex='0']")]
  .filter((one) => one.checkVisibility({checkVisibilityCSS: true}) && !one.matches(".skip"))"""
SETTINGS = [("light", 1280, "report"), ("dark", 320, "report"),
            ("light", 320, "scriptless"), ("dark", 1280, "scriptless")]  # fmt: skip


@pytest.fixture(scope="session")
def axe():
    """Read axe's script, which a package of the tests brings along, or skip."""
    pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    return importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")


def unfold(tab):
    """Open everything that is folded away, and lay out what is off the screen."""
    tab.run("""for (const one of document.querySelectorAll("details")) one.open = true;
        const sheet = new CSSStyleSheet();
        sheet.replaceSync("*{content-visibility:visible!important}");
        document.adoptedStyleSheets = [sheet]; 0""")


def findings(tab, axe):
    """Run axe on the page as it stands; give its findings and the rules that were kept."""
    tab.run(f"{axe};0")
    return tab.run("""axe.run(document, {resultTypes: ["violations"]}).then((found) => ({
        broken: found.violations.map((one) => [one.impact, one.id, one.nodes.map((n) => n.html)]),
        kept: found.passes.map((one) => one.id),
    }))""")


@pytest.mark.parametrize("scheme, width, page", SETTINGS)
def test_axe_finds_nothing(tab, gallery, axe, scheme, width, page):
    """Light and dark, wide and at 400 %, with scripts and without, axe has nothing to say."""
    tab.resize(width)
    tab.prefer(color_scheme=scheme)
    tab.open(gallery / f"{page}.html")
    unfold(tab)
    assert tab.run(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
    assert tab.run("innerWidth") == width
    found = findings(tab, axe)
    assert found["broken"] == []
    assert {"color-contrast", "svg-img-alt", "th-has-data-cells"} <= {*found["kept"]}


def test_axe_would_find_something(tab, gallery, axe):
    """A nameless button, pale words and an image without a name are found where there are any."""
    tab.open(gallery / "report.html")
    unfold(tab)
    tab.run("""document.querySelector("footer").innerHTML =
        "<button></button><p style='color:#bbb'>pale</p><svg role='img'></svg>"; 0""")
    # The policy forbids the style as written, not as set.
    tab.run("document.querySelector('footer p').style.color = '#bbbbbb'; 0")
    broken = {rule for _, rule, _ in findings(tab, axe)["broken"]}
    assert {"button-name", "color-contrast", "svg-img-alt"} <= broken


@pytest.mark.parametrize("width", [1280, 320])
def test_the_keyboard_reaches_every_control_and_shows_where_it_is(tab, gallery, width):
    """Tab visits every control in the order of the page, each with an outline to be seen."""
    tab.resize(width)
    tab.open(gallery / "report.html")
    controls = tab.run(f"window.controls = {CONTROLS}; controls.length")
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    assert tab.run("document.activeElement.getBoundingClientRect().left") > 0
    for number in range(controls):
        tab.press("Tab")
        at = tab.run("controls.indexOf(document.activeElement)")
        assert at == number, tab.run("document.activeElement.outerHTML.slice(0, 200)")
        seen = tab.run("""(() => {
            const one = document.activeElement, box = one.getBoundingClientRect();
            const style = getComputedStyle(one);
            const hit = document.elementFromPoint(
                Math.min(box.x + box.width / 2, innerWidth - 1),
                Math.min(Math.max(box.y, 0) + Math.min(box.height, innerHeight) / 2,
                         innerHeight - 1));
            return {outline: style.outlineStyle, width: parseFloat(style.outlineWidth),
                    hit: Boolean(hit) && (one.contains(hit) || hit.contains(one))};
        })()""")
        assert seen["outline"] == "solid"
        assert seen["width"] >= 2
        assert seen["hit"], tab.run("document.activeElement.outerHTML.slice(0, 200)")


def test_keys_do_what_clicks_do(tab, gallery):
    """Enter sorts and unfolds, space ticks, and / goes to the search."""
    tab.open(gallery / "report.html")
    tab.press("/")
    assert tab.run("document.activeElement.id") == "search"
    tab.press("/")
    assert tab.run("document.getElementById('search').value") == "/"
    tab.run("document.querySelector('th[data-key=effect] button').focus()")
    tab.press("Enter")
    assert tab.run("document.querySelector('[aria-sort=ascending]').dataset.key") == "effect"
    tab.run("document.querySelector('.tools input[type=checkbox]').focus()")
    tab.press(" ")
    assert tab.run("document.querySelector('.tools input[type=checkbox]').checked") is False
    folded = "document.querySelector('#details details.c:not([hidden]) summary')"
    before = tab.run(f"window.one = {folded}; one.focus(); one.parentElement.open")
    tab.press("Enter")
    assert tab.run("one.parentElement.open") is not before


@pytest.mark.parametrize("page", ["report", "scriptless"])
@pytest.mark.parametrize("width, size", [(320, 16), (640, 16), (1280, 32)])
def test_nothing_needs_scrolling_sideways(tab, gallery, width, size, page):
    """At 400 % and 200 %, or with letters twice as large, only wide figures and tables scroll."""
    tab.resize(width)
    tab.call("Page.setFontSizes", fontSizes={"standard": size})
    tab.open(gallery / f"{page}.html")
    unfold(tab)
    assert tab.run("getComputedStyle(document.body).fontSize") == f"{size}px"
    assert tab.run("document.documentElement.scrollWidth") <= width


def test_nothing_moves(tab, gallery):
    """There is no motion that a reader could want less of."""
    tab.prefer(reduced_motion="reduce")
    tab.open(gallery / "report.html", "#sort=effect")
    unfold(tab)
    assert tab.run("document.getAnimations().length") == 0
    assert tab.run("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    moving = """[...document.querySelectorAll("*")].filter((one) => {
        const style = getComputedStyle(one);
        return parseFloat(style.transitionDuration) || style.animationName !== "none";
    }).length"""
    assert tab.run(moving) == 0


def spoken(tab):
    """Read the page as a screen reader is given it: roles and names in order."""
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""), node.get("properties", []))
        for node in nodes
        if not node["ignored"]
    ]


@pytest.mark.parametrize("width", [1280, 320])
def test_a_screen_reader_gets_the_table_as_a_table(tab, gallery, width):
    """Whatever the layout, rows, headers and cells stay what they are, and marks go unsaid."""
    tab.resize(width)
    tab.open(gallery / "report.html")
    tree = spoken(tab)
    roles = [role for role, _, _ in tree]
    assert any(role == "table" and name.startswith("Effects with") for role, name, _ in tree)
    heads = {name for role, name, _ in tree if role == "columnheader"}
    assert {"claim", "verdict", "effect", "interval", "bound"} <= heads
    assert roles.count("rowheader") >= 11
    assert sum(role in {"cell", "gridcell"} for role in roles) >= 66
    said = [name for role, name, _ in tree if role == "StaticText"]
    assert not any(mark in name for name in said for mark in "✓✗")
    images = [name for role, name, _ in tree if role in {"image", "img"}]
    assert images
    assert all(images)


def test_a_screen_reader_hears_the_count(tab, gallery):
    """The region that says the count is announced without being asked for."""
    tab.open(gallery / "report.html", "#status=refuted")
    live = [(props, role) for role, _, props in spoken(tab) if role == "status"]
    assert len(live) == 1
    assert {"name": "live", "value": {"type": "token", "value": "polite"}} in live[0][0]
    text = tab.run("document.querySelector('[role=status]').textContent")
    assert text == "2 of 11 claims shown"
