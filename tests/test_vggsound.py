"""The page from VGGSound to text prompts: its commands, in its order, on stand-ins of the same layouts.

What is replaced: ViT-L/14 by a small CLIP in a folder, LAION's prior by one that dalle2-pytorch 1.1.0 wrote, AudioLDM's
vocoder by a narrow one of its mel space, `base`'s network and hours by a toy's, and the report is a short one. What is
not: lengths, mel space, list, names of files, and every option that the page gives.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from makers_published import make_hifigan

from clipsonic.cli import main
from clipsonic.clip.open_clip import load_clip, new_clip, published_merges
from clipsonic.clip.vocabulary import packed, short_merges
from clipsonic.prior.adapter import read_facts
from clipsonic.soundstage.render import render_video
from clipsonic.soundstage.scene import plain_scene
from clipsonic.specs import SegmentSpec

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "vggsound.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, flags=re.DOTALL)
LINES = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines() if line.strip()]
CLIP = {
    "architecture": "stand-in",
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "image_size": 32},
        "text_cfg": {"context_length": 8, "vocab_size": 0, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"size": 32, "resize_mode": "squash", "interpolation": "bicubic"},
}
STAND_INS = {
    "--clip ViT-L-14:openai": "--clip stand-in",
    "--config base": "--config base --config smoke --optim.batch_size 2 --run.max_steps 4 --data.num_workers 1",
    "convert prior laion-prior": "convert prior laion-prior --clip stand-in",
    "clipsonic evaluate": "clipsonic evaluate --steps 2 --num-players 1 --closers prior",
}
SCENES = {
    "abcdefghij0_000030.mp4": ("bell", "glass"),
    "abcdefghij1_000005_000015.mp4": ("dog", "spotted"),
    "A drum in a hall [abcdefghij2].mp4": ("drum", "tin"),
    "abcdefghij3_000000.mp4": ("bell", "bronze"),
    "abcdefghij4_000120.mp4": ("dog", "grey"),
}
LIST = """\
abcdefghij0,30,"church bell ringing",train
abcdefghij1,5,"dog barking",train
abcdefghij2,0,"playing drum kit",train
abcdefghij3,0,"church bell ringing",test
abcdefghij4,120,"dog barking",test
abcdefghij5,60,"a video that is gone",train
"""


def bring_videos() -> None:
    """Ten seconds each, under the three kinds of names that the page allows, and the list in the recipe's columns."""
    Path("VIDEOS").mkdir()
    for name, (kind, material) in SCENES.items():
        scene = plain_scene(kind, material, 0.5, 0.5, 1, duration_s=10.0)
        render_video(scene, Path("VIDEOS", name), width=64, height=48, fps=5)
    render_video(plain_scene("dog", "grey", 0.5, 0.5, 1, duration_s=3.0), "film.mp4", width=64, height=48, fps=5)
    Path("vggsound.csv").write_text(LIST, encoding="utf-8")


def bring_weights() -> None:
    """What the page says to bring, under the names it gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        new_clip(CLIP, packed(short_merges(["a dog barking"], published_merges(), 60))).save("stand-in")
        make_hifigan(Path("audioldm-vocoder"))
    published = ROOT / "tests" / "prior" / "data" / "laion"
    Path("laion-prior").mkdir()
    shutil.copy(published / "latest.pth", "laion-prior/best.pth")
    shutil.copy(published / "prior_config.json", "laion-prior")


def with_stand_ins(line: str) -> list[str]:
    """The words of a command line of the page, after `clipsonic`."""
    for printed, instead in STAND_INS.items():
        line = line.replace(printed, instead)
    first, *words = shlex.split(line, comments=True)
    assert first == "clipsonic"
    return words


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole page was followed from its top to its end."""
    folder = tmp_path_factory.mktemp("vggsound")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        bring_videos()
        bring_weights()
        for language, block in BLOCKS:
            if language == "python":
                exec(block, {})
            for line in block.splitlines() if language == "bash" else []:
                assert main(with_stand_ins(line)) == 0, line
    return folder


def test_every_stand_in_stands_for_words_of_the_page() -> None:
    assert [printed for printed in STAND_INS if not any(printed in line for line in LINES)] == []


def test_the_page_walks_through_these_commands() -> None:
    names = [line.split()[1] for line in LINES]
    assert sorted(set(names)) == ["convert", "doctor", "evaluate", "generate", "ingest", "inspect", "train"]


def test_each_split_becomes_a_corpus_of_its_videos_whole_and_the_missing_one_is_named(walked: Path) -> None:
    for corpus, num_videos in (("corpus", 3), ("test-corpus", 2)):
        index = json.loads((walked / corpus / "index.json").read_text(encoding="utf-8"))
        assert sum(shard["records"] for shard in index["shards"]) == num_videos
        refused = walked / corpus / "refused.jsonl"
        assert not refused.exists() or refused.read_text(encoding="utf-8") == ""
    assert "abcdefghij5" in (walked / "corpus" / "missing.jsonl").read_text(encoding="utf-8")
    assert (walked / "corpus.html").read_text(encoding="utf-8").count("abcdefghij0") > 0


def test_corpus_prior_and_model_live_in_one_clip_space(walked: Path) -> None:
    fingerprint = load_clip(walked / "stand-in").fingerprint
    config = json.loads((walked / "my-sound" / "model_index.json").read_text(encoding="utf-8"))
    assert SegmentSpec.from_dict(config["segment"]).fingerprint == fingerprint
    assert read_facts(walked / "prior").fingerprint == fingerprint
    assert read_facts(walked / "prior").kind == "laion"


def test_the_text_gets_a_sound_of_a_whole_segment_of_base(walked: Path) -> None:
    wave, rate = soundfile.read(walked / "dog.wav")
    assert (len(wave), rate) == (992 * 160, 16000)
    assert np.isfinite(wave).all()
    assert 0.0 < np.abs(wave).max() <= 1.0


def test_the_film_has_its_pictures_and_a_sound_of_its_length(walked: Path) -> None:
    packets, sound_s = [], 0.0
    for path in (walked / "film.mp4", walked / "film-with-sound.mp4"):
        with av.open(str(path)) as container:
            packets.append([bytes(packet) for packet in container.demux(video=0) if packet.size])
            sound_s = float(container.streams.audio[0].duration * container.streams.audio[0].time_base)
    assert packets[0] == packets[1]
    assert abs(sound_s - 3.0) < 0.1  # AAC counts in frames of 64 ms


def test_the_report_judges_the_prior_that_was_brought_beside_shuffled_prompts(walked: Path) -> None:
    report = json.loads((walked / "report" / "report.json").read_text(encoding="utf-8"))
    names = {row["name"] for row in report["rows"]}
    assert {"true", "image", "shuffled"} <= names
    assert any(name.startswith("text") and "prior" in name for name in names), names


def test_what_is_shared_is_complete(walked: Path) -> None:
    shared = walked / "my-sound-complete"
    assert read_facts(shared / "prior").kind == "laion"
    assert (shared / "vocoder").is_dir()
    assert (shared / "clip").is_dir()
    assert (shared / "card.md").is_file()
