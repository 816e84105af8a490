"""The trial: animate the clean photo, its protected version and equally strong noise from the same seed, and compare.

A version is judged as the file that people upload: written as PNG, read again, then scaled to the surrogate's size.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import torch
from torch import Tensor

from anti_i2v.baselines import random_residual, white_noise
from anti_i2v.evaluation.clips import VERSIONS, mean_damage, movement
from anti_i2v.images import encode_photo, read_photo, resize, to_pil, to_tensor
from anti_i2v.metrics import ciede2000, psnr, rms255
from anti_i2v.protector import Protector
from anti_i2v.surrogates import Surrogate


@dataclass(frozen=True)
class Trial:
    """Result for B photos.

    Attributes:
        photos: Version (and `clean`) → (B, 3, H, W) in [0, 1] as read from the file.
        clips: Version (and `clean`) → (B, T, 3, h, w) in [0, 1].
        measures: Version → measure → (B,).
    """

    photos: dict[str, Tensor]
    clips: dict[str, Tensor]
    measures: dict[str, dict[str, Tensor]]


@torch.no_grad()
def run_trial(
    surrogate: Surrogate,
    protector: Protector,
    image: Tensor,
    prompts: list[str],
    epsilon: float,
    seed: int,
) -> Trial:
    """Animate all versions of B photos and measure them.

    Args:
        surrogate: Makes the clips; its taps are read for feature damage.
        protector: In evaluation mode.
        image: (B, 3, H, W) in [0, 1], the clean photos at any size.
        prompts: B prompts.
        epsilon: Budget in 1/255.
        seed: Of noise and draws; the same for every version.

    Returns:
        The trial; the `clean` photo is the 8-bit file too.
    """
    random = torch.Generator().manual_seed(seed)
    image = as_saved(image)
    protected = as_saved(protector(image, epsilon))
    rms = rms255(protected - image)
    photos = {
        "clean": image,
        "protected": protected,
        "white_noise": as_saved(white_noise(image, rms, epsilon, random)),
        "random_parameters": as_saved(random_residual(protector, image, rms, epsilon, random)),
        "other_seed": image,
    }
    text = surrogate.encode_text(prompts)
    seen = {name: resize(photo, surrogate.height, surrogate.width) for name, photo in photos.items()}
    clips = {}
    for name, photo in seen.items():
        clips[name] = surrogate.animate(photo, text, seed=seed + (1_000_003 if name == "other_seed" else 0))
    damage = {name: mean_damage(surrogate, seen["clean"], photo, text, seed) for name, photo in seen.items()}
    measures = {
        name: {
            **movement(clips[name], clips["clean"]),
            "feature_damage": damage[name],
            "residual_rms": rms255(photos[name] - image),
            "psnr": psnr(image, photos[name]),
            "delta_e": ciede2000(image, photos[name]),
        }
        for name in VERSIONS
    }
    return Trial(photos, clips, measures)


@torch.no_grad()
def photo_measures(
    surrogate: Surrogate, protector: Protector, image: Tensor, prompts: list[str], epsilon: float, seed: int
) -> dict[str, Tensor]:
    """The quick judgement that validation makes: features and photos only, no clips.

    Args:
        surrogate: Its taps are read at one draw.
        protector: In evaluation mode.
        image: (B, 3, H, W) in [0, 1].
        prompts: B prompts.
        epsilon: Budget in 1/255.
        seed: Of draw and noise.

    Returns:
        (B,) each: `damage` of the protected photo, `damage_noise` of white noise with the same RMS, `damage_jpeg75`
        (protected and clean photo both after a real JPEG file of quality 75), `psnr` in dB, `delta_e` (ΔE2000).
    """
    random = torch.Generator().manual_seed(seed)
    protected = protector(image, epsilon)
    noisy = white_noise(image, rms255(protected - image), epsilon, random)
    text = surrogate.encode_text(prompts)

    def damage(clean: Tensor, other: Tensor) -> Tensor:
        seen = [resize(photo, surrogate.height, surrogate.width) for photo in (clean, other)]
        return mean_damage(surrogate, seen[0], seen[1], text, seed, draws=1)

    return {
        "damage": damage(image, protected),
        "damage_noise": damage(image, noisy),
        "damage_jpeg75": damage(as_jpeg(image, 75), as_jpeg(protected, 75)),
        "psnr": psnr(image, protected),
        "delta_e": ciede2000(image, protected),
    }


def as_jpeg(images: Tensor, quality: int) -> Tensor:
    """Write each picture as an ordinary JPEG (4:2:0) and read it again: (B, 3, H, W) in [0, 1] → the same."""
    pictures = []
    for image in images:
        file = io.BytesIO()
        to_pil(image).save(file, "JPEG", quality=quality)
        file.seek(0)
        pictures.append(to_tensor(read_photo(file, "a photo in memory")))
    return torch.stack(pictures).to(images.device)


def as_saved(images: Tensor) -> Tensor:
    """Write each picture as PNG and read it again: (B, 3, H, W) in [0, 1] → the same, exactly what the file holds."""
    pictures = []
    for image in images:
        picture, file = to_pil(image), io.BytesIO()
        encode_photo(picture, file, ".png", picture)
        file.seek(0)
        pictures.append(to_tensor(read_photo(file, "a protected photo")))
    return torch.stack(pictures).to(images.device)
