"""Masks: nothing that is not given counts as known, and irregular ones cover what they are said to."""

import numpy as np
import pytest
import torch

from clipsonic.audio.mel import LogMel
from clipsonic.diffusion import masks
from clipsonic.errors import SpecError, UsageError
from clipsonic.seeding import torch_generator
from clipsonic.specs import MelSpec, mel_band_edges_hz

SPECS = [MelSpec(), MelSpec(padding="center"), MelSpec(n_fft=512, hop_length=160, num_mels=40)]


def mel_of(wave, spec):
    return LogMel(spec)(torch.as_tensor(wave, dtype=torch.float32)[None])[0]


@pytest.mark.parametrize("spec", SPECS, ids=["same", "center", "short hop"])
@pytest.mark.parametrize("stretch", [(0, 900), (5000, 5001), (7000, 9111), (15000, 16000)])
def test_known_columns_do_not_change_with_what_is_made_and_the_next_ones_do(spec, stretch):
    """The mask is no wider than it must be, but for a window's ends, where the window itself is nearly 0."""
    wave = torch.randn(16000, generator=torch_generator(0, "wave")) * 0.1
    other = wave.clone()
    other[slice(*stretch)] += 0.5
    changed_F = (mel_of(wave, spec) != mel_of(other, spec)).any(0)
    made_F = masks.times(spec, len(changed_F), [stretch])
    assert not bool((changed_F & ~made_F).any())
    assert int((made_F & ~changed_F).sum()) <= 2


def test_an_empty_stretch_makes_nothing():
    assert not bool(masks.times(MelSpec(), 100, [(500, 500), (0, 0)]).any())


@pytest.mark.parametrize("cut_hz", [300.0, 2400.0, 6000.0])
def test_bands_on_both_sides_of_a_cut_off_are_made_with_one_to_spare(cut_hz):
    spec = MelSpec()
    edges_hz = np.array(mel_band_edges_hz(spec))
    above, below = masks.bands(spec, above_hz=cut_hz), masks.bands(spec, below_hz=cut_hz)
    assert bool(above[-1])
    assert bool(below[0])
    assert int(above.int().diff().abs().sum()) == int(below.int().diff().abs().sum()) == 1
    highest_known, lowest_known = int((~above).nonzero().max()), int((~below).nonzero().min())
    assert edges_hz[highest_known + 3] <= cut_hz  # the next band, too, ends below the cut
    assert edges_hz[lowest_known - 1] >= cut_hz
    assert edges_hz[highest_known + 4] > cut_hz
    assert edges_hz[lowest_known - 2] < cut_hz


@pytest.mark.parametrize("cut", [{"above_hz": 0.0}, {"above_hz": 9000.0}, {"below_hz": 8000.0}, {"below_hz": 0.0}, {}])
def test_a_cut_off_that_leaves_all_or_nothing_is_refused(cut):
    with pytest.raises(UsageError, match="give a frequency inside"):
        masks.bands(MelSpec(), **cut)


def test_a_drawn_mask_has_its_top_in_the_highest_band_and_every_white_pixel_counts():
    picture = torch.zeros(512, 1000, dtype=torch.uint8)
    picture[3, 999] = 255
    picture[511, 0] = 255
    picture[300, 500] = 100  # grey, nearer to black
    made = masks.drawn(picture, 64, 250)
    assert made.nonzero().tolist() == [[0, 0], [63, 249]]
    assert torch.equal(masks.drawn(picture > 127, 64, 250), made)
    assert torch.equal(masks.drawn(picture.float() / 255.0, 64, 250), made)


def test_a_small_picture_covers_many_cells_with_each_pixel():
    assert torch.equal(
        masks.drawn(torch.tensor([[True], [False]]), 4, 3)[:, 0], torch.tensor([False, False, True, True])
    )


def test_a_picture_of_another_kind_is_refused():
    with pytest.raises(UsageError, match=r"must be \(H, W\)"):
        masks.drawn(torch.zeros(4, 4, 3), 4, 4)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_frame_masks_cover_their_share_in_whole_runs(share):
    made = masks.frames(256, share, 8, torch_generator(0, "frames"))
    assert made.view(32, 8).float().mean(1).unique().tolist() == [0.0, 1.0]
    assert float(made.float().mean()) == pytest.approx(share, abs=0.5 / 32)


def test_frame_masks_that_cannot_be_are_refused():
    for share, run in ((0.0, 8), (1.0, 8), (0.5, 0), (0.5, 300)):
        with pytest.raises(SpecError, match="frame mask"):
            masks.frames(256, share, run, torch_generator(0, "frames"))


@pytest.mark.parametrize("kind", masks.BRUSHES)
def test_irregular_masks_cover_something_and_not_too_much_and_follow_their_generator(kind):
    made = torch.stack([masks.strokes(64, 256, kind, torch_generator(0, kind, index)) for index in range(40)])
    areas = made.float().mean((1, 2))
    assert float(areas.min()) > 0.0
    assert float(areas.max()) <= masks.MOST_AREA
    assert 0.1 < float(areas.mean()) < 0.4
    assert torch.equal(made[7], masks.strokes(64, 256, kind, torch_generator(0, kind, 7)))
    assert len({tuple(one.flatten().tolist()) for one in made}) == 40


def test_thin_strokes_have_more_border_for_their_area_than_thick_ones():
    borders = {}
    for kind in masks.BRUSHES:
        made = torch.stack([masks.strokes(64, 256, kind, torch_generator(1, kind, index)) for index in range(40)])
        borders[kind] = float(made.int().diff(dim=2).abs().sum() / made.sum())
    assert borders["thin"] > borders["medium"] > borders["thick"]


def test_a_stroke_is_as_wide_and_as_long_as_it_is_drawn():
    """A brush of one stroke on a fine grid: no cell is further from the line than half the width."""
    y, x = torch.arange(256.0)[:, None], torch.arange(256.0)[None]
    made = masks._distance(y, x, (100.0, 50.0), (100.0, 150.0)) <= 10.0
    assert made.any(0).nonzero().flatten().tolist() == list(range(40, 161))
    assert made[:, 100].nonzero().flatten().tolist() == list(range(90, 111))


def test_an_unknown_kind_is_refused():
    with pytest.raises(SpecError, match="thick, medium, thin"):
        masks.strokes(64, 256, "fat", torch_generator(0, "fat"))
