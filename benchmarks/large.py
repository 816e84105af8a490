"""Photos of many megapixels, made from small ones, and what protecting them in blocks costs in faithfulness."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from anti_i2v.imaging.metrics import ciede2000
from anti_i2v.imaging.tensors import to_pil, to_tensor
from anti_i2v.inference import protect_photo
from anti_i2v.keys import PUBLIC_KEY
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.groups import GroupRequest, compose
from anti_i2v.protector import Protector

PICTURES = ("astronaut", "portrait", "group")
"""A public photograph that comes with scikit-image, a rendered person and four of them: where nobody is, nothing is changed."""

MODEL_SIZE = 128  # pixels a side of the input of `portrait-dit`

Bytes = npt.NDArray[np.uint8]


def small(name: str) -> Image.Image:
    """One of `PICTURES`."""
    if name == "portrait":
        frame = PortraitClips(split="test")[0].video[0]
        return Image.fromarray(frame.mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
    if name == "group":
        request = GroupRequest([0, 1, 2, 3], [1 / 3, 1 / 4, 1 / 6, 1 / 8], 756, 1008, seed=5)
        return to_pil(compose(PortraitClips("test", 1, 8, 8), [request])[0].image)
    from skimage import data

    return Image.fromarray(getattr(data, name)()).convert("RGB")


def large(name: str, width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture enlarged, with texture and sensor noise, without which its JPEG would be a fraction of a camera's."""
    random = np.random.default_rng(seed)
    smooth = np.asarray(small(name).resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    coarse = random.normal(0, 4, (max(1, height // 6), max(1, width // 6))).astype(np.float32)
    smooth += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))[..., None]
    smooth += random.normal(0, 3, (height, width, 1)).astype(np.float32)
    smooth += random.standard_normal(smooth.shape, np.float32) * 2
    return Image.fromarray(np.clip(smooth, 0, 255).astype(np.uint8))


def faithfulness(protector: Protector, photo: Image.Image, epsilon: float) -> dict[str, Any]:
    """The residual in blocks beside that of every pixel for itself: both files within epsilon, how alike, also at the model's size."""
    before = np.asarray(photo)
    exact = np.asarray(protect_photo(protector.backend, photo, epsilon, PUBLIC_KEY, (1, 1)))
    blocks = np.asarray(protector.protect(photo, epsilon, key="none"))
    one, other = _residual(blocks, before), _residual(exact, before)
    apart = one - other
    small_one, small_other = _at_model_size(one), _at_model_size(other)
    return {
        "correlation": float(np.corrcoef(one.ravel(), other.ravel())[0, 1]),
        "rms": [_rms(one), _rms(other)],
        "largest": [int(np.abs(one).max()), int(np.abs(other).max())],
        "apart_rms": _rms(apart),
        "apart_largest": int(np.abs(apart).max()),
        "same": float((apart == 0).all(2).mean()),
        "psnr": [20 * float(np.log10(255 / _rms(residual))) for residual in (one, other)],
        "delta_e": [_delta_e(picture, before) for picture in (blocks, exact)],
        "seen_correlation": float(np.corrcoef(small_one.ravel(), small_other.ravel())[0, 1]),
        "seen_rms_ratio": _rms(small_one) / _rms(small_other),
    }


def _residual(protected: Bytes, photo: Bytes) -> npt.NDArray[np.float32]:
    return protected.astype(np.float32) - photo


def _rms(values: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(values), dtype=np.float64)))


def _at_model_size(residual: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A residual after the photo was reduced to the size that the video model takes."""
    planes = torch.from_numpy(residual).permute(2, 0, 1)[None]
    return F.interpolate(planes, (MODEL_SIZE, MODEL_SIZE), mode="bilinear", antialias=True, align_corners=False).numpy()


def _delta_e(protected: Bytes, photo: Bytes) -> float:
    """Of every seventh pixel each way: with steps that divide a block, the sample would see one corner of it."""
    a, b = (to_tensor(Image.fromarray(np.ascontiguousarray(picture[::7, ::7])))[None] for picture in (photo, protected))
    return float(ciede2000(a, b))
