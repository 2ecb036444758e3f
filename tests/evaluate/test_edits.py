"""What is taken away is taken away whole, fills and figures are what they say, and a run has all of them in a row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from makers_evaluate import SECONDS, make_corpus, make_pipeline, make_scenes, rows_of, with_manifest

from clipsonic.audio.mel import LogMel
from clipsonic.errors import UsageError
from clipsonic.evaluate.command import build_parser, run
from clipsonic.evaluate.edits import fills
from clipsonic.evaluate.edits.figures import drift_db, error_db, seam_db
from clipsonic.evaluate.edits.run import evaluate_edits
from clipsonic.evaluate.edits.tasks import TASKS, continuation, frames, gap, given_below, irregular
from clipsonic.evaluate.report import table_text, write_report
from clipsonic.evaluate.rows import Making
from clipsonic.evaluate.run import Options
from clipsonic.seeding import torch_generator
from clipsonic.specs import MelSpec, SegmentSpec

SEGMENT = SegmentSpec(MelSpec(), 256, 16, "test-clip/000000000000")
SHORT = (gap(0.256), continuation(0.512), frames(0.3), irregular("thick"), given_below(2400.0))


def drawn(seed: int = 0) -> torch.Generator:
    return torch_generator(seed, "test.edits")


@pytest.mark.parametrize("task", [gap(1.024), gap(0.256), continuation(2.048)], ids=lambda task: task.name)
def test_what_sounds_in_a_missing_stretch_leaves_no_trace_in_what_is_given(task) -> None:
    made_MF = task.mask(SEGMENT, drawn())
    wave = torch.zeros(1, SEGMENT.num_samples)
    middle_s = SEGMENT.seconds / 2
    from_s = SEGMENT.seconds - task.made_s if task.name.startswith("continue") else middle_s - task.made_s / 2
    inside = slice(round(from_s * 16000), round((from_s + task.made_s) * 16000))
    wave[0, inside] = torch.randn(wave[0, inside].shape, generator=drawn())
    silent = LogMel(SEGMENT.mel)(torch.zeros_like(wave))
    heard = (LogMel(SEGMENT.mel)(wave) - silent)[0].abs() > 0
    assert not bool((heard & ~made_MF).any())
    assert bool(heard[:, made_MF[0]].any(dim=0).all())  # and no column more is taken than those it is heard in
    assert task.stretch(made_MF) == slice(*(int(at) for at in made_MF[0].nonzero()[[0, -1]] + torch.tensor([[0], [1]])))


def test_frames_are_taken_in_runs_and_in_their_share() -> None:
    for share in (0.3, 0.5, 0.7):
        made_MF = frames(share).mask(SEGMENT, drawn(1))
        assert bool((made_MF == made_MF[:1]).all())
        assert float(made_MF.float().mean()) == pytest.approx(share, abs=0.5 / 32)  # of 32 runs of 8 columns
        runs = made_MF[0].reshape(32, 8)
        assert bool((runs == runs[:, :1]).all())


def test_drawn_masks_are_of_the_generator_alone_and_bands_are_the_upper_ones() -> None:
    for task in (frames(0.5), irregular("medium")):
        again = [task.mask(SEGMENT, drawn(seed)) for seed in (3, 3, 4)]
        assert torch.equal(again[0], again[1])
        assert not torch.equal(again[0], again[2])
    made_MF = given_below(2400.0).mask(SEGMENT, drawn())
    assert bool(made_MF[-1].all())
    assert not bool(made_MF[0].any())


def test_every_task_has_a_name_of_its_own_and_is_left_out_where_less_than_half_would_be_given() -> None:
    assert len({task.name for task in TASKS}) == len(TASKS) == 11
    assert all(task.fits(SEGMENT) for task in TASKS)
    half = replace(SEGMENT, num_mel_frames=127)
    assert [task.name for task in TASKS if not task.fits(half)] == ["gap-1.02", "continue-2.05"]


def test_fills_keep_what_is_given_and_know_nothing_of_what_is_not() -> None:
    x0_MF = torch.randn(64, 256, generator=drawn())
    made_MF = gap(1.024).mask(SEGMENT, drawn())
    other_MF = torch.where(made_MF, torch.randn(64, 256, generator=drawn(1)), x0_MF)
    for fill in (fills.mean, fills.linear, lambda x, made: fills.repeat(x, made, SEGMENT.mel)):
        filled_MF = fill(x0_MF, made_MF)
        assert torch.equal(filled_MF[~made_MF], x0_MF[~made_MF])
        assert torch.equal(filled_MF, fill(other_MF, made_MF))


def test_a_line_a_mean_and_a_repeat_are_exact_where_the_sound_is_one() -> None:
    made_MF = gap(0.256).mask(SEGMENT, drawn())
    at_F = torch.arange(256.0)
    line_MF = torch.linspace(-1, 1, 64)[:, None] * at_F
    assert torch.allclose(fills.linear(line_MF, made_MF), line_MF, atol=1e-4)  # values up to 255 in float32
    level_MF = torch.linspace(-1, 1, 64)[:, None].expand(64, 256)
    assert torch.allclose(fills.mean(level_MF, made_MF), level_MF, atol=1e-6)
    beat_MF = torch.randn(64, 20, generator=drawn()).repeat(1, 13)[:, :256]  # every 0.32 s
    for task in (gap(1.024), continuation(2.048)):
        mask_MF = task.mask(SEGMENT, drawn())
        assert torch.equal(fills.repeat(beat_MF, mask_MF, SEGMENT.mel), beat_MF)


def test_a_line_is_held_beyond_the_last_given_cell_and_refused_without_any() -> None:
    x0_MF = torch.arange(256.0).expand(64, 256)
    made_MF = continuation(2.048).mask(SEGMENT, drawn())
    last = int((~made_MF[0]).nonzero()[-1])
    assert bool((fills.linear(x0_MF, made_MF)[:, last:] == last).all())
    with pytest.raises(ValueError, match="a given cell in every band"):
        fills.linear(x0_MF, given_below(2400.0).mask(SEGMENT, drawn()))


def test_a_band_of_which_nothing_is_given_has_the_mean_of_the_others() -> None:
    made_MF = given_below(2400.0).mask(SEGMENT, drawn())
    filled_MF = fills.mean(torch.full((64, 256), 1.5), made_MF)
    assert bool((filled_MF == 1.5).all())


def test_error_counts_made_cells_drift_given_ones_and_the_seam_steps_between_them() -> None:
    mel, neper_db = SEGMENT.mel, 20.0 / np.log(10.0)
    made = np.zeros((2, 64, 256), bool)
    made[0, :, 100:110], made[1, 32:] = True, True
    true = np.zeros(made.shape, np.float32)
    mels = np.where(made, 2.0, 0.5).astype(np.float32)
    assert error_db(mels, true, made, mel) == pytest.approx([2.0 * neper_db] * 2)
    assert drift_db(mels, true, made, mel) == pytest.approx([0.5 * neper_db] * 2)
    assert seam_db(mels, made, mel) == pytest.approx([1.5 * neper_db] * 2)  # across columns, and across bands
    assert seam_db(mels, np.zeros_like(made), mel) == pytest.approx([0.0, 0.0])


def test_with_laws_every_way_has_error_seam_and_naming_and_two_runs_are_equal(tmp_path: Path) -> None:
    scenes = make_scenes(6)
    with_manifest(tmp_path, scenes)
    corpus = make_corpus(tmp_path / "corpus", scenes)
    options = Options(corpus, making=Making(batch_size=4, seed=4, num_others=5), num_players=2)
    first, again = (evaluate_edits(make_pipeline(), options, SHORT) for _ in range(2))
    rows = rows_of(first.numbers)
    ways = {name.partition("/")[2] for name in rows if name.startswith("gap-0.26/")}
    assert ways == {"true", "mean", "linear", "repeat", "audioldm", "blind", "picture"}
    assert not {"below-2400/linear", "irregular-thick/linear", "frames-30/repeat"} & set(rows)
    for name in (name for name in rows if "/" in name):
        assert {"error_db", "stretch_named", "seam_db"} <= set(rows[name]), name
    count = first.numbers["num_items"]
    assert {rows[f"gap-0.26/{way}"]["num_sounds"] for way in ("true", "audioldm", "picture")} == {count}
    assert {rows[f"gap-0.26/{way}"]["num_sounds"] for way in ("mean", "blind")} == {min(5, count)}
    assert rows["gap-0.26/true"]["error_db"]["value"] == 0.0
    assert rows["gap-0.26/picture"]["drift_db"]["value"] == pytest.approx(0.0, abs=1e-5)  # float32, scaled and back
    assert rows["gap-0.26/audioldm"]["drift_db"]["value"] > 1.0
    paired = rows["gap-0.26/picture"]["below_audioldm_db"]["value"]
    errors = [rows[f"gap-0.26/{way}"]["error_db"]["value"] for way in ("audioldm", "picture")]
    assert paired == pytest.approx(errors[0] - errors[1])
    assert rows["source"]["loudness_correlation"]["value"] > rows["target"]["loudness_correlation"]["value"]
    assert rows["source"]["source_distance_db"]["value"] == pytest.approx(0.0, abs=1e-5)
    assert "seeds_distance_db" in rows["variation-0.5"]
    for row in (*again.numbers["rows"], *first.numbers["rows"]):
        row["figures"].pop("seconds_per_sound")
    assert again.numbers == first.numbers
    assert first.numbers["skipped"] == []
    assert "paired difference" in first.numbers["sentences"][0]
    best = min(("mean", "linear", "repeat"), key=lambda way: rows[f"gap-0.26/{way}"]["error_db"]["value"])
    fill = {"mean": "mean of the given", "linear": "line in time", "repeat": "repeat"}[best]
    assert f"; {fill} {rows[f'gap-0.26/{best}']['error_db']['value']:.1f} dB" in first.numbers["sentences"][0]
    labels = [sound.label for sound in first.examples[0].sounds]
    assert labels[:3] == ["true sound", "gap of 0.26 s: AudioLDM's way", "gap of 0.26 s: picture"]
    page = Path(write_report(tmp_path / "report", first)["page"]).read_text()
    assert "seam, dB" in page


def test_the_more_of_a_sound_may_change_the_further_it_goes(tmp_path: Path) -> None:
    scenes = make_scenes(4)
    corpus = make_corpus(tmp_path / "corpus", scenes)
    rows = rows_of(evaluate_edits(make_pipeline(), Options(corpus, num_players=0), SHORT[:1]).numbers)
    for kind in ("restyle", "variation"):
        distances = [rows[f"{kind}-{strength:g}"]["source_distance_db"]["value"] for strength in (0.25, 0.5, 0.75, 0.9)]
        assert distances == sorted(distances)


def test_without_laws_there_is_error_and_seam_and_no_naming(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", make_scenes(3))
    making = Making(steps=1, num_others=2)
    result = evaluate_edits(make_pipeline(), Options(corpus, making=making, num_players=1), TASKS)
    text = json.dumps(result.numbers)
    assert "_named" not in text
    assert {"error_db", "seam_db"} <= set(rows_of(result.numbers)["gap-0.26/picture"])
    assert [one["label"] for one in result.numbers["skipped"]] == ["gap of 1.02 s", "continue 2.05 s"]
    assert f"{SECONDS:.2f} s" in result.numbers["skipped"][0]["reason"]
    assert "off in the made cells, dB" in table_text(result.numbers)
    assert result.examples[0].sounds[0].verdict == ""


@pytest.mark.parametrize("words", [["--sweep", "1:1"], ["--into-card"], ["--prior", "."]])
def test_what_has_another_table_is_refused_beside_edits(tmp_path: Path, words: list[str]) -> None:
    plain = ["--model", str(tmp_path), "--corpus", str(tmp_path), "--out", str(tmp_path / "out"), "--edits"]
    with pytest.raises(UsageError, match=f"{words[0]} is not for --edits"):
        run(build_parser("clipsonic evaluate").parse_args([*plain, *words]))
