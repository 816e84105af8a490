"""Damaged and hostile files are refused in one line, at once, without memory and without other output."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.imaging.metadata.iptc import from_profile
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import save_photo
from tests.tiny.photos import chunk, exif, picture, png

ROOT = Path(__file__).resolve().parents[2]


def test_missing_text_truncated_and_animated_files_are_refused_with_their_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.png.*no such file"):
        read_photo(tmp_path / "none.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(UsageError, match=r"text\.jpg.*not a picture"):
        read_photo(tmp_path / "text.jpg")
    for format in ("PNG", "JPEG", "WEBP", "TIFF", "BMP"):
        whole = io.BytesIO()
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, format)
        cut = tmp_path / f"cut.{format.lower()}"
        cut.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        with pytest.raises(UsageError, match=r"cannot read .*cut"):
            read_photo(cut)
    frames = [picture("RGB"), picture("RGB").transpose(Image.Transpose.ROTATE_180)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(UsageError, match=r"film\.gif: more than one frame or page"):
        read_photo(tmp_path / "film.gif")


def test_empty_files_pipes_folders_and_foreign_formats_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, reason in (
        ("empty.jpg", "is empty"),
        ("script.png", "not a picture"),
        ("folder.png", "not a file"),
        ("pipe.jpg", "not a file"),
    ):
        with pytest.raises(UsageError, match=rf"cannot read .*{name}: .*{reason}") as caught:
            read_photo(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_photos_of_twice_pillow_s_limit_are_read_without_a_warning_and_larger_ones_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert 2 * Image.MAX_IMAGE_PIXELS > 100_000_000
    picture("RGB").save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 102)  # 204 pixels
    assert read_photo(tmp_path / "a.png").size == (17, 12)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 101)
    with pytest.raises(UsageError, match=r"a\.png: more than .* scale it down"):
        read_photo(tmp_path / "a.png")


def bombs() -> dict[str, bytes]:
    """Small files that claim 10⁵ × 10⁵ pixels, or as many as the format can say."""
    jpeg, gif, bmp, tiff = (io.BytesIO() for _ in range(4))
    picture("RGB").save(jpeg, "JPEG")
    picture("L").save(gif, "GIF")
    picture("RGB").save(bmp, "BMP")
    picture("L").save(tiff, "TIFF")
    at = jpeg.getvalue().index(b"\xff\xc0") + 5
    side = struct.pack("<I", 100_000)
    tags = tiff.getvalue()
    for tag in (256, 257):
        where = tags.index(struct.pack("<HH", tag, 4)) if struct.pack("<HH", tag, 4) in tags else tags.index(struct.pack("<HH", tag, 3))
        tags = tags[:where] + struct.pack("<HHI", tag, 4, 1) + side + tags[where + 12 :]
    canvas = (16383).to_bytes(3, "little") * 2
    return {
        "png": png(size=(100_000, 100_000)),
        "jpg": jpeg.getvalue()[:at] + b"\xff\xff\xff\xff" + jpeg.getvalue()[at + 4 :],
        "gif": gif.getvalue()[:6] + b"\xff\xff\xff\xff" + gif.getvalue()[10:],
        "bmp": bmp.getvalue()[:18] + side + side + bmp.getvalue()[26:],
        "tif": tags,
        "webp": b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + canvas + bytes(74),
        "ppm": b"P6 100000 100000 255\n",
    }


def test_bombs_are_refused_in_little_memory_and_without_torch(tmp_path: Path) -> None:
    for suffix, data in bombs().items():
        (tmp_path / f"a.{suffix}").write_bytes(data)
    # A text of a gigabyte in a PNG of a few kilobytes.
    text = zlib.compress(bytes(2**20))
    (tmp_path / "text.png").write_bytes(png(*[chunk(b"zTXt", b"%d\0\0" % i + text) for i in range(1000)]))
    (tmp_path / "profile.png").write_bytes(png(chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2**28)))))
    code = """
import resource, sys
from pathlib import Path
from anti_i2v.errors import UsageError
from anti_i2v.imaging.reading import read_photo
import PIL.TiffImagePlugin, PIL.WebPImagePlugin, PIL.GifImagePlugin, PIL.JpegImagePlugin
pages = int(Path('/proc/self/statm').read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**28,) * 2)
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_photo(path)
    except UsageError as error:
        print(path.name, str(error).removeprefix(f'cannot read {path}: '), sep='|')
assert not {'torch', 'numpy', 'PIL.EpsImagePlugin'} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
    said = dict(line.split("|") for line in done.stdout.splitlines())
    assert sorted(said) == sorted(p.name for p in tmp_path.iterdir())
    for suffix in bombs():
        # Pillow 12 looks for a WebP's frames, of which this one has none, before its size.
        frameless = suffix == "webp" and "could not create decoder object" in said["a.webp"]
        assert frameless or "more than 178 megapixels; scale it down first" in said[f"a.{suffix}"]
    assert "Too much memory used in text chunks" in said["text.png"]


def test_texts_that_imitate_metadata_are_not_interpreted(tmp_path: Path) -> None:
    names = (
        "dpi icc_profile transparency xmp comment gamma srgb chromaticity photoshop c2pa cicp hints lossless unreadable reduced_from_bits"
    )
    (tmp_path / "a.png").write_bytes(png(*[chunk(b"tEXt", f"{name}\0nonsense".encode()) for name in names.split()]))
    photo = read_photo(tmp_path / "a.png")
    assert photo.getexif() == {}
    for suffix in (".png", ".jpg", ".webp", ".avif", ".tif", ".bmp"):
        assert save_photo(photo, tmp_path / f"b{suffix}", photo) == ()
        assert read_photo(tmp_path / f"b{suffix}").size == (1, 1)


def test_threads_that_read_at_once_leave_the_standard_error_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    picture("RGB").save(tmp_path / "a.tif", compression="tiff_lzw")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(data[:20] + b"\xff" * 40 + data[60:])

    def read(name: str) -> None:
        with contextlib.suppress(UsageError):
            read_photo(tmp_path / name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, ["a.tif", "b.tif"] * 20))
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


class Counted(io.BytesIO):
    """A file that counts how often it is read."""

    times = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.times += 1
        return super().read(size)


def test_a_film_is_refused_at_its_second_frame_and_not_at_its_last() -> None:
    file = io.BytesIO()
    picture("L").save(file, "GIF")
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\0"
    film = Counted(file.getvalue().rstrip(b";") + frame * 10_000 + b";")
    with pytest.raises(UsageError, match="more than one frame"):
        read_photo(film)
    assert film.times < 1000


@pytest.mark.timeout(60)  # milliseconds in linear time, minutes in quadratic
def test_exif_that_announces_itself_again_and_again_is_read_at_once() -> None:
    photo = read_photo(io.BytesIO(png(chunk(b"eXIf", b"Exif\0\0" * 500_000 + exif(8)))))
    assert photo.info["exif"] == exif(8)


def test_a_raw_profile_of_empty_lines_takes_little_memory() -> None:
    text = "\n" * 2_000_000
    tracemalloc.start()
    try:
        assert from_profile(text) == b""
        assert tracemalloc.get_traced_memory()[1] < 3 * len(text)
    finally:
        tracemalloc.stop()
