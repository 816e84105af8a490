"""The options of `anti-i2v protect`: in place, in a pipe, as a plan, with a report, within a visible difference, marked or not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anti_i2v.__main__ import main
from anti_i2v.atomic import part_path
from anti_i2v.bulk.plan import plan_jobs
from anti_i2v.imaging.metadata.statements import read_mark
from anti_i2v.imaging.reading import read_photo
from tests.tiny.generator import EPSILON, Capture, Protect, smooth

ROOT = Path(__file__).resolve().parents[2]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(read_photo(path).convert("RGB"), dtype=int)


def test_in_place_replaces_a_photo_and_keeps_it_beside_its_successor(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.jpg", quality=92)
    smooth(2).save(tmp_path / "b.png")
    before = {name: (tmp_path / name).read_bytes() for name in ("a.jpg", "b.png")}
    assert protect(tmp_path, "--in-place") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.jpg_unprotected", "b.png", "b.png_unprotected"]
    for name, content in before.items():
        assert (tmp_path / f"{name}_unprotected").read_bytes() == content
        assert (tmp_path / name).read_bytes() != content
    assert read_photo(tmp_path / "a.jpg").format == "JPEG"
    Image.fromarray(pixels(tmp_path / "b.png_unprotected").astype(np.uint8)).save(tmp_path / "copy.png")
    assert 0 < np.abs(pixels(tmp_path / "b.png") - pixels(tmp_path / "copy.png")).max() <= EPSILON
    (tmp_path / "copy.png").unlink()

    after = (tmp_path / "b.png").read_bytes()
    capsys.readouterr()
    assert protect(tmp_path, "--in-place") == 0
    assert "skipped 2" in capsys.readouterr().out
    assert protect(tmp_path, "--in-place", "--overwrite") == 0  # from what was kept, not from what is protected already
    assert (tmp_path / "b.png").read_bytes() == after
    assert (tmp_path / "b.png_unprotected").read_bytes() == before["b.png"]


def test_in_place_leaves_a_photo_alone_that_cannot_be_protected(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:150])
    smooth(1).save(tmp_path / "old.gif")
    (tmp_path / "link.png").symlink_to(tmp_path / "good.png")
    before = (tmp_path / "bad.png").read_bytes()
    assert protect(tmp_path / "bad.png", tmp_path / "link.png", tmp_path / "old.gif", "--in-place") == 2
    said = capsys.readouterr().err
    assert "symbolic link" in said
    assert ".gif is not written" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.png", "good.png", "link.png", "old.gif"]
    assert (tmp_path / "bad.png").read_bytes() == before
    assert protect(tmp_path / "good.png", "--in-place", "--format", "png") == 2


def test_a_call_in_place_that_was_killed_before_it_replaced_the_photo_is_taken_up_again(protect: Protect, tmp_path: Path) -> None:
    smooth(1).save(tmp_path / "a.png")
    os.link(tmp_path / "a.png", tmp_path / "a.png_unprotected")
    before = (tmp_path / "a.png").read_bytes()
    assert protect(tmp_path / "a.png", "--in-place") == 0
    assert (tmp_path / "a.png").read_bytes() != before
    assert (tmp_path / "a.png_unprotected").read_bytes() == before


def test_what_is_protected_is_not_protected_twice(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.png")
    assert protect(tmp_path / "a.png", "--out", tmp_path / "one") == 0
    mark = read_mark(read_photo(tmp_path / "one/a.png"))
    assert mark is not None
    assert (mark.generator, mark.epsilon, len(mark.weights)) == ("tiny", EPSILON, 16)
    capsys.readouterr()
    assert protect(tmp_path / "one", "--out", tmp_path / "two") == 0
    assert "skipped 1 that bear the mark" in capsys.readouterr().out
    assert not (tmp_path / "two").exists()
    assert protect(tmp_path / "one", "--out", tmp_path / "two", "--force") == 0
    assert (pixels(tmp_path / "two/a.png") != pixels(tmp_path / "one/a.png")).any()
    assert protect(tmp_path / "a.png", "--out", tmp_path / "three", "--no-mark") == 0
    assert read_mark(read_photo(tmp_path / "three/a.png")) is None
    assert (pixels(tmp_path / "three/a.png") == pixels(tmp_path / "one/a.png")).all()


def test_a_shard_keeps_members_that_are_protected_already(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.png")
    assert protect(tmp_path / "a.png", "--out", tmp_path / "one") == 0
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        tar.add(tmp_path / "one/a.png", "a.png")
        tar.add(tmp_path / "a.png", "b.png")
    assert protect(tmp_path / "00.tar", "--out", tmp_path / "out") == 0
    assert "skipped 1" in capsys.readouterr().out
    with tarfile.open(tmp_path / "out/00.tar") as tar:
        assert tar.getnames() == ["a.png", "b.png"]
        assert tar.extractfile("a.png").read() == (tmp_path / "one/a.png").read_bytes()  # type: ignore[union-attr]


def test_the_same_photo_gives_the_same_bytes(protect: Protect, tmp_path: Path) -> None:
    smooth(1).save(tmp_path / "a.jpg", quality=90)
    for format in ("lossless", "same"):
        for out in ("one", "two"):
            assert protect(tmp_path / "a.jpg", "--out", tmp_path / format / out, "--format", format) == 0
        one, two = ([p.read_bytes() for p in (tmp_path / format / out).iterdir()] for out in ("one", "two"))
        assert one == two


def test_a_visible_difference_has_a_limit(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.png")
    for limit in (None, 1.0):
        more = [] if limit is None else ["--max-delta-e", limit]
        assert (
            protect(tmp_path / "a.png", "--out", tmp_path / str(limit), "--epsilon", 16, "--report", tmp_path / f"{limit}.json", *more) == 0
        )
    whole, held = (json.loads((tmp_path / f"{limit}.json").read_text())["photos"][0] for limit in (None, 1.0))
    assert whole["delta_e"] > 1.2
    assert 0.5 < held["delta_e"] <= 1.0
    assert held["epsilon"] < whole["epsilon"] == 16
    mark = read_mark(read_photo(tmp_path / "1.0/a.png"))
    assert mark is not None
    assert mark.epsilon == pytest.approx(held["epsilon"], rel=1e-4)
    assert protect(tmp_path / "a.png", "--out", tmp_path / "none", "--max-delta-e", 0.01) == 2
    assert "raise --max-delta-e" in capsys.readouterr().err


def test_a_strength_is_an_epsilon_by_name(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.png")
    for name, epsilon in (("subtle", 4), ("standard", 8), ("strong", 16)):
        assert protect(tmp_path / "a.png", "--out", tmp_path / name, "--strength", name) == 0
        assert f"(epsilon {epsilon})" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        protect(tmp_path / "a.png", "--out", tmp_path / "x", "--strength", "strong", "--epsilon", "4")


def test_a_dry_run_writes_nothing_and_says_what_would_be_done(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.jpg")
    assert protect(tmp_path / "a.jpg", tmp_path / "none.png", "--out", tmp_path / "out", "--dry-run") == 1
    said = capsys.readouterr()
    assert f"{tmp_path / 'a.jpg'} → {tmp_path / 'out/a.jpg'}" in said.out
    assert "1 of 1 to do" in said.out
    assert "none.png" in said.err
    assert not (tmp_path / "out").exists()


def test_a_report_says_what_became_of_each_photo(protect: Protect, tmp_path: Path) -> None:
    smooth(1).save(tmp_path / "a.jpg", quality=90)
    (tmp_path / "bad.png").write_bytes(b"no photo")
    arguments = (tmp_path / "a.jpg", tmp_path / "bad.png", "--out", tmp_path / "out", "--format", "same", "--report", tmp_path / "r.json")
    assert protect(*arguments) == 1
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["counts"] == {"protected": 1, "skipped": 0, "failed": 1}
    good, bad = told["photos"]
    assert (good["source"], good["output"]) == (str(tmp_path / "a.jpg"), str(tmp_path / "out/a.jpg"))
    change = np.abs(pixels(tmp_path / "out/a.jpg") - pixels(tmp_path / "a.jpg"))
    assert good["steps"] == change.max()
    assert good["psnr"] == pytest.approx(10 * np.log10(255**2 / (change**2).mean()))
    assert good["lossy"]
    assert 0.5 < good["survived"] < 1.1
    assert (bad["status"], bad["output"]) == ("failed", None)
    assert "known format" in bad["reason"]
    assert protect(*arguments) == 1
    assert json.loads((tmp_path / "r.json").read_text())["counts"] == {"protected": 0, "skipped": 1, "failed": 1}


def test_patterns_are_unfolded_where_the_shell_did_not(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "a.png", "[1].png", "c.txt", "deep/d.png"):
        smooth(1).save(tmp_path / name, "PNG")
    jobs = plan_jobs([tmp_path / "*.png"], tmp_path / "out", "lossless").jobs
    assert [job.source.name for job in jobs] == ["[1].png", "a.png", "b.png"]
    assert [job.source.name for job in plan_jobs([tmp_path / "[1].png"], tmp_path / "out", "lossless").jobs] == ["[1].png"]  # a name, too
    assert [job.source.name for job in plan_jobs([tmp_path / "**/d.png"], tmp_path / "out", "lossless").jobs] == ["d.png"]


def test_nothing_is_written_through_a_link_out_of_the_folder(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "photos/sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    smooth(1).save(tmp_path / "photos/sub/a.png")
    smooth(2).save(tmp_path / "photos/b.png")
    (tmp_path / "out/sub").symlink_to(tmp_path / "elsewhere")
    assert protect(tmp_path / "photos", "--out", tmp_path / "out") == 1
    assert "symbolic link" in capsys.readouterr().err
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "out/b.png").exists()


def test_a_pipe_carries_one_photo(tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.jpg", quality=90)
    content = (tmp_path / "a.jpg").read_bytes()
    for format, suffix in (("lossless", "png"), ("same", "jpg")):
        command = [sys.executable, "-m", "anti_i2v", "protect", "-", "--out", "-", "--format", format]
        done = subprocess.run(command, input=content, capture_output=True, check=True, cwd=ROOT)
        assert main(["protect", str(tmp_path / "a.jpg"), "--out", str(tmp_path / format), "--format", format]) == 0
        assert done.stdout == (tmp_path / format / f"a.{suffix}").read_bytes()
        assert b"limits:" in done.stderr
    assert main(["protect", "-", "--out", str(tmp_path / "x")]) == 2
    assert "--out -" in capsys.readouterr().err


def test_quality_place_and_statement_arrive_in_the_file(protect: Protect, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "at the sea"
    exif.get_ifd(0x8825)[2] = (38.0, 43.0, 0.0)
    smooth(1, 200, 200).save(tmp_path / "a.jpg", quality=95, exif=exif)
    sizes = []
    for quality in (40, 95):
        out = tmp_path / str(quality)
        assert protect(tmp_path / "a.jpg", "--out", out, "--format", "same", "--quality", quality, "--strip-gps", "--no-ai-training") == 0
        sizes.append((out / "a.jpg").stat().st_size)
        written = read_photo(out / "a.jpg")
        assert written.getexif()[0x010E] == "at the sea"
        assert not written.getexif().get_ifd(0x8825)
        assert b"DMI-PROHIBITED-AIMLTRAINING" in written.info["xmp"]
    assert sizes[0] < sizes[1]


def test_a_file_that_changes_while_it_is_read_fails(
    protect: Protect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    smooth(1).save(tmp_path / "a.png")
    from anti_i2v.bulk import photo as bulk_photo

    def read(path: Path) -> Image.Image:
        photo = read_photo(path)
        if path == tmp_path / "a.png":
            smooth(2, 80, 80).save(path)
        return photo

    monkeypatch.setattr(bulk_photo, "read_photo", read)
    assert protect(tmp_path / "a.png", "--out", tmp_path / "out") == 2
    assert "changed while it was read" in capsys.readouterr().err


def test_without_a_terminal_the_rate_and_the_time_left_are_lines(
    protect: Protect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for i in range(3):
        smooth(i).save(tmp_path / f"{i}.png")
    monkeypatch.setattr("anti_i2v.bulk.progress.INTERVAL", 0.0)
    assert protect(tmp_path, "--out", tmp_path / "out") == 0
    lines = capsys.readouterr().err.splitlines()
    assert "2/3 [" in lines[1]
    assert "photo/s]" in lines[1] or "s/photo]" in lines[1]


def test_a_full_disk_is_one_failure_and_leaves_nothing(
    protect: Protect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    smooth(1).save(tmp_path / "a.png")
    smooth(2).save(tmp_path / "b.png")
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == "a.png":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    assert protect(tmp_path / "a.png", tmp_path / "b.png", "--out", tmp_path / "out") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.png"]


def test_names_of_any_script_and_of_the_longest_kind(protect: Protect, tmp_path: Path) -> None:
    long = "ü" * 125 + ".png"  # 254 bytes
    for name in ("写真 été 🏖.png", long):
        smooth(1).save(tmp_path / name)
    assert protect(tmp_path, "--out", tmp_path / "out", "--quiet") == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"写真 été 🏖.png", long}
    shutil.rmtree(tmp_path / "out")
    assert protect(tmp_path, "z" * 300, "--in-place") == 1  # no room for `_unprotected` behind the long name
    assert (tmp_path / "写真 été 🏖.png_unprotected").exists()


def test_all_photos_are_protected_although_standard_output_is_closed(tmp_path: Path) -> None:
    smooth(1).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "anti_i2v", "protect", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        said = running.stderr.read()
    assert running.returncode == 141
    assert b"Traceback" not in said
    assert (tmp_path / "out/a.png").exists()


def test_what_was_kept_of_a_photo_is_never_lost(protect: Protect, tmp_path: Path) -> None:
    """A BMP keeps its size and bears no mark: only its bytes tell that it was replaced."""
    smooth(1).save(tmp_path / "a.bmp")
    before = (tmp_path / "a.bmp").read_bytes()
    assert protect(tmp_path / "a.bmp", "--in-place") == 0
    after = (tmp_path / "a.bmp").read_bytes()
    for more in ([], ["--overwrite", "--max-delta-e", 0.001], ["--max-delta-e", 0.001]):
        assert protect(tmp_path / "a.bmp", "--in-place", *more) == (2 if "--overwrite" in more else 0)
        assert (tmp_path / "a.bmp_unprotected").read_bytes() == before
        assert (tmp_path / "a.bmp").read_bytes() == after
    (tmp_path / "b.jpg_original").write_bytes(b"of another program")
    smooth(2).save(tmp_path / "b.jpg")
    assert protect(tmp_path / "b.jpg", "--in-place") == 0
    assert (tmp_path / "b.jpg_unprotected").exists()


def test_a_link_beside_its_photo_does_not_hide_it(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "z.png")
    (tmp_path / "a.png").symlink_to(tmp_path / "z.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    assert protect(tmp_path, "--in-place") == 1
    said = capsys.readouterr()
    assert "protected 1 photo" in said.out
    assert "a.png is a symbolic link" in said.err
    assert "b.png is a link to a file that is not there" in said.err
    assert (tmp_path / "z.png_unprotected").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may look into every folder")
def test_an_unreadable_folder_is_named(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "photos/closed").mkdir(parents=True)
    smooth(1).save(tmp_path / "photos/a.png")
    (tmp_path / "photos/closed").chmod(0)
    assert protect(tmp_path / "photos", "--out", tmp_path / "out") == 1
    (tmp_path / "photos/closed").chmod(0o755)
    assert "cannot look into" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_hides_nothing(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.png")
    part_path(tmp_path / "r.json").mkdir()  # as a disk that is full says only when it is written to
    assert protect(tmp_path / "a.png", "--out", tmp_path / "out", "--report", tmp_path / "r.json") == 2
    said = capsys.readouterr()
    assert "protected 1 photo" in said.out
    assert "cannot write --report" in said.err


def test_a_report_holds_names_that_are_no_text(protect: Protect, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        smooth(1).save(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes names that are text only")
    assert protect(tmp_path, "--out", tmp_path / "out", "--report", tmp_path / "r.json") == 0
    assert Path(json.loads((tmp_path / "r.json").read_text())["photos"][0]["source"]).name == name


def test_notes_count_what_was_done(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.jpg")
    smooth(2).quantize(16).save(tmp_path / "b.png")
    (tmp_path / "c.jpg").write_bytes(b"broken")
    assert protect(tmp_path, "--out", tmp_path / "out", "--format", "lossless", "--max-delta-e", 0.8) == 1
    said = capsys.readouterr().out
    assert "note: 1 written as PNG" in said
    assert "note: 2 got a smaller epsilon" in said
    assert "note: a palette became RGB in 1 of them" in said
    assert protect(tmp_path, "--out", tmp_path / "out", "--format", "lossless") == 1
    assert "written as PNG" not in capsys.readouterr().out
