"""The code in the documentation runs, and prints what stands below it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import pkgutil
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import causaltest
from causaltest import Model, Pairs

ROOT = Path(__file__).resolve().parents[2]
SCHOOLBOOK = ROOT / "hypotheses" / "schoolbook"
PAGES = (
    ROOT / "README.md",
    ROOT / "hypotheses" / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md")),
)
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    body: str
    line: int
    follows: bool
    """Whether nothing but blank lines stands between it and the block before."""


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text, found, end = path.read_text(encoding="utf-8"), [], 0
    for match in FENCE.finditer(text):
        language, _, rest = match["info"].partition(" ")
        title = re.search(r'title="([^"]*)"', rest)
        found.append(
            Block(
                language,
                title[1] if title else "",
                match["body"],
                text.count("\n", 0, match.start("body")),
                not text[end : match.start()].strip(),
            )
        )
        end = match.end()
    return found


def is_suite(block: Block) -> bool:
    """Return whether a block holds test functions or fixtures, which pytest has to run."""
    return block.language == "python" and bool(
        re.search(r"^def test_|^@pytest\.fixture", block.body, re.MULTILINE)
    )


def relative(path: Path) -> str:
    """Return a page's name, for ids."""
    return path.relative_to(ROOT).as_posix()


WITH_SCRIPTS = [
    path
    for path in PAGES
    if any(block.language == "python" and not is_suite(block) for block in blocks_of(path))
]
WITH_SUITES = [path for path in PAGES if any(is_suite(block) for block in blocks_of(path))]


@pytest.fixture(scope="module")
def _imported():
    """Import what runs in process would forget; torch does not survive a second import."""
    for name in ("causaltest.experiment", "causaltest.report.figures", "vl_convert"):
        importlib.import_module(name)
    Model.load(str(SCHOOLBOOK)).generate("Jane", max_new_tokens=1)


@pytest.mark.parametrize("page", WITH_SCRIPTS, ids=relative)
def test_scripts_run_and_print_what_stands_below(page, tmp_path, monkeypatch):
    """A page's scripts run in order in one namespace; a `text` block below one is its output."""
    (tmp_path / "hypotheses").symlink_to(ROOT / "hypotheses", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    blocks = blocks_of(page)
    for block, below in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language != "python" or is_suite(block):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * block.line + block.body, str(page), "exec"), names)
        if below is not None and below.language == "text" and below.follows:
            assert printed.getvalue().split() == below.body.split(), f"line {block.line}"


@pytest.mark.parametrize("page", WITH_SUITES, ids=relative)
@pytest.mark.usefixtures("_imported")
def test_suites_pass(page, pytester):
    """A page's test functions make a file that passes on the model of the repository."""
    folder = pytester.mkdir("suite")
    shutil.copytree(ROOT / "hypotheses" / "pairs", folder / "pairs")
    fixtures = (ROOT / "hypotheses" / "conftest.py").read_text(encoding="utf-8")
    added = [each.body for each in blocks_of(page) if each.title == "conftest.py"]
    (folder / "conftest.py").write_text("\n\n".join([fixtures, *added]), encoding="utf-8")
    suites = [each for each in blocks_of(page) if is_suite(each) and each.title != "conftest.py"]
    (folder / "test_page.py").write_text("\n\n".join(each.body for each in suites))
    pytester.makeini(f"[pytest]\ncausal_models = {SCHOOLBOOK}\naddopts = --import-mode=importlib")
    result = pytester.runpytest_inprocess(
        "suite", "-p", "no:cacheprovider", "--causal-report", "none", "--strict-markers"
    )
    assert result.ret == 0, result.stdout.str()
    assert result.parseoutcomes().get("passed", 0) >= len(suites)


def test_pairs_on_the_pages_are_pairs(tmp_path):
    """Each line of JSON on the page about pairs is read as a pair."""
    lines = [each.body for each in blocks_of(ROOT / "docs" / "pairs.md") if each.language == "json"]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    assert len(Pairs.read(path, cluster="template")) == len(lines) == 1


def test_output_that_differs_is_found(tmp_path, monkeypatch):
    """A page whose text block is not what its script prints fails."""
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="line 1"):
        test_scripts_run_and_print_what_stands_below(page, tmp_path, monkeypatch)


def test_the_site_shows_every_page():
    """The site's navigation names each page of docs/ once, and no other."""
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shown = re.findall(r"[\w/-]+\.md$", settings.split("\nnav:\n")[1], re.MULTILINE)
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(shown) == sorted(pages)


def test_the_reference_covers_what_is_public():
    """What reference pages name exists, and each public name is on one of them."""
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    covered = set()
    for name in re.findall(r"^::: (.+)$", pages, re.MULTILINE):
        described = pkgutil.resolve_name(name)
        covered.add(id(described))
        if inspect.ismodule(described):
            covered |= {id(each) for each in vars(described).values()}
    public = {name: getattr(causaltest, name) for name in causaltest.__all__ if name[0] != "_"}
    assert [name for name, value in public.items() if id(value) not in covered] == []


def test_links_between_pages_lead_somewhere():
    """Every relative link of the documentation names a file that exists."""
    missing = [
        f"{relative(page)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert missing == []
