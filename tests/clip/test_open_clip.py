"""The door to open_clip: names, strictness, fingerprints, and preprocessing equal to open_clip's own."""

import json
import shutil
import socket

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file, save_file

from clipsonic.clip import open_clip as door
from clipsonic.clip.embedder import BUNDLED_NOTICE, CONFIG_FILE, MERGES_FILE, WEIGHTS_FILE
from clipsonic.clip.vocabulary import packed, short_merges
from clipsonic.errors import CheckpointError, UsageError
from clipsonic.train.lessons.clip import encode_captions, read_recipe

RECIPE = {
    "architecture": "toy-clip",
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "image_size": 64},
        "text_cfg": {"context_length": 12, "vocab_size": 0, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"size": 64, "resize_mode": "squash"},
}


def toy_clip(seed=0, recipe=RECIPE):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return door.new_clip(recipe, packed(short_merges(["a bell"], door.published_merges(), 60)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip")
    toy_clip().save(path)
    return path


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    sizes = ((120, 160), (64, 64), (33, 95), (300, 200))
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
def test_preprocessing_is_open_clips_transform_bit_for_bit(pictures, mode):
    recipe = {**RECIPE, "preprocess_cfg": {"size": 64, "resize_mode": mode, "mean": [0.5, 0.4, 0.3]}}
    clip = toy_clip(recipe=recipe)
    transform = image_transform_v2(PreprocessCfg(**clip.config["preprocess_cfg"]), is_train=False)
    expected = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
    assert torch.equal(clip.preprocess(pictures), expected)


def test_embeddings_are_those_of_open_clips_model_called_directly(pictures, folder):
    clip = door.load_clip(folder)
    model = open_clip.CLIP(**clip.config["model_cfg"]).eval()
    model.load_state_dict({key: value.float() for key, value in load_file(folder / WEIGHTS_FILE).items()})
    with torch.no_grad():
        expected = model.encode_image(clip.preprocess(pictures), normalize=True).numpy()
    assert np.array_equal(clip.embed_pictures(pictures), expected)


def test_embeddings_are_unit_vectors_of_the_stated_width_and_nothing_gives_nothing(pictures, folder):
    clip = door.load_clip(folder)
    for vectors in (clip.embed_pictures(pictures), clip.embed_texts(["a bell", "two bells"])):
        assert vectors.dtype == np.float32
        assert vectors.shape[1] == clip.width == 16
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6  # float32 rounding of 16 squares
    assert clip.embed_pictures([]).shape == clip.embed_texts([]).shape == (0, 16)


def test_batches_change_embeddings_by_rounding_only(pictures, folder):
    clip = door.load_clip(folder)
    one_by_one = clip.embed_pictures(pictures, batch_size=1)
    assert np.abs(one_by_one - clip.embed_pictures(pictures, batch_size=4)).max() < 1e-5  # 4e-7 measured


def test_the_fingerprint_stays_when_the_folder_moves(folder, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    fingerprint = door.load_clip(folder).fingerprint
    assert fingerprint.startswith("toy-clip/")
    assert door.load_clip(moved).fingerprint == fingerprint


def test_saving_what_was_loaded_gives_equal_files(folder, tmp_path):
    door.load_clip(folder).save(tmp_path)
    for name in (WEIGHTS_FILE, CONFIG_FILE, MERGES_FILE):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_other_weights_have_another_fingerprint():
    assert toy_clip(0).fingerprint != toy_clip(1).fingerprint


def test_loading_leaves_the_global_random_state_alone(folder):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    door.load_clip(folder)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("fault", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused_by_name(folder, tmp_path, fault):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    state = load_file(broken / WEIGHTS_FILE)
    if fault == "missing":
        del state["ln_final.weight"]
    elif fault == "extra":
        state["ln_final.scale"] = torch.zeros(2)
    else:
        state["ln_final.weight"] = torch.zeros(7)
    save_file(state, broken / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match=r"ln_final\.(weight|scale)"):
        door.load_clip(broken)


def test_swapped_weights_are_refused_with_both_fingerprints(folder, tmp_path):
    toy_clip(seed=9).save(tmp_path)
    shutil.copy(folder / CONFIG_FILE, tmp_path / CONFIG_FILE)
    with pytest.raises(CheckpointError, match=door.load_clip(folder).fingerprint):
        door.load_clip(tmp_path)


def test_a_folder_without_config_or_with_a_damaged_one_gets_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match=r"open_clip_config\.json is missing"):
        door.load_clip(tmp_path)
    (tmp_path / CONFIG_FILE).write_text('{"model_cfg": 3}')
    with pytest.raises(CheckpointError, match="is damaged"):
        door.load_clip(tmp_path)


def test_a_foreign_merge_list_is_refused(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / MERGES_FILE).write_bytes(packed(door.published_merges()[:61]))
    with pytest.raises(CheckpointError, match="vocabulary of 575"):
        door.load_clip(broken)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no-such-clip", "neither 'tiny', nor a folder"),
        ("ViT-L-14", "ViT-L-14:TAG"),
        ("ViT-L/14", "ViT-L/14:TAG"),
        ("ViT-L-14:no-such-tag", "known tags are openai"),
        ("C:/no/such", "nor a folder"),
    ],
)
def test_a_name_that_is_none_says_what_is_possible(name, words):
    with pytest.raises(UsageError, match=words):
        door.load_clip(name)


def test_without_network_the_files_to_bring_are_named_at_once(monkeypatch):
    def no_address(*arguments):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CheckpointError) as refusal:
        door.load_clip("ViT-L-14:openai")
    for word in (CONFIG_FILE, WEIGHTS_FILE, "vit_large_patch14_clip_224.openai", "--clip FOLDER"):
        assert word in str(refusal.value)


def cached_repository(root, monkeypatch, folder, weights):
    """A hub's cache as its client leaves it, with a CLIP's config and weights, and no network."""
    from huggingface_hub import constants

    kept = root / "models--owner--toy"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    (kept / "snapshots" / ("0" * 40)).mkdir(parents=True)
    config = json.loads((folder / CONFIG_FILE).read_text())
    published = {key: config[key] for key in ("model_cfg", "preprocess_cfg")}
    (kept / "snapshots" / ("0" * 40) / CONFIG_FILE).write_text(json.dumps(published))
    state = {key: value.float() for key, value in load_file(folder / WEIGHTS_FILE).items()}
    target = kept / "snapshots" / ("0" * 40) / weights
    save_file(state, target) if weights == WEIGHTS_FILE else torch.save(state, target)
    for module in ("file_download", "constants"):
        monkeypatch.setattr(f"huggingface_hub.{module}.HF_HUB_CACHE", str(root), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("weights", [WEIGHTS_FILE, "open_clip_pytorch_model.bin"])
def test_a_repository_of_the_hub_is_a_clip_by_its_name(monkeypatch, tmp_path, folder, weights):
    cached_repository(tmp_path, monkeypatch, folder, weights)
    clip = door.load_clip("hf-hub:owner/toy")
    assert clip.fingerprint.split("/")[1] == door.load_clip(folder).fingerprint.split("/")[1]


def test_a_repository_that_cannot_be_had_names_the_files_to_bring(monkeypatch):
    def no_address(*arguments):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CheckpointError) as refusal:
        door.load_clip("hf-hub:owner/nowhere")
    for word in (CONFIG_FILE, WEIGHTS_FILE, "--clip FOLDER"):
        assert word in str(refusal.value)


@pytest.fixture
def known_architecture(tmp_path):
    """A small architecture in open_clip's registry, and a file with weights of it."""
    config = {
        **RECIPE["model_cfg"],
        "text_cfg": {**RECIPE["model_cfg"]["text_cfg"], "vocab_size": 49408, "context_length": 77},
    }
    (tmp_path / "Toy-7.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = open_clip.CLIP(**config)
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "w.pt")
    yield tmp_path / "w.pt", model
    open_clip.factory._MODEL_CONFIG_PATHS.remove(tmp_path)
    open_clip.factory._MODEL_CONFIGS.pop("Toy-7")


def test_weights_in_a_file_load_by_architecture_and_path(known_architecture, pictures):
    path, model = known_architecture
    clip = door.load_clip(f"Toy-7:{path}")
    assert clip.fingerprint.startswith("Toy-7/")
    with torch.no_grad():
        expected = model.eval().encode_text(open_clip.tokenize(["a bell"]), normalize=True).numpy()
    assert np.array_equal(clip.embed_texts(["a bell"]), expected)


def test_a_pickle_that_is_not_tensors_is_never_run(known_architecture, tmp_path):
    import pickle

    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(print))
    with pytest.raises(CheckpointError, match="bring a safetensors file"):
        door.load_clip(f"Toy-7:{path}")


def test_quick_gelu_comes_with_weights_that_were_trained_with_it(known_architecture, monkeypatch):
    path, _ = known_architecture
    facts = {"url": "somewhere/w.pt", "quick_gelu": True}
    monkeypatch.setattr(door, "list_pretrained_tags_by_model", lambda architecture: ["quick"])
    monkeypatch.setattr(door, "get_pretrained_cfg", lambda architecture, tag: facts if tag == "quick" else {})
    clip = door.load_clip(f"Toy-7:{path}")
    assert clip.fingerprint.startswith("Toy-7-quickgelu/")
    assert clip.config["model_cfg"]["quick_gelu"]
    assert any(type(module).__name__ == "QuickGELU" for module in clip.model.modules())


def test_open_clip_says_that_openais_weights_need_quick_gelu():
    """The fact that the test above stands on: without it the embeddings would be silently wrong."""
    assert open_clip.get_pretrained_cfg("ViT-L-14", "openai")["quick_gelu"]
    assert not open_clip.get_model_config("ViT-L-14").get("quick_gelu", False)


def test_a_picture_of_another_type_is_wrong_usage(folder):
    clip = door.load_clip(folder)
    with pytest.raises(UsageError, match="uint8"):
        clip.embed_pictures([np.zeros((4, 4, 3), np.float32)])


def test_the_bundled_clip_knows_itself_and_says_what_it_does_not_know(folder):
    clip = door.load_clip("tiny")
    assert clip.is_bundled
    assert clip.notice == BUNDLED_NOTICE
    assert not door.load_clip(folder).is_bundled
    assert door.load_clip(folder).notice is None
    assert clip.fingerprint == door.load_clip("tiny").fingerprint


def test_the_bundled_recipe_is_that_of_the_bundled_clip():
    clip, recipe = door.load_clip("tiny"), read_recipe()
    own = clip.config["model_cfg"]
    recipe["model_cfg"]["text_cfg"]["vocab_size"] = own["text_cfg"]["vocab_size"]
    assert own == recipe["model_cfg"]
    assert clip.config["architecture"] == recipe["architecture"]


def test_captions_encoded_without_their_padding_equal_open_clips_encoding():
    clip = toy_clip()
    tokens = clip.tokenize(["a bell", "!", "", "a bell ! that is far too long for a context of twelve tokens"])
    with torch.no_grad():
        expected = clip.model.encode_text(tokens, normalize=True)
        for rows in (slice(0, 3), slice(0, 1), slice(0, 4)):
            longest = int(tokens[rows].argmax(1).max()) + 1
            difference = encode_captions(clip.model, tokens[rows, :longest]) - expected[rows]
            assert difference.abs().max() < 2e-6  # 2e-7 measured: sums of other lengths
