"""`anti-i2v protect`: photos, folders and tar shards in, protected files of the same names out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, TextIO

from anti_i2v.cli.options import add_options as add_options
from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from anti_i2v.bulk.request import Request
    from anti_i2v.bulk.results import Results

HELP = "protect photos, folders of photos or tar shards"
DESCRIPTION = """Protect photos with one forward pass each. Sizes, names, formats, orientation and metadata are kept: a JPEG stays a
JPEG. With --format lossless it becomes a PNG, several times as large, in which no pixel differs from the photo by more than
epsilon. Existing outputs are skipped, so an interrupted run goes on where it stopped. What is done to a photo depends on your
own secret key, too, which is made at first use and never leaves your configuration folder (--key). With --surrogate, photos
are optimised one by one against a video model instead, which takes minutes each and may want a GPU."""


def run(options: argparse.Namespace) -> int:
    """Protect everything that can be protected.

    Returns:
        0 if all is done, 1 if some inputs failed, 2 if none could be done.

    Raises:
        UsageError: Unusable arguments; nothing has been written.
    """
    # Before NumPy is imported: its matrix products are small here, and more threads take twice the processor for the same time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from anti_i2v.bulk.run import run as protect

    return _print(protect(_request(options)))


def _request(options: argparse.Namespace) -> Request:
    from anti_i2v.bulk.request import STRENGTHS, MethodRequest, Request

    names = (field.name for field in fields(MethodRequest))
    method = {name: value for name in names if (value := getattr(options, name)) is not None}
    as_given = {field.name: getattr(options, field.name) for field in fields(Request) if hasattr(options, field.name)}
    return Request(
        **as_given
        | {
            "sources": tuple(options.source),
            "epsilon": STRENGTHS[options.strength] if options.strength else options.epsilon,
            "mark": not options.no_mark,
            "method": MethodRequest(**method) if method else None,
        }
    )


def _print(results: Results) -> int:
    """Print what was done, what was not and what it is worth; the exit status."""
    from anti_i2v.bulk.request import STANDARD
    from anti_i2v.bulk.results import Status, dry_run_summary, failures, pipe_summary, summary

    failed = results.with_status(Status.FAILED)
    if results.request.out == STANDARD:
        _write(pipe_summary(results), sys.stderr)
    elif results.request.dry_run:
        _write(dry_run_summary(results), sys.stdout)
        _write([photo.reason for photo in failed], sys.stderr)
    else:
        _write(summary(results), sys.stdout)
        nothing_done = bool(failed) and len(failed) == len(results.photos)
        if len(failed) > 1 or (failed and not nothing_done):
            _write(failures(failed), sys.stderr)
        if results.report_error:
            raise UsageError(results.report_error)
        if nothing_done and len(failed) == 1:
            raise UsageError(failed[0].message())
        if nothing_done:
            raise UsageError(f"none of the {len(failed)} inputs could be protected; the reasons are above")
    return 1 if failed else 0


def _write(lines: Sequence[str], file: TextIO) -> None:
    if lines:
        print(*lines, sep="\n", file=file, flush=True)
