"""`anti-i2v protect` and `export` as people use them: files in, files and messages out, exit statuses."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anti_i2v.bulk import plan
from anti_i2v.imaging.cielab import Floats
from anti_i2v.imaging.reading import read_photo
from anti_i2v.inference.torch_backend import TorchBackend
from tests.tiny.generator import EPSILON, Capture, Protect, smooth

ROOT = Path(__file__).resolve().parents[2]


def difference(a: Path, b: Path) -> int:
    """Largest difference of two files' RGB values in 8-bit steps."""
    one, other = (np.asarray(read_photo(p).convert("RGB"), dtype=int) for p in (a, b))
    return int(np.abs(one - other).max())


def test_a_photo_is_protected_within_the_budget_and_the_limits_are_printed(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(0).save(tmp_path / "a.png")
    assert protect(tmp_path / "a.png", "--out", tmp_path / "out") == 0
    assert 0 < difference(tmp_path / "a.png", tmp_path / "out/a.png") <= EPSILON
    said = capsys.readouterr().out
    assert "protected 1 photo" in said
    assert f"largest change in the re-read files: {difference(tmp_path / 'a.png', tmp_path / 'out/a.png')}/255" in said
    assert "a test model" in said
    assert "does NOT protect against any production video model" in said


def test_a_folder_keeps_its_structure_and_its_formats(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    photos = tmp_path / "holiday"
    (photos / "beach" / "day 2").mkdir(parents=True)
    smooth(1).save(photos / "a.jpg", quality=90)
    smooth(2).convert("L").save(photos / "beach" / "b.tif")
    smooth(3).save(photos / "beach" / "day 2" / "c.webp", lossless=True)
    (photos / "notes.txt").write_text("left alone")
    (photos / "._a.jpg").write_bytes(b"not a photo, only looks like one")
    out = photos / "protected"  # inside the source: a second run must not protect it again
    assert protect(photos, "--out", out) == 0
    written = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert written == ["a.jpg", "beach/b.tif", "beach/day 2/c.webp"]
    assert read_photo(out / "a.jpg").format == "JPEG"
    assert read_photo(out / "beach/b.tif").mode == "L"
    for name in written[1:]:
        assert difference(photos / name, out / name) <= EPSILON
    said = capsys.readouterr()
    assert "written as PNG" not in said.out
    assert "notes.txt" in said.out

    changed = (out / "a.jpg").stat().st_ctime_ns
    assert protect(photos, "--out", out) == 0
    said = capsys.readouterr()
    assert "skipped 3" in said.out
    assert (out / "a.jpg").stat().st_ctime_ns == changed
    assert protect(photos, "--out", out, "--overwrite", "--quiet") == 0
    said = capsys.readouterr()
    assert "protected 3 photos" in said.out
    assert said.err == ""
    assert (out / "a.jpg").stat().st_ctime_ns > changed


def test_a_jpeg_stays_a_jpeg_and_the_share_of_the_protection_in_it_is_said(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.jpg", quality=90)
    assert protect(tmp_path / "a.jpg", "--out", tmp_path / "out", "--report", tmp_path / "report.json") == 0
    assert read_photo(tmp_path / "out/a.jpg").format == "JPEG"
    said = capsys.readouterr().out
    assert "encoding adds its own change" in said
    (entry,) = json.loads((tmp_path / "report.json").read_text())["photos"]
    assert 0.5 < entry["survived"] < 1.1
    assert f"of the protection's change, {entry['survived']:.0%} is in the lossy files" in said


def test_format_lossless_makes_a_jpeg_a_png_in_which_the_bound_is_exact(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.jpg", quality=90)
    assert protect(tmp_path / "a.jpg", "--out", tmp_path / "out", "--format", "lossless") == 0
    assert 0 < difference(tmp_path / "a.jpg", tmp_path / "out/a.png") <= EPSILON
    assert "note: 1 written as PNG, because their own format would change pixels again; see --format same" in capsys.readouterr().out


def test_a_format_that_is_not_written_becomes_png_and_it_is_said(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.gif")
    assert protect(tmp_path / "a.gif", "--out", tmp_path / "out") == 0
    assert read_photo(tmp_path / "out/a.png").format == "PNG"
    assert "note: GIF, which is not written, became PNG in 1 of them" in capsys.readouterr().out


def test_of_two_sources_of_one_name_the_second_is_named_and_the_rest_is_done(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    album, out = tmp_path / "album", tmp_path / "out"
    album.mkdir()
    for seed, name in enumerate(("a.jpg", "a.png", "b.png")):
        smooth(seed).save(album / name)
    for _ in range(2):  # a rerun takes neither for the other
        assert protect(album, "--out", out, "--format", "lossless") == 1
        said = capsys.readouterr()
        assert f"{album / 'a.png'} would become {out / 'a.png'}, as {album / 'a.jpg'} does; rename it" in said.err
        assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"]
    assert "skipped 2" in said.out
    assert difference(out / "a.png", album / "a.jpg") <= EPSILON
    assert protect(album, "--out", tmp_path / "same") == 0
    assert protect(album / "a.jpg", album / "a.jpg", "--out", tmp_path / "twice") == 0  # one file named twice is one


def test_names_that_differ_in_case_are_two_unless_the_disk_takes_them_for_one(
    protect: Protect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    album, names = tmp_path / "album", ("IMG_1.JPG", "img_1.jpg", "\u00e9.png", "e\u0301.png", "other.png")
    album.mkdir()
    for seed, name in enumerate(names):
        smooth(seed).save(album / name)
    if len(list(album.iterdir())) < len(names):
        pytest.skip("this disk takes them for one")
    assert protect(album, "--out", tmp_path / "out", "--format", "same") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    monkeypatch.setattr(plan, "_tells_case", lambda folder: False)
    assert protect(album, "--out", tmp_path / "card", "--format", "same", "--overwrite") == 1
    said = capsys.readouterr().err
    assert f"{album / 'img_1.jpg'} would become {tmp_path / 'card/img_1.jpg'}, which is {tmp_path / 'card/IMG_1.JPG'} on this disk" in said
    assert "failed: 2" in said
    assert len(list((tmp_path / "card").iterdir())) == 3


def test_originals_cannot_be_overwritten(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    for source in (tmp_path, tmp_path / "a.png"):
        assert protect(source, "--out", tmp_path, "--overwrite") == 2
        assert "originals" in capsys.readouterr().err
    (tmp_path / "sub").mkdir()
    smooth(2).save(tmp_path / "sub" / "a.png")
    assert protect(tmp_path / "a.png", tmp_path / "sub" / "a.png", "--out", tmp_path / "sub", "--overwrite") == 2
    assert (tmp_path / "a.png").read_bytes() == before


def test_a_bad_photo_does_not_stop_the_others(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    smooth(1).save(photos / "good.png")
    (photos / "empty.jpg").write_bytes(b"")
    smooth(2, 200, 200).save(photos / "whole.png")
    whole = (photos / "whole.png").read_bytes()
    (photos / "whole.png").unlink()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    assert protect(photos, tmp_path / "none.png", "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "failed: 3" in said
    for name in ("empty.jpg", "cut.png", "none.png"):
        assert name in said
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good.png"]


def test_a_shard_keeps_its_order_and_other_members_byte_for_byte(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    members: list[tuple[str, bytes]] = []
    for i in range(3):
        file = io.BytesIO()
        smooth(i).save(file, "JPEG", quality=92)
        members += [(f"{i:04}.jpg", file.getvalue()), (f"{i:04}.json", json.dumps({"i": i}).encode())]
    members[2] = ("0001.jpg", b"damaged")
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards/00.tar", "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_000_000
            tar.addfile(info, io.BytesIO(data))
    assert protect(tmp_path / "shards", "--out", tmp_path / "out", "--format", "lossless") == 1
    said = capsys.readouterr()
    assert "protected 2 photos" in said.out
    assert "0001.jpg" in said.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["00.tar"]
    with tarfile.open(tmp_path / "out/00.tar") as tar:
        assert tar.getnames() == ["0000.png", "0000.json", "0001.json", "0002.png", "0002.json"]
        content = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        assert {member.mtime for member in tar} == {1_000_000}
    assert content["0001.json"] == members[3][1]
    for i in (0, 2):
        a = np.asarray(read_photo(io.BytesIO(members[2 * i][1])), dtype=int)
        b = np.asarray(read_photo(io.BytesIO(content[f"{i:04}.png"])), dtype=int)
        assert 0 < np.abs(a - b).max() <= EPSILON
    assert protect(tmp_path / "shards/00.tar", "--out", tmp_path / "out") == 2  # there already, without a photo
    assert "lacks photos that failed" in capsys.readouterr().err


def test_only_an_invalid_tar_and_a_tar_with_duplicate_names_fail(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "good.png")
    (tmp_path / "text.tar").write_text("no tar at all")
    with tarfile.open(tmp_path / "double.tar", "w") as tar:
        for name in ("a.jpg", "a.png"):
            tar.add(tmp_path / "good.png", name)
    sources = (tmp_path / "good.png", tmp_path / "text.tar", tmp_path / "double.tar")
    assert protect(*sources, "--out", tmp_path / "out", "--format", "lossless") == 1
    said = capsys.readouterr().err
    assert "text.tar" in said
    assert "a.jpg and a.png" in said
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good.png"]


@pytest.mark.parametrize(
    ("name", "mode", "written", "kept"),
    [
        ("a.png", "RGBA", "a.png", "RGBA"),
        ("a.png", "LA", "a.png", "LA"),
        ("a.png", "L", "a.png", "L"),
        ("a.bmp", "RGB", "a.bmp", "RGB"),
        ("a.gif", "P", "a.png", None),
        ("a.jpg", "CMYK", "a.png", "RGB"),
        ("a.jpg", "L", "a.png", "L"),
    ],
)
def test_modes(protect: Protect, tmp_path: Path, capsys: Capture, name: str, mode: str, written: str, kept: str | None) -> None:
    photo = smooth(4).convert(mode)
    if "A" in mode:
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save(tmp_path / name)
    assert protect(tmp_path / name, "--out", tmp_path / "out", "--format", "lossless") == 0
    result = read_photo(tmp_path / "out" / written)
    assert result.size == photo.size
    assert kept is None or result.mode == kept
    assert 0 < difference(tmp_path / name, tmp_path / "out" / written) <= EPSILON
    if "A" in mode:
        assert result.getchannel("A").tobytes() == photo.getchannel("A").tobytes()
    assert ("CMYK became RGB" in capsys.readouterr().out) == (mode == "CMYK")


def test_an_interrupt_leaves_no_half_file(protect: Protect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        smooth(1).save(tmp_path / "a.png")
        tar.add(tmp_path / "a.png", "a.png")
        tar.add(tmp_path / "a.png", "b.png")
    original, calls = TorchBackend.propose, []

    def second_is_interrupted(self: TorchBackend, photo: Floats, *arguments: Any) -> dict[str, Floats]:
        calls.append(photo)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, photo, *arguments)

    monkeypatch.setattr(TorchBackend, "propose", second_is_interrupted)
    assert protect(tmp_path / "00.tar", "--out", tmp_path / "out") == 130
    assert not (tmp_path / "out").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_help_imports_no_torch() -> None:
    code = "import sys, anti_i2v.__main__ as m\ntry: m.main(['protect', '--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip().endswith("False")
    assert "--epsilon" in done.stdout


def test_protecting_imports_no_training_and_no_video_library(generator: Path, tmp_path: Path) -> None:
    smooth(1).save(tmp_path / "a.png")
    code = (
        "import sys\nfrom anti_i2v.__main__ import main\n"
        f"status = main(['protect', {str(tmp_path / 'a.png')!r}, '--out', {str(tmp_path / 'out')!r}, '--generator', {str(generator)!r}])\n"
        "print(status, [m for m in ('diffusers', 'lightning', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Warning" not in done.stderr
    assert done.stdout.strip().splitlines()[-1] == "0 []"
