"""What became of one photo."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from anti_i2v.imaging.measure import Measured

PROTECTED, SKIPPED, FAILED = "protected", "skipped", "failed"
THERE = "an earlier call has done it"


@dataclass(frozen=True)
class Outcome:
    """What became of one photo.

    Attributes:
        source: Its file, or `shard.tar: member`.
        output: The file, or the shard's member, that was written or was there; None if there is none.
        status: `PROTECTED`, `SKIPPED` or `FAILED`.
        measured: Of the file that was written.
        reason: Why it was skipped or failed.
        seconds: From reading to the last measure, by the clock.
    """

    source: str
    output: str | None
    status: str
    measured: Measured | None = None
    reason: str = ""
    seconds: float = 0.0

    def named(self) -> str:
        """The reason, with the photo's name before it unless it says it already."""
        return self.reason if self.source in self.reason else f"{self.source}: {self.reason}"

    def as_json(self) -> dict[str, object]:
        """Plain types; a PSNR without end (nothing moved) is null."""
        told: dict[str, object] = {"source": self.source, "output": self.output, "status": self.status}
        if self.reason:
            told["reason"] = self.reason
        if self.measured:
            measured = dataclasses.asdict(self.measured)
            told |= measured | {"psnr": self.measured.psnr if math.isfinite(self.measured.psnr) else None}
            told["seconds"] = round(self.seconds, 4)
        return told
