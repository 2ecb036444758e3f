"""A whole evaluation of a tiny untrained pipeline: rows, figures, refusals, files; scenes with laws and without."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers_evaluate import FINGERPRINT, WIDTH, make_corpus, make_pipeline, make_scenes, rows_of, with_manifest

from clipsonic.errors import CorpusError, FingerprintError, UsageError
from clipsonic.evaluate.command import build_parser, run
from clipsonic.evaluate.laws import find_laws
from clipsonic.evaluate.report import write_report
from clipsonic.evaluate.rows import Making
from clipsonic.evaluate.run import Options, evaluate
from clipsonic.evaluate.sweep import cells_of, sweep
from clipsonic.models.lowrank import LowRank, adapter_weights, add_adapter, remove_adapter
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.adapter_folder import Adapter
from clipsonic.prior.adapter import PriorShape, TextPrior
from clipsonic.prior.closer_names import CLOSERS
from clipsonic.seeding import numpy_rng, torch_generator
from clipsonic.shards.writer import corpus_facts
from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.manifest import manifest_entry, write_manifest
from clipsonic.soundstage.scene import Scene


class Captioner:
    """Stands in for a CLIP: a caption's vector is drawn from its letters."""

    fingerprint = FINGERPRINT

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        rows = np.stack([numpy_rng(0, "caption", text).normal(size=WIDTH) for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return make_scenes(30)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, scenes: list[Scene]) -> Path:
    """Rendered scenes with the manifest beside their videos."""
    folder = tmp_path_factory.mktemp("known")
    with_manifest(folder, scenes)
    return make_corpus(folder / "corpus", scenes)


@pytest.fixture(scope="module")
def unknown_corpus(tmp_path_factory: pytest.TempPathFactory, scenes: list[Scene]) -> Path:
    """The same without a manifest: to the evaluation, real videos."""
    return make_corpus(tmp_path_factory.mktemp("unknown") / "corpus", scenes[:8])


@pytest.mark.slow
def test_an_untrained_model_is_judged_by_the_laws_of_the_scenes(corpus: Path, tmp_path: Path) -> None:
    pipeline = make_pipeline()
    pipeline.set_clip(Captioner())  # type: ignore[arg-type]
    options = Options(corpus, making=Making(batch_size=7, seed=4), num_players=3)
    first, again = evaluate(pipeline, options), evaluate(pipeline, options)
    rows = rows_of(first.numbers)
    expected = "true vocoder image video-timed video-pooled text-zero-shot shuffled shuffled-within silence chance"
    assert list(rows) == expected.split()
    skipped = {one["label"]: one["reason"] for one in first.numbers["skipped"]}
    assert list(skipped) == ["text (mean-shift)", "text (neighbours)", "text (prior)"]
    assert skipped["text (prior)"] == "the pipeline has no text prior"
    assert rows["true"]["mel_difference_db"]["value"] == 0.0
    # the judge was trained on 2.56 s and longer; on 1.28 s of 30 sounds it still names most
    assert rows["true"]["accuracy"]["value"] > 0.8
    assert rows["image"]["accuracy"]["value"] < 0.4
    assert rows["chance"]["accuracy"]["value"] == 1 / len(KINDS)
    assert {figures.get("num_sounds") for figures in rows.values()} == {first.numbers["num_items"], None}
    assert rows["true"]["pitch_semitones"]["value"] < 1.0
    assert rows["image"]["pitch_semitones"]["value"] > 2.0
    assert rows["true"]["rate_error"]["value"] < 0.15  # 1.28 s hold few periods
    assert rows["true"]["level_db"]["value"] == 0.0
    assert rows["silence"]["pitch_semitones"]["value"] == 24.0
    assert rows["silence"]["silent_share"] == 1.0
    assert rows["true"]["silent_share"] == 0.0
    for row in (*again.numbers["rows"], *first.numbers["rows"]):
        row["figures"].pop("seconds_per_sound", None)
    assert again.numbers == first.numbers
    assert first.numbers["manifests"] == [str(corpus.parent / "videos" / "manifest.jsonl")]
    assert len(first.examples) == len(first.numbers["examples"]) == 3
    assert first.numbers["examples"][0]["verdicts"].keys() == {"true", "image", "video-timed", "text-zero-shot"}
    assert first.numbers["examples"][0]["source"] == "videos/" + first.numbers["examples"][0]["file"]
    assert len({example.title for example in first.examples}) == 3
    assert [sound.label for sound in first.examples[0].sounds] == [
        "true sound", "picture", "video (timed)", "text (zero-shot)",
    ]  # fmt: skip
    page = Path(write_report(tmp_path, first)["page"]).read_text()
    assert "named rightly" in page


@pytest.mark.slow
def test_a_model_that_ignores_its_prompt_scores_the_same_with_shuffled_ones(corpus: Path) -> None:
    class Constant:
        """A pipeline's outside with one sound inside."""

        def __init__(self) -> None:
            inner = make_pipeline()
            self.segment, self.config, self.vocoder, self.prior = inner.segment, inner.config, inner.vocoder, None
            self.default_steps, self.default_guidance = inner.default_steps, inner.default_guidance

        def __call__(self, embeds: np.ndarray, **_: Any) -> Any:
            wave = numpy_rng(0, "noise").normal(size=self.segment.num_samples).astype(np.float32) * 0.1
            return argparse.Namespace(audios=np.repeat(wave[None], len(embeds), axis=0))

    rows = rows_of(evaluate(Constant(), Options(corpus, prompts=("image",), num_players=0)).numbers)
    for figure in ("accuracy", "mel_difference_db", "silent_share", "clipped_share"):
        assert rows["shuffled"][figure] == rows["image"][figure], figure


def test_another_prior_gets_a_row_of_its_own_and_the_pipeline_keeps_its_own(corpus: Path) -> None:
    pipeline = make_pipeline()
    pipeline.set_clip(Captioner())  # type: ignore[arg-type]
    shape = PriorShape(width=WIDTH, depth=1, heads=2, head_width=8, num_timesteps=4)
    own = TextPrior(shape, FINGERPRINT)
    pipeline.set_prior(own)
    making = Making(num_others=4, priors={"mine": TextPrior(shape, FINGERPRINT)})
    options = Options(
        corpus, num_scenes=6, making=making, prompts=("text",), closers=("prior",), laws=False, num_players=0
    )
    rows = rows_of(evaluate(pipeline, options).numbers)
    assert "pitch_semitones" not in rows["true"]
    assert [name for name in rows if name.startswith("text")] == ["text-prior", "text-prior-mine"]
    assert rows["text-prior-mine"]["num_sounds"] == 4
    assert pipeline.prior is own
    strange = Making(priors={"strange": TextPrior(shape, "other/1")})
    with pytest.raises(FingerprintError, match="prior strange is of the space other/1"):
        evaluate(pipeline, Options(corpus, making=strange))
    with pytest.raises(UsageError, match="--audio-embedder has no effect on a corpus whose laws are known"):
        evaluate(pipeline, Options(corpus, embedder=lambda waves, rate_hz: waves))


@pytest.mark.slow
def test_without_laws_there_is_retrieval_and_no_soundstage_figure(unknown_corpus: Path, tmp_path: Path) -> None:
    result = evaluate(make_pipeline(), Options(unknown_corpus, prompts=("image", "video", "text"), num_players=2))
    numbers, rows = result.numbers, rows_of(result.numbers)
    assert numbers["corpus_kind"] == "videos"
    assert "accuracy" not in json.dumps(numbers)
    assert "judge" not in " ".join(numbers["sentences"])
    assert rows["true"]["recall_at_1"]["value"] == 1.0
    assert rows["true"]["mean_rank"] == 1.0
    assert rows["video-timed"]["nearest_to_own"]["of"] == 8
    assert rows["chance"]["mean_rank"] == (numbers["num_items"] + 1) / 2
    assert [one["label"] for one in numbers["skipped"]] == [f"text ({name})" for name in CLOSERS]
    assert "have no caption" in numbers["skipped"][0]["reason"]
    assert result.examples[0].sounds[0].verdict == ""


@pytest.mark.slow
def test_the_command_judges_a_saved_pipeline_and_writes_a_report_that_names_the_command(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pipeline().save_pretrained(tmp_path / "pipeline")
    words = ["--model", str(tmp_path / "pipeline"), "--corpus", str(corpus), "--out", str(tmp_path / "report")]
    more = ["--prompts", "image,video", "--num-scenes", "6", "--num-others", "4", "--steps", "1", "--seed", "5"]
    result = run(build_parser("clipsonic evaluate").parse_args([*words, *more]))
    numbers = json.loads((tmp_path / "report" / "report.json").read_text())
    assert numbers["num_items"] == 6
    assert numbers["steps"] == 1
    counts = {name: figures.get("num_sounds") for name, figures in rows_of(numbers).items()}
    assert counts == {
        "true": 6, "vocoder": 4, "image": 6, "video-timed": 4, "video-pooled": 4, "shuffled": 6,
        "shuffled-within": 6, "silence": 6, "chance": None,
    }  # fmt: skip
    assert len(numbers["examples"]) == 4
    assert numbers["command"].startswith("clipsonic evaluate --model ")
    assert "--seed 5" in numbers["command"]
    assert "named rightly" in result["message"]
    assert str(tmp_path / "report" / "index.html") in result["message"]
    assert "pictures" in capsys.readouterr().err


def test_a_sweep_makes_each_cell_once_and_counts_what_it_costs(unknown_corpus: Path, tmp_path: Path) -> None:
    pipeline = make_pipeline()
    pipeline.register_to_config(guidance_interval=[0.8, 1.0])  # type: ignore[no-untyped-call]
    options = Options(unknown_corpus, num_scenes=3, prompts=("image",), model_name="mine")
    first = sweep(pipeline, options, cells_of("1,4:1,2"), tmp_path / "out")
    counted = {(cell["steps"], cell["guidance"]): cell["evaluations"] for cell in first["cells"]}
    assert counted == {(1, 1.0): 1, (4, 1.0): 4, (1, 2.0): 2, (4, 2.0): 5}  # of four steps the first is guided
    assert {cell["figures"]["num_sounds"] for cell in first["cells"]} == {3}
    assert first["cells"][0]["figures"] != first["cells"][1]["figures"]
    assert (tmp_path / "out" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    table = (tmp_path / "out" / "sweep.md").read_text().splitlines()
    assert len(table) == 2 + 4
    assert "| 4 | 2 | 5 |" in table[-1]
    (tmp_path / "out" / "cells" / "steps-4-guidance-2.json").unlink()
    made: list[int | None] = []
    again = sweep(Watching(pipeline, made), options, cells_of("1,4:1,2"), tmp_path / "out")
    assert made == [4]
    for cells in (first["cells"], again["cells"]):
        for cell in cells:
            cell["figures"].pop("seconds_per_sound")
    assert again["cells"] == first["cells"]
    with pytest.raises(UsageError, match=r"holds a sweep with num_scenes 3, not 4"):
        sweep(
            pipeline, Options(unknown_corpus, num_scenes=4, prompts=("image",), model_name="mine"), [], tmp_path / "out"
        )
    with pytest.raises(UsageError, match=r"text prompts is not possible .*have no caption"):
        sweep(pipeline, Options(unknown_corpus, num_scenes=3, prompts=("text",)), cells_of("1:1"), tmp_path / "text")


class Watching:
    """A pipeline's outside that notes the steps of each call, and has a few-step adapter of its own."""

    def __init__(self, inner: ClipSonicPipeline, made: list[int | None]) -> None:
        self._inner, self._made, self._few = inner, made, None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def set_few_steps(self, steps: int | None) -> None:
        self._few = steps

    def __call__(self, **options: Any) -> Any:
        self._made.append(options["num_inference_steps"] if self._few is None else -self._few)
        return self._inner(**options)


def test_few_steps_have_cells_of_their_own_and_are_turned_off_again(unknown_corpus: Path, tmp_path: Path) -> None:
    made: list[int | None] = []
    pipeline = Watching(make_pipeline(), made)
    options = Options(unknown_corpus, num_scenes=2, prompts=("video",))
    result = sweep(pipeline, options, cells_of("2:1", few_steps=2), tmp_path)
    assert made == [2, -1, -2]
    assert pipeline._adapters.few is None
    assert [(cell["few_steps"], cell["evaluations"]) for cell in result["cells"]] == [(False, 2), (True, 1), (True, 2)]


@pytest.mark.parametrize("text", ["4,8", "4:a", "0:1", "4:1:2", ":", "4:nan"])
def test_a_sweep_that_names_no_cells_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--sweep|guidance_scale nan"):
        cells_of(text)


def test_a_corpus_of_another_clip_is_refused_with_both_names(tmp_path: Path) -> None:
    other = make_corpus(tmp_path / "corpus", make_scenes(1), fingerprint="other/111111111111")
    with pytest.raises(FingerprintError, match=f"other/111111111111.*{FINGERPRINT}"):
        evaluate(make_pipeline(), Options(other))


def test_a_corpus_with_nothing_to_judge_is_refused_with_the_reasons(tmp_path: Path) -> None:
    scenes = make_scenes(3)
    with_manifest(tmp_path, [])
    folder = make_corpus(tmp_path / "corpus", scenes)
    with pytest.raises(CorpusError, match="does not exist"):
        evaluate(make_pipeline(), Options(folder, videos=tmp_path / "nowhere"))
    short = make_corpus(tmp_path / "empty" / "corpus", [])
    with pytest.raises(CorpusError, match=r"nothing to judge a model of 1\.28 s on \(no record\)"):
        evaluate(make_pipeline(), Options(short))


def test_a_manifest_of_other_videos_is_refused_and_flawed_ones_are_not_judged(tmp_path: Path) -> None:
    scenes = make_scenes(2)
    with_manifest(tmp_path, [scenes[1], scenes[0]])
    corpus = make_corpus(tmp_path / "corpus", scenes)
    with pytest.raises(CorpusError, match=r"lasts .* s, the corpus has .* s of it: give the folder .* by --videos"):
        find_laws(corpus_facts(corpus), corpus)
    entries = [
        manifest_entry("000000.mp4", scenes[0], "heldout", "still"),
        manifest_entry("000001.mp4", scenes[1], "heldout"),
    ]
    write_manifest(tmp_path / "videos", entries)
    laws, manifests = find_laws(corpus_facts(corpus), corpus)
    assert list(laws) == ["videos/000001.mp4"]
    assert manifests == [tmp_path / "videos" / "manifest.jsonl"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompts", "smell"], "'smell' is unknown: give a list of image, video, text"),
        (["--closers", ""], "--closers is empty"),
        (["--num-scenes", "0"], "--num-scenes 0 is below 1"),
        (["--steps", "0"], "--steps 0 is below 1"),
        (["--videos", "nowhere"], "--videos nowhere is not a folder"),
        (["--corpus", "nowhere"], "--corpus nowhere is not a folder"),
        (["--prior", "nowhere"], "--prior nowhere is not a folder"),
    ],
)
def test_wrong_usage_is_refused_before_any_work(tmp_path: Path, words: list[str], message: str) -> None:
    plain = ["--model", "tiny", "--corpus", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(UsageError, match=message):
        run(build_parser("clipsonic evaluate").parse_args([*plain, *words]))


def test_what_the_pipeline_refuses_names_the_commands_options(unknown_corpus: Path, tmp_path: Path) -> None:
    make_pipeline().save_pretrained(tmp_path / "pipeline")
    words = ["--model", str(tmp_path / "pipeline"), "--corpus", str(unknown_corpus), "--out", str(tmp_path / "out")]
    with pytest.raises(UsageError, match="--guidance nan must be a finite number"):
        run(build_parser("clipsonic evaluate").parse_args([*words, "--guidance", "nan"]))


def save_with_few_steps(folder: Path) -> None:
    """A pipeline whose few steps make other sounds than its other steps."""
    pipeline, shape = make_pipeline(), LowRank(2, 64.0)
    add_adapter(pipeline.denoiser, shape, "made")
    for value in adapter_weights(pipeline.denoiser, "made").values():
        value.data.normal_(generator=torch_generator(0, "test.few"))
    few = replace(Adapter.taken_from(pipeline.denoiser, "made", shape), steps=2)
    remove_adapter(pipeline.denoiser, "made")
    pipeline.put_adapter(few, folder)
    pipeline.save_pretrained(folder)


def test_the_other_cells_of_a_sweep_with_few_steps_are_those_of_one_without_which_it_goes_on_with(
    unknown_corpus: Path, tmp_path: Path
) -> None:
    save_with_few_steps(tmp_path / "P")

    def swept(out: str, *more: str) -> dict[str, Any]:
        words = ["--model", str(tmp_path / "P"), "--corpus", str(unknown_corpus), "--out", str(tmp_path / out)]
        words += ["--prompts", "image", "--num-scenes", "3", "--sweep", "2:1", *more]
        cells = run(build_parser("clipsonic evaluate").parse_args(words))["cells"]
        for cell in cells:
            cell["figures"].pop("seconds_per_sound")
        return {"few" if cell["few_steps"] else "other": cell["figures"] for cell in cells if cell["steps"] == 2}

    alone, together = swept("alone"), swept("together", "--few-steps", "2")
    assert together["other"] == alone["other"]
    assert together["few"] != alone["other"]
    assert swept("alone", "--few-steps", "2") == together
