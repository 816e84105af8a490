"""What does the jobs of a call: this process, several of this machine, or Ray on many machines."""

from __future__ import annotations

import argparse
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from anti_i2v.commands.batch import Engine
    from anti_i2v.commands.way import Way


def check(options: argparse.Namespace, per_photo: bool) -> None:
    """Refuse options that do not go together, before anything is loaded.

    Args:
        options: Of `protect`.
        per_photo: Whether each photo is optimised against a video model.

    Raises:
        UsageError: They do not, or Ray is not installed.
    """
    if options.workers < 1:
        raise UsageError(f"--workers is {options.workers}; give 1 or more")
    if per_photo and (options.workers > 1 or options.engine == "ray"):
        asked = f"--workers {options.workers}" if options.workers > 1 else "--engine ray"
        raise UsageError(f"{asked} is for a generator's one pass; a video model optimises one photo at a time, so leave it out")
    if options.ray_address is not None and options.engine != "ray":
        raise UsageError(f"--ray-address {options.ray_address} is for --engine ray; add that")
    if options.engine == "ray" and find_spec("ray") is None:
        raise UsageError("--engine ray needs Ray, which is not installed; pip install 'anti-i2v[bulk]'")


def chosen(options: argparse.Namespace, way: Way) -> Engine:
    """The engine that the options ask for.

    Args:
        options: Of `protect`.
        way: What protects photos in this process.
    """
    from anti_i2v.commands.batch import in_turn
    from anti_i2v.commands.way import one_pass

    make = partial(one_pass, options.generator, options.runtime, options.device)
    if options.engine == "ray":
        from anti_i2v.commands.bulk_ray import with_ray

        gpus = 1 if (options.device or "").startswith("cuda") else 0
        return partial(with_ray, make, options.workers, options.ray_address, gpus)
    if options.workers > 1:
        from anti_i2v.commands.pool import in_processes

        return partial(in_processes, make, options.workers)
    return partial(in_turn, way.protect)
