"""Data for small configurations: sizes by the names that settings have, and what families need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SMALL: Mapping[str, Any] = {
    **dict.fromkeys(
        (
            "vocab_size", "hidden_size", "d_model", "n_embd", "dim", "embed_dim", "embedding_size",
            "emb_dim", "word_embed_proj_dim", "lru_width", "vocab_size_per_layer_input",
            "relation_vocab_size", "shared_intermediate_size", "max_source_positions",
            "max_target_positions", "text_embed_dim", "hidden_size_global",
        ),
        64,
    ),
    **dict.fromkeys(
        (
            "intermediate_size", "ffn_dim", "d_ff", "n_inner", "ffn_hidden_size", "hidden_dim",
            "decoder_ffn_dim", "encoder_ffn_dim", "inner_dim", "ffn_embed_dim", "mlp_dim",
            "intermediate_size_mlp", "block_ff_dim", "mlp_hidden_size",
        ),
        96,
    ),
    **dict.fromkeys(
        (
            "moe_intermediate_size", "expert_ffn_hidden_size", "shared_expert_intermediate_size",
            "moe_shared_expert_intermediate_size", "projection_dim", "codevector_dim",
        ),
        32,
    ),
    **dict.fromkeys(
        (
            "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers",
            "decoder_layers", "encoder_layers", "num_encoder_layers", "depth",
            "num_key_value_heads", "num_kv_heads", "eos_token_id", "sep_token_id",
            "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts",
            "type_vocab_size", "linear_num_key_heads",
        ),
        2,
    ),
    **dict.fromkeys(
        (
            "num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads",
            "encoder_attention_heads", "attention_heads", "attention_window", "num_experts",
            "num_local_experts", "n_routed_experts", "moe_num_experts", "conv_kernel",
            "linear_num_value_heads",
        ),
        4,
    ),
    **dict.fromkeys(
        (
            "qk_rope_head_dim", "qk_nope_head_dim", "state_size", "mamba_d_state",
            "ssm_state_size", "mamba_num_heads", "mamba_n_heads", "time_step_rank", "rotary_dim",
        ),
        8,
    ),
    **dict.fromkeys(
        (
            "head_dim", "kv_channels", "d_kv", "attention_head_dim", "global_head_dim",
            "sliding_window", "local_attention", "q_lora_rank", "kv_lora_rank", "v_head_dim",
            "qk_head_dim", "o_lora_rank", "mamba_head_dim", "mamba_d_head", "linear_key_head_dim",
            "linear_value_head_dim", "hidden_size_per_layer_input", "num_mel_bins",
            "num_conv_pos_embeddings", "input_feat_per_channel",
        ),
        16,
    ),
    **dict.fromkeys(
        (
            "n_group", "topk_group", "n_shared_experts", "first_k_dense_replace", "bos_token_id",
            "moe_layer_start_index", "cls_token_id", "decoder_start_token_id",
        ),
        1,
    ),
    "max_position_embeddings": 128,
    "n_positions": 128,
    "pad_token_id": 0,
    "mask_token_id": 3,
    "image_size": 32,
    "patch_size": 8,
    "num_channels": 3,
    "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
"""Setting to its value in a small model, for configurations that have a setting of that name."""

OFF_BY_DEFAULT = frozenset(
    {"n_inner", "top_k_experts", "sliding_window", "num_experts", "q_lora_rank"}
)
"""Settings that stay as they are where a configuration leaves them out."""

# Multi-head latent attention, whose head_dim is that of its rotary part.
_LATENT = {"head_dim": 8, "num_key_value_heads": 4}
_WINDOWS = {"embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 2}
# Rotary angles in sections that make up half of the heads' width of 16.
_INTERLEAVED = {
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3],
    }
}  # fmt: skip
_SECTIONS = {"text_config": _INTERLEAVED}
_WINDOWED = {
    "layer_types": ["sliding_attention", "full_attention"],
    "rope_parameters": {
        kind: {"rope_type": "default", "rope_theta": 10000.0}
        for kind in ("sliding_attention", "full_attention")
    },
}
_STAGES = {"hidden_sizes": [16, 24, 32, 48], "depths": [2, 2, 2, 2], "patch_size": ...}
_CROSSING = {"decoder": {"is_decoder": True, "add_cross_attention": True}}
_QUERYING = {"image_token_index": 63, "video_token_index": 63, "num_query_tokens": 4}
_PERCEIVING = {
    "num_latents": 8,
    "d_latents": 64,
    "num_self_attends_per_block": 2,
    "num_self_attention_heads": 4,
    "num_cross_attention_heads": 1,
}
_CODES = {"base_channels": 32, "channel_multiplier": [1, 1], "latent_channels": 16}
_HYBRID = {"layer_types": ["linear_attention", "full_attention"]}

TWEAKS: Mapping[str, Mapping[str, Any]] = {
    "axk1": _LATENT,
    # Patches begin where the next byte is all but unknown: more so than ever in so small a network.
    "blt": {"encoder_hash_byte_group_vocab": 64, "patching_threshold": 4.158},
    "blip-2": {"image_token_index": 63, "num_query_tokens": 4},
    "axk2": _LATENT,
    "bamba": {"attn_layer_indices": [1]},
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "deepseek_v32": _LATENT,
    "dots3_note": {
        "text_config": _LATENT,
        "vision_config": {
            "mlp_layer_types": ["dense", "sparse"], "adapter_in_dim": 64, "adapter_out_dim": 64,
        },
        "audio_config": {"adapter_input_size": 64, "adapter_out_dim": 64},
    },
    "dots3_note_text": _LATENT,
    "encoder-decoder": _CROSSING,
    "speech-encoder-decoder": _CROSSING,
    "vision-encoder-decoder": _CROSSING,
    "esmc": {"num_key_value_heads": 4},
    "falcon_h1": {"mamba_d_ssm": 128},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gemma4_assistant": {
        "text_config": {
            "model_type": "gemma4_text", "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 0, "num_kv_shared_layers": 2, "num_hidden_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"],
        }
    },
    "glm4_moe_lite": _LATENT,
    "glm46v": _SECTIONS,
    "glm4v": _SECTIONS,
    "glm4v_moe": {
        "text_config": {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.5,
                "mrope_section": [1, 1, 2],
            }
        }
    },
    "glm_moe_dsa": _LATENT,
    "glm_ocr": _SECTIONS,
    "glmga": _SECTIONS,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": _HYBRID,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": _LATENT,
    "mamba2": {"num_heads": 8},
    "minicpm3": _LATENT,
    "mistral4": {"num_key_value_heads": 4},
    "paddleocr_vl": _SECTIONS,
    "qwen2_5_vl": _SECTIONS,
    "qwen2_vl": _SECTIONS,
    "qwen3_5": {"text_config": _HYBRID},
    "qwen3_5_moe": {"text_config": _HYBRID},
    "qwen3_5_moe_text": _HYBRID,
    "qwen3_5_text": _HYBRID,
    "qwen3_next": _HYBRID,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "swin": _WINDOWS,
    "swinv2": _WINDOWS,
    "donut-swin": _WINDOWS,
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "youtu": _LATENT,
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
    "bailing_hybrid": {
        "n_group": 1, "topk_group": 1, "layer_group_size": 2, "num_local_experts": 4,
        "num_key_value_heads": 4, "num_mtp_layers": 0,
    },
    "convnext": _STAGES,
    "convnextv2": _STAGES,
    "efficientnet": {
        "width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320,
    },
    "levit": {
        "image_size": 64, "patch_size": ..., "hidden_sizes": [32, 48, 64],
        "num_attention_heads": [2, 3, 4], "key_dim": [8, 8, 8], "depths": [2, 2, 2],
    },
    "mobilevitv2": {"image_size": 64, "patch_size": ..., "width_multiplier": 0.5},
    "segformer": {"sr_ratios": [4, 2, 1, 1], "hidden_sizes": [16, 32, 40, 64]},
    "pp_lcnet": {
        "block_configs": [
            [[3, 16, 16, 1, False]], [[3, 16, 24, 2, False]], [[3, 24, 24, 1, False]],
            [[5, 24, 32, 2, True]], [[5, 32, 32, 1, True]],
        ]
    },
    "siglip2": {"vision_config": {"num_patches": 16}},
    "shieldgemma2": {"yes_token_index": 11, "no_token_index": 12},
    "pp_formulanet": {
        "vision_config": {
            "post_conv_in_channels": 32, "post_conv_mid_channels": 48, "output_channels": 32,
            "post_conv_out_channels": 96, "decoder_hidden_size": 64, "window_size": 2,
            "global_attn_indexes": [1], "image_size": 64,
        }
    },
    "pi0": {"vlm_config": {"projection_dim": 64, "vision_config": {"projection_dim": 64}}},
    "nemo_speechlm": {
        "audio_config": {
            "diarization_config": {"head_config": {"audio_hidden_size": 64}},
        },
        "word_timestamp_config": {"blank_token_id": 63},
    },
    "hunyuan_vl": _SECTIONS,
    "qwen4_exp": {
        "text_config": {
            "layer_types": ["linear_attention", "indexed_attention"], "indexer_n_heads": 4,
            "indexer_kv_heads": 1, "indexer_head_dim": 16, "indexer_budget": 16,
            "indexer_compress_ratio": 4,
        }
    },
    "diffusion_gemma": {
        "canvas_length": 8,
        "text_config": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32},
    },
    "ernie4_5_vl_moe": {
        "text_config": {
            "moe_intermediate_size": [32, 32], "mlp_layer_types": ["dense", "sparse"],
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [3, 3, 2],
            },
        },
    },
    "granite4_vision": {
        "deepstack_layer_map": [[1, 0]], "downsample_rate": "1/2", "spatial_target_layers": [1],
    },
    "granite_speech5_ctc": {"encoder_config": {"context_size": 16, "subsample_layers": [0]}},
    "instructblip": _QUERYING,
    "instructblipvideo": _QUERYING,
    "kosmos-2": {"latent_query_num": 4},
    "perceiver": _PERCEIVING,
    "dia": {"decoder_config": {"num_channels": ..., "cross_hidden_size": 64}},
    "kyutai_speech_to_text": {
        "codebook_vocab_size": 64, "num_codebooks": 4, "audio_pad_token_id": 320,
        "audio_bos_token_id": 63, "codec_config": {"upsample_groups": 64},
    },
    "chameleon": {"vocabulary_map": {"<image>": 5}, "vq_config": {**_CODES, "num_embeddings": 16}},
    "cohere_compass": {"text_config": _WINDOWED},
    "cohere_compass_text": _WINDOWED,
    "cosmos3_edge": _SECTIONS,
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8},
        "ffn_config": {
            "hidden_size": 64, "ffn_hidden_size": 96, "moe_num_experts": 4, "moe_top_k": 2,
        },
        "max_seq_len": 128,
    },
    "deepseek_ocr2": {"text_config": {"mlp_layer_types": ["dense", "sparse"]}},
    "emu3": {"vocabulary_map": {"<image>": 5}},
    "fun_asr_nano": {"adaptor_config": {"intermediate_size": 16, "hidden_size": 64}},
    "glm5_next": {
        "text_config": {
            "num_key_value_heads": 4, "qk_rope_head_dim": 0, "index_topk": 16,
            "layer_types": ["linear_attention", "indexed_attention"],
        },
        "vision_config": {"projection_intermediate_size": 96, "out_hidden_size": 64},
    },
    "granite_docling": {"vision_config": {"out_hidden_size": 64}},
    "inkling2": {"vision_config": {"text_hidden_size": 64}},
    "kimi_k25": {"text_config": _LATENT},
    "mistral_large4": {"text_config": _LATENT},
    "molmo2": {"adapter_config": {"vision_feature_layer": [1, 0], "text_hidden_size": 64}},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "muse_spark": {
        "audio_config": {
            "patch_sizes": [4, 4], "hidden_sizes": [64, 64], "depths": [1, 1],
            "out_hidden_size": 64, "num_hidden_layers": 2,
        }
    },
    "nemotron_h_omni": {
        "video_temporal_patch_size": 2, "vision_config": {"video_temporal_patch_size": 2}
    },
    "qwen2_5_omni_thinker": {"vision_start_token_id": 5, **_SECTIONS},
    "qwen3_omni_moe_thinker": {"vision_start_token_id": 5, **_SECTIONS},
    "reformer": {
        "attn_layers": ["local", "lsh"], "axial_pos_embds": False, "attention_head_size": 16,
        "feed_forward_size": 96, "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4,
        "num_buckets": 2, "hash_seed": 0,
    },
    "ReformerModelWithLMHead": {"is_decoder": True},
    "seamless_m4t": {"feature_projection_input_dim": 16},
    "seamless_m4t_v2": {"feature_projection_input_dim": 16},
    "step3p7": {"text_config": {"sliding_window": 16}},
    "wav2vec2-bert": {"feature_projection_input_dim": 16},
    "zamba": {
        "num_hidden_layers": 3, "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
        "num_key_value_heads": 4, "mamba_d_state": 8,
    },
}  # fmt: skip
"""What a family, or one class of it, needs beside small sizes; ... keeps a default."""
