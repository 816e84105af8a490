"""How many photos a second do one worker and two protect, and is two nearly twice as much as one?

    python -m benchmarks.bulk --out docs/bulk

Runs in pairs: the same photos by one worker, then by two. What a call needs to begin is left out: only what is done after all workers
have begun counts. Ray gets tar shards, which it is for; the pool gets photos, and its one worker is this process; threads, which share
a network and its batches, are for GPUs (`--engines threads --device cuda`). Beside them stands what as many threads do that read, write
and verify photos and change nothing: at 100 % the device is not what is waited for. Where OMP_NUM_THREADS is not 1, torch may keep all
cores busy with one worker, to little avail. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from anti_i2v.bulk.engines import Engine, run_in_threads, run_in_turn
from anti_i2v.bulk.loading import OnePass, one_pass
from anti_i2v.bulk.photo import reuse_memory
from anti_i2v.bulk.plan import Job, plan_jobs
from anti_i2v.bulk.pool import run_in_processes
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.evaluation.report import write_texts
from anti_i2v.generators.folder import DEFAULT_GENERATOR
from anti_i2v.generators.hub import open_folder
from anti_i2v.inference.batching import BatchingBackend
from anti_i2v.inference.torch_backend import load_generator
from anti_i2v.keys import PUBLIC_KEY
from anti_i2v.resources import commit
from benchmarks.large import large
from benchmarks.protect import processor, spread
from benchmarks.tables import grid

PHOTOS = ("640x480.png", "640x480.jpg", "1920x1080.png", "1920x1080.jpg")
ENGINES = ("pool", "ray", "threads")


def load_and_note(folder: Path, generator: str, runtime: str, device: str | None) -> PhotoProtector:
    """A generator's one pass, and a file for each process that has loaded it."""
    protector = one_pass(generator, runtime, device, "none")
    (folder / str(os.getpid())).touch()
    return protector


def engine(name: str, workers: int, load: Callable[[], PhotoProtector], generator: str) -> Engine:
    """The engine of `--engine NAME --workers N`."""
    if name == "threads":
        protector = load()
        # On the processor, batches do not pay; here it shows the effect of threads where there is no GPU.
        if not protector.shared:
            batching = BatchingBackend(load_generator(open_folder(generator)), 1)
            protector = replace(protector, protect=OnePass(batching, PUBLIC_KEY).protect)
        return partial(run_in_threads, protector, workers)
    if name == "ray":
        from anti_i2v.bulk.ray import run_with_ray

        return partial(run_with_ray, load, workers, 0)
    return partial(run_in_turn, load()) if workers == 1 else partial(run_in_processes, load, workers)


def rate(name: str, workers: int, options: argparse.Namespace, jobs: Sequence[Job], nothing: bool = False) -> float:
    """Photos a second, once all workers are there; `nothing`: of threads that protect none."""
    done: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder)
        run = engine(name, workers, partial(load_and_note, ready, options.generator, options.runtime, options.device), options.generator)
        if nothing:
            run = partial(run_in_threads, PhotoProtector(lambda photo, epsilon: photo, "", "nothing"), workers)
        for _, results in run(jobs, Request((), Path(folder), "same", mark=False), lambda: None):
            assert all(result.status == "protected" for result in results), results
            if done or name == "threads" or len(list(ready.iterdir())) == workers:
                done.append((time.perf_counter(), len(results)))
    if len(done) < len(jobs) / 2:
        raise SystemExit(f"{len(jobs) - len(done)} of {len(jobs)} jobs were done before {workers} workers had begun; raise --count")
    return sum(photos for _, photos in done[1:]) / (done[-1][0] - done[0][0])


def write_shards(photos: Path, folder: Path, each: int) -> Path:
    """Write the photos of a folder as shards of `each` photos."""
    folder.mkdir()
    for number, some in enumerate(in_batches(sorted(photos.iterdir()), each)):
        with tarfile.open(folder / f"{number:04}.tar", "w") as tar:
            for photo in some:
                tar.add(photo, photo.name)
    return folder


def in_batches(files: Sequence[Path], each: int) -> Iterator[Sequence[Path]]:
    """Batches of `each` files; `itertools` has it from Python 3.12 on."""
    return (files[first : first + each] for first in range(0, len(files), each))


def compare_workers(name: str, options: argparse.Namespace, jobs: Sequence[Job]) -> dict[str, Any]:
    """Medians of one worker and of several, and the ratio of each pair."""
    rates = [[rate(name, workers, options, jobs) for workers in (1, options.workers)] for _ in range(options.runs)]
    one, many = (statistics.median(values) for values in zip(*rates, strict=True))
    row = {"engine": name, "one": one, "many": many, "ratio": spread([b / a for a, b in rates])}
    if name == "threads":
        ceiling = [rate(name, options.workers, options, jobs, nothing=True) for _ in range(options.runs)]
        row["bound"] = spread([many / alone for (_, many), alone in zip(rates, ceiling, strict=True)])
    return row


def text(data: dict[str, Any]) -> str:
    """`bulk.md`."""
    facts, lines = data["facts"], []
    for row in data["rows"]:
        rates = [f"{row[name]:.1f}" for name in ("one", "many")]
        share = "{:.0%} [{:.0%}, {:.0%}]".format(*row["bound"]) if "bound" in row else "–"
        lines.append([row["photo"], row["engine"], *rates, "{:.2f} [{:.2f}, {:.2f}]".format(*row["ratio"]), share])
    headings = ["photo", "engine", "photos a second, 1 worker", f"{facts['workers']} workers", "ratio", "of the rate without protecting"]
    return f"""# What several workers are worth

Photos a second from file to file, verified; Ray's in shards of {facts["shard"]}. Formats stay. Medians of {facts["runs"]} pairs of
{facts["count"]} photos, [least, most].

{grid(headings, lines, 2)}

{", ".join(f"{name} {value}" for name, value in facts.items())}; `python -m benchmarks.bulk {data["arguments"]}`.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default=DEFAULT_GENERATOR, help="generator folder, or the name of one that ships")
    parser.add_argument("--runtime", default="auto", choices=("auto", "torch", "onnx"))
    parser.add_argument("--photos", nargs="+", default=PHOTOS, metavar="WxH.SUFFIX", help=f"default: {' '.join(PHOTOS)}")
    parser.add_argument("--device", help="of the generator, for threads; default: the processor")
    parser.add_argument("--engines", nargs="+", default=ENGINES[:2], choices=ENGINES, help=f"default: {' '.join(ENGINES[:2])}")
    parser.add_argument("--count", type=int, default=200, help="photos of each kind")
    parser.add_argument("--shard", type=int, default=10, help="photos in a shard")
    parser.add_argument("--workers", type=int, default=2, help="beside one")
    parser.add_argument("--runs", type=int, default=5, help="pairs")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write `bulk.json` and `bulk.md`."""
    options, rows = parse(arguments), []
    reuse_memory()
    if "ray" in options.engines:  # one for all runs: its start is not measured
        from anti_i2v.bulk.ray import connect

        connect(None, options.workers)
    for kind in tqdm(options.photos, unit="kind"):
        with tempfile.TemporaryDirectory() as folder:
            photos = Path(folder) / "photos"
            photos.mkdir()
            size, _, suffix = kind.partition(".")
            picture = large("portrait", *map(int, size.split("x")))
            for i in range(options.count):
                picture.save(photos / f"{i:04}.{suffix}", quality=92)  # which only JPEG heeds
            sources = {"pool": photos, "threads": photos, "ray": write_shards(photos, Path(folder) / "shards", options.shard)}
            for name in options.engines:
                jobs = plan_jobs([sources[name]], Path(folder) / "out", "same").jobs
                rows.append({"photo": f"{size} {suffix.upper()}", **compare_workers(name, options, jobs)})
    settings = {option: getattr(options, option) for option in ("generator", "runtime", "device", "count", "shard", "workers", "runs")}
    libraries = ("torch", "onnxruntime", "pillow", *(["ray"] if "ray" in options.engines else []))
    versions = {name: version(name) for name in libraries} | {"processor": processor()}
    settings["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "not set")
    facts = {"commit": commit() or "unknown", **settings, **versions, "load": round(os.getloadavg()[0], 1)}
    data = {"arguments": shlex.join(sys.argv[1:] if arguments is None else arguments), "facts": facts, "rows": rows}
    report = text(data)
    write_texts(options.out, {"bulk.json": json.dumps(data, indent=1) + "\n", "bulk.md": report})
    print(report)


if __name__ == "__main__":
    main()
