"""Finding folders that ship with the project, from any working directory and from a wheel as well as from a checkout."""

from __future__ import annotations

from pathlib import Path

from anti_i2v.errors import UsageError

PACKAGE = Path(__file__).resolve().parent


def shipped(kind: str) -> Path:
    """The folder `checkpoints` or `configs` that came with this installation.

    A wheel carries it inside the package, a checkout (also an editable install) beside it.
    """
    inside = PACKAGE / kind
    return inside if inside.is_dir() else PACKAGE.parent / kind


def find_folder(source: str | Path) -> Path:
    """Resolve a path or the name of a shipped checkpoint.

    Args:
        source: An existing folder, or a bare name such as `portrait-generator`.

    Raises:
        UsageError: Neither exists; the message lists the names that ship.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    named = shipped("checkpoints") / str(source)
    if len(path.parts) == 1 and named.is_dir():
        return named
    root = shipped("checkpoints")
    names = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    raise UsageError(f"no folder {str(source)!r}; give an existing folder or one of the shipped names: {', '.join(names) or 'none'}")
