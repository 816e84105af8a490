"""Jobs on many machines, by Ray Data: one job a row, done by actors that load the generator once; Ray replaces those that die.

Sources, outputs, the generator and the key must be under the same paths on all machines. A file appears complete or not at all, so a job
that was cut off is simply done again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import socket
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anti_i2v.bulk.job import sweep
from anti_i2v.bulk.plan import Job
from anti_i2v.bulk.results import Result, Status
from anti_i2v.errors import UsageError
from anti_i2v.imaging.measure import Measurement
from anti_i2v.imaging.stderr import silence_stderr

if TYPE_CHECKING:
    from anti_i2v.bulk.engines import Advance, JobResults
    from anti_i2v.bulk.protector import PhotoProtector
    from anti_i2v.bulk.request import Request

RETRIES = 2  # of a job whose actor died; it is known which, because an actor is given one job at a time
STORE = 2**27  # bytes that a cluster of our own reserves for objects; ours are names and numbers
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Environment that Ray reads when it is imported: it sends nothing to anybody, and logs nothing that a user cannot mend."""


class Actor:
    """Does the jobs of rows, whose paths are relative to `folder` if this machine has it."""

    def __init__(self, load: Callable[[], PhotoProtector], request: Request, folder: str) -> None:
        from anti_i2v.bulk.photo import reuse_memory

        with contextlib.suppress(OSError):
            os.chdir(folder)
        reuse_memory()
        self.protector, self.request = load(), request

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do one."""
        from anti_i2v.bulk.job import run_job

        results = run_job(self.protector, _job(row), self.request)
        return {"index": row["index"], "results": json.dumps([dataclasses.asdict(result) for result in results])}


def run_with_ray(
    load: Callable[[], PhotoProtector], workers: int, gpus: int, jobs: Sequence[Job], request: Request, advance: Advance
) -> JobResults:
    """Do jobs by Ray Data, on the cluster at `request.ray_address` or one on this machine that ends with the call.

    Args:
        load: Loads what protects photos, once in each actor; it can be pickled.
        workers: How many actors, each with a processor.
        gpus: That each actor needs.
        jobs: See `engines.Engine`, as for what follows.
        request: The call's.
        advance: After each photo.

    Raises:
        UsageError: Ray cannot begin, or it cannot go on.
    """
    if not jobs:
        return
    missing = set(range(len(jobs)))
    own = connect(request.ray_address, workers)
    try:
        for index, results in _stream(load, workers, gpus, jobs, request):
            missing.discard(index)
            for result in results:
                if result.status != Status.LEFT_ALONE:
                    advance()
            yield index, results
    finally:
        if own:
            import ray

            ray.shutdown()
        sweep(jobs)
    for index in sorted(missing):
        reason = f"the processes that protected it died, {RETRIES + 1} times; Ray's logs may say why"
        yield index, [Result(str(jobs[index].source), None, Status.FAILED, reason=reason)]


def connect(address: str | None, workers: int) -> bool:
    """Connect to a cluster, or start one; whether that is to end with the call, because the caller had none.

    Raises:
        UsageError: Neither is possible.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if address is None:
        # Its ports ask for no password, so only this machine may reach them; on Linux too, Ray takes this setting for it.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    own = {"num_cpus": workers, "object_store_memory": STORE, "include_dashboard": False}
    try:
        if address and address.rpartition(":")[2].isdigit():
            _check_address(address)
        import ray

        if ray.is_initialized():
            return False
        with silence_stderr():
            ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **({} if address else own))
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        remedy = "check --ray-address" if address else "its logs are in /tmp/ray"
        raise UsageError(f"Ray cannot begin: {' '.join(str(error).split())[:200]}; {remedy}") from None
    return True


def _check_address(address: str) -> None:
    """Raise OSError if nothing answers at `host:port` or `ray://host:port`; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def _stream(load: Callable[[], PhotoProtector], workers: int, gpus: int, jobs: Sequence[Job], request: Request) -> JobResults:
    """The results as they come; a job that all its actors died of is left out."""
    import ray.data
    from ray.exceptions import RayError

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)
    rows = ray.data.from_items([_row(index, job) for index, job in enumerate(jobs)], override_num_blocks=len(jobs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray 2.64 will have another place for retries
        done = rows.map(
            Actor,
            fn_constructor_args=(load, request, os.getcwd()),  # noqa: PTH109  # as text
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
    try:
        for row in done.iter_rows():
            yield row["index"], [_result(entry) for entry in json.loads(row["results"])]
    except RayError as error:
        last = str(error).strip().splitlines()[-1][:200]
        raise UsageError(f"Ray cannot go on: {last}; run the same command again for what is left") from None


def _row(index: int, job: Job) -> dict[str, Any]:
    """Paths as bytes, because they need not be text."""
    backup = b"" if job.backup is None else os.fsencode(job.backup)
    return {"index": index, "source": os.fsencode(job.source), "output": os.fsencode(job.output), "backup": backup}


def _job(row: dict[str, Any]) -> Job:
    source, output, backup = (Path(os.fsdecode(row[name])) for name in ("source", "output", "backup"))
    return Job(source, output, backup if row["backup"] else None)


def _result(entry: dict[str, Any]) -> Result:
    measurement, status = entry.pop("measurement"), Status(entry.pop("status"))
    return Result(**entry, status=status, measurement=measurement and Measurement(**{**measurement, "notes": tuple(measurement["notes"])}))
