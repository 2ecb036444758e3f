"""Recipes of published priors: each can be built, has as many numbers as it says, and a card."""

import re

import pytest
import torch
import yaml

from clipsonic.prior.adapter import KINDS, TextPrior
from clipsonic.resources import bundled_path

RECIPES = sorted(bundled_path("priors", "recipes").glob("*.yaml"))


@pytest.fixture(params=RECIPES, ids=lambda path: path.stem)
def opened(request):
    text = request.param.read_text(encoding="utf-8")
    return request.param, text, yaml.safe_load(text)


def test_the_shape_is_one_that_can_be_and_has_as_many_numbers_as_it_says(opened):
    _, _, recipe = opened
    with torch.device("meta"):
        prior = TextPrior(KINDS[recipe["kind"]](**recipe["shape"]), "space/0", kind=recipe["kind"])
    assert sum(value.numel() for value in prior.core.network.state_dict().values()) == recipe["num_parameters"]
    assert prior.core.reads_tokens
    if recipe["kind"] != "laion":  # whose publisher takes all timesteps
        assert prior.core.default_steps == recipe["sample_steps"]


def test_a_recipe_names_its_card_which_names_its_source_and_licence(opened):
    path, text, recipe = opened
    card = (path.parent / re.search(r"Card: (\S+\.md)", text)[1]).read_text(encoding="utf-8")
    for word in (recipe["source"]["hub"], recipe["licence"].split(" not checked")[0], recipe["clip"]):
        assert word in card


def test_the_clip_of_a_recipe_is_one_that_open_clip_knows_and_of_the_priors_width(opened):
    import open_clip

    _, _, recipe = opened
    architecture, tag = recipe["clip"].split(":")
    assert (architecture, tag) in open_clip.list_pretrained()
    config = open_clip.get_model_config(architecture)
    assert config["embed_dim"] == config["text_cfg"]["width"] == _width(recipe)
    assert config["text_cfg"]["context_length"] == 77


def _width(recipe):
    return KINDS[recipe["kind"]](**recipe["shape"]).width
