"""What a run leaves behind: claims, verdicts and environment as plain records.

The report, the terminal table and every later command read these records and nothing else.
`results.json` holds no time outside `run`, so two runs of the same code differ in nothing else.
"""

from causaltest.records.files import (
    Running as Running,
)
from causaltest.records.files import (
    append_jsonl as append_jsonl,
)
from causaltest.records.files import (
    read as read,
)
from causaltest.records.files import (
    read_jsonl as read_jsonl,
)
from causaltest.records.files import (
    recover as recover,
)
from causaltest.records.files import (
    write as write,
)
from causaltest.records.schema import (
    SCHEMA_VERSION as SCHEMA_VERSION,
)
from causaltest.records.schema import (
    Claim as Claim,
)
from causaltest.records.schema import (
    Edit as Edit,
)
from causaltest.records.schema import (
    Environment as Environment,
)
from causaltest.records.schema import (
    Interval as Interval,
)
from causaltest.records.schema import (
    ModelRecord as ModelRecord,
)
from causaltest.records.schema import (
    Outcome as Outcome,
)
from causaltest.records.schema import (
    PairRecord as PairRecord,
)
from causaltest.records.schema import (
    PairSetRecord as PairSetRecord,
)
from causaltest.records.schema import (
    Part as Part,
)
from causaltest.records.schema import (
    Results as Results,
)
from causaltest.records.schema import (
    Run as Run,
)
from causaltest.records.schema import (
    Sizes as Sizes,
)
from causaltest.records.schema import (
    VerdictName as VerdictName,
)
from causaltest.records.schema import (
    count as count,
)
from causaltest.records.schema import (
    ordered as ordered,
)
