"""LAION's prior: files of its own package's era, read strictly, sampled as that package did."""

import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clipsonic.clip.encodings import TextEncodings
from clipsonic.errors import CheckpointError, UsageError
from clipsonic.prior.adapter import TextPrior
from clipsonic.prior.core import ItemNoise, Spoken
from clipsonic.prior.laion_files import find_laion, read_laion

DATA = Path(__file__).parent / "data" / "laion"  # made by scripts/make_laion_reference.py with dalle2-pytorch 1.1.0
REFERENCE = load_file(DATA / "samples.safetensors")
CPU = torch.device("cpu")


def spoken(rows=slice(0, 3)):
    said = TextEncodings(REFERENCE["texts"], REFERENCE["texts"], REFERENCE["tokens"], REFERENCE["mask"]).rows(rows)
    return Spoken(said, said.rows(slice(0, 1)))


def prior_of(published, **changes):
    prior = TextPrior(dataclasses.replace(published.shape, **changes), "toy/abc", kind="laion")
    prior.load_state(published.state, published.where)
    return prior


@pytest.fixture(scope="module")
def published():
    return read_laion(DATA / "latest.pth")


@pytest.fixture
def files(tmp_path):
    shutil.copytree(DATA, tmp_path / "laion")
    return tmp_path / "laion"


def rewritten(files, change):
    """The weights with a change made to them."""
    state = torch.load(files / "latest.pth", weights_only=True)
    torch.save(change(state) or state, files / "latest.pth")
    return files / "latest.pth"


@pytest.mark.parametrize("clamped", [False, True])
@pytest.mark.parametrize(("name", "steps"), [("ancestral", 12), ("ddim", 5)])
def test_samples_are_those_of_dalle2_pytorch_1_1_0(published, name, steps, clamped):
    prior = prior_of(published, clamps=clamped, starts_clamped=clamped)
    expected = REFERENCE[f"{name}{'_clamped' if clamped else ''}"]
    for row in range(3):
        noise = ItemNoise([torch.Generator().manual_seed(7)], 1, CPU)
        with torch.no_grad():
            said = prior.core.sample(REFERENCE["texts"][row : row + 1], spoken(slice(row, row + 1)), noise, steps, 1.0)
        assert (said[0] - expected[row]).abs().max() < 1e-5  # 0 measured; values reach 5


def test_todays_attention_on_the_same_weights_would_be_another_prior(published):
    """Why the era matters: it loads without a complaint, and answers otherwise."""
    right, wrong = prior_of(published), prior_of(published, era="1.15")
    both = [
        prior(REFERENCE["texts"], [torch.Generator().manual_seed(7)] * 3, encodings=spoken())
        for prior in (right, wrong)
    ]
    assert (both[0] * both[1]).sum(1).max() < 0.9


@pytest.mark.parametrize(("steps", "guidance"), [(12, 1.0), (5, 2.0)])
def test_a_prior_of_todays_era_samples_as_todays_package(published, steps, guidance):
    prior = prior_of(published, era="1.15", guidable=True)
    text, tokens = REFERENCE["texts"][:1], REFERENCE["tokens"][:1] * REFERENCE["mask"][:1, :, None]
    noise = ItemNoise([torch.Generator().manual_seed(7)], 1, CPU)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(7)
        expected = prior.core.diffusion.p_sample_loop(
            (1, 32), {"text_embed": text, "text_encodings": tokens}, timesteps=steps, cond_scale=guidance
        )
        made = prior.core.sample(text, spoken(slice(0, 1)), noise, steps, guidance) / 32**0.5
    assert torch.equal(made, expected)


def test_41_keys_become_the_43_of_today_without_the_13_of_the_schedule(published):
    assert published.num_keys == 41
    assert len(published.state) == 43 - 13
    assert "null_text_encodings" in published.state
    assert published.clip == "ViT-L-14:openai"
    assert any("era 1.1" in note for note in published.notes)


def test_the_tokens_after_the_end_of_a_caption_do_not_matter_and_those_before_do(published):
    prior, seeds = prior_of(published), [torch.Generator().manual_seed(7)] * 3
    said = prior(REFERENCE["texts"], seeds, encodings=spoken())
    for side, equal in ((~REFERENCE["mask"], True), (REFERENCE["mask"], False)):
        changed = spoken()
        tokens = torch.where(side[..., None], REFERENCE["tokens"] + 1, REFERENCE["tokens"])
        captions = dataclasses.replace(changed.captions, tokens=tokens)
        again = prior(
            REFERENCE["texts"],
            [torch.Generator().manual_seed(7)] * 3,
            encodings=dataclasses.replace(changed, captions=captions),
        )
        first = prior(REFERENCE["texts"], [torch.Generator().manual_seed(7)] * 3, encodings=spoken())
        assert torch.equal(again, first) == equal
    assert said.shape == (3, 32)


def test_averaged_weights_win_and_a_clip_inside_is_left_out(files, published):
    def trainers(state):
        worse = {key: torch.zeros_like(value) for key, value in state.items()}
        kept = {**state, "clip.clip.logit_scale": torch.ones(())}
        return {"model": worse, "ema_model": kept, "step": torch.tensor([5])}

    read = read_laion(rewritten(files, trainers))
    assert all(torch.equal(value, published.state[key]) for key, value in read.state.items())
    assert any("ema_model" in note for note in read.notes)
    assert any("CLIP inside (1 keys)" in note for note in read.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.__delitem__("net.learned_query"), "missing: learned_query"),
        (lambda state: state.update({"net.extra": torch.ones(2)}), "unknown: extra"),
        (lambda state: state.update({"net.query": state.pop("net.learned_query")}), "learned_query.*unknown: query"),
        (lambda state: state.update({"net.learned_query": torch.ones(7)}), r"learned_query \(7,\) instead of \(32,\)"),
    ],
    ids=["missing", "extra", "renamed", "misshapen"],
)
def test_keys_that_do_not_fit_are_listed(files, change, words):
    read = read_laion(rewritten(files, change))
    with pytest.raises(CheckpointError, match=words):
        prior_of(read)


class Harm:
    """What a hostile file would do when unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


def test_a_pickle_with_code_in_it_is_refused_and_not_run(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (files / "latest.pth").write_bytes(pickle.dumps({"model": Harm()}))
    with pytest.raises(CheckpointError, match="no plain weights"):
        read_laion(files / "latest.pth")
    rewritten_state = {"net.learned_query": Harm()}
    torch.save(rewritten_state, files / "latest.pth")
    with pytest.raises(CheckpointError, match="no plain weights"):
        read_laion(files / "latest.pth")
    assert not Path("harmed").exists()


def test_another_schedule_than_the_configs_is_refused(files):
    config = json.loads((files / "prior_config.json").read_text())
    config["prior"]["beta_schedule"] = "linear"
    (files / "prior_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="another noise schedule than linear"):
        read_laion(files / "latest.pth")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("predict_x_start",), False, "predicts no picture"),
        (("magic",), 1, "not known .magic"),
        (("net", "magic"), 1, "not known .magic"),
        (("net", "dim"), 64, "dim 64 but image_embed_dim 32"),
        (("timesteps",), 13, "num_timesteps 12 but timesteps 13"),
        (("net", "depth"), 0, "is damaged"),
    ],
)
def test_settings_that_are_not_understood_are_refused(files, place, value, words):
    config = json.loads((files / "prior_config.json").read_text())
    inner = config["prior"] if len(place) == 1 else config["prior"][place[0]]
    inner[place[-1]] = value
    (files / "prior_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=words):
        read_laion(files / "latest.pth")


def test_settings_of_later_packages_tell_the_later_era(files):
    config = json.loads((files / "prior_config.json").read_text())
    config["prior"]["text_cond_drop_prob"] = 0.1
    (files / "prior_config.json").write_text(json.dumps(config))
    read = read_laion(files / "latest.pth")
    assert read.shape.era == "1.15"
    with pytest.raises(CheckpointError, match="unknown: null_text_embed"):
        prior_of(read)


def test_guidance_is_refused_where_it_never_had_an_effect(published):
    with pytest.raises(UsageError, match="never reaches the transformer"):
        prior_of(published)(REFERENCE["texts"], [torch.Generator()] * 3, encodings=spoken(), guidance=2.0)


def test_captions_without_their_tokens_are_refused(published):
    for given in (None, spoken(slice(0, 2))):
        with pytest.raises(UsageError, match="reads the tokens"):
            prior_of(published)(REFERENCE["texts"], [torch.Generator()] * 3, encodings=given)


def test_the_files_are_found_by_folder_or_by_name(files):
    assert find_laion(files) == find_laion(files / "latest.pth") == files / "latest.pth"
    assert find_laion(files.parent / "nowhere") is None
    (files / "prior_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"prior_config\.json is missing"):
        read_laion(files / "latest.pth")
