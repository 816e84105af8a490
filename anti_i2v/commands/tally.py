"""What a call of `protect` did: in words for people, and as a report for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from anti_i2v.commands.outcome import FAILED, PROTECTED, SKIPPED, THERE, Outcome
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
        lines.append(f"skipped {there} that an earlier call has done; --overwrite does them again")
    if marked := len(skipped) - there:
        lines.append(f"skipped {marked} that bear the mark of a protection; --force protects them once more")
    return lines


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines on what a user may not expect of the files that were written."""
    measured = [outcome.measured for outcome in outcomes if outcome.measured]
    lowered = sum(m.epsilon < max(n.epsilon for n in measured) for m in measured) if measured else 0
    lines = [f"note: {lowered} got a smaller epsilon, as --max-delta-e asks"] if lowered else []
    return lines + [f"note: {note} in {count} of them" for note, count in Counter(n for m in measured for n in m.notes).items()]


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Each photo that failed, with its reason."""
    failed = of_status(outcomes, FAILED)
    return [f"failed: {len(failed)}", *(f"  {outcome.named()}" for outcome in failed)]


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
        part.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
        part.replace(file)
    except (OSError, UnicodeEncodeError) as error:
        raise UsageError(f"cannot write --report {file}: {error}; choose another place") from None
    finally:
        part.unlink(missing_ok=True)
