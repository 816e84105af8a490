"""What lies beside photos in people's folders, such as thumbnails and films, is left alone and named, and the exit status tells."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from anti_i2v.bulk import others
from anti_i2v.bulk.others import FOLDERS, Kind, kind_of
from anti_i2v.bulk.plan import plan_jobs
from tests.tiny.generator import Capture, Protect, smooth

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
SYNOLOGY = "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg"


def album(folder: Path, *names: str) -> Path:
    """A folder with the photo `a.jpg` and others; files that are no photos by their names hold a few bytes of anything."""
    for name in ("a.jpg", *names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".jpg", ".png"):
            smooth(1).save(path)
        else:
            path.write_bytes(b"anything")
    return folder


def kinds(folder: Path, out: Path | None = None) -> dict[str, str]:
    """Path below a folder → kind, of what a plan leaves alone."""
    return {os.path.relpath(one.path, folder): one.kind for one in plan_jobs([folder], out, "same").left_alone}


@pytest.mark.parametrize("name", [name.upper() if number % 2 else name for number, name in enumerate(FOLDERS)])
def test_a_folder_that_a_program_makes_is_left_alone_and_done_where_it_is_named(name: str, tmp_path: Path) -> None:
    folder = album(tmp_path / "album", f"{name}/deep/b.jpg", "trip/c.jpg")
    plan = plan_jobs([folder], None, "same")
    assert [job.output.name for job in plan.jobs] == ["a.jpg", "c.jpg"]
    ((path, kind, made_by),) = [(one.path, one.kind, one.made_by) for one in plan.left_alone]
    assert (path, kind, made_by) == (str(folder / name), *FOLDERS[name.lower()])
    assert [job.output.name for job in plan_jobs([folder / name], None, "same").jobs] == ["b.jpg"]


def test_thumbnails_beside_photos_that_are_replaced_are_named_with_the_remedy(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    folder = album(tmp_path / "album", SYNOLOGY, ".thumbnails/1.jpg", "Thumbs.db")
    thumbnail = (folder / SYNOLOGY).read_bytes()
    assert protect(folder, "--in-place", "--quiet") == 3
    said = capsys.readouterr()
    assert "protected 1 photo in place" in said.out
    assert f"3 stores of thumbnails, such as {folder}/.thumbnails (of Android or Linux); delete it, or have the NAS" in said.err
    assert (folder / SYNOLOGY).read_bytes() == thumbnail
    assert not list(folder.glob("@eaDir/**/*_unprotected"))
    assert protect(folder, "--in-place", "--dry-run") == 3  # also where all photos are done


def test_thumbnails_beside_originals_are_named_and_are_no_reason_to_complain(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    folder = album(tmp_path / "album", SYNOLOGY, "#recycle/b.jpg")
    assert protect(folder, "--out", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "protected 1 photo into" in said.out
    assert f"note: left alone: 1 store of thumbnails, {folder}/@eaDir (of Synology)" in said.out
    assert said.err == ""
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["a.jpg"]


def test_a_pattern_names_no_thumbnails_unless_they_stand_in_it(tmp_path: Path) -> None:
    folder = album(tmp_path / "album", SYNOLOGY)
    plan = plan_jobs([folder / "**/*.jpg"], tmp_path / "out", "same")
    assert [job.source for job in plan.jobs] == [folder / "a.jpg"]
    assert [one.path for one in plan.left_alone] == [str(folder / "@eaDir")]
    assert [job.source for job in plan_jobs([folder / "@eaDir/*/*.jpg"], tmp_path / "out", "same").jobs] == [folder / SYNOLOGY]


def test_hidden_and_linked_folders_count_only_where_they_hold_pictures(tmp_path: Path) -> None:
    folder = album(tmp_path / "album", ".private/x/b.jpg", ".config/settings.txt", ".Trash-1000/files/c.mp4", "trip/d.jpg")
    away = album(tmp_path / "away")
    (folder / "away").symlink_to(away)
    (folder / "again").symlink_to(folder / "trip")  # found as `trip`
    expected = {".private": "hidden", ".config": "system", ".Trash-1000": "earlier", "away": "linked"}
    assert kinds(folder) == expected
    assert [job.output.name for job in plan_jobs([folder], None, "same").jobs] == ["a.jpg", "d.jpg"]


def test_a_folder_too_large_to_look_through_counts_as_one_with_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = album(tmp_path / "album", *(f".cache/{number}" for number in range(8)))
    assert kinds(folder) == {".cache": "system"}
    monkeypatch.setattr(others, "MOST_NAMES", 7)
    assert kinds(folder) == {".cache": "hidden"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_keeps_nobody_waiting(protect: Protect, tmp_path: Path) -> None:
    folder = album(tmp_path / "album")
    (tmp_path / "out").mkdir()
    for pipe in (folder / "pipe", folder / ".hidden.jpg", tmp_path / "out/a.png"):
        os.mkfifo(pipe)
    assert kinds(folder) == {"pipe": "other"}
    os.utime(tmp_path / "out/a.png", (1e9, 1e9))
    assert protect(folder, "--out", tmp_path / "out", "--format", "png", "--dry-run") == 1


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        *((f"IMG_1.{suffix}", b"", Kind.RAW) for suffix in ("dng", "ARW", "cr2", "CR3", "nef", "nrw", "orf", "rw2", "raf", "pef", "iiq")),
        *((f"IMG_1.{suffix}", b"", Kind.FILM) for suffix in ("MOV", "mp4", "m4v", "avi", "mkv", "3gp", "webm", "mts", "insv", "lrv")),
        *((f"a.{suffix}", b"", Kind.PICTURE) for suffix in ("jxl", "psd", "PSB", "xcf")),
        *((name, b"", Kind.SIDECAR) for name in ("a.xmp", "a.jpg.xmp", "IMG_1.AAE", "a.pp3", "a.dop", "a.jpg.json")),
        ("a.HEIC.supplemental-metadata.json", b"", Kind.SIDECAR),
        ("a.jpg(1).json", b"", Kind.SIDECAR),
        ("metadata.json", b"", Kind.OTHER),
        ("0001.json", b"", Kind.OTHER),
        ("logo.svg", b"<svg>", Kind.OTHER),
        ("bill.pdf", b"%PDF-1.7", Kind.OTHER),
        ("IMG_0001", b"\xff\xd8\xff\xe0 a JPEG without a suffix", Kind.RENAMED),
        ("a.jpg_original", b"\xff\xd8\xff\xe1 kept by ExifTool", Kind.EARLIER),
        ("a.jpg_unprotected", b"\xff\xd8\xff\xe1 kept by an earlier call", Kind.EARLIER),
        ("notes.bak", b"no photo", Kind.OTHER),
        (".hidden.png", b"\x89PNG\r\n\x1a\n", Kind.RENAMED),
        (".hidden.bmp", b"BM", Kind.RENAMED),
        ("cars.txt", b"BMW and others", Kind.OTHER),
        ("plan.txt", b"P1 is first", Kind.OTHER),
        ("._a.mov", b"\0\5\x16\7 a companion of macOS", None),
        (".DS_Store", b"\0\0\0\1Bud1", None),
        ("ehthumbs.db", b"", Kind.THUMBNAILS),
        (".thumbdata4--1967290299", b"", Kind.THUMBNAILS),
    ],
)
def test_a_file_is_known_by_its_name_or_its_first_bytes(name: str, content: bytes, kind: Kind | None) -> None:
    assert kind_of(name, lambda: content) == kind


def test_films_and_raw_photos_end_in_status_3_and_stand_in_the_report(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    folder = album(tmp_path / "album", "b.dng", "c.jxl", "IMG_1.MOV", "IMG_2.MOV", "a.xmp", "notes.txt")
    assert protect(folder, "--out", tmp_path / "out", "--dry-run") == 3
    dry = capsys.readouterr().out
    assert protect(folder, "--out", tmp_path / "out", "--report", tmp_path / "r.json") == 3
    said = capsys.readouterr()
    expected = [
        "NOT protected, and may show the same people:",
        f"  1 RAW photo, {folder}/b.dng; save it as TIFF or JPEG and protect that",
        f"  1 picture of a format that is not read, {folder}/c.jxl; save it as PNG and protect that",
        f"  2 films, such as {folder}/IMG_1.MOV; films cannot be protected",
    ]
    assert said.err.splitlines() == expected
    assert dry.splitlines()[-4:] == expected
    assert f"note: left alone: 1 sidecar file (edits), {folder}/a.xmp; not changed, and not copied into --out" in said.out
    assert f"note: left alone: 1 other file, {folder}/notes.txt" in said.out
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["counts"] == {"protected": 1, "skipped": 0, "failed": 0}
    assert [(Path(one["path"]).name, one["kind"], one["shows_people"]) for one in told["left_alone"]] == [
        ("IMG_1.MOV", "film", True),
        ("IMG_2.MOV", "film", True),
        ("a.xmp", "sidecar", False),
        ("b.dng", "raw", True),
        ("c.jxl", "picture", True),
    ]
    (folder / "bad.png").write_bytes(b"no photo")
    assert protect(folder, "--out", tmp_path / "out") == 1  # what failed counts more
    (folder / "bad.png").unlink()
    assert protect(folder / "b.dng", folder / "IMG_1.MOV", "--in-place") == 2


def test_heic_photos_that_cannot_be_read_here_are_named_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = album(tmp_path / "album", "IMG_1.MOV")
    (folder / "IMG_1.HEIC").write_bytes(HEIC)
    smooth(1).save(folder / "jpeg.heic", "JPEG")  # read by its content
    for is_installed, jobs in ((True, 3), (False, 2)):
        monkeypatch.setattr(others, "reads_heic", lambda there=is_installed: there)
        assert len(plan_jobs([folder], None, "same").jobs) == jobs
        assert kinds(folder) == {"IMG_1.MOV": "film"} | ({} if is_installed else {"IMG_1.HEIC": "heic"})
    (folder / "a.jpg").unlink()
    (folder / "jpeg.heic").unlink()
    with pytest.raises(ValueError, match=r"no photo in .*; left alone: 1 HEIC photo, .*IMG_1.HEIC; pip install 'anti-i2v\[heif\]'"):
        plan_jobs([folder], None, "same")


def test_what_shows_people_in_a_shard_is_named(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    photo = io.BytesIO()
    smooth(1).save(photo, "JPEG")
    members = {name: photo.getvalue() for name in ("a.jpg", ".b.jpg", "without-suffix", f"{SYNOLOGY}")}
    members |= {"a.mov": b"film", "a.json": b"{}", "a.txt": b"BM", "a.xmp": b"<x/>", "Thumbs.db": b"", "._a.jpg": b"\0\5\x16\7"}
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert protect(tmp_path / "00.tar", "--out", tmp_path / "out", "--dry-run") == 3
    dry = capsys.readouterr().out
    assert protect(tmp_path / "00.tar", "--out", tmp_path / "out", "--report", tmp_path / "r.json") == 3
    said = capsys.readouterr()
    expected = [
        f"  2 photos without a photo's name, such as {tmp_path}/00.tar: .b.jpg; name it like a photo (a.jpg) and run again",
        f"  1 film, {tmp_path}/00.tar: a.mov; films cannot be protected",
        f"  1 store of thumbnails, {tmp_path}/00.tar: Thumbs.db; {others.WORDS[Kind.THUMBNAILS][2]}",
    ]
    assert said.err.splitlines()[1:] == expected
    assert dry.splitlines()[-3:] == expected
    told = json.loads((tmp_path / "r.json").read_text())
    assert [Path(one["output"]).name for one in told["photos"]] == ["a.jpg", "SYNOPHOTO_THUMB_XL.jpg"]  # a copy would be a leak
    assert [one["kind"] for one in told["left_alone"]] == ["renamed", "renamed", "film", "thumbnails"]
    with tarfile.open(tmp_path / "out/00.tar") as tar:
        assert len(tar.getnames()) == len(members)
