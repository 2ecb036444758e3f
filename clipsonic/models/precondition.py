"""What a flow network's output means, chosen so that a small network has less to carry.

The network says F, and the velocity is assembled from it and from x_t. At high noise F is (about) the clean mel
itself, which is smooth and low-dimensional, so a patch wider than the model does not have to pass noise through it
(Li and He 2025, "Back to basics: let denoising generative models denoise", arXiv 2511.13720); below t = `sigma_data`
it turns over to the noise, so that nothing is divided by a vanishing t (Karras et al. 2022, arXiv 2206.00364, eq. 7,
with the flow's alpha = 1 - t, sigma = t).
"""

from __future__ import annotations

import torch
from torch import Tensor


def flow_coefficients(t_B: Tensor, sigma_data: float) -> tuple[Tensor, Tensor]:
    """(a, b) with v = a x_t + b F, for t in [0, 1], float32.

    From x0_hat = c_skip x_t + c_out F with c_skip = s^2 (1-t) / (s^2 (1-t)^2 + t^2), c_out = t / sqrt(same), and
    v = (x_t - x0_hat) / t; written so that t = 0 is finite: a = (t - s^2 (1-t)) / (same), b = -1 / sqrt(same).
    """
    clean = 1.0 - t_B.float()
    variance = sigma_data**2 * clean**2 + t_B.float() ** 2
    return (t_B - sigma_data**2 * clean) / variance, -torch.rsqrt(variance)
