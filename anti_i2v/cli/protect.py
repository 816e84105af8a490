"""`anti-i2v protect`: photos, folders and tar shards in, protected files of the same names out."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from anti_i2v.cli.options import PER_PHOTO, STRENGTHS
from anti_i2v.cli.options import add_options as add_options
from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from anti_i2v.bulk.backends import Way
    from anti_i2v.bulk.jobs import Plan
    from anti_i2v.bulk.photo import Task
    from anti_i2v.bulk.result import Outcome

HELP = "protect photos, folders of photos or tar shards"
DESCRIPTION = """Protect photos with one forward pass each. Sizes, names, orientation and metadata are kept. Outputs
are lossless, so that no pixel differs from the photo by more than epsilon; JPEG photos therefore become PNG files
unless you say --format same. Existing outputs are skipped, so an interrupted run goes on where it stopped. With
--surrogate, photos are optimised one by one against a video model instead, which takes minutes each and may want a GPU."""


def run(options: argparse.Namespace) -> int:
    """Protect everything that can be protected.

    Returns:
        0 if all is done, 1 if some inputs failed, 2 if none could be done.

    Raises:
        UsageError: Unusable arguments; nothing has been written.
    """
    # Before NumPy is imported: its matrix products are small here, and more threads take twice the processor for the same time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from anti_i2v.bulk.jobs import plan
    from anti_i2v.bulk.summary import check_report

    task = _task(options)
    if str(options.out) == "-" or Path("-") in options.source:
        return _through_pipe(options, task)
    todo = plan(options.source, options.out, task.format)
    if options.dry_run:
        return _told(todo, options.overwrite)
    way = _way(options)
    task = _for(way, task, options)
    made = options.out is not None and not os.path.exists(options.out)  # noqa: PTH110  # pathlib raises an error for long names
    if options.out is not None:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
            raise UsageError(f"cannot use --out {options.out}: {reason}; choose another folder") from None
    if options.report:
        check_report(options.report, todo)
    outcomes: list[Outcome] = []
    begin = time.perf_counter()
    try:
        _protect_all(way, todo, task, outcomes, options)
        return _say(outcomes, todo, way, task, options, time.perf_counter() - begin)
    finally:
        if made and not any(options.out.iterdir()):
            options.out.rmdir()  # nothing could be done, so nothing shall look as if; a folder of the user's stays
        if options.report:
            _write_report(options, way, task, outcomes, time.perf_counter() - begin)


def _task(options: argparse.Namespace) -> Task:
    """What is asked for every photo, but for the mark.

    Raises:
        UsageError: A value out of its range, or two options that exclude each other.
    """
    from anti_i2v.budget import check_epsilon
    from anti_i2v.bulk.photo import Task
    from anti_i2v.imaging.writing import Saving

    epsilon = check_epsilon(STRENGTHS[options.strength or "standard"] if options.epsilon is None else options.epsilon)
    if epsilon < 1:
        raise UsageError(f"--epsilon {epsilon:g} leaves no whole 8-bit step, so nothing would be protected; give 1 or more")
    if options.max_delta_e is not None and not 0 < options.max_delta_e < 100:
        raise UsageError(f"--max-delta-e is {options.max_delta_e}; give a colour difference above 0 and below 100; 2 can hardly be seen")
    if options.quality is not None and not 1 <= options.quality <= 100:
        raise UsageError(f"--quality is {options.quality}; give a whole number from 1 to 100")
    if options.in_place and options.format not in (None, "same"):
        raise UsageError(f"--in-place keeps names and so formats; leave out --format {options.format}")
    format = "same" if options.in_place else options.format or "lossless"
    if options.quality is not None and format != "same":
        raise UsageError(f"--quality {options.quality} is for lossy files, and these are lossless; add --format same")
    saving = Saving(strip_gps=options.strip_gps, no_ai_training=options.no_ai_training, format=format, quality=options.quality)
    return Task(epsilon, format, saving, options.max_delta_e, options.force)


def _way(options: argparse.Namespace) -> Way:
    """One pass, or a per-photo method if any of its options is given."""
    from anti_i2v.bulk.engines import check

    given = [name for name in PER_PHOTO if getattr(options, name) is not None]
    per_photo_method = bool(given) and given != ["device"]
    check(options, per_photo_method)
    if per_photo_method:
        if options.runtime != "auto":
            raise UsageError(f"a video model needs torch; leave out --runtime {options.runtime}")
        from anti_i2v.bulk.per_photo import per_photo

        return per_photo(options, given)
    from anti_i2v.bulk.backends import one_pass

    return one_pass(options.generator, options.runtime, options.device)


def _for(way: Way, task: Task, options: argparse.Namespace) -> Task:
    """The task with the way's own epsilon, if nobody said one, and the mark that files are to bear.

    Raises:
        UsageError: That epsilon changes nothing.
    """
    epsilon = way.epsilon if options.epsilon is None and options.strength is None else task.epsilon
    if epsilon < 1:
        raise UsageError(f"{way.name} is for epsilon {epsilon:g}, which leaves no whole 8-bit step; give --epsilon, 1 or more")
    mark = None if options.no_mark else way.mark(epsilon)
    return dataclasses.replace(task, epsilon=epsilon, saving=dataclasses.replace(task.saving, mark=mark))


def _protect_all(way: Way, todo: Plan, task: Task, outcomes: list[Outcome], options: argparse.Namespace) -> None:
    from anti_i2v.bulk.engines import chosen
    from anti_i2v.bulk.photo import reuse_memory
    from anti_i2v.bulk.result import FAILED, Outcome
    from anti_i2v.bulk.run import run_jobs

    reuse_memory()
    outcomes += [Outcome(str(path), None, FAILED, reason=reason) for path, reason in todo.refused.items()]
    run_jobs(chosen(options, way, todo.jobs), todo.jobs, task, outcomes, options.out, options.overwrite, options.quiet)


def _told(todo: Plan, overwrite: bool) -> int:
    """Say what would be done."""
    count = 0
    for job in todo.jobs:
        if job.is_done and not overwrite:
            print(f"{job.output}: an earlier call has done it")
        elif job.obstacle and not overwrite:
            todo.refused[job.source] = job.obstacle
        else:
            count += 1
            print(f"{job.source} → {job.output}")
    for reason in todo.refused.values():
        print(reason, file=sys.stderr)
    left = f", {len(todo.left_out)} other files left alone" if todo.left_out else ""
    print(f"{count} of {len(todo.jobs)} to do{left}; nothing was written")
    return 1 if todo.refused else 0


def _through_pipe(options: argparse.Namespace, task: Task) -> int:
    """One photo to standard output; words go to standard error."""
    from anti_i2v.bulk.pipe import protect_pipe

    if len(options.source) != 1 or str(options.out) != "-":
        raise UsageError("- stands for one photo: `anti-i2v protect - --out -`, or one file and --out -")
    if options.dry_run or options.report:
        raise UsageError("--dry-run and --report are for files and folders; leave them out with --out -")
    way = _way(options)
    measured = protect_pipe(way.protect, options.source[0], _for(way, task, options))
    if not options.quiet:
        print(f"largest change {measured.steps:.4g}/255, mean ΔE2000 {measured.delta_e:.2f}", *measured.notes, sep="; ", file=sys.stderr)
        print(way.limits, file=sys.stderr)
    return 0


def _write_report(options: argparse.Namespace, way: Way, task: Task, outcomes: list[Outcome], seconds: float) -> None:
    from anti_i2v import __version__
    from anti_i2v.bulk.summary import write_report

    settings = {"version": __version__, "by": way.name, "weights": way.weights, "epsilon": task.epsilon, "format": task.format}
    settings |= {"max_delta_e": task.max_delta_e, "out": None if options.out is None else str(options.out)}
    write_report(options.report, outcomes, settings, seconds)


def _say(outcomes: list[Outcome], todo: Plan, way: Way, task: Task, options: argparse.Namespace, seconds: float) -> int:
    """Print what was done, what was not and what it is worth; the exit status."""
    from anti_i2v.bulk.result import FAILED, PROTECTED
    from anti_i2v.bulk.summary import failures, notes, of_status, summary

    failed, done = of_status(outcomes, FAILED), of_status(outcomes, PROTECTED)
    place = "in place" if options.out is None else f"into {options.out}"
    lines = summary(outcomes, place, seconds, task.epsilon)
    if not options.quiet and lines:
        lines += notes(outcomes, task.epsilon, task.format)
        if todo.left_out:
            lines.append(f"note: {len(todo.left_out)} other files left alone, such as {todo.left_out[0]}")
    for line in lines + ([way.limits] if done else []):
        print(line)
    sys.stdout.flush()
    if len(failed) == len(outcomes) and len(failed) == 1:
        raise UsageError(failed[0].named())
    if failed:
        print(*failures(outcomes), sep="\n", file=sys.stderr)
        if len(failed) == len(outcomes):
            raise UsageError(f"none of the {len(failed)} inputs could be protected; the reasons are above")
    return 1 if failed else 0
