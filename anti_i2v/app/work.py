"""From an upload to the file that `anti-i2v protect` would write, by the same functions."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

from anti_i2v.app import pictures, words
from anti_i2v.app.storage import Storage
from anti_i2v.budget import check_epsilon
from anti_i2v.bulk.backends import Way
from anti_i2v.bulk.jobs import Job, output_suffix
from anti_i2v.bulk.photo import Task, reason
from anti_i2v.bulk.result import PROTECTED, SKIPPED
from anti_i2v.bulk.run import protect_job
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import Saving

MOST_BYTES = 200 * 10**6  # of one file
MOST_PIXELS = 100 * 10**6  # of one photo; twice what the largest phones take


@dataclass(frozen=True)
class Upload:
    """A file that a page sent, and what it is called."""

    path: Path
    name: str


@dataclass(frozen=True)
class Protected:
    """A protected photo, with what is shown of it; the pictures are for the eye, `output` is the file."""

    output: Path
    before: Path
    after: Path
    residual: Path
    told: str


@dataclass(frozen=True)
class Refused:
    """A photo that was not protected, and why."""

    name: str
    reason: str


def limit_pixels() -> None:
    """Have photos of more than `MOST_PIXELS` refused before they are decoded; Pillow refuses twice what it is told."""
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2


def task_for(way: Way, epsilon: float, format: str, strip_gps: bool, no_ai_training: bool) -> Task:
    """What `anti-i2v protect` makes of the options of these names.

    Raises:
        UsageError: Epsilon outside 0–32.
    """
    epsilon = check_epsilon(epsilon)
    saving = Saving(strip_gps=strip_gps, no_ai_training=no_ai_training, mark=way.mark(epsilon), format=format)
    return Task(epsilon, format, saving)


def protect_all(
    way: Way, uploads: Sequence[Upload], task: Task, storage: Storage, folder: Path, tick: Callable[[str], object]
) -> Iterator[Protected | Refused]:
    """Protect what a page sent, one after the other, until the page is closed.

    Args:
        way: What protects a photo.
        uploads: The photos.
        task: What is asked for.
        storage: Where `folder` is.
        folder: An empty one.
        tick: Is told the name of each photo before it is begun.
    """
    for number, upload in enumerate(uploads):
        tick(upload.name)
        with storage.writing(folder) as is_open:
            if not is_open:
                return
            try:
                place = folder / str(number)
                place.mkdir()
                yield protect_upload(way, upload, place, task)
            except Exception as error:  # whatever it is, the other photos must not wait for it
                yield Refused(upload.name, reason(error))


def protect_upload(way: Way, upload: Upload, folder: Path, task: Task) -> Protected | Refused:
    """Protect one photo into an empty folder; whatever is wrong with it becomes a reason."""
    name = PurePath(upload.name)
    if not upload.path.is_file():
        return Refused(upload.name, "the page does not have it any more; add it again")
    if upload.path.stat().st_size > MOST_BYTES:
        most = words.length(MOST_BYTES)
        return Refused(upload.name, f"{words.length(upload.path.stat().st_size)} is more than this page takes ({most}); save it smaller")
    # By the name's suffix; `Job` would take a `.tar` for a shard, and nobody drops one here in earnest.
    output = folder / "file" / name.with_suffix(output_suffix(name.suffix, task.format))
    outcome = protect_job(way.protect, Job(upload.path, output), task)[0]
    if outcome.status == SKIPPED:
        return Refused(upload.name, "it is protected already; twice would be more than the strength you chose")
    if outcome.status != PROTECTED or outcome.measured is None:
        return Refused(upload.name, _without_path(outcome.reason, upload))
    photo, protected = read_photo(upload.path), read_photo(output)
    rows = words.facts(outcome.measured, _facts(photo, upload.path), _facts(protected, output))
    return Protected(
        output,
        pictures.save(pictures.preview(photo), folder / "before.jpg"),
        pictures.save(pictures.preview(protected), folder / "after.jpg"),
        pictures.save(pictures.residual(photo, protected), folder / "residual.jpg"),
        words.table(rows, words.figures(outcome.measured)),
    )


def zip_all(photos: Sequence[Protected], path: Path) -> Path:
    """All protected files in one archive, as they are; a second of one name gets a number. Returns the path."""
    taken: set[str] = set()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # photos do not get smaller
        for photo in photos:
            name, number = photo.output.name, 2
            while name.casefold() in taken:
                name, number = f"{photo.output.stem} ({number}){photo.output.suffix}", number + 1
            taken.add(name.casefold())
            archive.write(photo.output, name)
    return path


def _facts(photo: Image.Image, path: Path) -> words.FileFacts:
    format = "JPEG" if photo.format == "MPO" else photo.format or "picture"  # a phone's JPEG with more behind it
    return words.FileFacts(format, pictures.seen_size(photo), path.stat().st_size)


def _without_path(reason: str, upload: Upload) -> str:
    """A reason without the place of our copy, which means nothing to anybody."""
    return reason.removeprefix(f"cannot read {upload.path}: ").replace(str(upload.path), upload.name)
