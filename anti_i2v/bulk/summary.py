"""What a call of `protect` did: in words for people, and as a report for programs."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from anti_i2v.bulk.jobs import Plan
from anti_i2v.bulk.result import FAILED, PROTECTED, SKIPPED, THERE, Outcome
from anti_i2v.errors import UsageError


def of_status(outcomes: Sequence[Outcome], status: str) -> list[Outcome]:
    """Those with a status."""
    return [outcome for outcome in outcomes if outcome.status == status]


def summary(outcomes: Sequence[Outcome], place: str, seconds: float, epsilon: float) -> list[str]:
    """Lines on the photos that are done.

    Args:
        outcomes: Of all photos.
        place: Where the protected files are, in words.
        seconds: That all took, by the clock.
        epsilon: Budget in 1/255 steps.
    """
    lines, done = [], [outcome.measured for outcome in of_status(outcomes, PROTECTED) if outcome.measured]
    if n := len(done):
        photos = "1 photo" if n == 1 else f"{n} photos"
        lines.append(f"protected {photos} {place}, {seconds / n:.2f} seconds per photo")
        exact, lossy = ([m for m in done if m.lossy == kind] for kind in (False, True))
        if exact:
            lines.append(f"largest change in the re-read files: {max(m.steps for m in exact):.4g}/255 (epsilon {epsilon:g})")
        if lossy:
            lines.append(
                f"largest change in the re-read lossy files: {max(m.steps for m in lossy):.4g}/255; encoding adds its own change to "
                f"epsilon {epsilon:g}, only lossless files keep the bound"
            )
            lines.append(f"of the protection's change, {sum(m.survived for m in lossy) / len(lossy):.0%} is in the lossy files")
        psnr, delta = sum(m.psnr for m in done) / n, sum(m.delta_e for m in done) / n
        lines.append(f"mean PSNR {psnr:.1f} dB, mean colour difference ΔE2000 {delta:.2f}")
    skipped = of_status(outcomes, SKIPPED)
    if there := sum(outcome.reason == THERE for outcome in skipped):
        lines.append(f"skipped {there} that an earlier call has done, at whatever epsilon; --overwrite does them again")
    if marked := len(skipped) - there:
        lines.append(f"skipped {marked} that bear the mark of a protection; --force protects them once more")
    return lines


def notes(outcomes: Sequence[Outcome], epsilon: float, format: str) -> list[str]:
    """Lines on what a user may not expect of the files that were written.

    Args:
        outcomes: Of all photos.
        epsilon: Budget that was asked for, in 1/255 steps.
        format: That was asked for.
    """
    measured = [outcome.measured for outcome in outcomes if outcome.measured]
    lowered, renamed = (
        sum(m.epsilon < epsilon for m in measured),
        sum(outcome.measured is not None and _renamed(outcome) for outcome in outcomes),
    )
    lines = [f"note: {lowered} got a smaller epsilon, as --max-delta-e asks"] if lowered else []
    if renamed and format == "lossless":
        lines.append(f"note: {renamed} written as PNG, because their own format would change pixels again; see --format same")
    return lines + [f"note: {note} in {count} of them" for note, count in Counter(n for m in measured for n in m.notes).items()]


def _renamed(outcome: Outcome) -> bool:
    return outcome.output is not None and Path(outcome.source).suffix.lower() != Path(outcome.output).suffix.lower()


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Each photo that failed, with its reason."""
    failed = of_status(outcomes, FAILED)
    return [f"failed: {len(failed)}", *(f"  {outcome.named()}" for outcome in failed)]


def check_report(file: Path, todo: Plan) -> None:
    """Refuse, before hours of work, a place for the report that cannot be written or is a photo's.

    Raises:
        UsageError: It is one.
    """
    place = file.parent.resolve() / file.name
    photos = {path.parent.resolve() / path.name for job in todo.jobs for path in (job.source, job.output, job.backup) if path}
    if place in photos:
        raise UsageError(f"--report {file} would overwrite a photo; choose another name")
    if file.is_dir() or not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
        reason = "it is a folder" if file.is_dir() else f"{file.parent} is no folder that can be written to"
        raise UsageError(f"cannot write --report {file}: {reason}; choose another place")


def write_report(file: Path, outcomes: Sequence[Outcome], settings: Mapping[str, object], seconds: float) -> None:
    """Write what became of every photo as JSON; the file appears complete or not at all.

    Raises:
        UsageError: It cannot be written.
    """
    counts = Counter(outcome.status for outcome in outcomes)
    told = {
        **settings,
        "seconds": round(seconds, 3),
        "counts": {status: counts[status] for status in (PROTECTED, SKIPPED, FAILED)},
        "photos": [outcome.as_json() for outcome in outcomes],
    }
    part = file.with_name(f".{file.name}.part")
    try:
        # Names need not be text: a byte that is none becomes `\udc…`, which JSON reads as Python does.
        part.write_bytes((json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
        part.replace(file)
    except OSError as error:
        raise UsageError(f"cannot write --report {file}: {error}; choose another place") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
