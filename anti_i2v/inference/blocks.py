"""A photo in blocks of pixels: reduced to their means for the network, and changed by whole 8-bit steps, one step for a block.

A residual is slow, so a photo of millions of pixels does not need it anew for each of them; working out L*a*b* for every
pixel would take ten times as long as decoding the file. NumPy and Pillow only, and never a whole photo in NumPy: turning
one into an array and back costs as much as encoding it, most of it for fresh memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

Steps = npt.NDArray[np.int8]
Factor = tuple[int, int]
"""Pixels of a block: across, down."""

# Pixels of the shorter side, at least, of the reduced copy in which people are sought.
COPY = 480
# Blocks along a window's side, at least: five for each of the 32 coefficients and field values that a generator has along a side.
FINE = 160
LARGE = 12e6  # pixels that are held at once; of a larger photo blocks are so large that no more remain
STRIP = 2**18  # pixels at once: within the cache, and few calls


def finding_block(size: tuple[int, int]) -> Factor:
    """The blocks in which people are sought in a photo of this width and height."""
    block = max(1, min(size) // COPY)
    return block, block


def block_of(size: tuple[int, int], sides: Sequence[int]) -> Factor:
    """The blocks in which a photo is changed.

    Args:
        size: Width and height.
        sides: Of its windows, in pixels.
    """
    if not sides:
        return finding_block(size)
    block = max(1, min(sides) // FINE, math.ceil(math.sqrt(size[0] * size[1] / LARGE)))
    return block, block


def add_steps(photo: Image.Image, steps: Steps, block: Factor) -> Image.Image:
    """Add whole 8-bit steps to all pixels of each block; what would leave the range of values stays at its end.

    Args:
        photo: Of 8-bit bands, or I;16, whose values change by 257 for each step.
        steps: (rows of blocks, columns of blocks, bands).
        block: Its size; those at the right and lower edge are smaller.

    Returns:
        A new picture without metadata; the mode is that of the photo, or I;16 for all of its kind.
    """
    deep = photo.mode.startswith("I;16")
    mode = "I;16" if deep else photo.mode
    image = Image.new(mode, photo.size, None)
    for part, top, height in _strips(photo, block):
        pixels = np.asarray(photo.crop((0, top, photo.width, top + height)))
        wide = steps[part].repeat(block[0], axis=1)[:, : photo.width]
        wide = wide.reshape(len(wide), 1, -1)  # broadcast over the rows of a block
        lines = pixels.reshape(len(wide), -1, wide.shape[2])
        changed = (_sixteen_bit if deep else _eight_bit)(lines, wide)
        image.paste(Image.frombuffer(mode, (photo.width, height), changed, "raw", mode, 0, 1), (0, top))
    return image


def _strips(photo: Image.Image, block: Factor) -> Iterator[tuple[slice, int, int]]:
    """Strips of whole blocks, the blocks cut by the lower edge on their own: rows of blocks, first row of pixels, rows of pixels."""
    down = block[1]
    whole, rest = divmod(photo.height, down)
    rows = max(1, STRIP // (photo.width * down))
    for first in range(0, whole, rows):
        last = min(first + rows, whole)
        yield slice(first, last), first * down, (last - first) * down
    if rest:
        yield slice(whole, whole + 1), whole * down, rest


def _eight_bit(values: npt.NDArray[np.uint8], steps: Steps) -> npt.NDArray[np.uint8]:
    """Values first go to where their step has room, then take it: unsigned bytes throughout, which processors add many at a time."""
    up, down = np.maximum(steps, 0).astype(np.uint8), (-np.minimum(steps, 0, dtype=np.int16)).astype(np.uint8)
    changed = np.minimum(values, 255 - up)
    np.maximum(changed, down, out=changed)
    changed += steps.view(np.uint8)  # modulo 256
    return changed


def _sixteen_bit(values: npt.NDArray[np.uint16], steps: Steps) -> npt.NDArray[np.uint16]:
    return np.clip(values.astype(np.int32) + np.int32(257) * steps, 0, 65535).astype("<u2")
