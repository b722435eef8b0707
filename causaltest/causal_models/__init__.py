"""Causal models: named variables that can be run, intervened on and sampled from."""

from causaltest.causal_models.counterfactuals import Counterfactual as Counterfactual
from causaltest.causal_models.model import CausalModel as CausalModel
from causaltest.causal_models.model import Setting as Setting
from causaltest.causal_models.strategies import counterfactuals_of as counterfactuals_of
from causaltest.causal_models.strategies import inputs_of as inputs_of
