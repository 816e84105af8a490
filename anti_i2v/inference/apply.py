"""The one place where a generator's parameters become pixels: NumPy and Pillow, whatever backend ran the network.

A photo is protected where people are. The backend's salience network finds them, and the generator looks at a window around each face,
at the same size however large the person is in the photo. So what a person gets depends on nothing outside of that window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from anti_i2v.budget import fit_steps_to_budget, round_down
from anti_i2v.errors import UsageError
from anti_i2v.imaging.cielab import Floats
from anti_i2v.inference.blocks import Factor, Steps, block_of, finding_block
from anti_i2v.inference.planes import Pixels, split
from anti_i2v.inference.windows import Window, find_windows, levels, mask
from anti_i2v.keys import photo_key
from anti_i2v.spaces import SPACES
from anti_i2v.spaces.base import Field

STRIP = 2**16  # pixels done at once: what they need stays within the cache
SHRUNK = 2**18  # pixels that are floats at once while a photo is made small


class Backend(Protocol):
    """What runs a generator: it finds people and proposes parameters, and knows nothing of pixels, spaces and budget."""

    @property
    def working_size(self) -> int:
        """Height and width S of the copy of a window that it takes, in pixels."""

    def find(self, copy: Floats) -> Floats:
        """Where faces are: a small copy (3, h, w) of a whole photo in [0, 1] → (4, ⌈h/4⌉, ⌈w/4⌉); see `generators.salience`."""

    def propose(self, window: Floats, epsilon: np.float32, key: Floats) -> dict[str, Floats]:
        """The parameters for one window.

        Args:
            window: (3, S, S) in [0, 1], sRGB, the window scaled to the working size.
            epsilon: In 1/255 steps.
            key: (32,) of the photo; see `keys.photo_key`.

        Returns:
            By perturbation space, (channels, h, w) each; see `Generator.forward`.
        """


def protect_photo(backend: Backend, photo: Image.Image, epsilon: float, secret: bytes, block: Factor | None = None) -> Image.Image:
    """Protect one photo; see `Protector.protect` for what is kept of each mode.

    Args:
        backend: What runs the generator.
        photo: Any size from 1 × 1, and any mode with a defined range.
        epsilon: Budget in 1/255 steps. 0 gives the photo back.
        secret: Of the user; the photo's key is made of it.
        block: Pixels across and down that change together; by default what the size of the people allows, see `blocks.block_of`.

    Returns:
        A new picture; `photo` is unchanged. Without people in it, its values are those of the photo.

    Raises:
        UsageError: Epsilon outside 0–32, a mode without a defined range, or a generator whose values are not finite.
    """
    bound, coarse = round_down(epsilon), finding_block(photo.size)
    parts = split(photo, coarse)
    colour = parts.upright(parts.colour)
    windows = [window.scaled(coarse[0]) for window in find_people(backend, colour)]
    # Not of the blocks that change: a window that is one pixel larger must not mean another key.
    key = photo_key(secret, colour)
    fine = block or block_of(photo.size, [window.side for window in windows])
    if fine != coarse:
        parts = split(photo, fine)
    seen = [window.scaled(1 / fine[0]) for window in windows]
    # The pixels of a phone's photo often lie on their side; the generator learned from upright people.
    steps = compute_steps(backend, parts.upright(parts.colour), parts.upright(parts.stored), seen, bound, key)
    return parts.join(parts.as_stored(steps))


def find_people(backend: Backend, colour: Pixels) -> list[Window]:
    """The windows around the faces of a photo (H, W, 3) sRGB, the right way up, strongest first."""
    height, width, _ = colour.shape
    return find_windows([backend.find(shrink(colour, *size)) for size in levels(height, width)], height, width)


@dataclass(frozen=True)
class Patch:
    """What a generator proposes for a window, at the size of that window.

    Attributes:
        rows, columns: Of the photo that it lies on, first and behind the last.
        fields: By space, the expansion of its parameters; only the columns within the photo.
        across: (columns,) the mask across.
        down: (side,) the mask downwards, times the window's strength.
        top: Row of the photo where the window begins; it can be negative.
    """

    rows: slice
    columns: slice
    fields: dict[str, Field]
    across: Floats
    down: Floats
    top: int

    @staticmethod
    def of(window: Window, parameters: dict[str, Floats], height: int, width: int) -> Patch:
        """Lay parameters out for a photo of so many pixels."""
        top, left, side = window.top, window.left, window.side
        rows, columns = slice(max(0, top), min(height, top + side)), slice(max(0, left), min(width, left + side))
        within = slice(columns.start - left, columns.stop - left)
        fields = {name: SPACES[name].field(values, side, side) for name, values in parameters.items()}
        cut = {name: Field(field.values, np.ascontiguousarray(field.columns[:, within])) for name, field in fields.items()}
        soft = mask(side)
        return Patch(rows, columns, cut, soft[within], soft * np.float32(window.strength), top)


def compute_steps(backend: Backend, colour: Pixels, stored: Pixels, windows: Sequence[Window], epsilon: np.float32, key: Floats) -> Steps:
    """The whole steps by which the bytes of a photo change.

    Args:
        backend: What runs the generator.
        colour: (H, W, 3) sRGB, the right way up.
        stored: (H, W, 3) or (H, W, 1), what the file holds of it; one plane takes the mean residual over the channels.
        windows: In pixels of these.
        epsilon: Budget in 1/255 steps.
        key: (32,) of the photo.

    Returns:
        Shape of `stored`, whole numbers from −⌊ε⌋ to ⌊ε⌋.
    """
    height, width, bands = stored.shape
    within = [window for window in windows if window.meets(height, width)]
    patches = [Patch.of(window, propose(backend, colour, window, epsilon, key), height, width) for window in within]
    steps = np.zeros(stored.shape, np.int8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        here = [patch for patch in patches if patch.rows.start < bottom and patch.rows.stop > top]
        if not here:
            continue
        columns = slice(min(p.columns.start for p in here), max(p.columns.stop for p in here))
        residual = blend(here, colour[top:bottom, columns], top, columns.start, epsilon)
        if bands == 1:
            residual = residual.mean(0, keepdims=True)
        part = np.moveaxis(stored[top:bottom, columns], 2, 0)
        steps[top:bottom, columns] = np.moveaxis(fit_steps_to_budget(part, residual, epsilon), 0, 2)
    return steps


def propose(backend: Backend, colour: Pixels, window: Window, epsilon: np.float32, key: Floats) -> dict[str, Floats]:
    """The parameters for a window of a photo.

    Raises:
        UsageError: They are not finite.
    """
    parameters = backend.propose(shrink(cut(colour, window), backend.working_size, backend.working_size), epsilon, key)
    if not all(np.isfinite(values).all() for values in parameters.values()):
        raise UsageError("the generator yields values that are not finite; its weights are damaged, get them again")
    return parameters


def cut(pixels: Pixels, window: Window) -> Pixels:
    """The pixels (side, side, C) of a window; beyond the frame, those of its edge go on."""
    height, width, _ = pixels.shape
    rows, columns = (np.arange(first, first + window.side) for first in (window.top, window.left))
    part: Pixels = pixels[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)]
    return part


def blend(patches: Sequence[Patch], colour: Pixels, top: int, left: int, epsilon: np.float32) -> Floats:
    """The residual of a part of a photo under all patches that reach into it.

    Where windows overlap their fields are added and divided by the root of the summed squares of their masks (if that exceeds 1): two
    independent fields together are as strong as one.

    Args:
        patches: At least one.
        colour: (n, w, 3) sRGB.
        top: Its first row in the photo.
        left: Its first column.
        epsilon: Budget in 1/255 steps.

    Returns:
        (3, n, w), [0, 1] units.
    """
    height, width, _ = colour.shape
    total = {name: np.zeros((SPACES[name].channels, height, width), np.float32) for name in patches[0].fields}
    power = np.zeros((height, width), np.float32)
    for patch in patches:
        first, last = max(patch.rows.start, top), min(patch.rows.stop, top + height)
        weight = patch.down[first - patch.top : last - patch.top, None] * patch.across
        place = np.s_[first - top : last - top, patch.columns.start - left : patch.columns.stop - left]
        power[place] += weight * weight
        for name, field in patch.fields.items():
            total[name][:, *place] += field.rows(first - patch.top, last - patch.top) * weight
    if len(patches) > 1:
        np.sqrt(np.maximum(power, 1, out=power), out=power)
        for values in total.values():
            values /= power
    return sum((SPACES[name].apply(colour, values, epsilon) for name, values in total.items()), np.zeros((3, height, width), np.float32))


def shrink(pixels: Pixels, rows: int, columns: int) -> Floats:
    """Pixels at the size that a network takes: (H, W, 3) bytes → (3, rows, columns) in [0, 1].

    Bilinear, by Pillow, whose filter is that of torch's `interpolate(antialias=True, align_corners=False)`.
    """
    height, width, channels = pixels.shape
    narrow = np.empty((channels, height, columns), np.float32)
    at_once = max(1, SHRUNK // width)
    for top in range(0, height, at_once):
        for plane, channel in zip(narrow, np.moveaxis(pixels[top : top + at_once], 2, 0), strict=True):
            plane[top : top + at_once] = _resize(channel.astype(np.float32), columns, len(channel))
    return np.stack([_resize(plane, columns, rows) for plane in narrow]) / np.float32(255)


def _resize(plane: Floats, width: int, height: int) -> Floats:
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
