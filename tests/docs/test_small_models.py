"""Representative model classes, built small, conform; `make conformance` tries all of them."""

from __future__ import annotations

import re

import pytest
import torch

from causaltest.errors import ModelError
from small_forwards import OF_FAMILY, OF_KIND
from small_models import KINDS, Subject, measure, small_config, small_network, subjects

CAUSAL, ENCODERS, PAIRS, VISION, SPEECH, SEEING = KINDS

# What each is there for: its components beyond, or short of, the usual ones.
REPRESENTATIVE = {
    Subject(CAUSAL, "opt", "OPTForCausalLM"): {"head_key_output"},
    Subject(CAUSAL, "bloom", "BloomForCausalLM"): {"head_query_output", "mlp_activation"},
    Subject(CAUSAL, "falcon", "FalconForCausalLM"): {"head_query_output", "mlp_activation"},
    Subject(CAUSAL, "phi", "PhiForCausalLM"): {"head_query_output", "mlp_output"},
    Subject(CAUSAL, "mixtral", "MixtralForCausalLM"): {"router_output", "expert_output"},
    # Its heads have sinks.
    Subject(CAUSAL, "gpt_oss", "GptOssForCausalLM"): {
        "head_key_output", "head_attention_pattern", "attention_scores", "expert_output",
    },
    Subject(CAUSAL, "mamba", "MambaForCausalLM"): {"mixer_input", "mixer_output"},
    Subject(CAUSAL, "jamba", "JambaForCausalLM"): {"mixer_output", "head_key_output"},
    # Its tokens stand before its rows.
    Subject(CAUSAL, "xlnet", "XLNetLMHeadModel"): {"block_output", "mlp_activation"},
    # Its residual stream is several, side by side.
    Subject(CAUSAL, "hy_v4", "HYV4ForCausalLM"): {
        "block_output", "head_attention_pattern", "expert_output",
    },
    # It is a decoder, and other classes of its family are not.
    Subject(CAUSAL, "reformer", "ReformerModelWithLMHead"): {"head_attention_value_output"},
    # It takes as many rows as tokens times codebooks.
    Subject(CAUSAL, "musicgen", "MusicgenForCausalLM"): {"head_key_output", "mlp_output"},
    Subject(ENCODERS, "esm", "EsmForMaskedLM"): {"head_query_output"},
    # It pools its tokens, in lists of lists.
    Subject(ENCODERS, "funnel", "FunnelForMaskedLM"): {"head_attention_pattern", "mlp_output"},
    Subject(PAIRS, "t5", "T5ForConditionalGeneration"): {"head_value_output", "mlp_activation"},
    # Its decoder has more tokens than were given, and heads that only its modules count.
    Subject(PAIRS, "prophetnet", "ProphetNetForConditionalGeneration"): {
        "head_cross_key_output", "head_cross_attention_pattern",
    },
    # Their stacks never run on one token, so that heads are verified by what patterns weigh.
    Subject(VISION, "vit", "ViTForImageClassification"): {
        "attention_output", "mlp_output", "head_value_output", "head_attention_pattern",
    },
    # Its stages are sequences of blocks on a grid.
    Subject(VISION, "resnet", "ResNetForImageClassification"): {"block_input", "block_output"},
    Subject(SPEECH, "wav2vec2", "Wav2Vec2ForCTC"): {"head_query_output", "attention_scores"},
    Subject(SPEECH, "whisper", "WhisperForConditionalGeneration"): {
        "mlp_activation", "cross_attention_pattern",
    },
    # It is measured on text alone.
    Subject(SPEECH, "voxtral", "VoxtralForConditionalGeneration"): {"head_key_output"},
    Subject(SEEING, "blip", "BlipForConditionalGeneration"): {"attention_value_output"},
    # Its text stands behind tokens that stand for the image.
    Subject(SEEING, "blip-2", "Blip2ForConditionalGeneration"): {"block_output"},
    # Its configuration names a padding token beyond its vocabulary.
    Subject(SEEING, "idefics3", "Idefics3ForConditionalGeneration"): {"mlp_output"},
}  # fmt: skip


@pytest.mark.parametrize("subject", REPRESENTATIVE, ids=lambda each: each.network_class)
def test_a_class_conforms(subject) -> None:
    """A small random network of the class has the components it should, and all of them hold."""
    report = measure(subject)
    assert report.passed, str(report)
    assert REPRESENTATIVE[subject] <= set(report.components)


@pytest.mark.parametrize(
    "subject, stacks",
    [
        (Subject(PAIRS, "t5", "T5ForConditionalGeneration"), ["encoder"]),
        (Subject(SPEECH, "whisper", "WhisperForConditionalGeneration"), ["encoder"]),
        (Subject(SEEING, "blip", "BlipForConditionalGeneration"), ["vision_model"]),
        (Subject(SEEING, "vision-encoder-decoder", "VisionEncoderDecoderModel"), ["encoder"]),
    ],
)
def test_further_stacks_are_measured_too(subject, stacks) -> None:
    """The stacks before the answering one have names, and whole components of their own."""
    report = measure(subject)
    assert [stack for stack, _ in report.stacks] == stacks
    assert all({"block_output", "mlp_output"} <= set(names) for _, names in report.stacks)


def test_a_decoder_that_attends_to_both_stacks_at_once_says_so() -> None:
    """T5Gemma2 has one softmax over the decoder's tokens and the encoder's: no cross-attention."""
    report = measure(Subject(PAIRS, "t5gemma2", "T5Gemma2ForConditionalGeneration"))
    assert "head_query_output" not in report.components
    assert "head_attention_value_output" in report.components
    for name in ("cross_attention_pattern", "cross_value_output", "attention_pattern"):
        assert dict(report.missing)[name] == (
            "model.decoder.layers.1.self_attn attends to other things than the tokens, in one "
            "softmax (4 keys for 2 tokens); what its heads mix of both is "
            "head_attention_value_output"
        )


def test_a_state_space_mixer_is_no_attention() -> None:
    """The projections of a Mamba block are not taken for those of attention."""
    report = measure(Subject(CAUSAL, "mamba", "MambaForCausalLM"))
    assert not any("attention" in name or "query" in name for name in report.components)


def test_every_kind_names_classes_of_transformers() -> None:
    """Each kind has classes that the installed transformers has, each listed once."""
    import transformers

    for kind in KINDS:
        found = subjects(kind)
        assert len(found) == len(set(found)) > 0
        assert all(hasattr(transformers, each.network_class) for each in found)


def test_ways_to_run_a_class_are_of_classes_that_there_are() -> None:
    """Families and classes with settings or a forward of their own are those of transformers."""
    every = [each for kind in KINDS for each in subjects(kind)]
    known = {each.model_type for each in every} | {each.network_class for each in every}
    assert set(OF_FAMILY) <= known
    assert set(OF_KIND) <= set(KINDS)


def test_attention_without_its_kernel_says_so() -> None:
    """MRA mixes nothing where its CUDA kernel is not installed, and its queries are refused."""
    report = measure(Subject(ENCODERS, "mra", "MraForMaskedLM"))
    assert report.passed, str(report)
    assert "attention that mixes nothing" in dict(report.missing)["query_output"]


def test_an_unknown_kind_is_refused() -> None:
    """A mistyped kind gets the nearest one."""
    with pytest.raises(
        ModelError, match=re.escape("unknown kind of model 'visoin'; did you mean 'vision'?")
    ):
        subjects("visoin")


def test_small_configurations_are_small_all_the_way_down() -> None:
    """Nested configurations get small sizes, and settings of a family win."""
    import transformers

    config = small_config(
        transformers.BlipConfig, {"vision_config": {"num_hidden_layers": 3}, "projection_dim": ...}
    )
    assert config.text_config.hidden_size == config.vision_config.hidden_size == 64
    assert (config.text_config.num_hidden_layers, config.vision_config.num_hidden_layers) == (2, 3)
    assert config.projection_dim == transformers.BlipConfig().projection_dim


def test_the_same_network_is_built_each_time() -> None:
    """Weights do not depend on what was drawn before."""
    subject = Subject(CAUSAL, "gpt2", "GPT2LMHeadModel")
    one = small_network(subject)
    torch.rand(7)
    other = small_network(subject)
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name))
