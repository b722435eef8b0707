"""Names and texts from outside, hostile, through a whole run: every file it writes stays whole."""

import json
import re
import xml.etree.ElementTree as ET

ATTACKS = (
    "</script><script>document.title='pwned'</script>",
    "a\n::error file=x::pwned\r\n::set-output name=x::y",
    "| `b` | [link](javascript:x) ![img](http://x) @someone",
    "]]><!-- \x1b[31mred\x1b]0;title\x07 \x00 \x08",
    "\u202etxet\u2066 \u2028 \ufeff \udc80",
    "x" * 100_000,
)

BODY = """
ATTACKS = {attacks!r}

@pytest.mark.parametrize("text", ATTACKS, ids=str)
def test_named(causal, text):
    test_named.__doc__ = text
    text = text.replace("\\udc80", "")  # which pairs refuse
    pairs = Pairs(
        [
            Pair((0, 1), (0, 2), base_answer=1, source_answer=2, id=f"{{i}} {{text}}",
                 labels={{"template": f"t{{i % 12}} {{text}}", "effect": repr(0.1 * (i % 5))}})
            for i in range(24)
        ],
        name=text, cluster="template",
    )
    def metric(output, pair):
        return written(output, pair)
    metric.__name__ = metric.__qualname__ = text
    assert causal.effect(EMBEDDING, on=pairs, metric=metric) > 0.5

def test_broken(causal, strong):
    raise ValueError("".join(ATTACKS))
"""


def test_a_hostile_run_leaves_whole_files_and_a_clean_terminal(suite, monkeypatch, tmp_path):
    """Claims, table, report, JUnit, summary and annotations hold every claim, as text alone."""
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    suite.write(BODY.format(attacks=ATTACKS))
    result = suite.run_apart("--junitxml=junit.xml", "--tb=no", "-rN")
    shown = result.stdout.str()
    assert "INTERNALERROR" not in shown
    table = shown[shown.index(" causal claims ") :]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]", table)
    assert "7 claims: 0 supported, 6 refuted, 0 inconclusive, 1 error" in table
    commands = [line for line in shown.splitlines() if line.startswith("::")]
    assert len(commands) == 6
    assert max(map(len, commands)) < 1_000
    assert all(re.match(r"::error file=[^:,]+,line=\d+,title=[^:,]+::", one) for one in commands)
    claims = suite.results["claims"]
    assert len(claims) == 7
    assert ATTACKS[5] in json.dumps(claims)
    assert len((suite.path / "reports" / "results.jsonl").read_bytes().splitlines()) == 8
    page = (suite.path / "reports" / "report.html").read_text("utf-8")
    assert "<script>document" not in page
    assert page.count('<details class="c ') == 7
    assert len(list(ET.parse(suite.path / "junit.xml").iter("testcase"))) == 7
    text = summary.read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "test_" in line]
    assert len(rows) == 7
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 7 for row in rows)
    assert "<script>" not in re.sub(r"(`+).*?\1(?!`)", "", text)
