"""The page's files are those of `anti-i2v protect`, and a bad one never stops the rest."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from anti_i2v.__main__ import main
from anti_i2v.app import uploads
from anti_i2v.app.storage import Storage
from anti_i2v.app.uploads import ProtectedPhoto, RejectedPhoto, Upload, protect_uploads
from anti_i2v.bulk.loading import one_pass
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from tests.tiny.photos import exif, smooth


@pytest.fixture(scope="module")
def protector(generator: Path) -> PhotoProtector:
    return one_pass(str(generator))


@pytest.fixture
def storage() -> Iterator[Storage]:
    made = Storage()
    yield made
    made.remove()


@pytest.fixture
def photos(tmp_path: Path) -> list[Upload]:
    smooth("RGB").save(tmp_path / "Zoë (1)!.jpg", quality=80, exif=exif(6))
    smooth("RGBA").save(tmp_path / "b.PNG")
    (tmp_path / "empty.jpg").touch()
    smooth("L").save(tmp_path / "c.webp")
    return [Upload(path, path.name) for path in (tmp_path / name for name in ("Zoë (1)!.jpg", "empty.jpg", "b.PNG", "c.webp"))]


def request_into(folder: Path, format: str = "same", epsilon: float = 8, **more: bool) -> Request:
    return Request((), folder, format, epsilon, quiet=True, workers=1, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, []),
        (
            {"format": "lossless", "epsilon": 4, "strip_gps": True, "no_ai_training": True},
            ["--format", "lossless", "--strength", "subtle", "--strip-gps", "--no-ai-training"],
        ),
    ],
)
def test_files_are_those_of_the_command_line(
    protector: PhotoProtector,
    generator: Path,
    storage: Storage,
    photos: list[Upload],
    tmp_path: Path,
    settings: dict[str, Any],
    options: list[str],
) -> None:
    begun: list[str] = []
    results = list(protect_uploads(photos, request_into(storage.new_folder("page"), **settings), protector, storage, begun.append))
    assert begun == [photo.name for photo in photos]
    command = ["protect", *(str(photo.path) for photo in photos), "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--generator", str(generator), *options]) == 1
    done = [result for result in results if isinstance(result, ProtectedPhoto)]
    rejected = [result for result in results if isinstance(result, RejectedPhoto)]
    assert rejected == [RejectedPhoto("empty.jpg", "the file is empty; copy it again")]
    expected = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {photo.output.name: photo.output.read_bytes() for photo in done} == expected
    for photo in done:
        for picture in (photo.before, photo.after, photo.residual):
            with Image.open(picture) as shown:
                assert shown.size == ((44, 60) if "Zoë" in photo.output.name else (60, 44))


def test_a_protected_photo_is_not_protected_again(protector: PhotoProtector, storage: Storage, photos: list[Upload]) -> None:
    (done,) = protect_uploads(photos[:1], request_into(storage.new_folder("page")), protector, storage, len)
    assert isinstance(done, ProtectedPhoto)
    again = Upload(done.output.rename(photos[0].path), "a.jpg")
    (rejected,) = protect_uploads([again], request_into(storage.new_folder("page")), protector, storage, len)
    assert isinstance(rejected, RejectedPhoto)
    assert "protected already" in rejected.reason


def test_too_large_and_lost_files_are_named(
    protector: PhotoProtector, storage: Storage, photos: list[Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 900)
    monkeypatch.setattr(uploads, "MAX_PIXELS", 2000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    uploads.limit_pixels()
    photos[2].path.write_bytes(bytes(901))
    photos[0].path.unlink()
    results = protect_uploads(photos, request_into(storage.new_folder("page")), protector, storage, len)
    reasons = [result.reason for result in results if isinstance(result, RejectedPhoto)]
    assert reasons[0] == "the page does not have it any more; add it again"
    assert reasons[2] == "1 kB is more than this page takes (1 kB); save it smaller"
    assert "megapixels; scale it down first" in reasons[3]


def test_nothing_is_done_for_a_closed_page(protector: PhotoProtector, storage: Storage, photos: list[Upload]) -> None:
    folder = storage.new_folder("page")
    assert list(protect_uploads(photos, request_into(folder), protector, storage, lambda _: storage.close("page"))) == []
    assert not folder.exists()


def test_a_zip_has_all_files_as_they_are_and_each_has_a_name(tmp_path: Path) -> None:
    done = []
    for number, name in enumerate(["a.jpg", "A.jpg", "b.png", "a.jpg"]):
        file = tmp_path / str(number) / name
        file.parent.mkdir()
        file.write_bytes(bytes([number]))
        done.append(ProtectedPhoto(file, file, file, file, ""))
    with zipfile.ZipFile(uploads.zip_photos(done, tmp_path / "all.zip")) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "a.jpg": b"\0",
            "A (2).jpg": b"\1",
            "b.png": b"\2",
            "a (3).jpg": b"\3",
        }
