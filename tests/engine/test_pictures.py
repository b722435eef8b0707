"""Images beside text: their patches are positions of the prompt where it has placeholders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from causaltest.engine.model import Model
from causaltest.engine.run import score
from causaltest.engine.seeing import drawn
from causaltest.errors import InterventionError
from causaltest.interventions import interchange
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Site, block_output, head_attention_value_output

IMAGE, PATCHES = 63, 4
TEXTS = [(5, 9, 12), (7, 2, 30), (41, 8, 3)]
OTHERS = [(6, 17, 22), (50, 4, 11), (13, 28, 35)]


def _randomised(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


@pytest.fixture(scope="module")
def llava() -> Model:
    """Return a LLaVA whose prompts hold one placeholder for each patch of an image."""
    text = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        image_size=8, patch_size=4, projection_dim=16,
    )  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, vision_feature_layer=-1
    )
    network = _randomised(transformers.LlavaForConditionalGeneration(config))

    def seeing(network: nn.Module, ids: Tensor, mask: Tensor) -> object:
        pixels = drawn(ids[:, -1], (3, 8, 8))
        if not bool((ids == IMAGE).any()):  # a probe of text alone
            return network(input_ids=ids, attention_mask=mask).logits
        return network(input_ids=ids, attention_mask=mask, pixel_values=pixels).logits

    return Model(network, name="llava", forward=seeing)


@pytest.fixture(scope="module")
def git() -> nn.Module:
    """Return a GIT, which itself puts what it sees in front of the text."""
    vision = transformers.models.git.GitVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        image_size=8, patch_size=4,
    )  # fmt: skip
    config = transformers.GitConfig(
        vision_config=vision.to_dict(), vocab_size=64, hidden_size=32, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4,
    )  # fmt: skip
    return _randomised(transformers.GitForCausalLM(config))


def _git_alone(network: Any, ids: Tensor, mask: Tensor) -> object:
    pixels = drawn(ids[:, -1], (3, 8, 8))
    logits = network(input_ids=ids, attention_mask=mask, pixel_values=pixels).logits
    return logits[:, -ids.shape[1] :]


def _git_with_places(network: Any, ids: Tensor, mask: Tensor) -> object:
    """Take the placeholders, which stand in front, out of the ids."""
    seen = PATCHES + 1  # patches and the class of the image
    if ids.shape[1] <= seen:
        return network(input_ids=ids, attention_mask=mask).logits
    return network(
        input_ids=ids[:, seen:],
        attention_mask=mask[:, seen:],
        pixel_values=drawn(ids[:, -1], (3, 8, 8)),
    ).logits


def by_hand(
    model: Model,
    path: str,
    prompts: tuple[tuple[int, ...], tuple[int, ...]],
    index: tuple[Any, ...],
    side: str,
) -> Tensor:
    """Return logits of one prompt with an entry of one module's activation from another prompt."""
    module, kept = model.network.get_submodule(path), []

    def run(ids: tuple[int, ...], change: Callable[[Tensor], Tensor]) -> Tensor:
        def on_output(_module: nn.Module, _args: object, output: Any) -> Any:
            whole = isinstance(output, Tensor)
            new = change(output if whole else output[0])
            return new if whole else (new, *output[1:])

        def on_input(_module: nn.Module, args: tuple[Any, ...]) -> Any:
            return (change(args[0]), *args[1:])

        handle = (
            module.register_forward_hook(on_output)
            if side == "output"
            else module.register_forward_pre_hook(on_input)
        )
        try:
            with torch.no_grad():
                return model.forward(torch.tensor([ids]), torch.ones(1, len(ids)).long())[0]
        finally:
            handle.remove()

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.clone())
        return tensor

    def put(tensor: Tensor) -> Tensor:
        new = tensor.clone()
        new[index] = kept[0][index]
        return new

    run(prompts[1], keep)
    return run(prompts[0], put)


CASES = [
    (block_output(0, pos=2), "block", (0, 2), "output"),  # a patch
    (block_output(1, pos=(1, -1)), "block", (0, [1, -1]), "output"),  # a patch and a word
    (block_output(0, pos="end"), "block", (0, -1), "output"),
    (head_attention_value_output(1, 3, pos=3), "mixed", (0, 3, slice(24, 32)), "input"),
]


def edited(model: Model, site: Site, prompts: list[tuple[tuple[int, ...], ...]]) -> list[Tensor]:
    """Return the logits of all prompts under an interchange, in one batch."""
    found: list[Tensor] = []
    pairs = Pairs([Pair(*each) for each in prompts], name="seen", cluster=None)
    score(model, interchange(site), pairs, lambda output: found.append(output.logits) or 0.0)
    return found


@pytest.mark.parametrize("site, place, index, side", CASES, ids=lambda each: str(each)[:30])
def test_patches_are_positions_where_placeholders_stand(llava, site, place, index, side) -> None:
    """Edits at patches and at words are those by hand, for several prompts in one batch."""
    prompts = [
        tuple((one[0], *[IMAGE] * PATCHES, *one[1:]) for one in each)
        for each in zip(TEXTS, OTHERS, strict=True)
    ]
    layer = f"model.language_model.layers.{site.layer}"
    path = layer if place == "block" else f"{layer}.self_attn.o_proj"
    for got, each in zip(edited(llava, site, prompts), prompts, strict=True):
        assert torch.allclose(got, by_hand(llava, path, each, index, side), atol=1e-5)


@pytest.mark.parametrize("site, place, index, side", CASES, ids=lambda each: str(each)[:30])
def test_placeholders_give_positions_to_what_a_network_puts_in(
    git, site, place, index, side
) -> None:
    """Where `forward` takes placeholders out again, patches and words are edited by position."""
    model = Model(git, name="git", forward=_git_with_places)
    prompts = [
        tuple((*[IMAGE] * (PATCHES + 1), *one) for one in each)
        for each in zip(TEXTS, OTHERS, strict=True)
    ]
    layer = f"git.encoder.layer.{site.layer}"
    path = layer if place == "block" else f"{layer}.attention.output.dense"
    for got, each in zip(edited(model, site, prompts), prompts, strict=True):
        assert torch.allclose(got, by_hand(model, path, each, index, side), atol=1e-5)


def test_positions_beside_what_a_network_puts_in_are_refused(git) -> None:
    """Which of the positions a token is cannot be told; the message says how to make it so."""
    model = Model(git, name="git", forward=_git_alone)
    with pytest.raises(InterventionError) as caught:
        model.read(block_output(0, pos=1), [TEXTS[0]])
    assert str(caught.value) == (
        "block_output[0]@1: git.encoder.layer.0.output has shape (1, 8, 32): 5 positions more than "
        "the 3 tokens of the prompt, perhaps those of an image or a sound, and which of them a "
        "token is cannot be told\n"
        "give prompts with 5 placeholder ids where these stand, and take them out again in "
        "forward=; or leave out pos= to edit the whole activation"
    )


def test_patches_of_an_image_alone_are_refused_and_given_alike() -> None:
    """A model of images has a position for each patch where its prompts are as long."""
    config = transformers.ViTConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        image_size=8, patch_size=4, num_labels=3,
    )  # fmt: skip
    network = _randomised(transformers.ViTForImageClassification(config))

    def seeing(network: nn.Module, ids: Tensor, _mask: Tensor) -> object:
        return network(pixel_values=drawn(ids[:, -1], (3, 8, 8))).logits

    model = Model(network, name="vit", forward=seeing)
    with pytest.raises(InterventionError, match="4 positions more than the one token of the prom"):
        model.read(block_output(0, pos=0), [(9,)])
    site = block_output(0, pos=2)
    prompts = [((0, 0, 0, 0, 9), (0, 0, 0, 0, 7)), ((0, 0, 0, 0, 4), (0, 0, 0, 0, 2))]
    for got, each in zip(edited(model, site, prompts), prompts, strict=True):
        path = model.architecture.blocks[0]
        assert torch.allclose(got, by_hand(model, path, each, (0, 2), "output"), atol=1e-5)
