"""Which file becomes which: decided for all inputs before the first photo is touched.

So two sources that would write one file, or an output among the originals, are reported before any work is done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from anti_i2v.errors import UsageError
from anti_i2v.images import JPEG, LOSSLESS, PHOTO_SUFFIXES

FORMATS = ("lossless", "png", "same")


@dataclass(frozen=True)
class Job:
    """One file to read and the file to write for it."""

    source: Path
    output: Path

    @property
    def is_shard(self) -> bool:
        """A tar of samples rather than one photo."""
        return self.source.suffix.lower() == ".tar"


@dataclass
class Plan:
    """Everything that one call of `protect` will do."""

    jobs: list[Job] = field(default_factory=list)
    missing: list[Path] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)  # files in folders that are neither photos nor shards


def output_suffix(suffix: str, format: str) -> str:
    """The suffix of the protected file: `.jpg` → `.png` unless `format` is `same`; `.tif` stays unless it is `png`."""
    kept = {"lossless": set(LOSSLESS), "png": {".png"}, "same": set(LOSSLESS) | JPEG}[format]
    return suffix if suffix.lower() in kept else ".png"


def is_photo(name: str | PurePath) -> bool:
    """By suffix, and not one of the hidden companions that some systems leave beside photos."""
    path = PurePath(name)
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")


def rename(name: PurePath, format: str) -> PurePath:
    """The name of the protected file; a shard keeps its own."""
    return name if name.suffix.lower() == ".tar" else name.with_suffix(output_suffix(name.suffix, format))


def plan(sources: Sequence[Path], out: Path, format: str) -> Plan:
    """Pair every photo and shard with its output.

    Args:
        sources: Photos, shards and folders; folders are searched to the bottom and keep their structure.
        out: Folder of the outputs; what lies in it is never a source.
        format: One of `FORMATS`.

    Raises:
        UsageError: No source at all, an output among the originals, or two sources with one output.
    """
    result = Plan()
    for source in sources:
        if source.is_dir():
            _refuse_same_folder(source, out)
            for file in _files(source, out):
                if is_photo(file) or file.suffix.lower() == ".tar":
                    result.jobs.append(Job(file, out / rename(file.relative_to(source), format)))
                elif not file.name.startswith("."):
                    result.left_out.append(file)
        elif source.exists():
            _refuse_same_folder(source.parent, out)
            result.jobs.append(Job(source, out / rename(PurePath(source.name), format)))
        else:
            result.missing.append(source)
    result.jobs = _without_clashes(result.jobs)
    if not result.jobs and not result.missing:
        kinds = " ".join(sorted(PHOTO_SUFFIXES))
        raise UsageError(f"no photo in {', '.join(map(str, sources))}; these are looked for: {kinds} .tar")
    return result


def _files(folder: Path, out: Path) -> Iterator[Path]:
    """All files below a folder in a stable order, without those below `out`."""
    outputs = out.resolve()
    for root, folders, names in os.walk(folder, followlinks=False):
        here = Path(root)
        folders[:] = sorted(name for name in folders if (here / name).resolve() != outputs)
        yield from (here / name for name in sorted(names))


def _refuse_same_folder(folder: Path, out: Path) -> None:
    if folder.resolve() == out.resolve():
        raise UsageError(f"--out {out} is the folder of the originals; choose another, so that none is overwritten")


def _without_clashes(jobs: list[Job]) -> list[Job]:
    """The jobs without repetitions of one file."""
    sources = {os.path.normcase(job.source.resolve()): job.source for job in jobs}
    chosen: dict[str, Job] = {}
    for job in jobs:
        key = os.path.normcase(job.output.resolve())
        first = chosen.setdefault(key, job)
        if first.source.resolve() != job.source.resolve():
            raise UsageError(
                f"{first.source} and {job.source} would both become {job.output}; "
                "rename one, or run them with different --out folders or --format same"
            )
        if key in sources:
            raise UsageError(f"{job.source} would overwrite the original {sources[key]}; choose another --out")
    return list(chosen.values())
