"""The one place where a generator's parameters become pixels: NumPy and Pillow, whatever backend ran the network."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from PIL import Image

from anti_i2v.budget import fit_steps_to_budget, round_down
from anti_i2v.errors import UsageError
from anti_i2v.imaging.cielab import Floats
from anti_i2v.inference.blocks import Factor, Steps, factor
from anti_i2v.inference.planes import Pixels, split
from anti_i2v.keys import photo_key
from anti_i2v.spaces import SPACES

STRIP = 2**16  # pixels done at once: what they need stays within the cache
SHRUNK = 2**18  # pixels that are floats at once while a photo is made small


class Backend(Protocol):
    """What runs a generator: it proposes parameters and knows nothing of pixels, spaces and budget."""

    @property
    def working_size(self) -> int:
        """Height and width S of the copy of a photo that it takes, in pixels."""

    @property
    def takes_key(self) -> bool:
        """Whether the generator takes a key."""

    def propose(self, photo: Floats, epsilon: np.float32, key: Floats | None = None) -> dict[str, Floats]:
        """The parameters for one photo.

        Args:
            photo: (3, S, S) in [0, 1], sRGB, the whole photo scaled to the working size.
            epsilon: In 1/255 steps.
            key: (32,) the photo's, see `keys.photo_key`; only for a generator that takes one.

        Returns:
            By perturbation space, (channels, h, w) each; see `Generator.forward`.
        """


def protect_photo(backend: Backend, photo: Image.Image, epsilon: float, secret: bytes) -> Image.Image:
    """Protect one photo; see `Protector.protect` for what is kept of each mode.

    Args:
        backend: What runs the generator.
        photo: Any size from 1 × 1, and any mode with a defined range.
        epsilon: Budget in 1/255 steps. 0 gives the photo back.
        secret: The user's, from `keys.load_secret`.

    Returns:
        A new picture; `photo` is unchanged.

    Raises:
        UsageError: Epsilon outside 0–32, a mode without a defined range, or a generator whose values are not finite.
    """
    bound = round_down(epsilon)
    return protect_blocks(backend, photo, bound, factor(photo.size), secret)


def protect_blocks(backend: Backend, photo: Image.Image, epsilon: np.float32, block: Factor, secret: bytes) -> Image.Image:
    """`protect_photo` with blocks of a given size; (1, 1) computes the residual of every pixel for itself."""
    parts = split(photo, block)
    # The pixels of a phone's photo often lie on their side; the generator learned from upright people.
    steps = compute_steps(backend, parts.upright(parts.colour), parts.upright(parts.stored), epsilon, secret)
    return parts.join(parts.as_stored(steps))


def compute_steps(backend: Backend, colour: Pixels, stored: Pixels, epsilon: np.float32, secret: bytes) -> Steps:
    """The whole steps by which the bytes of a photo change.

    Args:
        backend: What runs the generator.
        colour: (H, W, 3) sRGB, the right way up. The photo's key is made of these bytes: of a photo in blocks, of their means.
        stored: (H, W, 3) or (H, W, 1), what the file holds of it; one plane takes the mean residual over the channels.
        epsilon: Budget in 1/255 steps.
        secret: The user's.

    Returns:
        Shape of `stored`, whole numbers from −⌊ε⌋ to ⌊ε⌋.
    """
    height, width, bands = stored.shape
    key = photo_key(secret, colour) if backend.takes_key else None
    parameters = backend.propose(shrink(colour, backend.working_size), epsilon, key)
    if not all(np.isfinite(values).all() for values in parameters.values()):
        raise UsageError("the generator yields values that are not finite; its weights are damaged, get them again")
    fields = {name: SPACES[name].field(values, height, width) for name, values in parameters.items()}
    steps = np.empty(stored.shape, np.int8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        strip = slice(top, top + rows)
        residual = np.zeros((3, *colour[strip].shape[:2]), np.float32)
        for name, field in fields.items():
            residual += SPACES[name].apply(colour[strip], field.rows(top, top + residual.shape[1]), epsilon)
        if bands == 1:
            residual = residual.mean(0, keepdims=True)
        steps[strip] = np.moveaxis(fit_steps_to_budget(np.moveaxis(stored[strip], 2, 0), residual, epsilon), 0, 2)
    return steps


def shrink(pixels: Pixels, size: int) -> Floats:
    """A photo at the size that a network takes: (H, W, 3) bytes → (3, size, size) in [0, 1].

    Bilinear, by Pillow, whose filter is that of torch's `interpolate(antialias=True, align_corners=False)`.
    """
    height, width, channels = pixels.shape
    narrow = np.empty((channels, height, size), np.float32)
    rows = max(1, SHRUNK // width)
    for top in range(0, height, rows):
        for plane, channel in zip(narrow, np.moveaxis(pixels[top : top + rows], 2, 0), strict=True):
            plane[top : top + rows] = _resize(channel.astype(np.float32), size, len(channel))
    return np.stack([_resize(plane, size, size) for plane in narrow]) / np.float32(255)


def _resize(plane: Floats, width: int, height: int) -> Floats:
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
