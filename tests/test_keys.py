"""A user's secret lies in a file that nobody else may read, is made once, and gives each photo a key of its own."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from anti_i2v import keys
from anti_i2v.errors import UsageError, UsageWarning
from anti_i2v.keys import KEY_SIZE, PUBLIC_KEY, default_path, load_secret, photo_key, shared_source, source_digest

ROOT = Path(__file__).resolve().parents[1]
POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
SECRET = bytes(range(32))
PHOTO = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder that is not there yet."""
    monkeypatch.setenv("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """For an administrator, no file is unreadable and no folder read-only; so be nobody meanwhile."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def key_file(folder: Path, content: bytes, permissions: int = 0o600) -> Path:
    path = folder / "my.key"
    path.write_bytes(content)
    path.chmod(permissions)
    return path


def test_the_secret_is_made_at_first_use_and_kept(home: Path) -> None:
    secret = load_secret()
    assert len(secret) == 32
    assert load_secret(None) == secret == (home / "anti-i2v/key").read_bytes()
    assert [path.name for path in (home / "anti-i2v").iterdir()] == ["key"]


@POSIX
def test_nobody_else_may_read_it_whatever_the_umask(home: Path) -> None:
    before = os.umask(0)
    try:
        load_secret()
    finally:
        os.umask(before)
    assert (mode(home / "anti-i2v"), mode(home / "anti-i2v/key")) == (0o700, 0o600)


@POSIX
def test_it_lies_below_the_home_folder_where_the_system_names_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in (None, "", "relative"):
        monkeypatch.delenv("XDG_CONFIG_HOME") if value is None else monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert default_path() == tmp_path / ".config/anti-i2v/key"


@pytest.mark.parametrize("links", [True, False])
def test_processes_and_threads_at_first_use_end_with_one_secret(home: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:  # as on file systems of memory cards

        def no_link(*arguments: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_link)
    without = "" if links else "import os\ndef link(*a): raise OSError(1, 'no')\nos.link = link\n"
    code = without + "import sys\nfrom anti_i2v.keys import load_secret\nsys.stdin.read()\nprint(load_secret().hex())"
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": str(ROOT)}
    found = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(4)]
    for process in found:
        assert process.stdin
        process.stdin.close()  # all go at once
    with ThreadPoolExecutor(8) as pool:
        secrets = {secret.hex() for secret in pool.map(lambda _: load_secret(), range(8))}
    for process in found:
        assert process.stdout
        secrets.add(process.stdout.read().strip())
        assert process.wait() == 0
        process.stdout.close()
    assert len(secrets) == 1
    assert [path.name for path in (home / "anti-i2v").iterdir()] == ["key"]


def test_a_second_process_waits_until_the_first_has_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On file systems without links the file is there before its content."""
    path = home / "anti-i2v/key"
    path.parent.mkdir(parents=True)
    path.touch(0o600)
    monkeypatch.setattr(keys.time, "sleep", lambda seconds: path.write_bytes(SECRET))
    assert load_secret() == SECRET


def test_none_is_a_secret_that_everybody_has_and_no_file(home: Path) -> None:
    assert load_secret("none") == PUBLIC_KEY
    assert not home.exists()


def test_a_file_of_the_users_is_used_as_it_is(home: Path, tmp_path: Path) -> None:
    for content in (SECRET[:16], b"a pass phrase of my own\n", bytes(range(256)) * 16):
        path = key_file(tmp_path, content)
        assert load_secret(path) == load_secret(str(path)) == content
    assert not home.exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty, and a key has 16 to 4096"),
        (b"much too short", "it has 14 bytes, and a key has 16 to 4096"),
        (b"\x89PNG" + bytes(5000), "it is longer than 4096 bytes"),
        (bytes(32), "all its bytes are the same"),
    ],
)
def test_a_file_that_is_no_secret_is_named_with_the_remedy(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, problem: str
) -> None:
    monkeypatch.setattr(keys, "PAUSE", 0)
    path = key_file(tmp_path, content)
    with pytest.raises(UsageError) as caught:
        load_secret(path)
    assert f"cannot use the key {path}: {problem}" in str(caught.value)
    assert "--key FILE" in str(caught.value)
    assert "--key none" in str(caught.value)
    (home / "anti-i2v").mkdir(parents=True)
    path.rename(home / "anti-i2v/key")
    with pytest.raises(UsageError, match="remove it if it is your own and damaged"):  # a damaged one is not silently replaced
        load_secret()


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for source, problem in (
        (tmp_path, "it is a folder"),
        (tmp_path / "none.key", "No such file"),
        (tmp_path / ("z" * 300), "too long"),
        ("a\0b", "null"),
        ("", "--key is empty"),
    ):
        with pytest.raises(UsageError, match=problem) as caught:
            load_secret(source)
        assert "--key none" in str(caught.value)


@POSIX
def test_a_pipe_and_a_link_that_leads_nowhere_are_named_and_not_waited_for(home: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="it is no regular file"):
        load_secret(tmp_path / "pipe")
    with pytest.raises(UsageError, match="it is no regular file"):
        load_secret("/dev/zero")
    (home / "anti-i2v").mkdir(parents=True)
    (home / "anti-i2v/key").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="cannot read the key"):
        load_secret()
    assert (home / "anti-i2v/key").is_symlink()


@pytest.fixture
def locked(home: Path, tmp_path: Path) -> Path:
    """A key that nobody may read, in a configuration folder that nobody may write to."""
    home.mkdir()
    path = key_file(home, SECRET, 0)
    home.chmod(0o555)
    return path


@POSIX
def test_a_file_of_somebody_elses_is_named(locked: Path, ordinary_user: None) -> None:
    with pytest.raises(UsageError, match="Permission denied; check path and permissions"):
        load_secret(locked)


@POSIX
def test_in_a_read_only_home_the_ways_out_are_named(locked: Path, ordinary_user: None) -> None:
    with pytest.raises(UsageError, match=r"cannot make your key .*: Permission denied; give --key FILE .*, or --key none"):
        load_secret()


def test_where_a_file_is_in_the_way_the_ways_out_are_named(home: Path) -> None:
    home.write_text("no folder")
    with pytest.raises(UsageError, match=r"cannot make your key .*; give --key FILE .*, or --key none"):
        load_secret()


@POSIX
@pytest.mark.parametrize(("permissions", "can"), [(0o644, "read"), (0o640, "read"), (0o622, "change"), (0o600, None), (0o400, None)])
def test_a_file_that_others_may_read_is_warned_of_and_used(tmp_path: Path, permissions: int, can: str | None) -> None:
    path = key_file(tmp_path, SECRET, permissions)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        assert load_secret(path) == SECRET
    assert [(warning.category, str(warning.message)) for warning in found] == (
        [(UsageWarning, f"others may {can} the key {path} (mode {permissions:03o}); chmod 600 it")] if can else []
    )


def test_other_processes_get_a_file_and_never_make_one(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shared_source("none") == "none"
    assert shared_source("my.key") == str(tmp_path / "my.key")
    assert shared_source(None) == str(home / "anti-i2v/key")
    with pytest.raises(UsageError, match="cannot read the key"):
        load_secret(shared_source(None))
    assert not home.exists()


def test_a_photo_has_the_same_key_on_every_machine() -> None:
    """Values of the first version: another key would give other bytes to a photo that was protected before."""
    for pixels in (PHOTO, np.asfortranarray(PHOTO), PHOTO[::-1][::-1]):
        key = photo_key(SECRET, pixels)
        assert (key.dtype, key.shape) == (np.float32, (KEY_SIZE,))
        np.testing.assert_allclose(key[:4], [-0.4433861, -0.5952432, -0.2034899, 0.3451017], rtol=1e-6)


def test_another_photo_another_pixel_and_another_secret_have_another_key() -> None:
    pixel = PHOTO.copy()
    pixel[2, 3, 1] ^= 1
    variants = [photo_key(SECRET, pixels) for pixels in (PHOTO, pixel, PHOTO.reshape(5, 4, 3), PHOTO[..., :1], np.zeros_like(PHOTO))]
    variants += [photo_key(secret, PHOTO) for secret in (SECRET[:-1], SECRET[::-1], PUBLIC_KEY)]
    for i, one in enumerate(variants):
        for other in variants[:i]:
            assert (one != other).all()
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.7  # 4 standard deviations of 32 independent numbers


def test_keys_are_standard_normal() -> None:
    values = np.stack([photo_key(SECRET, np.full((1, 1, 3), i % 256, np.uint8).repeat(1 + i // 256, 0)) for i in range(2000)])
    assert np.isfinite(values).all()
    assert abs(values.mean()) < 0.02  # five standard errors
    assert abs(values.std() - 1) < 0.014
    for limit, share in ((0.6745, 0.5), (1.96, 0.05), (3, 0.0027)):
        assert (np.abs(values) > limit).mean() == pytest.approx(share, abs=5 * np.sqrt(share / values.size))
    correlation = np.corrcoef(values.T) - np.eye(KEY_SIZE)
    assert np.abs(correlation).max() < 0.11  # of neighbours, too: they share a radius


def test_the_digest_of_a_source_is_an_hmac_with_a_purpose_of_its_own() -> None:
    content = b"a photo's bytes" * 100_000  # more than is read at once
    inner, outer = (bytes(byte ^ pad for byte in SECRET.ljust(64, b"\0")) for pad in (0x36, 0x5C))  # RFC 2104
    expected = hashlib.sha256(outer + hashlib.sha256(inner + b"anti-i2v source file 1\0" + content).digest()).hexdigest()[:32]
    assert source_digest(SECRET, io.BytesIO(content)) == expected
    others = [(PUBLIC_KEY, content), (SECRET[::-1], content), (SECRET, content[:-1]), (SECRET, b"")]
    assert len({expected, *(source_digest(secret, io.BytesIO(data)) for secret, data in others)}) == 5
