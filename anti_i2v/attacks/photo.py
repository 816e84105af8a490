"""Per-photo methods on photos as people have them: PIL in, PIL out, of any mode, by the same rules as `Protector.protect`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from anti_i2v import keys
from anti_i2v.attacks.loop import as_file
from anti_i2v.attacks.methods import Method
from anti_i2v.errors import UsageError
from anti_i2v.evaluation.noise import white_noise
from anti_i2v.imaging.metrics import rms255
from anti_i2v.inference import planes
from anti_i2v.protector import Protector
from anti_i2v.surrogates import Surrogate


@dataclass(frozen=True)
class PhotoMethod:
    """A method, the surrogate that it attacks, its prompt and settings, for one photo after another.

    Attributes:
        method: The method.
        surrogate: The model that it attacks.
        text: One prompt, from `surrogate.encode_text`.
        steps: Number of steps.
        seed: Of start and draws, the same for every photo, so that none depends on those before it.
        begin: Begin at what this protector makes of the photo, not at random.
        label: Names a progress bar over the steps; without it there is none.
        key: With which that protector begins; see `Protector.protect`.
    """

    method: Method
    surrogate: Surrogate
    text: Mapping[str, Tensor]
    steps: int
    seed: int = 0
    begin: Protector | None = None
    label: str | None = None
    key: str | None = None

    def protect(self, photo: Image.Image, epsilon: float) -> Image.Image:
        """Protect one photo; see `Protector.protect` for what stays as it is.

        The surrogate sees the upright colours, whatever the mode; grey gets the mean residual over the channels.

        Raises:
            UsageError: The photo is smaller than what the surrogate sees as one, or has no defined range.
        """
        rows, columns = self.surrogate.cell
        if photo.height < rows or photo.width < columns:
            size = f"{photo.height} × {photo.width}"
            raise UsageError(f"the photo is {size}, less than one patch of the surrogate; it needs at least {rows} × {columns}")
        before = None if self.begin is None else self.begin.protect(photo, epsilon, self.key)
        if before is not None and self.steps == 0:
            return before

        def change(image: Tensor) -> Tensor:
            start = None if before is None else colours(before, image.device) - image
            random = torch.Generator().manual_seed(self.seed)
            results = self.method.run(self.surrogate, image, self.text, epsilon, random, self.steps, start=start, label=self.label)
            return results[self.steps]

        return change_photo(photo, change, epsilon, self.surrogate.device)


@dataclass(frozen=True)
class PhotoNoise:
    """White noise of the RMS that a protector's residual of the photo has.

    Attributes:
        protector: Whose residual.
        seed: Of the noise.
    """

    protector: Protector
    seed: int = 0

    @torch.no_grad()
    def protect(self, photo: Image.Image, epsilon: float) -> Image.Image:
        """Noise instead of protection: what energy alone does."""
        device = next(self.protector.generator.parameters()).device
        rms = rms255(colours(self.protector.protect(photo, epsilon, keys.NONE), device) - colours(photo, device))
        random = torch.Generator().manual_seed(self.seed)
        return change_photo(photo, lambda image: white_noise(image, rms, epsilon, random), epsilon, device)


def change_photo(photo: Image.Image, change: Callable[[Tensor], Tensor], epsilon: float, device: torch.device) -> Image.Image:
    """A photo whose colours were changed, within the budget in the values that its file stores.

    Args:
        photo: Of any mode that `planes.split` takes.
        change: Upright colours (1, 3, H, W) in [0, 1] → the same, changed.
        epsilon: Budget in 1/255.
        device: Where `change` works.
    """
    split = planes.split(photo)
    image = colours(photo, device)
    residual = change(image) - image
    stored = _batch(split.upright(split.stored), device)
    if stored.shape[1] == 1:
        residual = residual.mean(1, keepdim=True)
    steps = (as_file(stored, residual, epsilon) - stored)[0].mul(255).round().to(torch.int8)
    return split.join(split.as_stored(steps.permute(1, 2, 0).cpu().numpy()))


def colours(photo: Image.Image, device: torch.device) -> Tensor:
    """A photo as it is seen, the right way up: (1, 3, H, W) float32 in [0, 1]."""
    split = planes.split(photo)
    return _batch(split.upright(split.colour), device)


def _batch(pixels: planes.Pixels, device: torch.device) -> Tensor:
    return torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float().contiguous().div_(255)
