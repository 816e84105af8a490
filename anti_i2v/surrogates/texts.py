"""Encoded prompts on disk: the text encoder, often the largest part of a pipeline, is needed once for each prompt and then never.

A file's name is a hash of what its content depends on: the pipeline, its text encoder and tokenizer, and the prompt. What
changes one of them changes the name, so nothing here is ever out of date, and deleting the folder costs only time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from anti_i2v import atomic

FORMAT = 1
"""Counted up when the same pipeline and prompt are encoded otherwise than before."""

WHOLE = 1 << 20
"""Files up to this many bytes enter the fingerprint whole, of larger ones the size and both ends of this length."""


def cache_folder() -> Path:
    """`$ANTI_I2V_CACHE`, or `anti_i2v` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    own = os.environ.get("ANTI_I2V_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anti_i2v"


def fingerprint(pipeline: Path, parts: Sequence[str]) -> str:
    """A hash of the files of some parts of a pipeline.

    The last bytes of a safetensors file are weights and the first its table of tensors, so that a retrained encoder is
    told from its predecessor without reading gigabytes.

    Args:
        pipeline: The pipeline's folder.
        parts: Names of its subfolders; one that is missing counts as empty.
    """
    digest = hashlib.sha256()
    for part in parts:
        for file in sorted(p for p in (pipeline / part).rglob("*") if p.is_file()):
            size = file.stat().st_size
            digest.update(f"{file.relative_to(pipeline).as_posix()}\0{size}\0".encode())
            with file.open("rb") as stream:
                digest.update(stream.read(WHOLE))
                if size > WHOLE:
                    stream.seek(-WHOLE, os.SEEK_END)
                    digest.update(stream.read())
    return digest.hexdigest()


class TextStore:
    """Encoded prompts of one pipeline, a file each.

    Args:
        identity: What the encoding depends on beside the prompt, such as `fingerprint`.
        folder: Where the files lie; `texts` in `cache_folder()` if not given.
    """

    def __init__(self, identity: str, folder: Path | None = None) -> None:
        self.identity = identity
        self.folder = cache_folder() / "texts" if folder is None else folder

    def file(self, prompt: str) -> Path:
        """Where a prompt's encoding lies, whether or not it does."""
        key = "\0".join((str(FORMAT), self.identity, prompt))
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"

    def get(self, prompt: str) -> dict[str, Tensor] | None:
        """What the denoiser needs of the prompt, without a batch dimension; None if it is not there or cannot be read."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.file(prompt))
        except (OSError, SafetensorError):
            return None

    def put(self, prompt: str, values: Mapping[str, Tensor]) -> None:
        """Keep an encoding; several processes may do so at once. A folder that cannot be written is no error: it saves only time."""
        from safetensors.torch import save_file

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic.write(self.file(prompt)) as part:
                save_file({name: value.detach().cpu().contiguous() for name, value in values.items()}, part)
        except OSError:
            return
