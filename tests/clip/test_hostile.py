"""A CLIP of a stranger is data: none of its author's code runs, and what people publish still loads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import makers_hostile as hostile
import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from clipsonic.clip import open_clip as door
from clipsonic.clip.hub_text import HubTokenizer
from clipsonic.clip.open_clip import TEXT_TOWER, VISION, check_config, check_model
from clipsonic.errors import CheckpointError


def assert_refused(name: Path | str, words: str, mark: Path) -> None:
    with pytest.raises(CheckpointError, match=words) as refusal:
        door.load_clip(name)
    assert "\n" not in str(refusal.value)
    assert not mark.exists(), "its author's code ran"


def test_a_clip_that_tells_transformers_to_trust_its_code_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    mark = hostile.mark_of(tmp_path)
    tokenizer = hostile.put_tokenizer(tmp_path / "tokenizer", mark)
    trusting = {"tokenizer_kwargs": {"trust_remote_code": True}}
    folder = hostile.put_clip(tmp_path / "clip", hf_tokenizer_name=str(tokenizer), **trusting)
    assert_refused(folder, "hf_tokenizer_name = .* must be a name of a model hub", mark)


def test_a_tokenizer_of_a_hub_that_brings_code_is_refused_and_the_code_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = hostile.mark_of(tmp_path)
    hostile.put_tokenizer(hostile.put_on_hub(tmp_path / "hub", monkeypatch), mark)
    trusting = {"tokenizer_kwargs": {"trust_remote_code": True}}
    folder = hostile.put_clip(tmp_path / "clip", hf_tokenizer_name=hostile.HUB_NAME, **trusting)
    assert_refused(folder, r"tokenizer_kwargs has a setting that is not known \(trust_remote_code = True\)", mark)
    folder = hostile.put_clip(tmp_path / "clip", hf_tokenizer_name=hostile.HUB_NAME)
    assert_refused(folder, "tokenizer owner/strange cannot be used .*contains custom code", mark)


def test_a_repository_of_the_hub_is_checked_as_a_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = hostile.mark_of(tmp_path)
    tokenizer = hostile.put_tokenizer(tmp_path / "tokenizer", mark)
    snapshot = hostile.put_on_hub(tmp_path / "hub", monkeypatch)
    trusting = {"tokenizer_kwargs": {"trust_remote_code": True}}
    hostile.put_clip(snapshot, hf_tokenizer_name=str(tokenizer), **trusting)
    assert_refused(f"hf-hub:{hostile.HUB_NAME}", "hf_tokenizer_name = ", mark)


def test_a_tokenizer_or_a_text_model_by_a_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = hostile.mark_of(tmp_path)
    hostile.put_tokenizer(tmp_path / "a" / "b", mark)
    hostile.put_text_model(tmp_path / "a" / "b", mark)
    monkeypatch.chdir(tmp_path)
    paths = [
        str(tmp_path / "a" / "b"),
        "a/b",
        "./a/b",
        "../a",
        "~/a",
        "https://host/a",
        "C:\\a",
        "a/../b",
        "a//b",
        "a/b/c",
    ]
    for key in ("hf_tokenizer_name", "hf_model_name"):
        for path in paths:
            folder = hostile.put_clip(tmp_path / "clip", **{key: path})
            assert_refused(folder, f"{key} = .* must be a name of a model hub", mark)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "is of type 'strange': only bert"),
        ({"model_type": "bert"}, "has auto_map in its config"),
        ({"model_type": "roberta", "auto_map": {}, "attn_implementation": "owner/kernels"}, "has auto_map"),
    ],
)
def test_a_text_model_of_a_hub_that_brings_code_is_refused_before_a_library_reads_its_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], words: str
) -> None:
    mark = hostile.mark_of(tmp_path)
    hostile.put_text_model(hostile.put_on_hub(tmp_path / "hub", monkeypatch, is_model=True), mark, **config)
    folder = hostile.put_clip(tmp_path / "clip", hf_model_name=hostile.HUB_NAME, hf_proj_type="linear")
    assert_refused(folder, f"text model owner/strange {words}", mark)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "quantization_config"])
def test_a_text_model_that_asks_for_kernels_or_packages_of_somebody_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    snapshot = hostile.put_on_hub(tmp_path / "hub", monkeypatch, is_model=True)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "roberta", key: "owner/kernels"}))
    folder = hostile.put_clip(tmp_path / "clip", hf_model_name=hostile.HUB_NAME, hf_proj_type="linear")
    assert_refused(folder, f"has {key} in its config", hostile.mark_of(tmp_path))


@pytest.mark.parametrize(
    "name", ["hf-hub:owner/strange", "hf_hub:owner/strange", "local-dir:{}", "{}", "owner/strange"]
)
def test_a_picture_tower_by_an_address_or_a_path_is_refused(tmp_path: Path, name: str) -> None:
    mark = hostile.mark_of(tmp_path)
    hostile.put_code(tmp_path / "tower", mark, "")
    named = {"timm_model_name": name.format(tmp_path / "tower")}
    assert_refused(hostile.put_clip(tmp_path / "clip", named), "timm_model_name = .* must be the name of", mark)


@pytest.mark.parametrize(
    ("vision", "text", "words"),
    [
        ({"surprise": 1}, {}, r"vision_cfg has a setting that is not known \(surprise = 1\): known are"),
        ({}, {"surprise": [2]}, r"text_cfg has a setting that is not known \(surprise = \[2\]\)"),
        ({}, {"tokenizer_kwargs": {"cache_dir": "/"}}, r"text_cfg.tokenizer_kwargs has a setting .*cache_dir"),
        ({}, {"norm_kwargs": {"device": "x"}}, r"norm_kwargs has a setting that is not known \(device"),
        ({"width": {"a": 1}}, {}, r"vision_cfg has width = \{'a': 1\}, it must be a whole number"),
        ({"timm_pool": "every"}, {}, "timm_pool = 'every', it must be one of"),
    ],
)
def test_a_setting_that_is_not_listed_is_refused_with_its_value_the_rule_and_the_cure(
    tmp_path: Path, vision: dict[str, Any], text: dict[str, Any], words: str
) -> None:
    folder = hostile.put_clip(tmp_path / "clip", vision, **text)
    assert_refused(folder, f"{words}.*bring the publisher's own file", hostile.mark_of(tmp_path))


def test_weights_of_the_timm_hub_are_never_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    build = open_clip.CLIP

    def noticing(**arguments: Any) -> Any:
        asked.append(arguments["vision_cfg"].get("timm_model_pretrained", False))
        return build(**arguments)

    monkeypatch.setattr(open_clip, "CLIP", noticing)
    door.load_clip(hostile.put_clip(tmp_path / "clip", {"timm_model_pretrained": True}))
    assert asked
    assert not any(asked)


# ------------------------------------------------------------------ what people use


def test_every_setting_of_open_clip_is_listed_and_nothing_else() -> None:
    assert set(VISION) == {field.name for field in dataclasses.fields(CLIPVisionCfg)}
    assert set(TEXT_TOWER) == {field.name for field in dataclasses.fields(CLIPTextCfg)}


def test_every_architecture_of_open_clip_passes_but_for_cocas_which_never_did() -> None:
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        if "multimodal_cfg" in config:
            with pytest.raises(CheckpointError, match="multimodal_cfg"):
                check_model(config, name)
        else:
            check_model(config, name)


_PLAIN_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
_SIGLIP_TEXT = {
    "context_length": 64, "vocab_size": 32000, "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
    "tokenizer_kwargs": {"clean": "canonicalize"}, "width": 768, "heads": 12, "layers": 12, "no_causal_mask": True,
    "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
}  # fmt: skip
_TIMM = {"image_size": 224, "timm_model_pretrained": False}
_BIOMED = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
PUBLISHED: dict[str, dict[str, Any]] = {
    "SigLIP": {
        "embed_dim": 768, "init_logit_bias": -10, "custom_text": True, "text_cfg": _SIGLIP_TEXT,
        "vision_cfg": {
            **_TIMM, "timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none",
        },
    },
    "BiomedCLIP": {
        "embed_dim": 512,
        "vision_cfg": {**_TIMM, "timm_model_name": "vit_base_patch16_224", "timm_pool": "", "timm_proj": "linear"},
        "text_cfg": {
            "hf_model_name": _BIOMED, "hf_tokenizer_name": _BIOMED, "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 256,
        },
    },
    "DFN": {
        "embed_dim": 1024, "quick_gelu": True, "text_cfg": {**_PLAIN_TEXT, "width": 1024, "heads": 16, "layers": 24},
        "vision_cfg": {"image_size": 378, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14},
    },
    "MobileCLIP": {
        "embed_dim": 512, "text_cfg": {**_PLAIN_TEXT, "no_causal_mask": False},
        "vision_cfg": {
            "image_size": 256, "timm_model_name": "fastvit_mci1", "timm_model_pretrained": False, "timm_pool": "avg",
            "timm_proj": None, "timm_drop": 0.0, "timm_drop_path": 0.0,
        },
    },
    "NLLB": {
        "embed_dim": 512, "custom_text": True,
        "vision_cfg": {**_TIMM, "timm_model_name": "vit_base_patch16_siglip_384"},
        "text_cfg": {
            "hf_model_name": "facebook/nllb-200-distilled-600M", "hf_proj_type": "linear",
            "hf_tokenizer_name": "facebook/nllb-200-distilled-600M", "hf_pooler_type": "cls_pooler",
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_pass(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    preprocess = {
        "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash", "mode": None,
        "of_a_later_version": {"a": 1},
    }  # fmt: skip
    check_config({"model_cfg": PUBLISHED[name], "preprocess_cfg": preprocess}, "published")


def test_a_text_model_of_a_hub_by_name_still_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file
    from transformers import RobertaConfig

    snapshot = hostile.put_on_hub(tmp_path / "hub", monkeypatch, is_model=True)
    small = RobertaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=20, pad_token_id=1,
    )  # fmt: skip
    small.save_pretrained(snapshot)
    saved = json.loads((snapshot / "config.json").read_text())
    (snapshot / "config.json").write_text(json.dumps({**saved, "_attn_implementation_autoset": True}))
    named = {"hf_model_name": hostile.HUB_NAME, "hf_proj_type": "linear", "hf_pooler_type": "mean_pooler"}
    folder = hostile.put_clip(tmp_path / "clip", **named)
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    text = {**config["text_cfg"], "hf_model_pretrained": False}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = open_clip.CustomTextCLIP(**{**config, "text_cfg": text}).eval()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / door.WEIGHTS_FILE)
    tokens = torch.tensor([[3, 4, 5, 1, 1]])
    with torch.no_grad():
        assert torch.equal(door.load_clip(folder).model.encode_text(tokens), model.encode_text(tokens))


def _word_tokenizer(folder: Path) -> None:
    """A tokenizer of whole words in a hub's layout, without code."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[SEP]", "a", "bell", "rings"]
    plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]", sep_token="[SEP]", padding_side="right"
    )
    made.save_pretrained(folder)


def test_a_tokenizer_of_a_hub_by_name_cleans_pads_cuts_and_strips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _word_tokenizer(hostile.put_on_hub(tmp_path / "hub", monkeypatch))
    tokenize = HubTokenizer(hostile.HUB_NAME, 4, str.lower, strip_sep_token=False)
    assert tokenize(["A bell", "a bell rings a bell"]).tolist() == [[3, 4, 0, 0], [3, 4, 5, 3]]
    stripping = HubTokenizer(hostile.HUB_NAME, 4, str, strip_sep_token=True)
    assert stripping(["a [SEP] ?"]).tolist() == [[3, 0, 1, 0]]


def test_a_folder_whose_tokenizer_is_of_a_hub_embeds_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _word_tokenizer(hostile.put_on_hub(tmp_path / "hub", monkeypatch))
    cleaning = {"clean": "canonicalize"}
    folder = hostile.put_clip(tmp_path / "clip", hf_tokenizer_name=hostile.HUB_NAME, tokenizer_kwargs=cleaning)
    clip = door.load_clip(folder)
    assert clip.tokenize(["a bell, rings."]).tolist() == [[3, 4, 5, *[0] * 9]]
    with torch.no_grad():
        expected = clip.model.encode_text(clip.tokenize(["a bell rings"]), normalize=True).numpy()
    assert np.array_equal(clip.embed_texts(["a bell, rings."]), expected)
