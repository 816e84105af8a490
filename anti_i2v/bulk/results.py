"""What became of each photo of a call: the results, and in words for people; `report` has them for programs."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from anti_i2v.bulk.others import Kind, LeftAlone, describe
from anti_i2v.imaging.measure import Measurement

if TYPE_CHECKING:
    from anti_i2v.bulk.plan import Plan
    from anti_i2v.bulk.protector import PhotoProtector
    from anti_i2v.bulk.request import Request

DONE_BEFORE = "an earlier call has done it"


class Status(StrEnum):
    """What became of a photo; `PLANNED` only in a dry run, `LEFT_ALONE` of what is none in a shard: its kind is the reason."""

    PROTECTED = "protected"
    SKIPPED = "skipped"
    FAILED = "failed"
    PLANNED = "planned"
    LEFT_ALONE = "left alone"


@dataclass(frozen=True)
class Result:
    """What became of one photo.

    Attributes:
        source: Its file, or `shard.tar: member`.
        output: The file, or the shard's member, that was written or was there; None if there is none.
        status: What became of it.
        measurement: Of the file that was written.
        reason: Why it was skipped or failed.
        seconds: From reading to the last measure, by the clock.
    """

    source: str
    output: str | None
    status: Status
    measurement: Measurement | None = None
    reason: str = ""
    seconds: float = 0.0

    def message(self) -> str:
        """The reason, with the photo's name before it unless it says it already."""
        return self.reason if self.source in self.reason else f"{self.source}: {self.reason}"

    def as_json(self) -> dict[str, object]:
        """Plain types; a PSNR without end (nothing moved) is null."""
        entry: dict[str, object] = {"source": self.source, "output": self.output, "status": self.status}
        if self.reason:
            entry["reason"] = self.reason
        if self.measurement:
            entry |= dataclasses.asdict(self.measurement)
            entry["psnr"] = self.measurement.psnr if math.isfinite(self.measurement.psnr) else None
            entry["seconds"] = round(self.seconds, 4)
        return entry


@dataclass
class Results:
    """What a call did.

    Attributes:
        request: What was asked.
        plan: Which file was to become which.
        protector: What protected photos; None in a dry run.
        photos: One result each, in the order of the plan.
        left_alone: What lies beside them, or with them in a shard.
        seconds: That all took, by the clock.
        report_error: Why the report could not be written; empty if it was, or none was wanted.
    """

    request: Request
    plan: Plan
    protector: PhotoProtector | None = None
    photos: list[Result] = field(default_factory=list)
    left_alone: list[LeftAlone] = field(default_factory=list)
    seconds: float = 0.0
    report_error: str = ""

    @property
    def epsilon(self) -> float | None:
        """The budget in 1/255 steps: the user's, or the protector's."""
        return self.protector.epsilon if self.protector and self.request.epsilon is None else self.request.epsilon

    def with_status(self, status: Status) -> list[Result]:
        """The photos of which this became."""
        return [photo for photo in self.photos if photo.status == status]

    def unprotected(self) -> list[LeftAlone]:
        """What is left alone although it shows the same people."""
        return [other for other in self.left_alone if other.shows_people(self.request.out is None)]

    def sort(self) -> None:
        """Tell photos from what else was in shards."""
        others = [result for result in self.photos if result.status == Status.LEFT_ALONE]
        self.left_alone += [LeftAlone(other.source, Kind(other.reason), copied=True) for other in others]
        self.photos = [result for result in self.photos if result.status != Status.LEFT_ALONE]


def unprotected(results: Results) -> list[str]:
    """What still shows the same people, and what to do about it, for people."""
    lines = describe(results.unprotected())
    return ["NOT protected, and may show the same people:", *(f"  {line}" for line in lines)] if lines else []


def summary(results: Results) -> list[str]:
    """What was done, for people: figures, notes unless the request is quiet, and the limits of the protection."""
    request, epsilon = results.request, results.epsilon
    place = "in place" if request.out is None else f"into {request.out}"
    lines, done = [], [photo.measurement for photo in results.photos if photo.measurement]
    if n := len(done):
        photos = "1 photo" if n == 1 else f"{n} photos"
        lines.append(f"protected {photos} {place}, {results.seconds / n:.2f} seconds per photo")
        exact, lossy = ([m for m in done if m.lossy == kind] for kind in (False, True))
        if exact:
            lines.append(f"largest change in the re-read files: {max(m.steps for m in exact):.4g}/255 (epsilon {epsilon:g})")
        if lossy:
            lines.append(
                f"largest change in the re-read lossy files: {max(m.steps for m in lossy):.4g}/255; encoding adds its own change to "
                f"epsilon {epsilon:g}, only --format lossless keeps the bound"
            )
            lines.append(f"of the protection's change, {sum(m.survived for m in lossy) / len(lossy):.0%} is in the lossy files")
        psnr, delta = sum(m.psnr for m in done) / n, sum(m.delta_e for m in done) / n
        lines.append(f"mean PSNR {psnr:.1f} dB, mean colour difference ΔE2000 {delta:.2f}")
    skipped = results.with_status(Status.SKIPPED)
    if done_before := sum(photo.reason == DONE_BEFORE for photo in skipped):
        lines.append(f"skipped {done_before} that an earlier call has done, whatever epsilon it had; --overwrite does them again")
    if marked := len(skipped) - done_before:
        lines.append(f"skipped {marked} that bear the mark of a protection; --force protects them once more")
    if lines and not request.quiet:
        lines += _notes(results)
    return lines + ([results.protector.limits] if done and results.protector else [])


def _notes(results: Results) -> list[str]:
    """What a user may not expect of the files that were written."""
    done = [photo for photo in results.photos if photo.measurement]
    lowered = sum(photo.measurement.epsilon < (results.epsilon or 0) for photo in done if photo.measurement)
    lines = [f"note: {lowered} got a smaller epsilon, as --max-delta-e asks"] if lowered else []
    renamed = sum(Path(photo.source).suffix.lower() != Path(photo.output).suffix.lower() for photo in done if photo.output)
    if renamed and results.request.format == "lossless":
        lines.append(f"note: {renamed} written as PNG, because their own format would change pixels again; see --format same")
    notes = Counter(note for photo in done if photo.measurement for note in photo.measurement.notes)
    lines += [f"note: {note} in {count} of them" for note, count in notes.items()]
    return lines + _left_alone(results)


def _left_alone(results: Results) -> list[str]:
    """What is left alone and shows nobody, or only beside originals."""
    in_place = results.request.out is None
    return [f"note: left alone: {line}" for line in describe(one for one in results.left_alone if not one.shows_people(in_place))]


def pipe_summary(results: Results) -> list[str]:
    """The same of a photo that went through a pipe; nothing if the request is quiet."""
    (measurement,) = (photo.measurement for photo in results.photos)
    if results.request.quiet or measurement is None or results.protector is None:
        return []
    figures = f"largest change {measurement.steps:.4g}/255, mean ΔE2000 {measurement.delta_e:.2f}"
    return ["; ".join((figures, *measurement.notes)), results.protector.limits]


def dry_run_summary(results: Results) -> list[str]:
    """What a call would do."""
    lines = [
        f"{photo.output}: {photo.reason}" if photo.status == Status.SKIPPED else f"{photo.source} → {photo.output}"
        for photo in results.photos
        if photo.status != Status.FAILED
    ]
    count = len(results.with_status(Status.PLANNED))
    return [*lines, f"{count} of {len(results.plan.jobs)} to do; nothing was written", *_left_alone(results), *unprotected(results)]


def failures(photos: list[Result]) -> list[str]:
    """Each photo that failed, with its reason."""
    return [f"failed: {len(photos)}", *(f"  {photo.message()}" for photo in photos)]
