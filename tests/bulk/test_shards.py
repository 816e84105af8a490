"""Tar shards: photos are protected, all else stays byte for byte as it was, and what cannot be kept so is named."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
import webdataset
from PIL import Image

from anti_i2v.bulk import shards, tars
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import Result
from anti_i2v.bulk.shards import protect_shard
from anti_i2v.errors import UsageError
from anti_i2v.imaging.reading import is_photo
from tests.tiny.generator import Capture, Protect, smooth

Entry = tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]


def photo(seed: int = 1, format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    smooth(seed).save(file, format)
    return file.getvalue()


def entry(name: str, data: bytes = b"", type: bytes = tarfile.REGTYPE, link: str = "", **header: object) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mtime = type, link, len(data), 1_000_000
    for key, value in header.items():
        setattr(info, key, value)
    return info, data


def packed(path: Path, entries: Sequence[Entry], format: int = tarfile.PAX_FORMAT, **how: object) -> Path:
    with tarfile.open(path, "w", format=format, **how) as tar:  # type: ignore[call-overload]
        for info, data in entries:  # type: ignore[misc]
            tar.addfile(info, io.BytesIO(data))
    return path


def brighten(photo: Image.Image, epsilon: float) -> Image.Image:
    """Adds epsilon, which is all that these tests need of a protection."""
    return photo.point(lambda value: min(255, value + epsilon))


def run(source: Path, format: str = "lossless") -> tuple[Path, list[Result]]:
    out = source.parent / "out" / source.name
    return out, protect_shard(
        PhotoProtector(brighten, "", "a test"), source, out, Request((), out.parent, format, mark=False), lambda: None
    )


def names(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_a_tar_without_photos_is_no_failure(protect: Protect, tmp_path: Path) -> None:
    source = packed(tmp_path / "00.tar", [entry("a.json", b"{}")])
    assert protect(source, "--out", tmp_path / "out") == 0
    assert names(tmp_path / "out" / "00.tar") == ["a.json"]


def test_all_but_photos_is_byte_for_byte_as_it_was(tmp_path: Path) -> None:
    others = [
        entry("a.json", b'{"a": 1}', uid=1234, gid=99, uname="ada", gname="users", mode=0o640),
        entry("deep/" * 30 + "long-name.txt", b"long", mtime=1234567890.25),
        entry("ünïcödé.txt", b"x" * 512),
        entry("huge-ids", uid=2**31, gid=2**30),
        entry("folder/", type=tarfile.DIRTYPE),
        entry("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("pipe.jpg", type=tarfile.FIFOTYPE),
        entry("link", type=tarfile.SYMTYPE, link="/etc/passwd"),
        entry("hard", type=tarfile.LNKTYPE, link="a.json"),
        entry("../../outside.txt", b"never unpacked"),
        entry("/absolute", b"never unpacked"),
        entry("a.json", b"the same name again"),
    ]
    for format, how in ((tarfile.PAX_FORMAT, {"pax_headers": {"comment": "for all"}}), (tarfile.GNU_FORMAT, {})):
        source = packed(tmp_path / f"{format}.tar", [*others[:4], entry("p.jpg", photo()), *others[4:]], format, **how)
        out, (outcome,) = run(source)
        assert (outcome.status, outcome.output) == ("protected", "p.png")
        old, new = source.read_bytes(), out.read_bytes()
        with tarfile.open(source) as before, tarfile.open(out) as after:
            begin, next_old = before.getmember("p.jpg").offset, before.getmember("folder").offset
            assert after.getmember("p.png").offset == begin
            assert new[:begin] == old[:begin]  # the header for all, too
            next_new = after.getmember("folder").offset
            length = before.getmembers()[-1].offset_data + 512 - next_old
            assert new[next_new : next_new + length] == old[next_old : next_old + length]
            assert not new[next_new + length :].strip(b"\0")
            assert len(new) % 10240 == 0


def test_a_photo_keeps_all_of_its_header_but_name_and_size(tmp_path: Path) -> None:
    name = "deep/" * 40 + "p.JPG"
    kept = {"uid": 2**31, "gid": 7, "uname": "ada", "gname": "users", "mode": 0o604, "mtime": 1234567890.25}
    source = packed(tmp_path / "00.tar", [entry(name, photo(), pax_headers={"SCHILY.xattr.user.note": "mine"}, **kept)])
    out, _ = run(source)
    with tarfile.open(out) as tar:
        (info,) = tar.getmembers()
    assert info.name == "deep/" * 40 + "p.png"
    assert {key: getattr(info, key) for key in kept} == kept
    assert info.pax_headers["SCHILY.xattr.user.note"] == "mine"


def test_webdataset_sees_the_same_samples_of_the_same_names(tmp_path: Path) -> None:
    entries = []
    for stem in ("./0001", "./sub/0002", "./sub/0002.crop", "./A", "./a"):
        entries += [entry(f"{stem}.jpg", photo()), entry(f"{stem}.json", stem.encode())]
    source = packed(tmp_path / "00.tar", entries)

    def samples(path: Path) -> list[dict[str, bytes]]:
        return list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))

    for format, suffix in (("lossless", "png"), ("same", "jpg")):
        out, outcomes = run(source, format)
        assert [o.status for o in outcomes] == ["protected"] * 5
        before, after = samples(source), samples(out)
        assert [s["__key__"] for s in after] == [s["__key__"] for s in before]
        for one, other in zip(before, after, strict=True):
            for key, value in one.items():
                if key.endswith("json"):
                    assert other[key] == value
                elif key.endswith("jpg"):
                    assert Image.open(io.BytesIO(other[key.replace("jpg", suffix)])).size == (56, 40)


def test_links_follow_their_photos(tmp_path: Path) -> None:
    bad, hard, soft = b"no photo", tarfile.LNKTYPE, tarfile.SYMTYPE
    entries = [
        entry("sub/a.jpg", photo()),
        entry("b.jpg", type=hard, link="sub/a.jpg"),
        entry("sub/c.jpg", type=soft, link="./a.jpg"),
        entry("latest", type=soft, link="b.jpg"),
        entry("bad.jpg", bad),
        entry("worse.jpg", type=hard, link="bad.jpg"),
        entry("data", b"\xff\xd8 has a photo's bytes, but no photo's name"),
        entry("unprotected.jpg", type=hard, link="data"),
        entry("outside.jpg", type=soft, link="../../etc/secret.jpg"),
    ]
    source = packed(tmp_path / "00.tar", entries)
    out, outcomes = run(source)
    with tarfile.open(out) as tar:
        assert [(m.name, m.linkname) for m in tar] == [
            ("sub/a.png", ""),
            ("b.png", "sub/a.png"),
            ("sub/c.png", "./a.png"),
            ("latest", "b.png"),
            ("data", ""),
        ]
        assert tar.extractfile("latest").read() == tar.extractfile("sub/a.png").read()  # type: ignore[union-attr]
    failed = {o.source.rpartition(" ")[2]: o.reason for o in outcomes if o.status == "failed"}
    assert list(failed) == ["bad.jpg", "worse.jpg", "unprotected.jpg", "outside.jpg"]
    assert "link to data" in failed["unprotected.jpg"]
    out, _ = run(source, "same")
    assert names(out)[:4] == ["sub/a.jpg", "b.jpg", "sub/c.jpg", "latest"]


def test_member_names_that_point_outside_are_kept_and_nothing_is_extracted(protect: Protect, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    outside = ["../../x.jpg", "/tmp/anti-i2v-absolute.jpg", "C:\\x.jpg", "a\nb.jpg", "x.jpg", "x.jpg"]
    packed(tmp_path / "in/00.tar", [entry(name, photo()) for name in outside])
    assert protect(tmp_path / "in/00.tar", "--out", tmp_path / "in/out") == 0
    assert names(tmp_path / "in/out/00.tar") == outside
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["in", "in/00.tar", "in/out", "in/out/00.tar"]
    assert not Path("/tmp/anti-i2v-absolute.jpg").exists()


def test_members_of_any_size_pass_through_and_photos_of_too_large_a_size_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = packed(tmp_path / "00.tar", [entry("video.mp4", bytes(64 * 2**20)), entry("p.jpg", photo())])
    tracemalloc.start()
    out, _ = run(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert names(out) == ["video.mp4", "p.png"]
    assert peak < 8 * 2**20

    monkeypatch.setattr(shards, "MAX_PHOTO", 100)
    out, (outcome,) = run(source)
    assert "photos in a tar have at most 1" in outcome.reason
    assert names(out) == ["video.mp4"]


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no GNU tar")
@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_sparse_members_stay_and_a_sparse_photo_becomes_a_plain_one(tmp_path: Path, format: str) -> None:
    for name, size in (("disk.img", 2**22), ("p.png", 0), ("hole.png", 2**31)):
        (tmp_path / name).write_bytes(photo(format="PNG") if name == "p.png" else b"begin")
        os.truncate(tmp_path / name, size or (tmp_path / name).stat().st_size + 2**20)
    (tmp_path / "z.txt").write_text("behind")
    command = ["tar", "--sparse", "--format", format, "-cf", "00.tar", "disk.img", "p.png", "hole.png", "z.txt"]
    if subprocess.run(command, cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("this tar makes no sparse members")
    out, outcomes = run(tmp_path / "00.tar")
    assert [o.status for o in outcomes] == ["protected", "failed"]
    assert "2.0 GiB" in outcomes[1].reason
    assert out.stat().st_size < 2**20
    with tarfile.open(out) as tar:
        disk, p, z = tar.getmembers()
        assert (disk.name, disk.size, disk.issparse()) == ("disk.img", 2**22, True)
        assert tar.extractfile(disk).read() == b"begin" + bytes(2**22 - 5)  # type: ignore[union-attr]
        assert not p.issparse()
        assert Image.open(tar.extractfile(p)).size == (56, 40)  # type: ignore[arg-type]
        assert tar.extractfile(z).read() == b"behind"  # type: ignore[union-attr]


def header(name: str, size: int) -> bytes:
    """A header whose size, possibly below 0, is a binary number."""
    info = tarfile.TarInfo(name)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size.to_bytes(12, "big", signed=True) if size < 0 else b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_a_tar_that_tarfile_would_read_in_part_fails_as_a_whole(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    whole = packed(tmp_path / "whole.tar", [entry(f"{i}.jpg", photo()) for i in range(3)]).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        second = tar.getmember("1.jpg").offset
    (tmp_path / "whole.tar").unlink()
    damaged = {
        "header": whole[:second] + b"?" * 512 + whole[second + 512 :],
        "cut": whole[: second + 700],
        "cut-header": whole[: second + 100],
        "two": whole + whole,
        "negative": header("back.jpg", -512) + bytes(1024),
        "endless": header("big.jpg", 2**60) + bytes(1024),
        "nested": b"".join(header(f"{i}", 0)[:156] + b"L" + header(f"{i}", 0)[157:] for i in range(3000)),
        "empty": b"",
        "gz": b"\x1f\x8b\x08" + bytes(1000),
    }
    for name, content in damaged.items():
        (tmp_path / f"{name}.tar").write_bytes(content)
    assert protect(*(tmp_path / f"{name}.tar" for name in damaged), "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    for name in damaged:
        assert f"cannot read {tmp_path / name}.tar: " in said
    assert f"damaged at byte {second}" in said
    assert "as two tars in one file do" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_damaged_tars_are_refused_or_lose_nothing_that_tarfile_can_read(tmp_path: Path) -> None:
    link, long = entry("l.jpg", type=tarfile.LNKTYPE, link="a.jpg"), entry("deep/" * 30 + "b.txt", b"b", mtime=1.5)
    entries = [entry("a.jpg", photo()), entry("a.json", b"{}"), long, link, entry("z.txt", b"z" * 700)]
    wholes = [packed(tmp_path / "whole.tar", entries, format).read_bytes() for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]
    rng, refused = random.Random(0), 0

    def others(path: Path) -> list[tuple[str, bytes]]:
        with tarfile.open(path) as tar:
            return [(m.name, tar.extractfile(m).read()) for m in tar if m.isfile() and not is_photo(m.name)]  # type: ignore[union-attr]

    for _ in range(200):
        wounded = bytearray(rng.choice(wholes))
        block = rng.randrange(len(wounded) // 512) * 512
        place = block + rng.choice((rng.randrange(512), 124 + rng.randrange(12), 156))  # anywhere, in a size, or a type
        wounded[place] = rng.choice((rng.randrange(256), *b"\x00\x80\xffLxgS9-"))
        wounded[block + 148 : block + 156] = b" " * 8
        wounded[block + 148 : block + 156] = b"%06o\0 " % sum(wounded[block : block + 512])
        (tmp_path / "00.tar").write_bytes(wounded)
        try:
            out, _ = run(tmp_path / "00.tar")
        except UsageError:
            refused += 1
        else:
            assert others(out) == others(tmp_path / "00.tar")
        assert not list(tmp_path.glob("out/.*"))
    assert 20 < refused < 180


def test_two_members_of_one_new_name_are_refused_and_case_tells_them_apart(tmp_path: Path) -> None:
    for other in ("a.png", "./a.png", "a.JPG"):
        with pytest.raises(UsageError, match="would both become"):
            run(packed(tmp_path / "00.tar", [entry("a.jpg", photo()), entry(other, photo())]))
    out, _ = run(packed(tmp_path / "00.tar", [entry("a.jpg", photo()), entry("A.jpg", photo())]))
    assert names(out) == ["a.png", "A.png"]


def test_a_shard_that_changes_while_it_is_read_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = packed(tmp_path / "00.tar", [entry("a.jpg", photo())])
    monkeypatch.setattr(shards, "finish", lambda new: (tars.finish(new), os.utime(source, (1, 1))))
    with pytest.raises(UsageError, match="changed while it was read"):
        run(source)
    assert list((tmp_path / "out").iterdir()) == []
