"""A given sound of which cells of the spectrogram are made anew: one crossover in the short-time spectrum.

Guarantee: the given sound bit for bit in windows of which nothing is made; cells of the log-mel three bands and columns
away from made ones stay within 1 dB (two columns at either end of the sound 2 dB, mean 0.01 dB), nearer ones fade from
one sound to the other with equal power. Price: about 0.1 s per second of stereo at 48 kHz. Not exact: a window is as
long as the mel space's, so what is made at one instant is heard that much around it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from clipsonic.audio.likeness import Likeness, Wave
from clipsonic.audio.splice import gain_db, lasting, mixed
from clipsonic.specs import MelSpec, mel_band_edges_hz

_WINDOWS_AT_ONCE = 512

Spectrum = npt.NDArray[np.complex128]


def crossed(
    given: npt.ArrayLike, rate_hz: int, made_T: npt.ArrayLike, made_rate_hz: int,
    made_MF: npt.ArrayLike, spec: MelSpec, *, fill: bool = True,
) -> Wave:  # fmt: skip
    """The given sound with cells of its spectrogram made anew: (C, T), float64.

    The made sound is brought to the level of the given one, as what they have in common below its band's top tells.

    Args:
        given: (C, T) or (T,), in [-1, 1].
        made_T: mono, of the whole sound.
        made_MF: True in cells that are made, in columns of `spec`; what lies before the first column, behind the last
            one, or above the highest band goes with that.
        fill: whether the band that `made_rate_hz` cannot hold is filled after the given sound's.
    """
    given_CT = np.atleast_2d(np.asarray(given, np.float64))
    mix_T, mono_T = mixed(given_CT), lasting(made_T, made_rate_hz, rate_hz, given_CT.shape[1])
    shares = _Shares(np.asarray(made_MF, np.float64), spec, rate_hz)
    mono_T = mono_T * shares.known_gain(mix_T, mono_T, min(made_rate_hz, rate_hz) / 2)
    new_CT = Likeness.of(given_CT, mix_T, rate_hz).dressed(mono_T, made_rate_hz, fill)
    return np.stack([given_T + shares.change(given_T, new_T) for given_T, new_T in zip(given_CT, new_CT, strict=True)])


class _Shares:
    """Of which share each frequency of each window is made: the mask, between the centres of its cells a straight line.

    Windows are root-Hann, four to a length; those that begin before the sound or end behind it count, too.
    """

    def __init__(self, made_MF: Wave, spec: MelSpec, rate_hz: int) -> None:
        self._made_MF, self._rate_hz = made_MF, rate_hz
        self._hop = round(spec.n_fft * rate_hz / spec.sample_rate_hz / 4)
        self._window = np.sqrt(np.hanning(4 * self._hop + 1)[:-1])
        self._hz_K = np.fft.rfftfreq(4 * self._hop, 1.0 / rate_hz)
        centres_hz = mel_band_edges_hz(spec)[1:-1]
        self._bands_MK = np.stack([np.interp(self._hz_K, centres_hz, unit_M) for unit_M in np.eye(spec.num_mels)])
        self._column_s, self._centre_s = spec.start_s(1), spec.span_s(0)[0] + 0.5 * spec.start_s(1)

    def change(self, given_T: Wave, new_T: Wave) -> Wave:
        """What is to be added to the given sound, (T,)."""
        size = self._window.size
        change_T = np.zeros(given_T.size + 3 * size)
        for starts, share_NK in self._groups(given_T.size):
            if not share_NK.any():
                continue
            given_NK, new_NK = (self._spectra(wave_T, starts) for wave_T in (given_T, new_T))
            changed_NK = (np.sqrt(1.0 - share_NK) - 1.0) * given_NK + np.sqrt(share_NK) * new_NK
            for start, wave in zip(starts, np.fft.irfft(changed_NK), strict=True):
                change_T[start : start + size] += 0.5 * self._window * wave  # squared windows add up to 2
        return change_T[size : size + given_T.size]

    def known_gain(self, mix_T: Wave, mono_T: Wave, top_hz: float) -> float:
        """The factor that makes the one as loud as the other in known frequencies below `top_hz`; 1 if none are."""
        powers, num_known = np.zeros(2), 0.0
        for starts, share_NK in self._groups(mix_T.size):
            known_NK = (1.0 - share_NK) * (self._hz_K < top_hz)
            num_known += known_NK.sum()
            powers += [np.sum(known_NK * np.abs(self._spectra(wave_T, starts)) ** 2) for wave_T in (mix_T, mono_T)]
        powers /= max(1.0, num_known) * np.sum(self._window**2)
        return float(10.0 ** ((gain_db(*powers) or 0.0) / 20.0))

    def _groups(self, length: int) -> Iterator[tuple[npt.NDArray[np.int64], Wave]]:
        """First samples of windows, counted from one window before the sound, and their shares (N, K)."""
        size = self._window.size
        starts_N = np.arange(0, length + size, self._hop)
        for at in range(0, starts_N.size, _WINDOWS_AT_ONCE):
            group_N = starts_N[at : at + _WINDOWS_AT_ONCE]
            middle_s = (group_N - 0.5 * size) / self._rate_hz
            yield group_N, self._columns_at(middle_s).T @ self._bands_MK

    def _columns_at(self, times_s: Wave) -> Wave:
        """The mask (M, N) at these times."""
        last = self._made_MF.shape[1] - 1
        place_N = np.clip((times_s - self._centre_s) / self._column_s, 0.0, last)
        left_N = np.minimum(place_N.astype(int), max(0, last - 1))
        rest_N = place_N - left_N
        return self._made_MF[:, left_N] * (1.0 - rest_N) + self._made_MF[:, np.minimum(left_N + 1, last)] * rest_N

    def _spectra(self, wave_T: Wave, starts_N: npt.NDArray[np.int64]) -> Spectrum:
        """Of the windows (N, K) of a sound, with silence before and behind it."""
        size = self._window.size
        first, last = int(starts_N[0]) - size, int(starts_N[-1])
        piece_T, ahead = wave_T[max(0, first) : last], max(0, -first)
        piece_T = np.pad(piece_T, (ahead, last - first - ahead - piece_T.size))
        frames_NT = np.lib.stride_tricks.sliding_window_view(piece_T, size)[:: self._hop]
        return np.fft.rfft(frames_NT * self._window)
