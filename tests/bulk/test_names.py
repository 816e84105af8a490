"""A photo whose name says another format than its content is: it stays what it is, under the name it has, and a note says so."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from anti_i2v.bulk.photo import protect_file
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.shards import protect_shard
from anti_i2v.imaging.measure import Measurement
from anti_i2v.imaging.reading import read_photo
from anti_i2v.inference.blocks import finding_block
from anti_i2v.inference.planes import split
from tests.tiny.photos import exif, smooth


def content(format: str) -> bytes:
    file = io.BytesIO()
    smooth("RGB").save(file, format, exif=exif(6), quality=90) if format != "GIF" else smooth("P").save(file, "GIF")
    return file.getvalue()


def lighter(photo: Image.Image, _: float) -> Image.Image:
    parts = split(photo, finding_block(photo.size))
    return parts.join(np.ones(parts.stored.shape, np.int8))


PROTECTOR = PhotoProtector(lighter, "", "one step")


def protect(source: Path, format: str = "same", name: str | None = None) -> tuple[Path, Measurement]:
    output = source.parent / "out" / (name or source.name)
    return output, protect_file(PROTECTOR, source, output, Request((), output.parent, format, 1.0, mark=False))


@pytest.mark.parametrize(
    ("name", "format", "said"),
    [
        ("a.heic", "JPEG", "its name says HEIC and its content is JPEG, which it stays"),
        ("a.png", "JPEG", "its name says PNG and its content is JPEG, which it stays"),
        ("a.JPG", "PNG", "its name says JPEG and its content is PNG, which it stays"),
        ("a.jpeg", "WEBP", "its name says JPEG and its content is WEBP, which it stays"),
        ("a.png", "AVIF", "its name says PNG and its content is AVIF, which it stays"),
    ],
)
def test_with_same_a_photo_stays_what_its_content_is(tmp_path: Path, name: str, format: str, said: str) -> None:
    if format in ("WEBP", "AVIF") and not features.check(format.lower()):
        pytest.skip(f"the installed Pillow was built without {format}")
    (tmp_path / name).write_bytes(content(format))
    output, measurement = protect(tmp_path / name)
    again = read_photo(output)
    assert (again.format, again.size, again.getexif()[274]) == (format, (60, 44), 6)
    assert measurement.notes == (said,)
    assert measurement.lossy == (format != "PNG")
    assert measurement.lossy or measurement.steps == 1


def test_lossless_formats_are_what_the_name_says(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(content("JPEG"))
    output, measurement = protect(tmp_path / "a.tif", "lossless")
    assert (read_photo(output).format, measurement.notes, measurement.steps) == ("TIFF", (), 1)
    (tmp_path / "a.heic").write_bytes(content("JPEG"))
    output, measurement = protect(tmp_path / "a.heic", "lossless", "a.png")
    assert (read_photo(output).format, measurement.notes) == ("PNG", ())


def test_what_is_not_written_becomes_what_the_name_says(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(content("GIF"))
    output, measurement = protect(tmp_path / "a.bmp")
    assert read_photo(output).format == "BMP"
    assert measurement.notes == ("GIF, which is not written, became BMP", "a palette became RGB")


def test_members_of_a_tar_too(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        data = content("PNG")
        info = tarfile.TarInfo("x.jpg")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    request = Request((), tmp_path / "out", "same", 1.0, mark=False)
    (result,) = protect_shard(PROTECTOR, tmp_path / "a.tar", tmp_path / "out" / "a.tar", request, lambda: None)
    assert result.measurement is not None
    assert result.measurement.notes == ("its name says JPEG and its content is PNG, which it stays",)
    with tarfile.open(tmp_path / "out" / "a.tar") as tar:
        member = tar.extractfile("x.jpg")
        assert member is not None
        assert member.read(8) == b"\x89PNG\r\n\x1a\n"
