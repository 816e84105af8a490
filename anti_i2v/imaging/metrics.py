"""How far two pictures are apart, in the units people use, and how sure a mean is. Small maths, no models."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of pictures in [0, 1].

    Args:
        a: (B, …), [0, 1].
        b: Same shape.

    Returns:
        (B,) in dB; infinite for equal pictures.
    """
    return -10 * (a.float() - b.float()).square().flatten(1).mean(1).log10()


def rms255(residual: Tensor) -> Tensor:
    """Root mean square of a residual: (B, …) in [0, 1] units → (B,) in 1/255 steps."""
    return 255 * residual.float().square().flatten(1).mean(1).sqrt()


def ciede2000(a: Tensor, b: Tensor) -> Tensor:
    """Mean CIEDE2000 colour difference (1 ≈ just noticeable, side by side).

    Args:
        a: (B, 3, H, W), sRGB in [0, 1].
        b: Same shape.

    Returns:
        (B,) mean ΔE2000 over the pixels, float32.
    """
    return delta_e2000(srgb_to_lab(a), srgb_to_lab(b)).flatten(1).mean(1).float()


def srgb_to_lab(image: Tensor) -> Tensor:
    """CIELAB of sRGB under D65, in float64: (B, 3, H, W) in [0, 1] → (B, 3, H, W), L* 0–100."""
    import kornia.color

    lab: Tensor = kornia.color.rgb_to_lab(image.double())
    return lab


def delta_e2000(a: Tensor, b: Tensor) -> Tensor:
    """CIEDE2000 of two Lab pictures, kL = kC = kH = 1 (Sharma, Wu and Dalal 2005, eqs. 2–22).

    Differentiable, with finite gradients everywhere: 0 where a root has none, as between equal colours and at greys.

    Args:
        a: (B, 3, …), CIELAB.
        b: Same shape.

    Returns:
        (B, …) ΔE2000 of each pixel.
    """
    l1, a1, b1 = a.double().unbind(1)
    l2, a2, b2 = b.double().unbind(1)
    mean_c7 = ((_root(a1**2 + b1**2) + _root(a2**2 + b2**2)) / 2) ** 7
    stretch = 1.5 - 0.5 * _root(mean_c7 / (mean_c7 + 25.0**7))
    a1, a2 = stretch * a1, stretch * a2
    c1, c2 = _root(a1**2 + b1**2), _root(a2**2 + b2**2)
    h1, h2 = _hue(a1, b1), _hue(a2, b2)

    # Hues are angles: differences go the short way round, and a grey has no hue at all.
    grey = c1 * c2 == 0
    turn = h2 - h1
    turn = torch.where(turn > math.pi, turn - math.tau, torch.where(turn < -math.pi, turn + math.tau, turn))
    turn = torch.where(grey, torch.zeros_like(turn), turn)
    total = h1 + h2
    around = torch.where(total < math.tau, total + math.tau, total - math.tau)
    hue = torch.where((h1 - h2).abs() > math.pi, around, total) / 2
    hue = torch.where(grey, total, hue)

    dl, dc, dh = l2 - l1, c2 - c1, 2 * _root(c1 * c2) * torch.sin(turn / 2)
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    weight = (
        1
        - 0.17 * torch.cos(hue - math.radians(30))
        + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6))
        - 0.20 * torch.cos(4 * hue - math.radians(63))
    )
    offset = (lightness - 50) ** 2
    sl = 1 + 0.015 * offset / torch.sqrt(20 + offset)
    sc, sh = 1 + 0.045 * chroma, 1 + 0.015 * chroma * weight
    bend = math.radians(60) * torch.exp(-(((hue * 180 / math.pi - 275) / 25) ** 2))
    rotation = -2 * _root(chroma**7 / (chroma**7 + 25.0**7)) * torch.sin(bend)
    square = (dl / sl) ** 2 + (dc / sc) ** 2 + (dh / sh) ** 2 + rotation * (dc / sc) * (dh / sh)
    return _root(square)


def _root(x: Tensor) -> Tensor:
    """√max(x, 0) whose derivative at 0 is 0, not infinite."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1).sqrt(), 0)


def _hue(a: Tensor, b: Tensor) -> Tensor:
    """The angle of a colour in [0, 2π); a grey has none and gets 0, without a derivative."""
    grey = (a == 0) & (b == 0)
    return torch.atan2(b, torch.where(grey, 1, a)) % math.tau


def mean_interval(values: Tensor) -> tuple[float, float, float]:
    """Mean and 95 % confidence interval by Student's t.

    Args:
        values: (N,) independent measurements, N ≥ 1.

    Returns:
        Mean, lower and upper end; the ends are NaN for one value, of which no spread is known.
    """
    x = values.detach().double().flatten()
    mean, n = float(x.mean()), x.numel()
    if n < 2:
        return mean, math.nan, math.nan
    half = student_t975(n - 1) * float(x.std()) / math.sqrt(n)
    return mean, mean - half, mean + half


def student_t975(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, by bisection of its closed form (Abramowitz & Stegun 26.7.3–4)."""
    nu = min(freedom, 1000)  # beyond that the quantile moves by less than 0.003 on its way to 1.960

    def inside(t: float) -> float:  # probability of |T| < t
        theta = math.atan2(t, math.sqrt(nu))
        sine, square = math.sin(theta), math.cos(theta) ** 2
        odd = nu % 2
        term, series = (math.cos(theta) if odd else 1.0), 0.0
        for k in range(nu // 2):
            series += term
            term *= square * ((2 * k + 2) / (2 * k + 3) if odd else (2 * k + 1) / (2 * k + 2))
        return 2 / math.pi * (theta + sine * series) if odd else sine * series

    low, high = 1.0, 16.0  # t is 12.7 for one degree of freedom, 1.96 in the limit
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < 0.95 else (low, middle)
    return (low + high) / 2
