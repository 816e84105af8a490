"""Which file becomes which: decided for all inputs before the first photo is touched.

So an output among the originals is reported before any work is done, and of two sources that would write one file only the first is taken.
"""

from __future__ import annotations

import filecmp
import glob
import os
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from anti_i2v.bulk import others
from anti_i2v.errors import UsageError
from anti_i2v.imaging.file_attributes import has_same_date
from anti_i2v.imaging.reading import PHOTO_SUFFIXES, is_photo
from anti_i2v.imaging.writing import LOSSLESS, LOSSY

BACKUP = "_unprotected"  # after the whole name: no program takes such a file for a photo, and `_original` is ExifTool's
REPLACE = "--overwrite replaces it"
CLOUD = ".icloud"
ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".7z", ".rar")


@dataclass(frozen=True)
class Job:
    """One file to read and the file to write for it.

    Attributes:
        source: What is read.
        output: What is written; the photo itself where it is protected in place.
        backup: Where the photo is kept before it is replaced; `source` itself if it has been replaced before.
    """

    source: Path
    output: Path
    backup: Path | None = None

    @property
    def is_shard(self) -> bool:
        """A tar of samples rather than one photo."""
        return self.output.suffix.lower() == ".tar"

    @property
    def is_done(self) -> bool:
        """Whether an earlier call did it, of the source as it is now: by the dates, which is how a rerun over millions of files is fast."""
        if self.backup and self.backup != self.source:
            return False
        return os.path.exists(self.output) and has_same_date(self.output, self.source)  # noqa: PTH110  # pathlib raises an error for long names

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be done without overwriting what is not known to be its own; a mark may know better, see `reruns.settle`."""
        if self.is_done or not os.path.exists(self.output) or (self.backup and self.backup != self.source):  # noqa: PTH110
            return None
        if self.backup:
            return f"{self.output} is neither {self.backup.name} nor what an earlier call made of it; move one of the two away"
        if self.is_shard:
            return f"{self.output} is there, but was not made of {self.source} as it is now, or lacks photos that failed; {REPLACE}"
        unknown = f"neither its date nor a mark under this key says that it was made of {self.source} as it is now"
        return f"{self.output} is there, and {unknown}; {REPLACE}"


@dataclass
class Plan:
    """Everything that one call of `protect` will do."""

    jobs: list[Job] = field(default_factory=list)
    refused: dict[Path, str] = field(default_factory=dict)  # what was named or found and cannot be done, and why
    left_alone: list[others.LeftAlone] = field(default_factory=list)  # what else lies in folders


def output_suffix(suffix: str, format: str) -> str:
    """The suffix of the protected file: `.jpg` → `.png` unless `format` is `same`; `.tif` stays unless it is `png`."""
    unchanged = {"lossless": set(LOSSLESS), "png": {".png"}, "same": set(LOSSLESS) | set(LOSSY)}[format]
    return suffix if suffix.lower() in unchanged else ".png"


def plan_jobs(sources: Sequence[Path], out: Path | None, format: str) -> Plan:
    """Pair every photo and shard with its output.

    Args:
        sources: Photos, shards, folders and patterns such as `*.jpg`; folders are searched to the bottom and keep their structure, but
            folders in them that are hidden, linked or made by a system are left alone.
        out: Folder of the outputs; what lies in it is never a source. None: photos are replaced, in place.
        format: One of `request.FORMATS`.

    Raises:
        UsageError: No source at all, or an output among the originals.
    """
    result = Plan()
    for source in _expand_patterns(sources, result):
        if os.path.isdir(source):  # noqa: PTH112  # pathlib raises an error for names that are too long
            _refuse_same_folder(source, out)
            for file in _files(source, out, result):
                is_wanted = is_photo(file) or file.suffix.lower() == ".tar"
                if photo := _in_the_cloud(file):
                    result.refused[file] = f"{photo} is in iCloud only, not on this machine; let Finder download it and run again"
                elif is_wanted and (unreadable := others.of_unreadable(file)):
                    result.left_alone.append(unreadable)
                elif is_wanted:
                    _add_job(result, file, file.relative_to(source), out, format)
                elif not (out is None and file.name.endswith(BACKUP)) and (other := others.of_file(file)):
                    result.left_alone.append(other)
        else:
            _refuse_same_folder(source.parent, out)
            _add_job(result, source, PurePath(source.name), out, format)
    _resolve_clashes(result)
    if not result.jobs and not result.refused:
        kinds = " ".join(sorted(PHOTO_SUFFIXES))
        there = "".join(f"; left alone: {line}" for line in others.describe(result.left_alone))
        raise UsageError(f"no photo in {', '.join(map(str, sources))}; these are looked for: {kinds} .tar{there}")
    return result


def _in_the_cloud(file: Path) -> Path | None:
    """The photo that a placeholder of iCloud stands for: `.a.jpg.icloud` for `a.jpg`; None if the file is none."""
    name = file.name.removesuffix(CLOUD)
    return photo if name != file.name and name.startswith(".") and is_photo(photo := file.with_name(name[1:])) else None


def _expand_patterns(sources: Sequence[Path], plan: Plan) -> Iterator[Path]:
    """The sources, with what fits a pattern in its place: not every shell expands patterns, and none does within quotes.

    A pattern names no folder that a system makes, unless that stands in it.
    """
    left_alone = set()
    for source in sources:
        is_pattern = glob.has_magic(str(source)) and not os.path.exists(source)  # noqa: PTH110
        found = sorted(glob.glob(str(source), recursive=True)) if is_pattern else []  # noqa: PTH207  # a pattern may be absolute
        for path in map(Path, found) if found else [source]:
            made = (folder for folder in (path, *path.parents) if folder.name.lower() in others.FOLDERS and folder.name not in source.parts)
            if is_pattern and (folder := next(made, None)):
                left_alone.add(folder)
            else:
                yield path
    plan.left_alone += filter(None, map(others.of_folder, sorted(left_alone)))


def _add_job(plan: Plan, file: Path, name: PurePath, out: Path | None, format: str) -> None:
    """Add the job of a file that is called `name` below its source, or the reason why there is none."""
    if not os.path.exists(file):  # noqa: PTH110
        is_link = os.path.islink(file)  # noqa: PTH114
        problem = f"{file} is a link to a file that is not there" if is_link else f"no such file or folder: {file}; check the path"
    elif file.name.lower().endswith(ARCHIVES):
        problem = f"{file} is packed; unpack it first (an uncompressed .tar need not be)"
    elif out is not None:
        is_shard = name.suffix.lower() == ".tar"
        plan.jobs.append(Job(file, out / (name if is_shard else name.with_suffix(output_suffix(name.suffix, format)))))
        return
    elif file.is_symlink():
        problem = f"{file} is a symbolic link; name the file that it points to, which is what would change"
    elif file.suffix.lower() not in {*LOSSLESS, *LOSSY, ".tar"}:
        problem = f"{file} cannot be replaced, because {file.suffix or 'its format'} is not written; give --out, where it becomes PNG"
    else:
        plan.jobs.append(job_in_place(file))
        return
    plan.refused[file] = problem


def job_in_place(photo: Path) -> Job:
    """The job that replaces a photo; from its backup if it has been replaced before, or if its name was (the job then has an obstacle)."""
    backup = photo.with_name(photo.name + BACKUP)
    if not os.path.exists(backup) or _same_content(photo, backup):  # noqa: PTH110
        return Job(photo, photo, backup)
    return Job(backup, photo, backup)


def _same_content(photo: Path, backup: Path) -> bool:
    """Whether a photo is still its backup: a call that was killed may have got no further."""
    filecmp.clear_cache()  # it compares sizes and dates, and a protected photo has the date of its backup
    return photo.samefile(backup) or filecmp.cmp(photo, backup, shallow=False)


def _files(folder: Path, out: Path | None, plan: Plan) -> Iterator[Path]:
    """All files below a folder in a stable order, without those below `out`; the plan says which folders were not looked into, and why."""
    whole, outputs = folder.resolve(), out.resolve() if out else None

    def refuse(error: OSError) -> None:
        plan.refused[Path(error.filename)] = f"cannot look into {error.filename}: {error.strerror}; check its permissions"

    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=False):
        here = Path(root)
        found, folders[:] = sorted(folders), []
        for name in found:
            place = (here / name).resolve()
            if place == outputs or ((here / name).is_symlink() and place.is_relative_to(whole)):
                continue  # what a link leads to in the same folder is found there
            if left := others.of_folder(here / name):
                plan.left_alone.append(left)
            else:
                folders.append(name)
        yield from (here / name for name in sorted(names))


def _refuse_same_folder(folder: Path, out: Path | None) -> None:
    if out is not None and folder.resolve() == out.resolve():
        raise UsageError(f"--out {out} is the folder of the originals; choose another, or replace them: --in-place keeps a copy of each")


def _resolve_clashes(plan: Plan) -> None:
    """Leave one job to each output: a file named twice is one, other files that would become it are refused."""
    sources = {os.path.normcase(job.source.resolve()): job.source for job in plan.jobs if not job.backup}
    chosen: dict[str, Job] = {}
    for job in plan.jobs:
        key = os.path.normcase(job.output.parent.resolve() / job.output.name)
        first = chosen.setdefault(key, job)
        if key in sources:
            raise UsageError(f"{job.source} would overwrite the original {sources[key]}; choose another --out")
        if first.source.resolve() != job.source.resolve():
            remedy = "another --out for it" if job.source.suffix == first.source.suffix else "--format same"
            plan.refused[job.source] = f"{job.source} would become {job.output}, as {first.source} does; rename it, or take {remedy}"
    plan.jobs = list(chosen.values())


def refuse_one_name(plan: Plan, out: Path) -> None:
    """Leave one job to names that differ in case or in how accents are written, if `out`, which is there, takes them for one.

    Memory cards and most disks of macOS and Windows do: the second of two such photos would replace the first.
    """
    chosen: dict[str, Job] = {}
    for job in plan.jobs:
        chosen.setdefault(_folded(job.output), job)
    if len(chosen) == len(plan.jobs) or _tells_case(out):
        return
    for job in plan.jobs:
        if (first := chosen[_folded(job.output)]) is not job:
            plan.refused[job.source] = f"{job.source} would become {job.output}, which is {first.output} on this disk; rename it"
    plan.jobs = list(chosen.values())


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def _tells_case(folder: Path) -> bool:
    """Whether two files in a folder may have names that differ in case only; by trying, because no system says."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".Case", dir=folder) as file:
            return not os.path.exists(folder / PurePath(file.name).name.swapcase())  # noqa: PTH110
    except OSError as error:
        raise UsageError(f"cannot write to --out {folder}: {error.strerror}; choose another folder") from None
