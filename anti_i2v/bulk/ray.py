"""Jobs on many machines, by Ray Data: one job a row, done by actors that load the generator once; Ray replaces those that die.

Sources, outputs and the generator must be under the same paths on all machines. A file appears complete or not at all, so a job that was
cut off is simply done again.
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

from anti_i2v.bulk.jobs import Job
from anti_i2v.bulk.partial import sweep
from anti_i2v.bulk.result import FAILED, Outcome
from anti_i2v.errors import UsageError
from anti_i2v.imaging.measure import Measured
from anti_i2v.imaging.quiet import no_c_output

if TYPE_CHECKING:
    from anti_i2v.bulk.backends import Way
    from anti_i2v.bulk.photo import Task
    from anti_i2v.bulk.run import Done, Tick

RETRIES = 2  # of a job whose actor died; whose that was is known, because an actor is given one job at a time
STORE = 2**27  # bytes that a Ray of our own keeps for objects; ours are names and numbers
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""What Ray reads when it is imported: nothing is sent to anybody, and nothing is said that a user cannot mend."""


class Actor:
    """Does the jobs of rows.

    Args:
        make: Makes what protects photos.
        task: What is asked for every photo.
        folder: That paths are relative to, if this machine has it.
    """

    def __init__(self, make: Callable[[], Way], task: Task, folder: str) -> None:
        from anti_i2v.bulk.photo import reuse_memory

        with contextlib.suppress(OSError):
            os.chdir(folder)
        reuse_memory()
        self.protect, self.task = make().protect, task

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do one."""
        from anti_i2v.bulk.run import protect_job

        outcomes = protect_job(self.protect, _job(row), self.task)
        return {"place": row["place"], "outcomes": json.dumps([dataclasses.asdict(outcome) for outcome in outcomes])}


def with_ray(make: Callable[[], Way], workers: int, address: str | None, gpus: int, jobs: Sequence[Job], task: Task, tick: Tick) -> Done:
    """Do jobs by Ray Data.

    Args:
        make: Makes what protects photos, once in each actor; it can be pickled.
        workers: How many actors, each with a processor.
        address: Of a cluster that runs; None starts one on this machine, which ends with the call.
        gpus: That each actor needs.
        jobs: What to do.
        task: What is asked for every photo.
        tick: Called after each photo.

    Raises:
        UsageError: Ray cannot begin, or it cannot go on.
    """
    if not jobs:
        return
    missing = set(range(len(jobs)))
    own = connect(address, workers)
    try:
        for place, outcomes in _stream(make, workers, gpus, jobs, task):
            missing.discard(place)
            for _ in outcomes:
                tick()
            yield place, outcomes
    finally:
        if own:
            import ray

            ray.shutdown()
        sweep(jobs)
    for place in sorted(missing):
        why = f"the processes that protected it died, {RETRIES + 1} times; Ray's logs may tell of what"
        yield place, [Outcome(str(jobs[place].source), None, FAILED, reason=why)]


def connect(address: str | None, workers: int) -> bool:
    """Connect to a cluster, or start one; whether that is to end with the call, because the caller had none.

    Raises:
        UsageError: Neither is possible.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if address is None:
        # Its doors have no lock, so they are not to be seen from other machines. This is how Ray is asked for that, on Linux, too.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    own = {"num_cpus": workers, "object_store_memory": STORE, "include_dashboard": False}
    try:
        if address and address.rpartition(":")[2].isdigit():
            _knock(address)
        import ray

        if ray.is_initialized():
            return False
        with no_c_output():
            ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **({} if address else own))
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        remedy = "check --ray-address" if address else "its logs are in /tmp/ray"
        raise UsageError(f"Ray cannot begin: {' '.join(str(error).split())[:200]}; {remedy}") from None
    return True


def _knock(address: str) -> None:
    """Raise OSError if nobody answers at `host:port` or `ray://host:port`; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def _stream(make: Callable[[], Way], workers: int, gpus: int, jobs: Sequence[Job], task: Task) -> Done:
    """The outcomes as they come; a job that all its actors died of is left out."""
    import ray.data
    from ray.exceptions import RayError

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)
    rows = ray.data.from_items([_row(place, job) for place, job in enumerate(jobs)], override_num_blocks=len(jobs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray 2.64 will have another place for retries
        done = rows.map(
            Actor,
            fn_constructor_args=(make, task, os.getcwd()),  # noqa: PTH109  # as text
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
    try:
        for row in done.iter_rows():
            yield row["place"], [_outcome(told) for told in json.loads(row["outcomes"])]
    except RayError as error:
        last = str(error).strip().splitlines()[-1][:200]
        raise UsageError(f"Ray cannot go on: {last}; run the same command again for what is left") from None


def _row(place: int, job: Job) -> dict[str, Any]:
    """Paths as bytes, because they need not be text."""
    backup = b"" if job.backup is None else os.fsencode(job.backup)
    return {"place": place, "source": os.fsencode(job.source), "output": os.fsencode(job.output), "backup": backup}


def _job(row: dict[str, Any]) -> Job:
    source, output, backup = (Path(os.fsdecode(row[name])) for name in ("source", "output", "backup"))
    return Job(source, output, backup if row["backup"] else None)


def _outcome(told: dict[str, Any]) -> Outcome:
    measured = told.pop("measured")
    return Outcome(**told, measured=measured and Measured(**{**measured, "notes": tuple(measured["notes"])}))
