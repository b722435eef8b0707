"""Learned alignments: where a network holds a causal model's variable, and how surely."""

from causaltest.alignments.adapting import Adapted as Adapted
from causaltest.alignments.alignment import Alignment as Alignment
from causaltest.alignments.gridding import Alignments as Alignments
from causaltest.alignments.origin import Fit as Fit
from causaltest.alignments.origin import Origin as Origin
from causaltest.alignments.reading import DirectionMap as DirectionMap
from causaltest.alignments.recipe import Recipe as Recipe
from causaltest.alignments.saving import load_alignment as load_alignment
from causaltest.alignments.teaching import Taught as Taught
