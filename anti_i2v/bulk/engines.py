"""What does the jobs of a call: this process, several of this machine, threads around a GPU, or Ray on many machines."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from anti_i2v.bulk.backends import Way
    from anti_i2v.bulk.jobs import Job
    from anti_i2v.bulk.run import Engine

MOST = 4  # processes, unless somebody asks for more: each takes some hundred megabytes for large photos
ENOUGH = 8  # photos for each process, which takes half a second to start


def check(options: argparse.Namespace, per_photo: bool) -> None:
    """Refuse options that do not go together, before anything is loaded.

    Args:
        options: Of `protect`.
        per_photo: Whether each photo is optimised against a video model.

    Raises:
        UsageError: They do not, or Ray is not installed.
    """
    several = options.workers is not None and options.workers > 1
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers is {options.workers}; give 1 or more")
    if per_photo and (several or options.engine == "ray"):
        asked = f"--workers {options.workers}" if several else "--engine ray"
        raise UsageError(f"{asked} is for a generator's one pass; a video model optimises one photo at a time, so leave it out")
    if options.ray_address is not None and options.engine != "ray":
        raise UsageError(f"--ray-address {options.ray_address} is for --engine ray; add that")
    if options.engine == "ray" and find_spec("ray") is None:
        raise UsageError("--engine ray needs Ray, which is not installed; pip install 'anti-i2v[bulk]'")


def chosen(options: argparse.Namespace, way: Way, jobs: Sequence[Job]) -> Engine:
    """The engine that the options ask for.

    Args:
        options: Of `protect`.
        way: What protects photos in this process.
        jobs: What there is to do.
    """
    from anti_i2v.bulk.backends import on_gpu, one_pass
    from anti_i2v.bulk.run import in_turn

    make = partial(one_pass, options.generator, options.runtime, options.device)
    if options.engine == "ray":
        from anti_i2v.bulk.ray import with_ray

        return partial(with_ray, make, options.workers or 1, options.ray_address, int(on_gpu(options.device)))
    if way.shared and options.workers != 1:
        from anti_i2v.bulk.threads import in_threads

        return partial(in_threads, way.protect, options.workers or _cores())
    workers = options.workers or _worthwhile(way, jobs)
    if workers > 1:
        from anti_i2v.bulk.pool import in_processes

        return partial(in_processes, make, workers)
    return partial(in_turn, way.protect)


def _worthwhile(way: Way, jobs: Sequence[Job]) -> int:
    """How many processes are worth their start and their memory."""
    if not way.light:
        return 1
    left = [job for job in jobs if not job.is_done]
    shards = sum(job.is_shard for job in left)
    return max(1, min(_cores(), MOST, shards + (len(left) - shards) // ENOUGH))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
