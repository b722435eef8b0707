"""The guide's workflow 4 on a model that tells stories: a difference of means, saved, loaded."""

from __future__ import annotations

import re

import pytest
import torch

import causaltest.pyvene as pv
from causaltest.engine.model import Model
from causaltest.interventions import add
from causaltest.sharing import load, save
from causaltest.sites import block_output

SITE = block_output(2, pos="end")
OPENINGS = (
    "One day, {} went to the park.", "{} was very happy.", "There was a child called {}.",
    "{} had a red ball.", "Once upon a time, {} saw a dog.", "{} wanted to play outside.",
)  # fmt: skip
STORIES = (
    "Once upon a time, there was a little", "One day, a child", "There was a friend. The",
    "The teacher was kind and", "A small cat and",
)  # fmt: skip


@pytest.fixture(scope="module")
def stories(real_models) -> Model:
    """Return a model of 260 thousand weights that tells children's stories."""
    return Model.load(str(real_models / "stories260k"), device="cpu")


@pytest.fixture(scope="module")
def girls(stories) -> torch.Tensor:
    """Return the mean activation behind sentences on girls, less that on boys."""

    def mean(names):
        prompts = [opening.format(name) for opening in OPENINGS for name in names]
        return torch.stack([each[-1] for each in stories.read(SITE, prompts)[SITE]]).mean(dim=0)

    return mean(("Lily", "Sue", "Mia", "Anna")) - mean(("Tim", "Tom", "Ben", "Max"))


def she(texts) -> float:
    """Return the share of pronouns that are a girl's."""
    words = re.findall(r"\b(she|her|he|him|his)\b", " ".join(texts).lower())
    assert len(words) >= 5
    return sum(word.startswith("s") or word == "her" for word in words) / len(words)


def test_a_stored_vector_steers_stories(stories, girls, tmp_path):
    """Towards girls the pronouns of every story are a girl's, away from them most are a boy's."""
    told = {}
    for scale in (-2.5, 2.5):
        save(add(SITE, girls, scale=scale), tmp_path / str(scale), model=stories)
        steer = load(tmp_path / str(scale), model=stories)
        written = [
            stories.generate(
                STORIES, max_new_tokens=40, intervention=steer, when="every step",
                eos_token_id=None, use_cache=use_cache,
            )
            for use_cache in (True, False)
        ]  # fmt: skip
        assert [each.ids for each in written[0]] == [each.ids for each in written[1]]
        assert all(entry.fired == 40 for entry in written[0].ledger)
        told[scale] = she([each.text for each in written[0]])
    clean = stories.generate(STORIES, max_new_tokens=40, eos_token_id=None)
    assert told[2.5] > 0.95 > she([each.text for each in clean]) > told[-2.5]


def test_the_same_through_the_api_of_pyvene(stories, girls, tmp_path):
    """A saved AdditionIntervention writes what steps from 1 on write, every new token being fed."""
    for scale in (-2.5, 2.5):
        each = pv.RepresentationConfig(
            layer=2, component="block_output", intervention_type=pv.AdditionIntervention,
            source_representation=scale * girls,
        )  # fmt: skip
        pv.IntervenableModel(each, stories.network).save(tmp_path / str(scale))
        steer = pv.IntervenableModel.load(tmp_path / str(scale), model=stories.network)
        for story in STORIES:
            ids = torch.tensor([stories.prompts.ids(story)])
            outputs = steer.generate(
                {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, max_new_tokens=20,
                do_sample=False, pad_token_id=0, eos_token_id=None,
            )  # fmt: skip
            (text,) = stories.generate(
                story, max_new_tokens=20, intervention=add(SITE, girls, scale=scale),
                when=range(1, 20), eos_token_id=None,
            )  # fmt: skip
            assert tuple(outputs[0][ids.shape[1] :].tolist()) == text.ids
