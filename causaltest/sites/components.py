"""The parts of a network that sites name, and what each of them is."""

from __future__ import annotations

LAYER_COMPONENTS: dict[str, str] = {
    "block_input": "residual stream entering the block",
    "block_output": "residual stream leaving the block",
    "attention_input": "what the attention sublayer reads, after its norm",
    "attention_output": "what the attention sublayer writes to the residual stream",
    "attention_value_output": "all heads' mixed values, concatenated, before the output projection",
    "query_output": "all heads' queries, concatenated, before any rotary embedding",
    "key_output": "all key-value heads' keys, concatenated, before any rotary embedding",
    "value_output": "all key-value heads' values, concatenated",
    "attention_scores": "all query heads' scores before the softmax, one for each key",
    "attention_pattern": "all query heads' attention probabilities, one for each key",
    "cross_attention_output": "what the cross-attention writes to the residual stream",
    "cross_attention_value_output": "cross-attention: all heads' mixed values, before the output "
    "projection",
    "cross_query_output": "cross-attention: all heads' queries, concatenated",
    "cross_key_output": "cross-attention: all heads' keys, concatenated; tokens of the encoder",
    "cross_value_output": "cross-attention: all heads' values, concatenated; tokens of the encoder",
    "cross_attention_scores": "cross-attention: all heads' scores before the softmax, one for each "
    "token of the encoder",
    "cross_attention_pattern": "cross-attention: all heads' probabilities, one for each token of "
    "the encoder",
    "mlp_input": "what the MLP reads, after its norm",
    "mlp_activation": "the MLP's neurons, before the output projection",
    "mlp_output": "what the MLP writes to the residual stream",
    "mixer_input": "what the state-space, recurrent or convolution mixer reads, after its norm",
    "mixer_output": "what the mixer gives",
    "router_output": "each expert's score, before any expert is chosen or weights are normalised",
}
HEAD_COMPONENTS: dict[str, str] = {
    "head_attention_value_output": "one head's mixed values, before the output projection",
    "head_query_output": "one head's queries, before any rotary embedding",
    "head_key_output": "one key-value head's keys, before any rotary embedding",
    "head_value_output": "one key-value head's values",
    "head_attention_scores": "one query head's scores before the softmax, one for each key",
    "head_attention_pattern": "one query head's attention probabilities, one for each key",
    "head_cross_attention_value_output": "cross-attention: one head's mixed values, before the "
    "output projection",
    "head_cross_query_output": "cross-attention: one head's queries",
    "head_cross_key_output": "cross-attention: one key-value head's keys; tokens of the encoder",
    "head_cross_value_output": "cross-attention: one key-value head's values; tokens of the "
    "encoder",
    "head_cross_attention_scores": "cross-attention: one head's scores before the softmax, one for "
    "each token of the encoder",
    "head_cross_attention_pattern": "cross-attention: one head's probabilities, one for each token "
    "of the encoder",
}
EXPERT_COMPONENTS: dict[str, str] = {
    "expert_output": "what one expert adds, its routing weight included; 0 where it is not chosen",
}
MODEL_COMPONENTS: dict[str, str] = {"embedding": "token embeddings, before positions are added"}
COMPONENTS: dict[str, str] = {
    **LAYER_COMPONENTS, **HEAD_COMPONENTS, **EXPERT_COMPONENTS, **MODEL_COMPONENTS,
}  # fmt: skip
MODULE = "module"

KEYED = frozenset(
    f"{head}{cross}{name}"
    for head in ("", "head_")
    for cross in ("", "cross_")
    for name in ("attention_scores", "attention_pattern")
)
"""Components with one number for each key, and so as wide as the keys are many."""
