"""Writing a generator folder: it appears complete or not at all, and never in place of something else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anti_i2v.errors import UsageError


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill, which takes its place when the block ends well and vanishes otherwise.

    Args:
        folder: That place; an older generator folder there is replaced.

    Yields:
        An empty folder beside it.

    Raises:
        UsageError: Something other than a generator folder is there, or it cannot be written.
    """
    target = Path(folder).expanduser().absolute()
    if target.exists() and not (target / "config.json").is_file() and (target.is_file() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not a generator folder; choose another or remove it")
    part = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        part.chmod(0o755)  # mkdtemp keeps others out
        yield part
        _replace(part, target)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}; choose another folder") from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _replace(new: Path, target: Path) -> None:
    """Put the folder `new` at `target`; a folder that is there steps aside first, since no rename replaces a full one."""
    old = new.with_suffix(".old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
