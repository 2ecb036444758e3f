"""Conversion: a published prior becomes a folder of ours that samples the same, or is refused in one sentence."""

import shutil
from pathlib import Path

import pytest
import torch

from clipsonic.errors import CheckpointError, UsageError
from clipsonic.prior.adapter import TextPrior
from clipsonic.prior.convert import convert_prior
from clipsonic.prior.laion_files import read_laion
from clipsonic.prior.unclip_files import find_unclip, read_unclip

LAION = Path(__file__).parent / "data" / "laion"
SPACE = "ViT-L-14-quickgelu/0123456789ab"


@pytest.mark.parametrize("kind", ["karlo", "kandinsky", "eclipse"])
def test_a_converted_prior_samples_as_its_source(unclip, tmp_path, kind):
    source, spoken = unclip.folder(tmp_path / "source", kind), unclip.spoken()
    facts = convert_prior(source, tmp_path / "out", clip=SPACE)
    published = read_unclip(find_unclip(source))
    direct = TextPrior(published.shape, SPACE, kind=kind)
    direct.load_state(published.state, published.where)
    both = [
        prior(spoken.captions.embeds, [torch.Generator().manual_seed(row) for row in range(3)], encodings=spoken)
        for prior in (direct, TextPrior.from_folder(tmp_path / "out"))
    ]
    assert torch.equal(*both)
    assert (facts["kind"], facts["fingerprint"], facts["num_keys"]) == (kind, SPACE, len(published.state))


def test_laions_prior_is_converted_with_its_era_its_steps_and_its_type(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(LAION, source)
    half = {key: value.half() for key, value in torch.load(source / "latest.pth", weights_only=True).items()}
    torch.save(half, source / "latest.pth")
    facts = convert_prior(source, tmp_path / "out", clip=SPACE)
    prior = TextPrior.from_folder(tmp_path / "out")
    assert (prior.kind, prior.shape.era, prior.sample_steps, prior.stored_type) == ("laion", "1.1", 12, torch.float16)
    assert "era 1.1" in facts["message"]
    assert "era 1.1" in prior.card
    for key, value in read_laion(source / "latest.pth").state.items():
        assert torch.equal(prior.core.network.state_dict()[key], value.float())


def test_a_converted_prior_is_converted_again_without_a_change(unclip, tmp_path):
    convert_prior(unclip.folder(tmp_path / "source", "karlo"), tmp_path / "once", clip=SPACE)
    assert convert_prior(tmp_path / "once", tmp_path / "twice")["kind"] == "karlo"
    for name in ("prior.safetensors", "prior_config.json"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_the_space_is_named_by_the_clip_itself_and_another_width_is_refused(unclip, tmp_path):
    source = unclip.folder(tmp_path / "source", "karlo")
    with pytest.raises(UsageError, match="embeddings of 128 numbers, the prior of 24"):
        convert_prior(source, tmp_path / "out", clip="tiny")
    with pytest.raises(UsageError, match="give --clip"):
        convert_prior(source, tmp_path / "out")  # a width of no published CLIP


def test_a_kind_that_is_said_must_be_the_kind_that_is_there(unclip, tmp_path):
    source = unclip.folder(tmp_path / "source", "karlo")
    assert convert_prior(source, tmp_path / "out", kind="kandinsky", clip=SPACE)["kind"] == "kandinsky"  # one layout
    with pytest.raises(UsageError, match="is a prior of kind karlo, not laion"):
        convert_prior(source, tmp_path / "out", kind="laion", clip=SPACE)
    with pytest.raises(UsageError, match="kind magic is unknown"):
        convert_prior(source, tmp_path / "out", kind="magic", clip=SPACE)


def test_folders_without_a_prior_or_with_one_to_be_overwritten_are_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no prior that is known"):
        convert_prior(tmp_path, tmp_path / "out", clip=SPACE)
    shutil.copytree(LAION, tmp_path / "laion")
    for source in (tmp_path / "laion", tmp_path / "laion" / "latest.pth"):
        with pytest.raises(UsageError, match="is where the prior lies"):
            convert_prior(source, tmp_path / "laion", clip=SPACE)


def test_a_publishers_own_folder_given_as_a_prior_says_how_to_convert_it(tmp_path):
    shutil.copytree(LAION, tmp_path / "laion")
    with pytest.raises(CheckpointError, match="clipsonic convert prior"):
        TextPrior.from_folder(tmp_path / "laion")
