"""Counterfactual pairs, their positions, and sets of them."""

from causaltest.pairs.pair import Pair as Pair
from causaltest.pairs.positions import Characters as Characters
from causaltest.pairs.positions import Place as Place
from causaltest.pairs.positions import Position as Position
from causaltest.pairs.positions import Side as Side
from causaltest.pairs.positions import Tokens as Tokens
from causaltest.pairs.prompts import Prompt as Prompt
from causaltest.pairs.sets import Pairs as Pairs
