"""The mel spaces of published vocoders, by name.

Guarantee: each is its publisher's own extraction within float32 rounding; the tests hold them against that code.
Price: none, these are facts.
"""

from __future__ import annotations

from clipsonic.specs import MelSpec

_BIGVGAN_OFFSET = 1e-9

MEL_SPACES: dict[str, MelSpec] = {
    "audioldm": MelSpec(16000, 1024, 160, 64, 0.0, 8000.0),
    "speecht5": MelSpec(16000, 1024, 256, 80, 80.0, 7600.0, 1e-10, padding="center", logarithm="log10"),
    "vocos-24khz": MelSpec(
        24000, 1024, 256, 100, 0.0, 12000.0, 1e-7, mel_scale="htk", mel_norm="none", padding="center"
    ),
    "bigvgan-22khz-80": MelSpec(22050, 1024, 256, 80, 0.0, 11025.0, power_offset=_BIGVGAN_OFFSET),
    "bigvgan-22khz-80-8k": MelSpec(22050, 1024, 256, 80, 0.0, 8000.0, power_offset=_BIGVGAN_OFFSET),
    "bigvgan-24khz-100": MelSpec(24000, 1024, 256, 100, 0.0, 12000.0, power_offset=_BIGVGAN_OFFSET),
    "bigvgan-44khz-128": MelSpec(44100, 2048, 512, 128, 0.0, 22050.0, power_offset=_BIGVGAN_OFFSET),
    "bigvgan-44khz-128-hop256": MelSpec(
        44100, 1024, 256, 128, 0.0, 22050.0, power_offset=_BIGVGAN_OFFSET, dependent_bands=True
    ),
}
"""`audioldm` is the space of the preset `base`, and of AudioLDM 1 and 2 and MusicLDM. The last bank has rank 118."""


def name_of_space(spec: MelSpec) -> str | None:
    """The name of a published space, or None."""
    return next((name for name, space in MEL_SPACES.items() if space == spec), None)


def describe(spec: MelSpec) -> str:
    """A mel space in words, for cards and messages."""
    name = name_of_space(spec)
    facts = (
        f"{spec.sample_rate_hz} Hz, n_fft {spec.n_fft}, hop {spec.hop_length}, {spec.num_mels} mels "
        f"from {spec.f_min_hz:g} to {spec.f_max_hz:g} Hz, {spec.logarithm} from {spec.log_floor:g}"
    )
    return f"{name} ({facts})" if name else facts
