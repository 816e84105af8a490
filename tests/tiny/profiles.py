"""ICC profiles of version 2, written by hand from the published primaries of their colour spaces."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

WHITE = (0.9642, 1.0, 0.8249)  # D50, to which the primaries below are adapted
HEADER, ENTRY = 128, 12


def profile(space: bytes, connection: bytes, tags: Mapping[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    """A profile of these tags; ICC.1:2001-04, 6.1 to 6.3."""
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(79), b"cprt": b"text" + bytes(4) + b"-\0", **tags}
    start, table, body = HEADER + 4 + ENTRY * len(tags), b"", b""
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI", start + len(body), b"tiny", 0x02400000) + kind + space + connection + bytes(12) + b"acsp" + bytes(28)
    return (head + _fixed(WHITE)).ljust(HEADER, b"\0") + struct.pack(">I", len(tags)) + table + body


def colours(red: Sequence[float], green: Sequence[float], blue: Sequence[float], curve: bytes) -> bytes:
    """A profile for RGB by its primaries in XYZ and the curve that all three have."""
    axes = {name + b"XYZ": _xyz(value) for name, value in ((b"r", red), (b"g", green), (b"b", blue))}
    return profile(b"RGB ", b"XYZ ", {b"wtpt": _xyz(WHITE), **axes, **{name + b"TRC": curve for name in (b"r", b"g", b"b")}})


def grey(gamma: float) -> bytes:
    """A profile for grey values."""
    return profile(b"GRAY", b"XYZ ", {b"wtpt": _xyz(WHITE), b"kTRC": power(gamma)})


def inks(lab: Sequence[tuple[int, int, int]]) -> bytes:
    """A profile for CMYK by the colours of its 16 corners, as bytes of L* (255 is 100), a* and b* (128 is 0); black changes fastest."""
    identity = struct.pack(">9i", *(65536 * int(i % 4 == 0) for i in range(9)))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity
    ramp = bytes(range(256))
    table += ramp * 4 + bytes(value for corner in lab for value in corner) + ramp * 3
    return profile(b"CMYK", b"Lab ", {b"wtpt": _xyz(WHITE), b"A2B0": table}, kind=b"prtr")


def power(gamma: float) -> bytes:
    """The curve x ↦ x^gamma."""
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def srgb_curve() -> bytes:
    """The curve of sRGB (IEC 61966-2-1) in 1024 steps."""
    x = np.linspace(0, 1, 1024)
    y = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return b"curv" + bytes(4) + struct.pack(">I1024H", 1024, *(round(v * 65535) for v in y))


def _fixed(values: Sequence[float]) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


DISPLAY_P3 = colours((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407), srgb_curve())
ADOBE_RGB = colours((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457), power(2.19921875))
SRGB = colours((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141), srgb_curve())
GAMMA_22 = colours((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141), power(2.2))
