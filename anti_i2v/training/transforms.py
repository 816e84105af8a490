"""What happens to a picture after its release, differentiably: expectation over transformation (EOT) for training.

A protection that the first JPEG removes is useless. Each transform takes a batch and an explicit
`torch.Generator`, so that a step can be repeated and the same draw can be given to a photo and its protected version.
Measure robustness with the real codec (Pillow), never with these approximations.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import kornia.enhance
import kornia.filters
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import resize, unit


class Transform(nn.Module, ABC):
    """A random change of a picture. Holds settings only, nothing that a checkpoint would store."""

    @abstractmethod
    def forward(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Apply one draw.

        Args:
            image: (B, 3, H, W) in [0, 1].
            generator: Where randomness comes from, on any device.

        Returns:
            (B, 3, H′, W′) float32 in [0, 1]; the same size unless the transform says otherwise.
        """


class Identity(Transform):
    """The picture stays as it is."""

    def forward(self, image: Tensor, generator: torch.Generator) -> Tensor:
        return image.float()


class Jpeg(Transform):
    """JPEG, 4:2:0, one quality for each picture (kornia's differentiable codec, fp32).

    Args:
        quality: Lowest and highest quality, 1–100; drawn uniformly.
    """

    def __init__(self, quality: tuple[float, float] = (50.0, 95.0)) -> None:
        super().__init__()
        self.quality = _interval("quality", quality, 1.0, 100.0)

    def forward(self, image: Tensor, generator: torch.Generator) -> Tensor:
        quality = _uniform(self.quality, len(image), generator, image.device)
        height, width = image.shape[-2:]
        with torch.autocast(image.device.type, enabled=False):
            # Whole 16 × 16 blocks, as encoders do it; done here because not every version of the codec does.
            padded = F.pad(image.float(), (0, -width % 16, 0, -height % 16), mode="replicate")
            coded = kornia.enhance.jpeg_codec_differentiable(padded, quality)
            return unit(coded[..., :height, :width])


class Resize(Transform):
    """Scaled by one factor for the whole batch, antialiased.

    Args:
        scale: Smallest and largest factor, drawn uniformly.
        restore: Scale back to the original size afterwards (a picture that was small for a while).
    """

    def __init__(self, scale: tuple[float, float] = (0.5, 1.0), restore: bool = True) -> None:
        super().__init__()
        self.scale = _interval("scale", scale, 0.01, 8.0)
        self.restore = restore

    def forward(self, image: Tensor, generator: torch.Generator) -> Tensor:
        factor = _uniform(self.scale, 1, generator, torch.device("cpu")).item()
        height, width = image.shape[-2:]
        small = resize(image.float(), max(1, round(height * factor)), max(1, round(width * factor)))
        return resize(small, height, width) if self.restore else small


class Blur(Transform):
    """Gaussian blur, one width for each picture.

    Args:
        sigma: Smallest and largest standard deviation in pixels, drawn uniformly.
    """

    def __init__(self, sigma: tuple[float, float] = (0.3, 1.2)) -> None:
        super().__init__()
        self.sigma = _interval("sigma", sigma, 0.05, 20.0)

    def forward(self, image: Tensor, generator: torch.Generator) -> Tensor:
        sigma = _uniform(self.sigma, len(image), generator, image.device)
        taps = 2 * math.ceil(3 * self.sigma[1]) + 1
        with torch.autocast(image.device.type, enabled=False):
            blurred: Tensor = kornia.filters.gaussian_blur2d(
                image.float(), (taps, taps), torch.stack((sigma, sigma), dim=1), border_type="replicate"
            )
            return blurred


class Noise(Transform):
    """Gaussian noise, one strength for each picture.

    Args:
        sigma: Smallest and largest standard deviation in 1/255 steps, drawn uniformly.
    """

    def __init__(self, sigma: tuple[float, float] = (1.0, 6.0)) -> None:
        super().__init__()
        self.sigma = _interval("sigma", sigma, 0.0, 255.0)

    def forward(self, image: Tensor, generator: torch.Generator) -> Tensor:
        sigma = _uniform(self.sigma, len(image), generator, image.device).view(-1, 1, 1, 1)
        noise = torch.randn(image.shape, generator=generator, device=generator.device).to(image.device)
        return unit(image.float() + sigma / 255 * noise)


class RandomTransform(Transform):
    """One of several transforms a call, the same for the whole batch.

    Args:
        transforms: The choices, by a name of the caller's.
        weights: How often each is chosen, relative to the others; a name left out weighs 1.
    """

    def __init__(self, transforms: dict[str, Transform], weights: dict[str, float] | None = None) -> None:
        super().__init__()
        weights = weights or {}
        unknown = sorted(set(weights) - set(transforms))
        if unknown:
            raise UsageError(f"weight for unknown transform {unknown[0]!r}; there are: {', '.join(transforms) or 'none'}")
        self.transforms = nn.ModuleDict(transforms)
        self.weights = [float(weights.get(name, 1.0)) for name in transforms]
        if not all(math.isfinite(w) and w >= 0 for w in self.weights) or sum(self.weights) <= 0:
            raise UsageError(f"transform weights {self.weights} must be at least 0 and not all 0")

    def draw(self, generator: torch.Generator) -> str:
        """The name of the next transform."""
        weights = torch.tensor(self.weights, device=generator.device)
        return list(self.transforms)[int(torch.multinomial(weights, 1, generator=generator))]

    def forward(self, image: Tensor, generator: torch.Generator) -> Tensor:
        transformed: Tensor = self.transforms[self.draw(generator)](image, generator)
        return transformed


def _interval(name: str, value: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    if not low <= value[0] <= value[1] <= high:
        raise UsageError(f"{name} {tuple(value)} must be a lowest and a highest value within {low:g}–{high:g}")
    return float(value[0]), float(value[1])


def _uniform(interval: tuple[float, float], count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    uniform = torch.rand(count, generator=generator, device=generator.device)
    return (interval[0] + (interval[1] - interval[0]) * uniform).to(device)
