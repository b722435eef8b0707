"""How classes are run for the page of conformance: what they take beside the tokens of a prompt."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from causaltest.engine.model import Forward
from causaltest.engine.seeing import drawn, image_shape, sound_shape

_PLACE = 63  # the token that stands for part of an image
_FRAMES = 2


def seq2seq(network: nn.Module, ids: Tensor, mask: Tensor) -> object:
    """Run encoder and decoder on the same tokens."""
    return network(
        input_ids=ids, attention_mask=mask, decoder_input_ids=ids, use_cache=False
    ).logits


def images(network: nn.Module, ids: Tensor, _mask: Tensor) -> object:
    """Draw an image by the first token, unless pixels are tokens."""
    if "pixel_values" not in inspect.signature(network.forward).parameters:
        return network(input_ids=ids).logits
    result = network(pixel_values=drawn(ids[:, 0], image_shape(network)))
    logits = getattr(result, "logits", None)
    return result.last_hidden_state if logits is None else logits


def sounds(network: nn.Module, ids: Tensor, mask: Tensor) -> object:
    """Draw a sound by the first token; text with tokens of its own for sounds is run alone."""
    config: Any = network.config
    main = getattr(network, "main_input_name", "input_values")
    if main == "input_ids":
        return network(input_ids=ids, attention_mask=mask, use_cache=False).logits
    given = drawn(ids[:, 0], sound_shape(network))
    if getattr(config, "is_encoder_decoder", False):
        return network(**{main: given}, decoder_input_ids=ids, use_cache=False).logits
    # Frames are no tokens: the answer is one row of numbers for each prompt.
    return network(**{main: given}).logits.flatten(1)


def image_and_text(network: Any, ids: Tensor, mask: Tensor) -> object:
    """Draw an image by the first token, and run it beside the text."""
    pixels = drawn(ids[:, 0], image_shape(network))
    logits = network(pixel_values=pixels, input_ids=ids, attention_mask=mask).logits
    return logits[:, -ids.shape[1] :]  # what stands before the text is the image


def _behind(network: Any, ids: Tensor, mask: Tensor, count: int, **more: Any) -> object:
    """Run text behind tokens that stand for what was seen."""
    places = ids.new_full((len(ids), count), _PLACE)
    given, seen = torch.cat([places, ids], 1), torch.cat([torch.ones_like(places), mask], 1)
    logits = network(input_ids=given, attention_mask=seen, **more).logits
    return logits[:, -ids.shape[1] :]


def _text(network: Any, ids: Tensor, mask: Tensor) -> object:
    return network(input_ids=ids, attention_mask=mask).logits


def _once(network: Any, ids: Tensor, mask: Tensor) -> object:
    """Take the answers at all places that are filled in as one; these begin as the same noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network(input_ids=ids, attention_mask=mask).logits.flatten(1)


def _codebooks(network: Any, ids: Tensor, mask: Tensor) -> object:
    """Give every codebook of a token the same code, and take the answers of all together."""
    count = network.config.num_codebooks
    codes = ids.repeat_interleave(count, 0)
    logits = network(input_ids=codes, attention_mask=mask, use_cache=False).logits
    return logits.unflatten(0, (len(ids), count)).movedim(1, 2).flatten(2)


def _channels(network: Any, ids: Tensor, mask: Tensor) -> object:
    count = network.config.decoder_config.num_channels
    codes = ids[..., None].expand(-1, -1, count)
    logits = network(input_ids=ids, attention_mask=mask, decoder_input_ids=codes, use_cache=False)
    return logits.logits.unflatten(0, (len(ids), count)).movedim(1, 2).flatten(2)


def _coded(network: Any, ids: Tensor, mask: Tensor) -> object:
    """Give text beside codes of sounds, all alike."""
    codes = ids[..., None].expand(-1, -1, network.config.num_codebooks + 1)
    return network(input_ids=codes, attention_mask=mask, use_cache=False).logits


def _blip2(network: Any, ids: Tensor, mask: Tensor) -> object:
    pixels = drawn(ids[:, 0], image_shape(network))
    return _behind(network, ids, mask, network.config.num_query_tokens, pixel_values=pixels)


def _instructed(network: Any, ids: Tensor, mask: Tensor) -> object:
    pixels = drawn(ids[:, 0], image_shape(network))
    count = network.config.num_query_tokens
    return _behind(network, ids, mask, count, pixel_values=pixels, qformer_input_ids=ids)


def _instructed_video(network: Any, ids: Tensor, mask: Tensor) -> object:
    pixels = drawn(ids[:, 0], (_FRAMES, *image_shape(network)))
    count = _FRAMES * network.config.num_query_tokens
    return _behind(network, ids, mask, count, pixel_values=pixels, qformer_input_ids=ids)


def _kosmos2(network: Any, ids: Tensor, mask: Tensor) -> object:
    pixels = drawn(ids[:, 0], image_shape(network))
    count = network.config.latent_query_num
    places = torch.zeros(len(ids), count + ids.shape[1], dtype=torch.bool)
    places[:, :count] = True
    more = {"pixel_values": pixels, "image_embeds_position_mask": places}
    return _behind(network, ids, mask, count, **more)


def _one_of_many(network: Any, ids: Tensor, mask: Tensor) -> object:
    """Give one image, which every token may attend to."""
    pixels = drawn(ids[:, 0], (1, *image_shape(network)))
    seen = torch.ones(*ids.shape, 1)
    return network(
        pixel_values=pixels, input_ids=ids, attention_mask=mask, image_attention_mask=seen
    ).logits


def _written(network: Any, ids: Tensor, _mask: Tensor) -> object:
    """Draw an image by the first token, and have the decoder read the tokens."""
    config = network.config
    size = image_shape(network)
    if getattr(config, "encoder", None) is not None:
        size = (config.encoder.num_channels, *[config.encoder.image_size] * 2)
    pixels = drawn(ids[:, 0], size)
    return network(pixel_values=pixels, decoder_input_ids=ids).logits


def _in_patches(network: Any, ids: Tensor, _mask: Tensor) -> object:
    """Draw patches that begin with the numbers of their row and column."""
    width = network.config.vision_config.patch_embed_hidden_size
    patches = drawn(ids[:, 0], (6, 2 + width))
    patches[..., 0] = torch.tensor([1, 1, 1, 2, 2, 2])
    patches[..., 1] = torch.tensor([1, 2, 3, 1, 2, 3])
    return network(flattened_patches=patches, decoder_input_ids=ids).logits


def _of_patches(network: Any, ids: Tensor, _mask: Tensor) -> object:
    config = network.config.vision_config
    side = int(config.num_patches**0.5)
    patches = drawn(ids[:, 0], (side**2, config.num_channels * config.patch_size**2))
    shapes = torch.tensor([[side, side]]).expand(len(ids), -1)
    return network(
        pixel_values=patches, pixel_attention_mask=torch.ones(len(ids), side**2),
        spatial_shapes=shapes,
    ).logits  # fmt: skip


def _boxed(network: Any, ids: Tensor, mask: Tensor) -> object:
    """Give each token a box on the page by its place."""
    left = 10 * torch.arange(ids.shape[1]).expand_as(ids)
    boxes = torch.stack([left, left, left + 8, left + 8], -1) / 1000
    return network(
        input_ids=ids, attention_mask=mask, bbox=boxes, decoder_input_ids=ids, use_cache=False
    ).logits


def _acting(network: Any, ids: Tensor, mask: Tensor) -> object:
    """Draw images and the state of a robot; noise and time are the same for all."""
    config = network.config
    one = ids.new_zeros(1)
    chunk = (config.chunk_size, config.max_action_dim)
    vision = config.vlm_config.vision_config
    pixels = drawn(ids[:, 0], (1, vision.num_channels, vision.image_size, vision.image_size))
    places = (vision.image_size // vision.patch_size) ** 2
    marks = ids.new_full((len(ids), places), config.vlm_config.image_token_id)
    return network(
        state=drawn(ids[:, 0], (config.max_state_dim,)),
        noise=drawn(one, chunk).expand(len(ids), -1, -1),
        timestep=torch.full((len(ids),), 0.5),
        input_ids=torch.cat([marks, ids], 1),
        attention_mask=torch.cat([torch.ones_like(marks), mask], 1),
        pixel_values=pixels,
        pixel_attention_mask=torch.ones(len(ids), 1, dtype=torch.bool),
    ).logits.flatten(1)


def _as_long_as_given(network: Any, ids: Tensor, mask: Tensor) -> object:
    """Take the answers at the tokens of the prompt, of those at all positions that there may be."""
    return network(inputs=ids, attention_mask=mask).logits[:, : ids.shape[1]]


def _listening(network: Any, ids: Tensor, mask: Tensor) -> object:
    """Draw the frames that are heard at each token, which are added to it."""
    frames, width = network.config.downsample_factor, network.config.audio_config.hidden_size
    heard = drawn(ids.flatten(), (frames, width)).view(len(ids), -1, width)
    return network(
        input_ids=ids, attention_mask=mask, encoder_inputs_embeds=heard, use_cache=False
    ).logits


def _featured(network: Any, ids: Tensor, _mask: Tensor) -> object:
    frames = drawn(ids[:, 0], (12, network.config.d_model))
    return network(input_features=frames, decoder_input_ids=ids, use_cache=False).logits


def _sampled(network: Any, ids: Tensor, _mask: Tensor) -> object:
    return network(inputs=drawn(ids[:, 0], (1600,)), decoder_input_ids=ids, use_cache=False).logits


def _in_fours(network: Any, ids: Tensor, _mask: Tensor) -> object:
    """Draw frames, four of which are taken together."""
    width = 4 * network.config.encoder_config.num_mel_bins
    return network(input_features=drawn(ids[:, 0], (64, width))).logits.flatten(1)


OF_KIND: Mapping[str, Forward] = {
    "encoder-decoders": seq2seq,
    "vision": images,
    "speech": sounds,
}
"""How classes of a kind are run; the others are called with token ids."""

OF_FAMILY: Mapping[str, Forward] = {
    "blip": image_and_text,
    "blip-2": _blip2,
    "dia": _channels,
    "diffusion_gemma": _once,
    "git": image_and_text,
    "granite_speech5_ctc": _in_fours,
    "idefics": _one_of_many,
    "instructblip": _instructed,
    "instructblipvideo": _instructed_video,
    "kosmos-2": _kosmos2,
    "kyutai_speech_to_text": _coded,
    "MusicgenForCausalLM": _codebooks,
    "MusicgenMelodyForCausalLM": _codebooks,
    "PerceiverForMaskedLM": _as_long_as_given,
    "pi0": _acting,
    "pix2struct": _in_patches,
    "pop2piano": _featured,
    "pp_formulanet": _written,
    "shieldgemma2": _text,
    "siglip2": _of_patches,
    "speech-encoder-decoder": _sampled,
    "t5gemma2": seq2seq,
    "udop": _boxed,
    "vision-encoder-decoder": _written,
    "voxtral_realtime": _listening,
}
"""How a family, or one class of it, is run where its kind does not say it."""
