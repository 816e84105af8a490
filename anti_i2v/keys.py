"""A user's secret, and the key that it gives each photo.

Everybody can get a public generator, and compute what it does to a photo. So what it does depends on a key as well, which is another one
for each photo and which nobody can derive without the secret. The secret lies in the user's configuration folder, stays on the machine and
is written into no output. Losing it loses only that a photo gets the same bytes again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import math
import os
import secrets
import stat
import tempfile
import time
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from anti_i2v.errors import UsageError, UsageWarning

KEY_SIZE = 32
"""Numbers of a photo's key."""
NONE = "none"
"""The source of the public secret, as it is spelled: `--key none`."""
PUBLIC_KEY = b"anti-i2v: everybody knows this secret"
"""The secret behind `NONE`: results can be reproduced by anybody, and a protection computed by anybody."""

SECRET_BYTES = 32  # of a secret that is made here
SHORTEST, LONGEST = 16, 4096  # bytes of a secret in a file; shorter ones can be guessed, longer files are something else
SOURCE_PURPOSE = b"anti-i2v source file 1\0"  # unlike the next one, so that neither says anything of the other
SOURCE_DIGITS = 32  # in hexadecimal: 128 bits
PURPOSE = b"anti-i2v photo key 1\0"  # changes with what is hashed, so that no key is ever that of another version
PATIENCE, PAUSE = 50, 0.02  # looks at, and seconds between them, while another process writes the secret
REMEDY = f"give --key FILE with {SHORTEST} to {LONGEST} random bytes, or --key {NONE}"


def default_path() -> Path:
    """Where a user's secret lies: `$XDG_CONFIG_HOME/anti-i2v/key` or `~/.config/anti-i2v/key`, on Windows `%APPDATA%/anti-i2v/key`.

    Raises:
        UsageError: There is no home folder.
    """
    variable, inside = ("APPDATA", "AppData/Roaming") if os.name == "nt" else ("XDG_CONFIG_HOME", ".config")
    base = Path(os.environ.get(variable) or "")
    if not base.is_absolute():  # relative ones are invalid by the XDG base directory specification
        try:
            base = Path.home() / inside
        except RuntimeError:
            raise UsageError(f"there is no home folder in which your key could lie; {REMEDY}") from None
    return base / "anti-i2v" / "key"


def load_secret(source: str | os.PathLike[str] | None = None) -> bytes:
    """The secret that photos' keys are made of.

    Args:
        source: A file of 16 to 4096 bytes, all of which count; `none` for the public secret; None for the user's own at `default_path`,
            which is made at first use.

    Warns:
        UsageWarning: Others may read or change the file; it is used all the same.

    Raises:
        UsageError: It cannot be read or made, or is no secret.
    """
    if source == NONE:
        return PUBLIC_KEY
    if source is not None:
        return _read(Path(_checked(source)))
    path = default_path()
    if not os.path.lexists(path):  # a link that leads nowhere is reported, not replaced
        _make(path)
    for _ in range(PATIENCE):
        if not _is_empty(path):
            break
        time.sleep(PAUSE)
    return _read(path)


def shared_source(source: str | os.PathLike[str] | None) -> str:
    """A source for other processes, in any folder and on other machines: they use the same file or fail, and never make one.

    Raises:
        UsageError: There is no home folder, or the source is empty.
    """
    if source == NONE:
        return NONE
    return os.path.abspath(default_path() if source is None else _checked(source))  # noqa: PTH100  # links stay as they are


def photo_key(secret: bytes, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The key of one photo: the same for the same secret and pixels on every machine, and unrelated for any other.

    HMAC-SHA256 of the pixels, expanded by SHAKE-256 and turned into normal numbers by Box and Muller.

    Args:
        secret: From `load_secret`.
        pixels: (H, W, C) bytes as the generator's side sees them: upright sRGB; of a large photo, the means of its blocks.

    Returns:
        (32,), independent standard normal numbers.
    """
    code = hmac.new(secret, PURPOSE + " ".join(map(str, pixels.shape)).encode() + b"\0", hashlib.sha256)
    code.update(np.ascontiguousarray(pixels).data)
    stream = hashlib.shake_256(code.digest()).digest(8 * KEY_SIZE)
    # Not a library's random numbers, whose sequence may change with its version; 53 bits each, between 0 and 1 without either.
    uniform = [((int.from_bytes(stream[i : i + 8], "little") >> 11) + 0.5) / 2**53 for i in range(0, len(stream), 8)]
    normal = []
    for radius, angle in zip(uniform[::2], uniform[1::2], strict=True):
        length = math.sqrt(-2 * math.log(radius))
        normal += [length * math.cos(2 * math.pi * angle), length * math.sin(2 * math.pi * angle)]
    return np.array(normal, np.float32)


def source_digest(secret: bytes, file: BinaryIO) -> str:
    """What a mark says of the file that a photo was made of: HMAC-SHA256 of all that can be read from `file`, cut to 128 bits.

    Without the secret it is as good as random, so it confirms no guess of what the clean photo was.

    Returns:
        32 hexadecimal digits.
    """
    code = hmac.new(secret, SOURCE_PURPOSE, hashlib.sha256)
    while chunk := file.read(2**20):
        code.update(chunk)
    return code.hexdigest()[:SOURCE_DIGITS]


def _checked(source: str | os.PathLike[str]) -> str:
    text = os.fspath(source)
    if not text:  # a variable of the shell that was never set must not mean the user's own secret
        raise UsageError(f"--key is empty; {REMEDY}")
    return text


def _is_empty(path: Path) -> bool:
    """Whether another process has begun to write a file, where that is not done at once."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return stat.S_ISREG(status.st_mode) and not status.st_size
    return False


def _read(path: Path) -> bytes:
    """The secret in a file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe can be read once only, and each process of a call reads for itself
            kind = "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no regular file"
            raise UsageError(f"cannot use the key {path}: {kind}; {REMEDY}")
        with path.open("rb") as file:
            secret = file.read(LONGEST + 1)
    except OSError as error:
        raise UsageError(f"cannot read the key {path}: {error.strerror}; check path and permissions, or {REMEDY}") from None
    except ValueError as error:  # a NUL in the path
        raise UsageError(f"cannot read the key {str(path)!r}: {error}; {REMEDY}") from None
    problem = ""
    if not SHORTEST <= len(secret) <= LONGEST:
        size = f"is longer than {LONGEST} bytes" if len(secret) > LONGEST else f"has {len(secret)} bytes" if secret else "is empty"
        problem = f"it {size}, and a key has {SHORTEST} to {LONGEST}"
    elif len(set(secret)) == 1:  # what a crash may leave of a file
        problem = "all its bytes are the same, which anybody guesses"
    if problem:
        raise UsageError(f"cannot use the key {path}: {problem}; remove it if it is your own and damaged, or {REMEDY}")
    if os.name == "posix" and status.st_mode & 0o066:
        can = "read" if status.st_mode & 0o044 else "change"
        warnings.warn(f"others may {can} the key {path} (mode {status.st_mode & 0o777:03o}); chmod 600 it", UsageWarning, stacklevel=3)
    return secret


def _make(path: Path) -> None:
    """Make a user's secret, complete or not at all; if another process makes one at the same time, the first of the two stays."""
    try:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(prefix=".key.", dir=path.parent)  # which its owner alone may read
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            _place(Path(part), path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(part)  # noqa: PTH108
    except OSError as error:
        raise UsageError(f"cannot make your key {path}: {error.strerror}; {REMEDY}") from None


def _place(part: Path, path: Path) -> None:
    """Give a part its name unless there is a file of that name; a rename would replace it."""
    try:
        os.link(part, path)
    except FileExistsError:
        return
    except OSError:  # the file system has no second names
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(part.read_bytes())
