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

END_BYTES = 1 << 20
"""Files up to this many bytes enter the fingerprint whole, of larger ones the size and both ends of this length."""


def cache_folder() -> Path:
    """`$ANTI_I2V_CACHE`, or `anti_i2v` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    folder = os.environ.get("ANTI_I2V_CACHE")
    return Path(folder) if folder else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anti_i2v"


def fingerprint(pipeline: Path, parts: Sequence[str]) -> str:
    """A hash of the files of some parts of a pipeline.

    The last bytes of a safetensors file are weights and the first its table of tensors, so that a retrained encoder is
    distinguished from its predecessor without reading gigabytes.

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
                digest.update(stream.read(END_BYTES))
                if size > END_BYTES:
                    stream.seek(-END_BYTES, os.SEEK_END)
                    digest.update(stream.read())
    return digest.hexdigest()


class PromptCache:
    """Encoded prompts in memory, and in a store that outlives the process where one is given."""

    def __init__(self, store: TextStore | None = None) -> None:
        self.store = store
        self._texts: dict[str, dict[str, Tensor]] = {}

    def __getitem__(self, prompt: str) -> dict[str, Tensor]:
        """What the denoiser needs of a prompt that was added or found in the store, without a batch dimension."""
        return self._texts[prompt]

    def missing(self, prompts: Sequence[str]) -> list[str]:
        """Those of the prompts that are neither in memory nor in the store, each once."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]
        texts = {prompt: self.store.get(prompt) for prompt in new} if self.store is not None else {}
        self._texts |= {prompt: text for prompt, text in texts.items() if text is not None}
        return [prompt for prompt in new if prompt not in self._texts]

    def add(self, prompts: Sequence[str], encoded: Mapping[str, Tensor]) -> None:
        """Remember encodings, in float32 where they are no integers; first dimension the prompts."""
        for i, prompt in enumerate(prompts):
            rows = {key: value[i] for key, value in encoded.items()}
            self._texts[prompt] = {key: row.float() if row.is_floating_point() else row.clone() for key, row in rows.items()}
            if self.store is not None:
                self.store.put(prompt, self._texts[prompt])


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
        """The file of a prompt's encoding, whether it exists or not."""
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
        """Store an encoding; several processes may do so at once. A folder that cannot be written is no error: only time is lost."""
        from safetensors.torch import save_file

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic.write(self.file(prompt)) as part:
                save_file({name: value.detach().cpu().contiguous() for name, value in values.items()}, part)
        except OSError:
            return
