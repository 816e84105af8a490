"""What this installation is: the folders that ship with it, found from any working directory, from a wheel as well; its commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

from anti_i2v.errors import UsageError

PACKAGE = Path(__file__).resolve().parent


def shipped(kind: str) -> Path:
    """The folder `checkpoints` or `configs` that came with this installation.

    A wheel carries it inside the package, of the checkpoints only the generator; a checkout (also an editable install) has it beside.
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
    folder = shipped("checkpoints") / str(source)
    if len(path.parts) == 1 and folder.is_dir():
        return folder
    root = shipped("checkpoints")
    names = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    remedy = f"give an existing folder or one of the shipped names: {', '.join(names) or 'none'}"
    if root.parent == PACKAGE:
        remedy += "; the models of the Portraits benchmark are in the folder checkpoints/ of the repository, so for them get a checkout"
    raise UsageError(f"no folder {str(source)!r}; {remedy}")


def commit() -> str | None:
    """The commit of this checkout, with `+` if tracked files were changed since; None for an installed package."""
    root = PACKAGE.parent
    if not (root / ".git").exists():  # a package may be installed somewhere inside another project's checkout
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
