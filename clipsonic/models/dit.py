"""DiT1D: a transformer over patches of mel columns, the default denoiser.

Guarantee: batch items never see each other, masked condition tokens have exactly no influence, and a shorter segment
is worked on as the beginning of a full one. Price: time grows with F / patch plus the condition tokens, which stand
in the same sequence (for up to 16 of them cheaper than cross-attention in every block).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from clipsonic.errors import SpecError
from clipsonic.models.blocks import Block, Rotation, modulated, rotation_at, timestep_features, zeroed
from clipsonic.models.conditioner import (
    Condition,
    ConditionEncoder,
    check_prediction_type,
    pooled_tokens,
    require_matching,
)
from clipsonic.models.levels import FineLevel, PatchLevel
from clipsonic.specs import GLOBAL_TIME_S

_TIME_FEATURES = 256


class DiT1D(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers' own two bases differ in config_name
    """Denoiser of mels (B, M, F), after DiT (Peebles and Xie 2022, arXiv 2212.09748).

    Time enters through one modulation shared by all blocks, with learned offsets per block (adaLN-single, PixArt-alpha,
    Chen et al. 2023, arXiv 2310.00426, section 2.3). The mean of the condition tokens is added to it, so that a prompt
    acts in every layer from the first steps of training; in a short ablation no use of the prompt was learned without.

    Args:
        num_mels: M.
        num_mel_frames: F of a full segment; shorter ones are accepted at call time.
        patch: mel columns per token; must divide F.
        fine_depth: convolution blocks over short patches before the transformer, and again after it; 0 leaves one
            linear layer in and one out.
        fine_width: channels of these blocks.
        fine_patch: mel columns per position of these blocks; must divide `patch`.
        fine_attention: attention blocks among these, on each side of the transformer, with `heads` heads.
        fine_beat: distances, in their positions, that these weigh by condition and timestep (`Beat`); 0 for none.
        width: D; a multiple of 4 * heads.
        depth: number of blocks.
        heads: attention heads.
        embed_width: E, the CLIP width.
        prediction_type: what the network's output means: flow, epsilon or v_prediction.
        segment_seconds: length of `num_mel_frames` columns; puts condition times on the mel's axis.
        mlp_ratio: hidden width of a block's MLP over D.
        sigma_data: for flow, the time below which the inner output turns from the clean mel to the noise (see
            `flow_coefficients`).

    Raises:
        SpecError: a geometry that does not divide, or an unknown prediction type.
    """

    _supports_gradient_checkpointing = True

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_mels: int = 64,
        num_mel_frames: int = 256,
        patch: int = 4,
        width: int = 256,
        depth: int = 8,
        heads: int = 4,
        embed_width: int = 128,
        prediction_type: str = "flow",
        segment_seconds: float = 4.096,
        mlp_ratio: float = 4.0,
        sigma_data: float = 0.5,
        fine_depth: int = 0,
        fine_width: int = 128,
        fine_patch: int = 4,
        fine_attention: int = 0,
        fine_beat: int = 0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        check_prediction_type(prediction_type)
        _check_geometry(num_mel_frames, patch, width, heads)
        _check_fine(patch, fine_depth, fine_width, fine_patch)
        _check_fine_attention(fine_attention, fine_depth, fine_width, heads)
        _check_fine_beat(fine_beat, fine_attention)
        self.gradient_checkpointing = False
        self.prediction_type = prediction_type
        self.sigma_data = sigma_data
        self.patch = patch
        self.patch_seconds = segment_seconds / num_mel_frames * patch
        self.rotated_channels = width // heads // 2
        self.encoder = ConditionEncoder(embed_width, width)
        self.summary_in = nn.Linear(width, width)
        self.time_in = nn.Sequential(nn.Linear(_TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.level: PatchLevel | FineLevel = (
            FineLevel(num_mels, patch, width, fine_patch, fine_width, fine_depth, fine_attention, heads, fine_beat)
            if fine_depth
            else PatchLevel(num_mels, patch, width)
        )
        self.modulation = zeroed(nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.modulation_out = zeroed(nn.Linear(width, 2 * width))
        self.spectrum = _spectrum_head(width, num_mels)

    def forward(self, x_BMF: Tensor, timestep_B: Tensor, condition: Condition) -> Tensor:
        """The prediction for x_t, (B, M, F) in the dtype of x.

        Args:
            x_BMF: noised mel; F a multiple of `patch`, at most `num_mel_frames`.
            timestep_B: (B,) in [0, 1000].
            condition: B items.

        Raises:
            SpecError: mel or condition of another geometry.
        """
        require_matching(x_BMF, condition, self.config, multiple=self.patch)
        tokens_BSD, mask_BS = self.encoder(condition)
        drive_BD = self._drive(timestep_B, tokens_BSD, mask_BS)
        count = x_BMF.shape[2] // self.patch
        modulation_B6D = self.modulation(drive_BD).view(len(drive_BD), 6, -1)
        rotation = self._rotation(condition, count)
        # flash attention takes no mask
        mask_B11L = None if condition.is_full else functional.pad(mask_BS, (0, count), value=True)[:, None, None]
        shift_B1D, scale_B1D = self.modulation_out(drive_BD)[:, None].chunk(2, dim=-1)

        def transform(patches_BPD: Tensor) -> Tensor:
            h_BLD = torch.cat([tokens_BSD, patches_BPD], dim=1)
            for block in self.blocks:
                h_BLD = self._run(block, h_BLD, modulation_B6D, rotation, mask_B11L)
            return modulated(h_BLD[:, -count:], shift_B1D, scale_B1D)

        inner_BMF = self.level(x_BMF, drive_BD, transform)
        spectrum_BM1 = self._spectrum(timestep_B, tokens_BSD, mask_BS)[..., None]
        return self._prediction(inner_BMF + spectrum_BM1, x_BMF, timestep_B)

    def _drive(self, timestep_B: Tensor, tokens_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """What modulates every block: the timestep plus the summary of the condition."""
        features = timestep_features(timestep_B, _TIME_FEATURES).to(tokens_BSD.dtype)
        return functional.silu(self.time_in(features) + self.summary_in(pooled_tokens(tokens_BSD, mask_BS)))

    def _spectrum(self, timestep_B: Tensor, tokens_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """What the condition alone says of every column, (B, M): at high noise the mean spectrum of such sounds."""
        time_B1 = (timestep_B[:, None] / 1000.0).to(tokens_BSD.dtype)
        spectrum_BM: Tensor = self.spectrum(torch.cat([pooled_tokens(tokens_BSD, mask_BS), time_B1], dim=1))
        return spectrum_BM

    def _run(self, block: nn.Module, *args: Tensor | Rotation | None) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            checkpoint: Callable[..., Tensor] = self._gradient_checkpointing_func  # type: ignore[assignment]
            return checkpoint(block, *args)
        out_BLD: Tensor = block(*args)
        return out_BLD

    def _prediction(self, inner_BMF: Tensor, x_BMF: Tensor, timestep_B: Tensor) -> Tensor:
        """The inner output as what `prediction_type` says; flow's is assembled in float32."""
        if self.prediction_type != "flow":
            return inner_BMF.to(x_BMF.dtype)
        a_B, b_B = flow_coefficients(timestep_B / 1000.0, self.sigma_data)
        return (a_B[:, None, None] * x_BMF + b_B[:, None, None] * inner_BMF).to(x_BMF.dtype)

    def _rotation(self, condition: Condition, num_patches: int) -> Rotation:
        """Places in patches: mel patches by index, timed tokens by their time, null and global ones unrotated."""
        timed_BS = condition.mask & (condition.times_s != GLOBAL_TIME_S)
        place_BS = torch.where(timed_BS, condition.times_s.float() / self.patch_seconds - 0.5, 0.0)
        index_P = torch.arange(num_patches, device=place_BS.device, dtype=torch.float32)
        place_BL = torch.cat([functional.pad(place_BS, (1, 0)), index_P.expand(len(place_BS), -1)], dim=1)
        return rotation_at(place_BL, self.rotated_channels)


def flow_coefficients(t_B: Tensor, sigma_data: float) -> tuple[Tensor, Tensor]:
    """(a, b) with v = a x_t + b F, for t in [0, 1], float32: what a flow network's inner output F means.

    At high noise F is (about) the clean mel itself, which is smooth and low-dimensional, so a patch wider than the
    model does not have to pass noise through it (Li and He 2025, "Back to basics: let denoising generative models
    denoise", arXiv 2511.13720); below t = `sigma_data` it turns over to the noise, so that nothing is divided by a
    vanishing t (Karras et al. 2022, arXiv 2206.00364, eq. 7, with the flow's alpha = 1 - t, sigma = t).
    From x0_hat = c_skip x_t + c_out F with c_skip = s^2 (1-t) / (s^2 (1-t)^2 + t^2), c_out = t / sqrt(same), and
    v = (x_t - x0_hat) / t; written so that t = 0 is finite: a = (t - s^2 (1-t)) / (same), b = -1 / sqrt(same).
    """
    clean = 1.0 - t_B.float()
    variance = sigma_data**2 * clean**2 + t_B.float() ** 2
    return (t_B - sigma_data**2 * clean) / variance, -torch.rsqrt(variance)


def _spectrum_head(width: int, num_mels: int) -> nn.Sequential:
    """A short way from condition to spectrum: it learns which bands sound long before the blocks do."""
    hidden = 2 * width
    return nn.Sequential(
        nn.Linear(width + 1, hidden), nn.SiLU(),
        nn.Linear(hidden, hidden), nn.SiLU(),
        zeroed(nn.Linear(hidden, num_mels)),
    )  # fmt: skip


def _check_geometry(num_mel_frames: int, patch: int, width: int, heads: int) -> None:
    if patch < 1 or num_mel_frames % patch:
        raise SpecError(f"num_mel_frames {num_mel_frames} must be a multiple of patch {patch}: change one of them")
    if heads < 1 or width % (4 * heads):
        raise SpecError(f"width {width} must be a multiple of 4 * heads = {4 * heads}: change one of them")


def _check_fine(patch: int, depth: int, width: int, fine_patch: int) -> None:
    if depth < 0 or width < 1:
        raise SpecError(f"fine_depth {depth} must be 0 or more and fine_width {width} at least 1: change them")
    if depth and (fine_patch < 1 or patch % fine_patch):
        raise SpecError(f"patch {patch} must be a multiple of fine_patch {fine_patch}: change one of them")


def _check_fine_attention(count: int, depth: int, width: int, heads: int) -> None:
    if count < 0 or (count and not depth):
        raise SpecError(f"fine_attention {count} needs a fine_depth of at least 1, and must be 0 or more: change it")
    if count and width % (4 * heads):
        raise SpecError(f"fine_width {width} must be a multiple of 4 * heads = {4 * heads} for fine_attention")


def _check_fine_beat(reach: int, attention: int) -> None:
    if reach < 0 or (reach and not attention):
        raise SpecError(f"fine_beat {reach} needs a fine_attention of at least 1, and must be 0 or more: change it")
