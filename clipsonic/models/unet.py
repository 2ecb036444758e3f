"""MelUNet: diffusers' conditional U-Net on the mel as a one-channel picture, for reproduction runs.

Guarantee: the same call as `DiT1D`, so a pipeline or a trainer takes either. Price: 5 to 10 times more computation
per sample than a DiT1D of like size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers import UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from clipsonic.errors import SpecError
from clipsonic.models.conditioner import (
    Condition,
    ConditionEncoder,
    check_prediction_type,
    pooled_tokens,
    require_matching,
)


class MelUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers' own two bases differ in config_name
    """Denoiser of mels (B, M, F) with cross-attention to the condition tokens, whose mean joins the timestep.

    The defaults with `embed_width` 768 have 142.7 M parameters, about the size reported for CLIPSonic; the shape is
    our reading.

    Args:
        num_mels: M; divisible by 2 ** (number of levels - 1).
        num_mel_frames: F of a full segment, divisible likewise; shorter ones are accepted at call time.
        channels: width of each level, from fine to coarse; multiples of `head_width`.
        layers: residual blocks per level.
        attention_levels: how many of the coarsest levels attend (to themselves and to the condition).
        head_width: channels per attention head.
        condition_width: width of the condition tokens.
        embed_width: E, the CLIP width.
        prediction_type: what the network's output means: flow, epsilon or v_prediction.
        segment_seconds: length of `num_mel_frames` columns.

    Raises:
        SpecError: a geometry that does not divide.
    """

    _supports_gradient_checkpointing = True

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_mels: int = 64,
        num_mel_frames: int = 304,
        channels: Sequence[int] = (128, 256, 384, 512),
        layers: int = 2,
        attention_levels: int = 3,
        head_width: int = 32,
        condition_width: int = 768,
        embed_width: int = 128,
        prediction_type: str = "epsilon",
        segment_seconds: float = 9.728,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        check_prediction_type(prediction_type)
        _check_geometry(num_mels, num_mel_frames, channels, head_width, attention_levels)
        plain = len(channels) - attention_levels
        self.encoder = ConditionEncoder(embed_width, condition_width)
        self.multiple = 2 ** (len(channels) - 1)
        self.unet: Any = UNet2DConditionModel(  # type: ignore[no-untyped-call]
            sample_size=(num_mels, num_mel_frames),
            in_channels=1,
            out_channels=1,
            down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * attention_levels,
            mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=("CrossAttnUpBlock2D",) * attention_levels + ("UpBlock2D",) * plain,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            attention_head_dim=tuple(width // head_width for width in channels),  # diffusers means the number of heads
            cross_attention_dim=condition_width,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=condition_width,
            norm_num_groups=min(32, head_width),
        )

    def forward(self, x_BMF: Tensor, timestep_B: Tensor, condition: Condition) -> Tensor:
        """The prediction for x_t, (B, M, F) in the dtype of x.

        Args:
            x_BMF: noised mel; F divisible by 2 ** (levels - 1), at most `num_mel_frames`.
            timestep_B: (B,) in [0, 1000].
            condition: B items.

        Raises:
            SpecError: mel or condition of another geometry.
        """
        require_matching(x_BMF, condition, self.config, multiple=self.multiple)
        tokens_BSD, mask_BS = self.encoder(condition)
        out_B1MF: Tensor = self.unet(
            x_BMF[:, None].to(tokens_BSD.dtype),
            timestep_B,
            encoder_hidden_states=tokens_BSD,
            encoder_attention_mask=None if condition.is_full else mask_BS,
            class_labels=pooled_tokens(tokens_BSD, mask_BS),
            return_dict=False,
        )[0]
        return out_B1MF[:, 0].to(x_BMF.dtype)


def _check_geometry(
    num_mels: int, num_mel_frames: int, channels: Sequence[int], head_width: int, attention_levels: int
) -> None:
    factor = 2 ** (len(channels) - 1)
    if not channels or num_mels % factor or num_mel_frames % factor:
        raise SpecError(
            f"a mel of {num_mels} x {num_mel_frames} must be divisible by {factor}, the scale of {len(channels)} U-Net "
            "levels: change the length or use fewer levels"
        )
    if head_width < 1 or any(width % head_width for width in channels):
        raise SpecError(f"channels {tuple(channels)} must be multiples of head_width {head_width}: change one of them")
    if not 1 <= attention_levels <= len(channels):
        raise SpecError(f"attention_levels {attention_levels} must be between 1 and the {len(channels)} levels")
