"""What the values of a part are called."""

import msgspec

from causaltest.report.parts import counted
from causaltest.report.strip import strip


def test_means_of_units_are_not_called_pairs(sample):
    """Where only unit means are kept, the values are units; one value a pair are pairs."""
    part = sample.claims[0].parts[0]
    assert counted(part) == "pair"
    means = msgspec.structs.replace(part, values=part.values[:12], units=part.units[::2])
    assert counted(means) == "template"
    assert strip(means).title.startswith("12 templates of recovery")
    alone = msgspec.structs.replace(part, n_units=24)
    assert counted(alone) == "pair"
