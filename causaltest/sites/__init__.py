"""Sites: named places inside a network where activations are read and edited."""

from causaltest.sites.checks import Dims as Dims
from causaltest.sites.checks import Pos as Pos
from causaltest.sites.components import COMPONENTS as COMPONENTS
from causaltest.sites.components import EXPERT_COMPONENTS as EXPERT_COMPONENTS
from causaltest.sites.components import HEAD_COMPONENTS as HEAD_COMPONENTS
from causaltest.sites.components import KEYED as KEYED
from causaltest.sites.components import LAYER_COMPONENTS as LAYER_COMPONENTS
from causaltest.sites.components import MODEL_COMPONENTS as MODEL_COMPONENTS
from causaltest.sites.components import MODULE as MODULE
from causaltest.sites.keyed import attention_pattern as attention_pattern
from causaltest.sites.keyed import attention_scores as attention_scores
from causaltest.sites.keyed import cross_attention_pattern as cross_attention_pattern
from causaltest.sites.keyed import cross_attention_scores as cross_attention_scores
from causaltest.sites.layers import attention_input as attention_input
from causaltest.sites.layers import attention_output as attention_output
from causaltest.sites.layers import attention_value_output as attention_value_output
from causaltest.sites.layers import block_input as block_input
from causaltest.sites.layers import block_output as block_output
from causaltest.sites.layers import cross_attention_output as cross_attention_output
from causaltest.sites.layers import cross_attention_value_output as cross_attention_value_output
from causaltest.sites.layers import cross_key_output as cross_key_output
from causaltest.sites.layers import cross_query_output as cross_query_output
from causaltest.sites.layers import cross_value_output as cross_value_output
from causaltest.sites.layers import head_attention_pattern as head_attention_pattern
from causaltest.sites.layers import head_attention_scores as head_attention_scores
from causaltest.sites.layers import head_attention_value_output as head_attention_value_output
from causaltest.sites.layers import head_cross_attention_pattern as head_cross_attention_pattern
from causaltest.sites.layers import head_cross_attention_scores as head_cross_attention_scores
from causaltest.sites.layers import (
    head_cross_attention_value_output as head_cross_attention_value_output,
)
from causaltest.sites.layers import head_cross_key_output as head_cross_key_output
from causaltest.sites.layers import head_cross_query_output as head_cross_query_output
from causaltest.sites.layers import head_cross_value_output as head_cross_value_output
from causaltest.sites.layers import head_key_output as head_key_output
from causaltest.sites.layers import head_query_output as head_query_output
from causaltest.sites.layers import head_value_output as head_value_output
from causaltest.sites.layers import key_output as key_output
from causaltest.sites.layers import mixer_input as mixer_input
from causaltest.sites.layers import mixer_output as mixer_output
from causaltest.sites.layers import mlp_activation as mlp_activation
from causaltest.sites.layers import mlp_input as mlp_input
from causaltest.sites.layers import mlp_output as mlp_output
from causaltest.sites.layers import query_output as query_output
from causaltest.sites.layers import router_output as router_output
from causaltest.sites.layers import value_output as value_output
from causaltest.sites.others import embedding as embedding
from causaltest.sites.others import expert_output as expert_output
from causaltest.sites.others import module as module
from causaltest.sites.site import END as END
from causaltest.sites.site import Site as Site
