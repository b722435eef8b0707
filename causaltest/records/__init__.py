"""What a run leaves behind: claims, verdicts and environment as plain records.

The report, the terminal table and every later command read these records and nothing else.
`results.json` holds no time outside `run`, so two runs of the same code differ in nothing else.
"""

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
from causaltest.records.files import Running, append_jsonl, read, read_jsonl, recover, write
from causaltest.records.schema import (
    SCHEMA_VERSION,
    Claim,
    Edit,
    Environment,
    Interval,
    ModelRecord,
    Outcome,
    PairRecord,
    PairSetRecord,
    Part,
    Results,
    Run,
    Sizes,
    VerdictName,
    count,
    ordered,
    pair_set_of,
)

__all__ = [
    "SCHEMA_VERSION",
    "Axis",
    "CircuitGraph",
    "CircuitNode",
    "Claim",
    "ControlStrip",
    "DoseCurve",
    "Edit",
    "Environment",
    "EvidencePath",
    "Interval",
    "Map",
    "ModelRecord",
    "Outcome",
    "PairRecord",
    "PairSetRecord",
    "Part",
    "Results",
    "Run",
    "Running",
    "Shown",
    "Sizes",
    "Specification",
    "VerdictName",
    "append_jsonl",
    "count",
    "ordered",
    "pair_set_of",
    "read",
    "read_jsonl",
    "recover",
    "write",
]
