"""From an upload to the file that `anti-i2v protect` would write, with the small pictures and texts that the page shows of it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

from anti_i2v.app import description, previews
from anti_i2v.app.storage import Storage
from anti_i2v.bulk.photo import reason
from anti_i2v.bulk.plan import Job, output_suffix
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import Status
from anti_i2v.bulk.run import run
from anti_i2v.imaging.reading import read_photo

MAX_BYTES = 200 * 10**6  # of one file
MAX_PIXELS = 100 * 10**6  # of one photo; twice what the largest phones take


@dataclass(frozen=True)
class Upload:
    """A file that a page sent, and what it is called."""

    path: Path
    name: str


@dataclass(frozen=True)
class ProtectedPhoto:
    """A protected photo, with what is shown of it; the pictures are for the eye, `output` is the file."""

    output: Path
    before: Path
    after: Path
    residual: Path
    description: str


@dataclass(frozen=True)
class RejectedPhoto:
    """A photo that was not protected, and why."""

    name: str
    reason: str


def limit_pixels() -> None:
    """Have photos of more than `MAX_PIXELS` refused before they are decoded; Pillow refuses from twice its limit on."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2


def protect_uploads(
    uploads: Sequence[Upload], request: Request, protector: PhotoProtector, storage: Storage, begin: Callable[[str], object]
) -> Iterator[ProtectedPhoto | RejectedPhoto]:
    """Protect what a page sent, one after the other, until the page is closed.

    The request's `out` is an empty folder in `storage`; `begin` is called with the name of each photo before it is protected.
    """
    assert request.out is not None
    for number, upload in enumerate(uploads):
        begin(upload.name)
        with storage.writing(request.out) as is_open:
            if not is_open:
                return
            try:
                yield _protect_upload(upload, request, protector, request.out / str(number))
            except Exception as error:  # whatever it is, the other photos must not wait for it
                yield RejectedPhoto(upload.name, reason(error))


def _protect_upload(upload: Upload, request: Request, protector: PhotoProtector, folder: Path) -> ProtectedPhoto | RejectedPhoto:
    """Protect one photo into a new folder; whatever is wrong with it becomes a reason."""
    name = PurePath(upload.name)
    if not upload.path.is_file():
        return RejectedPhoto(upload.name, "the page does not have it any more; add it again")
    if (size := upload.path.stat().st_size) > MAX_BYTES:
        most = description.file_size(MAX_BYTES)
        return RejectedPhoto(upload.name, f"{description.file_size(size)} is more than this page takes ({most}); save it smaller")
    # By the name's suffix; a planned job would take a `.tar` for a shard, which nobody means to add here.
    output = folder / "file" / name.with_suffix(output_suffix(name.suffix, request.format))
    (result,) = run(request, protector, [Job(upload.path, output)]).photos
    if result.status == Status.SKIPPED:
        return RejectedPhoto(upload.name, "it is protected already; twice would be more than the strength you chose")
    if result.measurement is None:
        # The place of our copy means nothing to anybody.
        reason = result.reason.removeprefix(f"cannot read {upload.path}: ").replace(str(upload.path), upload.name)
        return RejectedPhoto(upload.name, reason)
    photo, protected = read_photo(upload.path), read_photo(output)
    return ProtectedPhoto(
        output,
        previews.save(previews.preview(photo), folder / "before.jpg"),
        previews.save(previews.preview(protected), folder / "after.jpg"),
        previews.save(previews.residual(photo, protected), folder / "residual.jpg"),
        description.describe(result.measurement, _facts(photo, upload.path), _facts(protected, output)),
    )


def zip_photos(photos: Sequence[ProtectedPhoto], path: Path) -> Path:
    """All protected files in one archive, as they are; a second of one name gets a number. Returns the path."""
    names: set[str] = set()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # photos do not get smaller
        for photo in photos:
            name, number = photo.output.name, 2
            while name.casefold() in names:
                name, number = f"{photo.output.stem} ({number}){photo.output.suffix}", number + 1
            names.add(name.casefold())
            archive.write(photo.output, name)
    return path


def _facts(photo: Image.Image, path: Path) -> description.FileFacts:
    format = "JPEG" if photo.format == "MPO" else photo.format or "picture"  # a phone's JPEG with more in it
    return description.FileFacts(format, previews.upright_size(photo), path.stat().st_size)
