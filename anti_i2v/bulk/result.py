"""What became of one photo, and of all photos of a call."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from anti_i2v.imaging.measure import Measurement

if TYPE_CHECKING:
    from anti_i2v.bulk.backends import Backend
    from anti_i2v.bulk.plan import Plan
    from anti_i2v.bulk.request import Request

DONE_BEFORE = "an earlier call has done it"


class Status(StrEnum):
    """What became of a photo; `PLANNED` only in a dry run."""

    PROTECTED = "protected"
    SKIPPED = "skipped"
    FAILED = "failed"
    PLANNED = "planned"


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
        backend: What protected photos; None in a dry run.
        photos: One result each, in the order of the plan.
        seconds: That all took, by the clock.
        report_error: Why the report could not be written; empty if it was, or none was wanted.
    """

    request: Request
    plan: Plan
    backend: Backend | None = None
    photos: list[Result] = field(default_factory=list)
    seconds: float = 0.0
    report_error: str = ""

    @property
    def epsilon(self) -> float | None:
        """The budget in 1/255 steps: the user's, or the backend's."""
        return self.backend.epsilon if self.backend and self.request.epsilon is None else self.request.epsilon

    def with_status(self, status: Status) -> list[Result]:
        """The photos of which this became."""
        return [photo for photo in self.photos if photo.status == status]
