"""What became of each photo of a call, for programs: the JSON file of `--report`."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import Counter
from pathlib import Path

from anti_i2v import __version__, atomic
from anti_i2v.bulk.others import Kind
from anti_i2v.bulk.plan import Plan
from anti_i2v.bulk.results import Results, Status
from anti_i2v.errors import UsageError

HEAD = 256  # bytes that tell whether a file is a report
REPORT = re.compile(rb'\{\s*"version":\s*"[^"]*",\s*"by":|\Z')  # how one begins, or nothing at all


def check_report(file: Path, plan: Plan, overwrite: bool) -> None:
    """Refuse, before hours of work, a report that cannot be written, or that would replace a photo or another file that is none of ours.

    With `overwrite` it may replace any file but a photo.

    Raises:
        UsageError: It is one.
    """
    place = file.parent.resolve() / file.name
    photos = {path.parent.resolve() / path.name for job in plan.jobs for path in (job.source, job.output, job.backup) if path}
    if place in photos:
        raise UsageError(f"--report {file} would overwrite a photo; choose another name")
    if file.is_dir() or not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
        problem = "it is a folder" if file.is_dir() else f"{file.parent} is no folder that can be written to"
        raise UsageError(f"cannot write --report {file}: {problem}; choose another place")
    if file.exists() and not (overwrite and file.is_file()) and not _may_replace(file):
        raise UsageError(f"--report {file} is there and is no report of an earlier call; choose another name, or --overwrite it")


def _may_replace(file: Path) -> bool:
    """Whether a file is empty or a report, by how `write_report` begins."""
    with contextlib.suppress(OSError):
        if file.is_file():  # no device: a report would take its place
            with file.open("rb") as opened:
                return REPORT.match(opened.read(HEAD)) is not None
    return False


def write_report(file: Path, results: Results) -> str:
    """Write what became of every photo as JSON; returns why it could not be written, or nothing."""
    request, protector = results.request, results.protector
    counts = Counter(photo.status for photo in results.photos)
    report = {
        "version": __version__,
        "by": protector and protector.name,
        "weights": protector and protector.weights,
        "epsilon": results.epsilon,
        "format": request.format,
        "max_delta_e": request.max_delta_e,
        "out": None if request.out is None else str(request.out),
        "seconds": round(results.seconds, 3),
        "counts": {status: counts[status] for status in (Status.PROTECTED, Status.SKIPPED, Status.FAILED)},
        "photos": [photo.as_json() for photo in results.photos],
        "left_alone": [
            {"path": other.path, "kind": other.kind, "shows_people": other.shows_people(request.out is None)}
            for other in results.left_alone
            if other.kind != Kind.OTHER
        ],
    }
    try:
        with atomic.write(file) as part:
            # Names need not be text: a byte outside UTF-8 becomes `\udc…`, which JSON reads as Python does.
            part.write_bytes((json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
    except OSError as error:
        return f"cannot write --report {file}: {error}; choose another place"
    return ""
