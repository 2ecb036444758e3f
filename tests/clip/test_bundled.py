"""The bundled CLIP and prior do what their cards say, on pictures of a world that neither training nor cards used."""

import dataclasses

import numpy as np
import pytest

from clipsonic.clip.measure import kind_naming, own_caption_accuracy
from clipsonic.clip.open_clip import load_clip
from clipsonic.prior.adapter import TextPrior
from clipsonic.resources import bundled_path
from clipsonic.seeding import torch_generator
from clipsonic.soundstage.captions import captions
from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.world import draw_picture

FRESH_SEED = 770_077
NUM_PICTURES = (
    1200  # as many as the card: the vote of 380 captioned pictures names 0.88 rightly, that of 900 0.92 to 0.94
)


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny")


@pytest.fixture(scope="module")
def world(clip):
    """Held-out sounding pictures with held-out phrasings: picture vectors, caption vectors, owners, kinds."""
    drawn = [draw_picture(FRESH_SEED, index, "heldout") for index in range(NUM_PICTURES)]
    sounding = [picture for picture in drawn if picture.kind is not None]
    owners = np.repeat(np.arange(len(sounding)), [len(picture.captions) for picture in sounding])
    texts = clip.embed_texts([text for picture in sounding for text in picture.captions])
    pictures = clip.embed_pictures([picture.pixels for picture in sounding])
    return pictures, texts, owners, [picture.kind for picture in sounding]


def first_of_each(captions, owners):
    return captions[np.searchsorted(owners, np.arange(owners[-1] + 1))]


@pytest.mark.slow
def test_held_out_pictures_are_named_from_held_out_phrasings_at_least_nine_times_in_ten(clip, world):
    pictures, captions, owners, kinds = world
    own = own_caption_accuracy(pictures, first_of_each(captions, owners), kinds)
    naming = kind_naming(pictures, captions, owners, kinds, float(clip.model.logit_scale.exp()))
    print(f"own caption {own:.3f}, kind {naming.accuracy:.3f} of {len(pictures)}")
    assert own >= 0.95  # the card says 0.979; two fresh worlds gave 0.980 and 0.983
    assert naming.accuracy >= 0.9  # the card says 0.943; two fresh worlds gave 0.919 and 0.944


@pytest.mark.slow
def test_of_the_same_held_out_phrasing_said_of_every_kind_the_true_one_is_the_nearest(clip):
    """Size, material, count, pace and place stay as they are seen: only the kind is exchanged."""
    drawn = [draw_picture(FRESH_SEED, index, "heldout") for index in range(400)]
    asked = [picture for picture in drawn if picture.scene is not None and picture.scene.phases]
    likeness = np.stack([_likeness_of_kinds(clip, picture) for picture in asked])  # (pictures, kinds, phrasings)
    true = [list(KINDS).index(picture.kind) for picture in asked]
    one = np.mean(likeness[:, :, 0].argmax(1) == true)
    six = np.mean(likeness.mean(2).argmax(1) == true)
    print(f"one phrasing {one:.3f}, six phrasings averaged {six:.3f}, of {len(asked)}")
    assert one >= 0.85  # 0.888 of 259 when this was written
    assert six >= 0.9  # 0.942


def _likeness_of_kinds(clip, picture):
    said = [captions(dataclasses.replace(picture.scene, kind=kind), "heldout") for kind in KINDS]
    texts = clip.embed_texts([text for phrasings in said for text in phrasings])
    return (texts @ clip.embed_pictures([picture.pixels])[0]).reshape(len(KINDS), -1)


@pytest.mark.slow
def test_the_prior_brings_captions_nearer_to_their_pictures_than_zero_shot(world):
    pictures, captions, owners, _ = world
    texts, rows = first_of_each(captions, owners), np.arange(0, len(pictures), 9)
    prior = TextPrior.from_folder(bundled_path("priors", "tiny", "prior"))
    generators = [torch_generator(0, "test", int(row)) for row in rows]
    closed = prior(texts[rows], generators, steps=25).numpy()
    gain = np.sum((closed - texts[rows]) * pictures[rows], axis=1)
    print(f"cosine gain {gain.mean():.3f}")
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(rows))  # the card says 0.055


def test_both_are_as_small_as_they_must_be():
    size_mb = {
        name: sum(path.stat().st_size for path in bundled_path("priors", "tiny", name).iterdir()) / 1e6
        for name in ("clip", "prior")
    }
    assert size_mb["clip"] <= 12.0
    assert size_mb["prior"] <= 4.0
