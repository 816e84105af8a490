"""Rare layouts of 16 bits that Pillow reads wrongly, and channels that it leaves out: corrected, refused, or remembered for a note."""

from __future__ import annotations

from typing import Any

from PIL import Image

from anti_i2v.errors import UsageError

Facts = dict[str | tuple[int, int], Any]
BITS, PHOTOMETRIC, PLANES, WHITE_IS_ZERO = 258, 262, 284, 0  # tags of TIFF, and a value of the second
DEEP = (["I;16"], ["I;16L"], ["I;16N"])  # how Pillow calls 16 bits that it takes as they lie in the file
VALUES = range(2**16)


def check_tiff(image: Image.Image, name: str, facts: Facts) -> None:
    """Refuse what would be read wrongly, and remember what will be left out; before pixels are decoded.

    Raises:
        UsageError: Values of 16 bits in separate planes.
    """
    tags = getattr(image, "tag_v2", {})
    bits = [value for value in _values(tags.get(BITS)) if isinstance(value, int)]
    if len(bits) > 1 and max(bits) > 8 and tags.get(PLANES) == 2:
        raise UsageError(f"cannot read {name}: {max(bits)} bits per colour in separate planes; save it with interleaved channels or as PNG")
    if image.mode == "RGB" and len(bits) > 3:
        facts["unreadable"] = f"{facts['unreadable']} and fourth channel" if "unreadable" in facts else "fourth channel"


def correct(image: Image.Image, kind: str, raw: list[str], facts: Facts) -> Image.Image:
    """The picture as its file means it.

    Args:
        image: Decoded.
        kind: The format.
        raw: What Pillow has called the layouts of its tiles.
        facts: Gets `reduced_from_bits` where 16 bits became 8.
    """
    if kind == "TIFF" and image.mode == "I;16" and raw[:1] in DEEP and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
        return _like(image.point(lambda value: value * -1 + 65535), image)  # of 8 bits, Pillow does it
    key = image.info.get("transparency") if kind == "PNG" else None
    if image.mode == "I;16" and isinstance(key, int):
        # 16-bit grey with alpha is no mode of Pillow's, and the key cannot be told from its neighbours once all values have changed.
        grey, alpha = ([(value + 128) // 257 for value in VALUES], [255 * (value != key) for value in VALUES])
        facts["reduced_from_bits"], whole = 16, image.convert("I")
        return _like(Image.merge("LA", (whole.point(grey, "L"), whole.point(alpha, "L"))), image)
    if facts.get("reduced_from_bits") == 16 and isinstance(key, tuple) and all(isinstance(value, int) for value in key):
        image.info["transparency"] = tuple(value >> 8 for value in key)  # the low bytes are gone, by which neighbours would differ
    return image


def _like(corrected: Image.Image, image: Image.Image) -> Image.Image:
    """With the format, the entries and the texts of the picture as it was read; its key is alpha now."""
    corrected.format = image.format
    corrected.info = {name: value for name, value in image.info.items() if name != "transparency"}
    if hasattr(image, "text"):
        corrected.text = image.text  # type: ignore[attr-defined]
    return corrected


def _values(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)
