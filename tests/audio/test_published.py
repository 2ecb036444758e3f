"""Published vocoders: the publisher's own answer from the publisher's own files, and nothing but what fits."""

import json
import pickle
from pathlib import Path

import makers_published as makers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clipsonic.audio.load import FAMILIES, family_of, find_vocoder, load_vocoder
from clipsonic.audio.published import PublishedVocoder
from clipsonic.audio.spaces import MEL_SPACES, name_of_space
from clipsonic.audio.weights import resolved
from clipsonic.errors import CheckpointError, SpecError, UsageError
from clipsonic.settings import taken

DATA = Path(__file__).parent / "data"
PUBLISHED_BIGVGANS = json.loads((DATA / "bigvgan_configs.json").read_text())
SPACE_OF = {
    "bigvgan_v2_44khz_128band_512x": "bigvgan-44khz-128",
    "bigvgan_v2_44khz_128band_256x": "bigvgan-44khz-128-hop256",
    "bigvgan_v2_24khz_100band_256x": "bigvgan-24khz-100",
    "bigvgan_v2_22khz_80band_256x": "bigvgan-22khz-80",
    "bigvgan_v2_22khz_80band_fmax8k_256x": "bigvgan-22khz-80-8k",
    "bigvgan_24khz_100band": "bigvgan-24khz-100",
    "bigvgan_22khz_80band": "bigvgan-22khz-80-8k",
    "bigvgan_base_24khz_100band": "bigvgan-24khz-100",
    "bigvgan_base_22khz_80band": "bigvgan-22khz-80-8k",
}

noise = makers.noise


def answer(network, mel):
    with torch.no_grad():
        return network(mel)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"use_tanh_at_final": True, "use_bias_at_final": True},
        {"use_tanh_at_final": None, "use_bias_at_final": None},
        {"resblock": "2", "activation": "snake"},
        {"snake_logscale": False},
    ],
    ids=["version 2", "version 1", "version 1, unsaid", "second kind of blocks", "linear scale"],
)
def test_bigvgan_from_nvidias_files_answers_as_nvidias_package(change, tmp_path):
    network = makers.make_bigvgan(tmp_path, **change)
    vocoder, mel = load_vocoder(tmp_path), noise(2, 80, 9)
    expected = torch.cat([answer(network, one[None]) for one in mel])[:, 0]
    assert 0.01 < expected.abs().mean() < 0.9
    assert torch.equal(vocoder(mel), expected)  # weight norm is resolved by the very operation that the package runs
    assert name_of_space(vocoder.spec) == "bigvgan-22khz-80-8k"
    assert vocoder.facts.provenance.num_weight_norms == sum(key.endswith("weight_g") for key in network.state_dict())


def test_bigvgan_saved_without_weight_norm_loads_too(tmp_path, capsys):
    network = makers.make_bigvgan(tmp_path)
    network.remove_weight_norm()
    torch.save({"generator": network.state_dict()}, tmp_path / "bigvgan_generator.pt")
    assert torch.equal(load_vocoder(tmp_path)(noise(1, 80, 9)), answer(network, noise(1, 80, 9))[:, 0])


@pytest.mark.parametrize("name", PUBLISHED_BIGVGANS)
def test_every_published_bigvgan_config_is_of_a_named_space_and_its_network_fits_it(name):
    family, config = family_of("bigvgan", DATA), PUBLISHED_BIGVGANS[name]
    assert family.recognises(config)
    space = family.mel_space(config)
    assert name_of_space(space) == SPACE_OF[name]
    assert family.geometry(family.network_config(config)) == (space.hop_length, space.num_mels)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED_BIGVGANS)
def test_every_published_bigvgan_config_has_the_published_number_of_weights(name):
    pytest.importorskip("bigvgan")
    family, config = family_of("bigvgan", DATA), PUBLISHED_BIGVGANS[name]
    network = family.network(family.network_config(config), family.mel_space(config))
    millions = sum(weights.numel() for weights in network.parameters()) / 1e6
    published = 14 if "base" in name else 122 if "512x" in name else 112  # whole millions in NVIDIA's own table
    assert abs(millions - published) < 1.0


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_audioldms_hifigan_from_its_files_answers_as_transformers(weights, tmp_path):
    network = makers.make_hifigan(tmp_path)
    if weights == "pytorch_model.bin":
        torch.save(network.state_dict(), tmp_path / weights)
        (tmp_path / "model.safetensors").unlink()
    vocoder, mel = load_vocoder(tmp_path), noise(2, 64, 9)
    expected = torch.cat([answer(network, one[None].transpose(1, 2)) for one in mel])
    assert expected.shape == (2, 9 * 160 + 32)  # odd differences of kernel and step: AudioLDM cuts these off, too
    assert torch.equal(vocoder(mel), expected[:, : 9 * 160])
    assert 0.01 < expected.abs().mean() < 0.99
    assert vocoder.spec == MEL_SPACES["audioldm"]


def test_speecht5s_hifigan_normalises_and_gives_whole_hops_between_centred_columns(tmp_path):
    network = makers.make_hifigan(tmp_path, makers.SPEECHT5)
    vocoder, mel = load_vocoder(tmp_path), noise(1, 80, 9)
    expected = answer(network, mel.transpose(1, 2))
    assert torch.equal(vocoder(mel), expected[:, : 8 * 256])
    assert vocoder.spec == MEL_SPACES["speecht5"]
    assert (vocoder(mel) - vocoder(mel + 1.0)).abs().mean() > 1e-3


def test_the_first_hifigans_files_with_weight_norm_answer_as_a_network_that_keeps_it(tmp_path):
    network = makers.make_original_hifigan(tmp_path)
    vocoder, mel = load_vocoder(tmp_path), noise(1, 80, 9)
    assert torch.equal(vocoder(mel), answer(network, mel.transpose(1, 2)))
    assert vocoder.facts.provenance.num_weight_norms == sum(key.endswith("weight_g") for key in network.state_dict())
    assert name_of_space(vocoder.spec) == "bigvgan-22khz-80-8k"


@pytest.mark.parametrize("padding", ["center", "same"])
def test_vocos_from_its_files_answers_as_its_package(padding):
    folder = DATA / "vocos" / padding
    vocoder, saved = load_vocoder(folder), np.load(folder / "reference.npz")
    made = vocoder(torch.from_numpy(saved["mel"]))
    np.testing.assert_allclose(made.numpy(), saved["wave"], atol=2e-6)  # 1.5e-7 measured, another version of torch
    assert vocoder.spec.padding == padding
    assert vocoder.facts.provenance.num_compared == 3


def test_vocos_whose_filterbank_is_not_that_of_its_config_is_refused(tmp_path):
    state = torch.load(DATA / "vocos" / "center" / "pytorch_model.bin", weights_only=True)
    state["feature_extractor.mel_spec.mel_scale.fb"] *= 1.001
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.yaml").write_text((DATA / "vocos" / "center" / "config.yaml").read_text())
    with pytest.raises(CheckpointError, match=r"mel_scale\.fb is not that of the mel space"):
        load_vocoder(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("MelSpectrogramFeatures", "EncodecFeatures", "feature_extractor EncodecFeatures is not supported"),
        ("ISTFTHead", "IMDCTSymExpHead", "head IMDCTSymExpHead is not supported"),
        ("vocos.models.VocosBackbone", "os.system", "backbone system is not supported"),
        ("n_mels: 20", "n_mels: 24", "20 mels, its mel space hop 64 and 24"),
        ("sample_rate: 16000", "sample_rate: none", "damaged"),
    ],
)
def test_a_vocos_config_of_another_kind_is_refused(old, new, words, tmp_path):
    text = (DATA / "vocos" / "center" / "config.yaml").read_text()
    assert old in text
    (tmp_path / "config.yaml").write_text(text.replace(old, new))
    with pytest.raises((CheckpointError, SpecError), match=words):
        load_vocoder(tmp_path)


class Spy:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "run")


def test_a_pickle_with_code_is_refused_and_its_code_does_not_run(tmp_path):
    makers.make_hifigan(tmp_path / "vocoder")
    (tmp_path / "vocoder" / "model.safetensors").unlink()
    for write in (
        lambda path: torch.save({"generator": Spy(tmp_path / "seen")}, path),
        lambda path: path.write_bytes(pickle.dumps(Spy(tmp_path / "seen"), 2)),
    ):
        write(tmp_path / "vocoder" / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match=r"could run code and are not loaded"):
            load_vocoder(tmp_path / "vocoder")
        assert not (tmp_path / "seen").exists()


FAULTS = {
    "a missing key": (lambda state: state.pop("conv_post.bias"), r"missing: generator\.conv_post\.bias"),
    "an extra key": (lambda state: state.update(stranger=torch.zeros(1)), r"unknown: generator\.stranger"),
    "a renamed key": (
        lambda state: state.update({"conv_last.bias": state.pop("conv_post.bias")}),
        r"missing: generator\.conv_post\.bias; unknown: generator\.conv_last\.bias",
    ),
    "another shape": (
        lambda state: state.update({"conv_pre.weight": torch.zeros(32, 63, 7)}),
        r"wrong shape: generator\.conv_pre\.weight \(32, 63, 7\) instead of \(32, 64, 7\)",
    ),
    "half a weight norm": (
        lambda state: state.update({"conv_pre.weight_g": torch.ones(32, 1, 1)}),
        r"unknown: generator\.conv_pre\.weight_g",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_weights_that_do_not_fit_are_refused_by_name(fault, tmp_path):
    makers.make_hifigan(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    change, words = FAULTS[fault]
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=words):
        load_vocoder(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sampling_rate": 24000}, CheckpointError, "24000 Hz, hop 160 and 64 mels has no mel space"),
        ({"upsample_rates": None}, CheckpointError, "damaged .KeyError: 'upsample_rates'"),
        ({"upsample_rates": "many"}, CheckpointError, "damaged"),
        ({"architectures": None, "model_type": "bert"}, CheckpointError, "of no kind that is known here"),
        ({"family": "wavenet"}, CheckpointError, "unknown family 'wavenet'"),
        ({"mel": {"num_mels": 32}}, SpecError, "hop 160 and 64 mels, its mel space hop 256 and 32"),
    ],
)
def test_a_config_that_cannot_be_believed_is_refused_in_a_sentence(change, error, words, tmp_path):
    makers.make_hifigan(tmp_path)
    makers.edit_config(tmp_path, **change)
    with pytest.raises(error, match=words):
        load_vocoder(tmp_path)


def test_a_folder_without_weights_or_with_damaged_ones_is_refused(tmp_path):
    makers.make_hifigan(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not at all")
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        load_vocoder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no weights: bring its model\.safetensors or pytorch_model\.bin"):
        load_vocoder(tmp_path)


def test_a_name_is_a_folder_or_a_hub_id_and_offline_the_files_to_bring_are_named(tmp_path, monkeypatch):
    import huggingface_hub

    def unreachable(*args, **kwargs):
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    assert find_vocoder(tmp_path) == tmp_path
    with pytest.raises(CheckpointError, match=r"cannot be downloaded .offline.: bring its config\.json"):
        find_vocoder("nvidia/bigvgan_v2_24khz_100band_256x")
    for name in ("nowhere", "/nowhere/at/all", "./a/b"):
        with pytest.raises(UsageError, match="does not exist: give griffin-lim or what"):
            find_vocoder(name)


def test_a_hub_id_is_downloaded_without_pickles_where_there_are_safetensors(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def download(name, allow_patterns):
        asked.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    makers.make_hifigan(tmp_path / "vocoder")  # as a part of a pipeline of diffusers
    assert load_vocoder(find_vocoder("cvssp/audioldm2")).spec == MEL_SPACES["audioldm"]
    assert len(asked) == 1
    assert not any(pattern.endswith((".bin", ".pt")) for pattern in asked[0])
    (tmp_path / "vocoder" / "model.safetensors").unlink()
    find_vocoder("cvssp/audioldm2")
    assert "vocoder/pytorch_model.bin" in asked[-1]


def test_saved_and_loaded_again_it_makes_the_same_wave_from_safetensors_alone(tmp_path):
    makers.make_bigvgan(tmp_path / "bigvgan")
    makers.make_hifigan(tmp_path / "hifigan")
    sources = {"bigvgan": tmp_path / "bigvgan", "hifigan": tmp_path / "hifigan", "vocos": DATA / "vocos" / "same"}
    assert set(sources) == set(FAMILIES)
    for name, source in sources.items():
        vocoder = load_vocoder(source)
        vocoder.save_pretrained(tmp_path / "saved" / name)
        again = load_vocoder(tmp_path / "saved" / name)
        assert isinstance(again, PublishedVocoder)
        assert again.facts == vocoder.facts
        mel = noise(1, vocoder.spec.num_mels, 9)
        assert torch.equal(again(mel), vocoder(mel))
        names = sorted(path.name for path in (tmp_path / "saved" / name).iterdir())
        assert names == ["card.md", "config.json", "model.safetensors"]


def test_a_vocos_saved_when_the_network_kept_its_own_framing_loads_and_sounds_the_same(tmp_path):
    vocoder = load_vocoder(DATA / "vocos" / "center")
    vocoder.save_pretrained(tmp_path)
    older = {**vocoder.facts.network, "n_fft": 256, "padding": "center"}
    makers.edit_config(tmp_path, network=older)
    mel = noise(1, 20, 9)
    assert torch.equal(load_vocoder(tmp_path)(mel), vocoder(mel))


@pytest.mark.parametrize("name", sorted(PUBLISHED_BIGVGANS))
def test_every_published_bigvgan_config_passes_the_list_of_settings(name):
    family = family_of("bigvgan", DATA)
    shape = family.network_config(PUBLISHED_BIGVGANS[name])
    assert taken(shape, family.SETTINGS, name) == shape


STRANGE = {
    "kernels of somebody": ("hifigan", {"attn_implementation": "owner/kernels"}),
    "a map to code": ("hifigan", {"auto_map": {"AutoModel": "strange.Strange"}}),
    "a compiler": ("bigvgan", {"use_cuda_kernel": True}),
    "a value of another kind": ("hifigan", {"upsample_rates": [5, 4, 2, 2, "2"]}),
    "a setting of ours": ("vocos", {"surprise": 1}),
}


@pytest.mark.parametrize("change", STRANGE)
def test_a_converted_vocoder_hands_a_library_only_what_is_listed(change, tmp_path):
    name, values = STRANGE[change]
    source = DATA / "vocos" / "same" if name == "vocos" else tmp_path / "source"
    if name != "vocos":
        {"hifigan": makers.make_hifigan, "bigvgan": makers.make_bigvgan}[name](source)
    load_vocoder(source).save_pretrained(tmp_path / "saved")
    network = json.loads((tmp_path / "saved" / "config.json").read_text())["network"]
    makers.edit_config(tmp_path / "saved", network={**network, **values})
    key = next(iter(values))
    with pytest.raises(CheckpointError, match=rf"the network of vocoder .*(not known \({key} = |has {key} = )"):
        load_vocoder(tmp_path / "saved")


def test_a_batch_is_its_items_and_no_gradient_or_random_state_is_touched(tmp_path):
    makers.make_hifigan(tmp_path)
    before = torch.random.get_rng_state()
    vocoder, mel = load_vocoder(tmp_path), noise(3, 64, 9)
    waves = vocoder(mel)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(waves, torch.cat([vocoder(one[None]) for one in mel]))
    assert not waves.requires_grad
    assert vocoder(mel[:0]).shape == (0, 9 * 160)


@pytest.mark.parametrize("shape", [(64, 9), (1, 63, 9), (1, 64, 0)])
def test_what_is_no_mel_of_its_space_is_refused(shape, tmp_path):
    makers.make_hifigan(tmp_path)
    with pytest.raises(SpecError, match=r"must be \(B, 64, F\) with at least 1 columns"):
        load_vocoder(tmp_path)(torch.zeros(shape))


def test_both_ways_of_writing_weight_norm_are_resolved_as_torch_does():
    torch.manual_seed(0)
    for wrap in (torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm):
        layers = torch.nn.Sequential(wrap(torch.nn.ConvTranspose1d(6, 4, 3)))
        with torch.no_grad():
            for key, value in layers.named_parameters():
                if key.endswith(("_g", "original0")):
                    value.mul_(1.5)
        state, num_pairs = resolved(dict(layers.state_dict()))
        assert num_pairs == 1
        assert sorted(state) == ["0.bias", "0.weight"]
        mel = noise(1, 6, 5)
        assert torch.equal(torch.nn.functional.conv_transpose1d(mel, state["0.weight"], state["0.bias"]), layers(mel))
    with pytest.raises(CheckpointError, match="does not belong to a direction"):
        resolved({"a.weight_g": torch.ones(3, 1, 1), "a.weight_v": torch.ones(4, 2, 2)})
