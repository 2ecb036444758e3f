"""Alarms: siren, beeper. Electronic tones that sweep or repeat."""

from __future__ import annotations

import numpy as np

from clipsonic.soundstage.synth.primitives import Wave, cycles_of, fade, harmonic_tone, time_axis
from clipsonic.soundstage.synth.stage import Stage

_HORN_LOUDSPEAKER = (1.0, 0.45, 0.5, 0.2, 0.25, 0.1, 0.12)


def siren(stage: Stage) -> Wave:
    """f0 is the geometric middle: the blue one wails half an octave up and down, the red one plays two tones."""
    num, rate_hz, f0_hz = stage.num_samples, stage.sample_rate_hz, stage.pitch_hz()
    if stage.is_material(0):
        bend = 0.5 * np.sin(2.0 * np.pi * stage.cycles)
    else:
        bend = 0.21 * np.clip(40.0 * np.sin(2.0 * np.pi * stage.cycles), -1.0, 1.0)
    freq_hz = f0_hz * 2.0**bend
    gains = _HORN_LOUDSPEAKER
    return harmonic_tone(cycles_of(freq_hz, num, rate_hz), gains, float(freq_hz.max()), rate_hz) * stage.gate


def beeper(stage: Stage) -> Wave:
    """A hard-gated square-ish tone at f0: the white one beeps twice briefly, the black one once for longer."""
    white = stage.is_material(0)

    def sounds(index: int) -> list[Wave]:
        rate_hz, f0_hz = stage.sample_rate_hz, stage.pitch_hz(index)
        t = time_axis(0.055 if white else 0.13, rate_hz)
        odd = [1.0 / k if k % 2 else 0.02 for k in range(1, 12)]
        beep = fade(
            harmonic_tone(cycles_of(f0_hz, len(t), rate_hz), odd, f0_hz, rate_hz), rate_hz, in_s=0.001, out_s=0.002
        )
        gap = np.zeros(round(0.035 * rate_hz), dtype=np.float32)
        return [np.concatenate([beep, gap, beep]) if white else beep]

    return stage.lay_down(sounds)


VOICES = {"siren": siren, "beeper": beeper}
