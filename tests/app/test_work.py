"""The page's files are those of `anti-i2v protect`, and a bad one never stops the rest."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from anti_i2v.__main__ import main
from anti_i2v.app import work
from anti_i2v.app.storage import Storage
from anti_i2v.app.work import Protected, Refused, Upload
from anti_i2v.bulk.backends import Way, one_pass
from tests.tiny.photos import exif, smooth


@pytest.fixture(scope="module")
def way() -> Way:
    return one_pass()


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


@pytest.mark.parametrize(
    ("chosen", "options"),
    [
        ((8, "same", False, False), ["--format", "same"]),
        ((4, "lossless", True, True), ["--strength", "subtle", "--strip-gps", "--no-ai-training"]),
    ],
)
def test_files_are_those_of_the_command_line(
    way: Way, storage: Storage, photos: list[Upload], tmp_path: Path, chosen: tuple[float, str, bool, bool], options: list[str]
) -> None:
    task = work.task_for(way, *chosen)
    begun: list[str] = []
    outcomes = list(work.protect_all(way, photos, task, storage, storage.fresh("page"), begun.append))
    assert begun == [photo.name for photo in photos]
    assert main(["protect", *(str(photo.path) for photo in photos), "--out", str(tmp_path / "out"), "--quiet", *options]) == 1
    done = [outcome for outcome in outcomes if isinstance(outcome, Protected)]
    assert [outcome for outcome in outcomes if isinstance(outcome, Refused)] == [Refused("empty.jpg", "the file is empty; copy it again")]
    expected = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {photo.output.name: photo.output.read_bytes() for photo in done} == expected
    for photo in done:
        for picture in (photo.before, photo.after, photo.residual):
            with Image.open(picture) as shown:
                assert shown.size == ((44, 60) if "Zoë" in photo.output.name else (60, 44))


def test_what_is_protected_already_is_left_alone(way: Way, storage: Storage, photos: list[Upload]) -> None:
    task = work.task_for(way, 8, "same", False, False)
    (done,) = work.protect_all(way, photos[:1], task, storage, storage.fresh("page"), len)
    assert isinstance(done, Protected)
    again = done.output.rename(photos[0].path)
    (refused,) = work.protect_all(way, [Upload(again, "a.jpg")], task, storage, storage.fresh("page"), len)
    assert isinstance(refused, Refused)
    assert "protected already" in refused.reason


def test_too_large_and_lost_files_are_named(way: Way, storage: Storage, photos: list[Upload], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MOST_BYTES", 900)
    monkeypatch.setattr(work, "MOST_PIXELS", 2000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    work.limit_pixels()
    photos[2].path.write_bytes(bytes(901))
    photos[0].path.unlink()
    task = work.task_for(way, 8, "same", False, False)
    reasons = [o.reason for o in work.protect_all(way, photos, task, storage, storage.fresh("page"), len) if isinstance(o, Refused)]
    assert reasons[0] == "the page does not have it any more; add it again"
    assert reasons[2] == "1 kB is more than this page takes (1 kB); save it smaller"
    assert "megapixels; scale it down first" in reasons[3]


def test_nothing_is_done_for_a_closed_page(way: Way, storage: Storage, photos: list[Upload]) -> None:
    folder = storage.fresh("page")
    outcomes = work.protect_all(way, photos, work.task_for(way, 8, "same", False, False), storage, folder, lambda _: storage.close("page"))
    assert list(outcomes) == []
    assert not folder.exists()


def test_a_zip_has_all_files_as_they_are_and_each_has_a_name(tmp_path: Path) -> None:
    done = []
    for number, name in enumerate(["a.jpg", "A.jpg", "b.png", "a.jpg"]):
        file = tmp_path / str(number) / name
        file.parent.mkdir()
        file.write_bytes(bytes([number]))
        done.append(Protected(file, file, file, file, ""))
    with zipfile.ZipFile(work.zip_all(done, tmp_path / "all.zip")) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "a.jpg": b"\0",
            "A (2).jpg": b"\1",
            "b.png": b"\2",
            "a (3).jpg": b"\3",
        }
