"""The one door for command line, pipe and page: a request in, what became of every photo out.

Each file is in place the moment it is done, and one bad file never stops the rest.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from anti_i2v.bulk.engines import Engine, choose_engine
from anti_i2v.bulk.job import sweep_abandoned
from anti_i2v.bulk.loading import load_protector
from anti_i2v.bulk.photo import reuse_memory
from anti_i2v.bulk.pipe import protect_pipe
from anti_i2v.bulk.plan import Job, Plan, plan_jobs, refuse_one_name
from anti_i2v.bulk.progress import show_progress
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.report import check_report, write_report
from anti_i2v.bulk.request import STANDARD, Request
from anti_i2v.bulk.reruns import done_before, existing_secret, settle
from anti_i2v.bulk.results import Result, Results, Status
from anti_i2v.bulk.shards import contents, left_alone
from anti_i2v.errors import UsageError

COUNTING = 3.0  # seconds at most for counting what is in shards


def run(request: Request, protector: PhotoProtector | None = None, jobs: Sequence[Job] | None = None) -> Results:
    """Protect everything that is asked for and can be protected.

    Args:
        request: What is asked.
        protector: What protects photos; None loads what the request names.
        jobs: Which file becomes which; None plans them from the request's sources.

    Returns:
        What became of every photo. The report is written, also when an interrupt ends the call.

    Raises:
        UsageError: Unusable sources, output or protector; nothing has been written.
    """
    if request.out == STANDARD:
        return protect_pipe(request, protector or load_protector(request))
    plan = plan_jobs(request.sources, request.out, request.format) if jobs is None else Plan(list(jobs))
    results = Results(request, plan, left_alone=list(plan.left_alone))
    if request.dry_run:
        results.photos += _refused(plan)
        without_work, pending = _split(plan.jobs, request)
        without_work |= _rehearse(pending, request)
        results.photos += [photo for index in sorted(without_work) for photo in without_work[index]]
        results.sort()
        return results
    protector = results.protector = protector or load_protector(request)
    begin = time.perf_counter()
    with _output_folder(request.out):
        if request.report:
            check_report(request.report, plan, request.overwrite)
        if request.out:
            refuse_one_name(plan, request.out)
        results.photos += _refused(plan)
        try:
            run_jobs(plan.jobs, request, results.photos, partial(choose_engine, request, protector))
        finally:
            results.seconds = time.perf_counter() - begin
            results.sort()
            if request.report:
                results.report_error = write_report(request.report, results)
    return results


def _refused(plan: Plan) -> list[Result]:
    return [Result(str(path), None, Status.FAILED, reason=why) for path, why in plan.refused.items()]


def run_jobs(jobs: Sequence[Job], request: Request, photos: list[Result], choose: Callable[[Sequence[Job]], Engine]) -> None:
    """Do all jobs, by the engine that `choose` gives for those that are left to do.

    `photos` takes the results in the order of the jobs, also when an interrupt ends them.
    """
    results, pending = _split(jobs, request)
    indices, left = list(pending), list(pending.values())
    reuse_memory()
    sweep_abandoned(left)
    try:
        total = 0 if request.quiet else _count_photos(left, request.format)
        with show_progress(total, request.quiet) as advance, contextlib.closing(choose(left)(left, request, advance)) as running:
            for index, found in running:
                results[indices[index]] = found
    finally:
        photos += [photo for index in sorted(results) for photo in results[index]]


def _split(jobs: Sequence[Job], request: Request) -> tuple[dict[int, list[Result]], dict[int, Job]]:
    """By index: the results of jobs that are done already or cannot be done, and the jobs that are left."""
    results: dict[int, list[Result]] = {}
    pending: dict[int, Job] = {}
    out = request.out and request.out.resolve()
    for index, job in enumerate(jobs):
        if out is not None and not job.output.parent.resolve().is_relative_to(out):
            problem = f"{job.output.parent} leads out of --out {request.out} by a symbolic link; remove the link"
            results[index] = [Result(str(job.source), None, Status.FAILED, reason=problem)]
        elif job.is_done and not request.overwrite:
            results[index] = [done_before(job)]
        elif job.is_shard and (problem_of_shard := settle(job, request)):
            results[index] = [problem_of_shard]
        else:
            pending[index] = job
    return results, pending


def _rehearse(jobs: dict[int, Job], request: Request) -> dict[int, list[Result]]:
    """By index: what would become of jobs, and what else is in shards."""
    results: dict[int, list[Result]] = {}
    secret = existing_secret(request)
    with show_progress(len(jobs), request.quiet) as advance:
        for index, job in jobs.items():
            results[index] = [settle(job, request, secret) or Result(str(job.source), str(job.output), Status.PLANNED)]
            if job.is_shard:
                with contextlib.suppress(UsageError, OSError):  # which the job itself would report
                    results[index] += left_alone(job.source)
            advance()
    return results


def _count_photos(jobs: Sequence[Job], format: str) -> int:
    """How many photos there are; shards that it would take long to look through are judged by their size."""
    single = sum(not job.is_shard for job in jobs)
    counted = read = unread = 0
    begin = time.monotonic()
    for job in (job for job in jobs if job.is_shard):
        with contextlib.suppress(UsageError, OSError):  # which the job itself will report
            size = job.source.stat().st_size
            if time.monotonic() - begin < COUNTING:
                counted += contents(job.source, format).photos
                read += size
            else:
                unread += size
    return single + counted + (round(unread * counted / read) if read else 0)


@contextlib.contextmanager
def _output_folder(out: Path | None) -> Iterator[None]:
    """Make the folder of the outputs; it is removed again if nothing could be done, but a folder of the user's stays."""
    is_new = out is not None and not os.path.exists(out)  # noqa: PTH110  # pathlib raises an error for long names
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = "it is a file" if isinstance(error, FileExistsError) else error.strerror
            raise UsageError(f"cannot use --out {out}: {problem}; choose another folder") from None
    try:
        yield
    finally:
        if out is not None and is_new and not any(out.iterdir()):
            out.rmdir()
