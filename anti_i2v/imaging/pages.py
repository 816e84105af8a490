"""Pages of a TIFF file: which is the photo, and which are smaller copies of it."""

from __future__ import annotations

import contextlib
import struct
from typing import BinaryIO

from anti_i2v.errors import UsageError
from anti_i2v.imaging.metadata import tiff

SUBFILE, OLD_SUBFILE, SUBDIRECTORIES = 254, 255, 330  # what a page is, and where more pictures are
PREVIEWS = 16  # at most, also those of a pyramid


def is_one_page(file: BinaryIO, name: str) -> bool:
    """Whether all pages but the first are smaller copies of it, which encoding it again drops.

    Raises:
        UsageError: The first page is one.
    """
    with contextlib.suppress(tiff.DamagedError, struct.error):
        source = tiff.Reader(file)
        page = source.directory(source.first)
        if _is_preview(source, page) and (page.next or page.find(SUBDIRECTORIES)):
            raise UsageError(f"cannot read {name}: it begins with a preview of the photo, as raw files do; export it as TIFF or JPEG")
        for _ in range(PREVIEWS):
            if not page.next:
                return True
            page = source.directory(page.next)
            if not _is_preview(source, page):
                return False
    return False


def _is_preview(source: tiff.Reader, page: tiff.Directory) -> bool:
    return any(kind & 1 for kind in source.numbers(page.find(SUBFILE))) or source.numbers(page.find(OLD_SUBFILE)) == (2,)
