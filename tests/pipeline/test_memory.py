"""What is remembered of prompts: nothing is embedded twice, and a remembered sound equals a new one bit for bit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.parts import Memory, content_of


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)


class ToyPrior:
    """The text plus noise from the item's own generator; counts its calls."""

    fingerprint = "brightness/1"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, texts: torch.Tensor, generators: list[torch.Generator]) -> torch.Tensor:
        self.calls += 1
        noise = torch.stack([torch.randn(texts.shape[1], generator=generator) for generator in generators])
        return torch.nn.functional.normalize(texts + noise, dim=-1)


PROMPTS = [{"text": "rain"}, {"image": picture()}, {"frames": [picture(1), picture(2)]}]


@pytest.mark.parametrize("prompt", PROMPTS, ids=["text", "image", "frames"])
def test_a_repeated_prompt_is_embedded_once_and_sounds_the_same_bit_for_bit(
    pipeline: ClipSonicPipeline, clip: Any, prompt: dict[str, Any]
) -> None:
    first = pipeline(**prompt).audios
    asked = len(clip.asked)
    np.testing.assert_array_equal(pipeline(**prompt).audios, first)
    assert len(clip.asked) == asked > 0
    pipeline._loaded.memory = Memory()
    np.testing.assert_array_equal(pipeline(**prompt).audios, first)
    assert len(clip.asked) == 2 * asked


def test_a_prompt_is_embedded_alike_whatever_stands_beside_it(pipeline: ClipSonicPipeline) -> None:
    together = pipeline(text=["rain", "wind"], output_type="mel").embeds
    pipeline._loaded.memory = Memory()
    alone = pipeline(text="wind", output_type="mel").embeds
    assert torch.equal(together[1], alone[0])


def test_a_negative_text_is_embedded_once_for_all_sounds_and_calls(pipeline: ClipSonicPipeline, clip: Any) -> None:
    for _ in range(2):
        pipeline(text="rain", negative_text="wind", guidance_scale=2.0, num_sounds=3, output_type="mel")
    assert clip.asked == ["rain", "wind"]


def test_another_text_or_picture_is_not_mistaken_for_one_that_is_known(pipeline: ClipSonicPipeline) -> None:
    mirrored = picture()[:, ::-1]
    prompts = [{"text": "rain"}, {"text": "rain "}, {"image": picture()}, {"image": picture() + 1}, {"image": mirrored}]
    mels = [pipeline(**prompt, output_type="mel").mels for prompt in prompts]
    assert all(not np.array_equal(mels[0], other) for other in mels[1:])
    assert not np.array_equal(mels[2], mels[3])
    assert content_of([picture()]) != content_of([picture()[:, ::-1]])
    assert content_of([picture()]) != content_of([picture().reshape(12, 8, 3)])
    assert content_of([picture(), picture(1)]) != content_of([picture(1), picture()])
    grey = np.zeros((4, 4), np.uint8)
    assert content_of([Image.fromarray(grey)]) != content_of([Image.fromarray(grey).convert("P")])


def test_a_priors_answer_is_remembered_for_its_seed_and_another_seed_gives_another(pipeline: ClipSonicPipeline) -> None:
    prior = ToyPrior()
    pipeline.set_prior(prior)  # type: ignore[arg-type]
    first, again, other = (pipeline(text="rain", seed=seed, output_type="mel") for seed in (1, 1, 2))
    assert prior.calls == 2
    assert torch.equal(first.embeds[0], again.embeds[0])
    np.testing.assert_array_equal(first.mels, again.mels)
    assert not torch.equal(first.embeds[0], other.embeds[0])
    another = ToyPrior()
    pipeline.set_prior(another)  # type: ignore[arg-type]
    pipeline(text="rain", seed=1, output_type="mel")
    assert another.calls == 1


def test_a_generator_that_is_given_moves_on_although_the_answer_is_known(pipeline: ClipSonicPipeline) -> None:
    pipeline.set_prior(ToyPrior())  # type: ignore[arg-type]
    states = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(4)
        pipeline(text="rain", generator=generator, output_type="mel")
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])


def test_the_least_recently_used_answer_is_forgotten_first() -> None:
    memory = Memory(size=2)
    made: list[str] = []

    def ask(key: str) -> str:
        return memory.recall(key, lambda: made.append(key) or key)  # type: ignore[func-returns-value]

    for key in ("a", "b", "a", "c", "a", "b"):
        assert ask(key) == key
    assert made == ["a", "b", "c", "b"]
    assert len(memory) == 2


def test_a_copy_of_a_memory_is_empty_and_of_the_same_size(tmp_path: Path) -> None:
    memory = Memory(size=3)
    for key in "abcd":
        memory.recall(key, lambda: 1)
    other = copy.deepcopy(memory)
    assert (len(memory), len(other)) == (3, 0)
    for key in "abcd":
        other.recall(key, lambda: 1)
    assert len(other) == 3
