"""What a report of many claims weighs, how long it takes to write, to open and to filter.

    python benchmarks/report.py

The claims are those of the example report, repeated under new names, with 24 pairs each. Opening,
searching and the like are measured in a headless Chromium, by the page's own clock, until the page
is laid out anew; without a Chromium these columns stay empty.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from results import record, table

from causaltest.records import Claim, Results, read
from causaltest.report import html

_EXAMPLE = Path(__file__).parents[1] / "reports" / "example" / "results.json"
_PAIRS = 24
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1280,900")

_PROBE = """
const search = document.getElementById("search");
const box = document.querySelector(".tools input[type=checkbox]");
const head = document.querySelector("th[data-key=effect] button");
const write = (words) => { search.value = words; search.dispatchEvent(new Event("input")); };
const timed = (act) => {
  const start = performance.now();
  act();
  document.body.offsetHeight;
  return performance.now() - start;
};
const median = (act) => {
  const times = [];
  for (let i = 0; i < 9; i++) times.push(timed(() => act(i)));
  return times.sort((a, b) => a - b)[4];
};
document.body.offsetHeight;
const found = {
  opened: performance.now(),
  first: timed(() => write("layer")),
  search: median((i) => write(i % 2 ? "" : "heads")),
  filter: median(() => box.click()),
  sort: median(() => head.click()),
};
const out = document.createElement("script");
out.type = "application/json";
out.id = "found";
out.textContent = JSON.stringify(found);
document.body.append(out);
"""


def many(claims: int) -> Results:
    """Repeat the claims of the example over many files."""
    example = read(_EXAMPLE)
    kept = [claim for claim in example.claims if claim.parts]
    made: list[Claim] = []
    for index in range(claims):
        claim = kept[index % len(kept)]
        file = f"hypotheses/test_area_{index // 50:02d}.py"
        name = claim.id.split("::", 1)[1]
        parts = tuple(
            msgspec.structs.replace(
                part,
                values=part.values[:_PAIRS],
                units=part.units[:_PAIRS],
                totals=part.totals[:_PAIRS],
                pair_ids=part.pair_ids[:_PAIRS],
            )
            for part in claim.parts
        )
        made.append(
            msgspec.structs.replace(
                claim, id=f"{file}::{index}_{name}", file=file, line=index, parts=parts
            )
        )
    return msgspec.structs.replace(example, claims=tuple(made))


def in_browser(page: Path) -> dict[str, float]:
    """Open a page and work with it; milliseconds by what was done."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        return {}
    text = page.read_text(encoding="utf-8")
    # The page's policy lets no other script run than its own.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    probed = page.with_name("probed.html")
    probed.write_text(text.replace("</body>", f"<script>{_PROBE}</script></body>"), "utf-8")
    command = [browser, *_FLAGS, f"--user-data-dir={page.parent / 'profile'}"]
    dumped = subprocess.run(
        [*command, "--dump-dom", probed.as_uri()], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r'id="found">(.*?)</script>', dumped)
    return json.loads(found[1]) if found else {}


def measured(claims: int) -> list[str]:
    """Write a report of so many claims and work with it; one row of the table."""
    results = many(claims)
    with TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        start = time.perf_counter()
        html.write(results, page)
        spent = time.perf_counter() - start
        size = page.stat().st_size
        found = in_browser(page)
    names = ("opened", "first", "search", "filter", "sort")
    times = [f"{found[name]:.0f} ms" if name in found else "" for name in names]
    return [f"{claims:,}", f"{spent:.1f} s", f"{size / 1e6:.2f} MB", *times]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, nargs="+", default=[100, 500, 2000])
    rows = [measured(claims) for claims in parser.parse_args(arguments).claims]
    header = ["claims", "written", "size", "opened", "first search", "search", "filter", "sort"]
    text = f"{table(header, rows)}\n\nTargets for 2,000 claims: below 10 s and 5 MB."
    record("Reports of many claims", f"python {' '.join(sys.argv)}", text)
    print(text)


if __name__ == "__main__":
    main()
