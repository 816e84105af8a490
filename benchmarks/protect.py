"""The time and memory of protecting a photo beside reading and writing it, and the faithfulness of protecting in blocks.

    python -m benchmarks.protect --out docs/protect

Runs in pairs: Pillow's decoding and encoding alone, with the arguments that protecting saves with, then `anti-i2v protect`'s own
steps from file to file. On a machine that does other work as well, seconds of the processor say more than those of the clock;
both are written down. Peak memory and cold start are those of fresh processes. Each runtime that can be had is measured. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from anti_i2v.bulk.photo import reuse_memory
from anti_i2v.evaluation.report import write_texts
from anti_i2v.generators.folder import DEFAULT_GENERATOR
from anti_i2v.imaging.measure import measure
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import LOSSY, save_photo
from anti_i2v.protector import Protector
from anti_i2v.resources import commit
from benchmarks.large import MODEL_SIZE, PICTURES, faithfulness, large
from benchmarks.tables import ROOT, grid

STAGES = ("decode", "network", "pixels", "encode", "verify")
CODEC = ("decode", "encode")
PHOTOS = ["512x512.png", "512x512.jpg", "1920x1080.jpg", "4032x3024.jpg"]
PEERS = (
    ("FastProtect", "512 × 512", "2.9 s, CPU; 0.04 s, A100", "arXiv 2412.11423, table 2"),
    ("RID", "not stated", "1.1 s, Intel i9; 0.12 s, A100", "arXiv 2412.09844, abstract"),
    ("DiffVax", "512 × 512", "0.07 s, A100", "arXiv 2411.17957, table of run times"),
)
"""Protection in one pass against image models: name, size, published seconds a photo, where."""

IMPORTS = {"onnx": "import onnxruntime", "torch": "import torch"}
COMMAND = "import sys; from anti_i2v.__main__ import main; main(['protect', *sys.argv[1:]])"
PEAK = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
"""Ends a program with its peak in KiB; what the system counts for a child includes the memory of the process that started it."""

Result = TypeVar("Result")


class Stopwatch:
    """Seconds by the clock and of the processor (all threads of this process), by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}

    def __call__(self, stage: str, run: Callable[[], Result]) -> Result:
        """Time one call."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = run()
        before = self.seconds.get(stage, (0.0, 0.0))
        self.seconds[stage] = before[0] + time.perf_counter() - wall, before[1] + time.process_time() - cpu
        return result


def codec(source: Path, target: Path) -> Stopwatch:
    """Pillow's decoding and encoding, as `anti-i2v protect --format same` calls them."""
    watch = Stopwatch()
    photo = watch("decode", lambda: read_photo(source))
    watch("encode", lambda: save_photo(photo, target, like=photo))
    return watch


def protection(protector: Protector, source: Path, target: Path, epsilon: float) -> Stopwatch:
    """One photo from file to file, as `bulk` takes it: `network` finds people and proposes, `pixels` is what applies that."""
    watch, backend = Stopwatch(), protector.backend
    find, propose = backend.find, backend.propose
    photo = watch("decode", lambda: read_photo(source))
    backend.find = lambda *arguments: watch("network", lambda: find(*arguments))  # type: ignore[method-assign]
    backend.propose = lambda *arguments: watch("network", lambda: propose(*arguments))  # type: ignore[method-assign]
    try:
        protected = watch("pixels", lambda: protector.protect(photo, epsilon, key="none"))
    finally:
        del backend.find, backend.propose
    both, alone = watch.seconds["pixels"], watch.seconds.get("network", (0.0, 0.0))
    watch.seconds["network"], watch.seconds["pixels"] = alone, (both[0] - alone[0], both[1] - alone[1])
    watch("encode", lambda: save_photo(protected, target, like=photo))
    watch("verify", lambda: measure(photo, protected, read_photo(target), target.suffix in LOSSY, epsilon))
    return watch


def compare_codec(protector: Protector, source: Path, epsilon: float, runs: int) -> dict[str, Any]:
    """Medians over runs, and the ratio of each pair; the first pair, which warms up, is left out."""
    alone, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / source.name
        for _ in range(runs + 1):
            alone.append(codec(source, target).seconds)
            whole.append(protection(protector, source, target, epsilon).seconds)
    clocks: dict[str, Any] = {}
    for i, clock in enumerate(("wall", "cpu")):
        bare = [sum(run[stage][i] for stage in CODEC) for run in alone[1:]]
        full = [sum(run[stage][i] for stage in STAGES) for run in whole[1:]]
        unverified = [total - run["verify"][i] for total, run in zip(full, whole[1:], strict=True)]
        clocks[clock] = {
            "codec": statistics.median(bare),
            "whole": statistics.median(full),
            "stages": {stage: statistics.median(run[stage][i] for run in whole[1:]) for stage in STAGES},
            "ratio": spread([a / b for a, b in zip(unverified, bare, strict=True)]),
            "ratio_verified": spread([a / b for a, b in zip(full, bare, strict=True)]),
        }
    return clocks


def spread(values: Sequence[float]) -> list[float]:
    """Median, least and most."""
    return [statistics.median(values), min(values), max(values)]


def time_process(code: str, arguments: Sequence[str], runs: int, threads: int) -> dict[str, float] | None:
    """A Python process from its start to its end: medians of seconds by the clock and of the processor, and of its peak in MiB."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "ORT_DISABLE_TELEMETRY": "1"}
    measurements = []
    for _ in range(runs):
        begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", f"{code}\n{PEAK}", *arguments]
        process = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        measurements.append((wall, cpu, int(process.stdout.split()[-1]) / 1024))
    if not measurements:
        return None
    return {name: statistics.median(run[i] for run in measurements) for i, name in enumerate(("wall", "cpu", "peak_mib"))}


def processor() -> str:
    """Its name, as far as the system tells."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def text(data: dict[str, Any]) -> str:
    """`protect.md`."""
    facts, lines, stages, alike = data["facts"], [], [], []
    for row in data["rows"]:
        cpu, wall, start = row["cpu"], row["wall"], row["fresh"] or {}
        ratios = ["{:.2f} [{:.2f}, {:.2f}]".format(*cpu[name]) for name in ("ratio", "ratio_verified")]
        ratios.append("{:.2f}".format(wall["ratio"][0]))
        ends = [f"{start[name]:.{digits}f}" if start else "–" for name, digits in (("wall", 1), ("cpu", 1), ("peak_mib", 0))]
        first = [f"{row['size']} {row['format']}, {row['bytes'] / 1e6:.1f} MB", row["runtime"]]
        lines.append([*first, *(f"{value:.3f}" for value in (cpu["codec"], cpu["whole"], wall["whole"])), *ratios, *ends])
        stages.append([*first, *(f"{1000 * cpu['stages'][stage]:.0f}" for stage in STAGES)])
    for row in data["faithfulness"]:
        pairs = ["{:.2f}, {:.2f}".format(*row[name]) for name in ("rms", "psnr", "delta_e")]
        apart = [f"{row['apart_rms']:.2f}, {row['apart_largest']}", f"{row['same']:.0%}"]
        small = [f"{row['seen_correlation']:.4f}", f"{row['seen_rms_ratio']:.3f}"]
        alike.append([row["picture"], f"{row['correlation']:.4f}", *pairs, *apart, *small])
    costs = ["photo", "runtime", "decode + encode alone, s", "protected and verified, s", "the same by the clock, s"]
    costs += ["ratio without verifying", "with it", "without it, by the clock"]
    costs += ["fresh process, s by the clock", "s of the processor", "peak, MiB"]
    kinds = ["picture", "correlation", "RMS, 1/255", "PSNR, dB", "ΔE2000", "apart: RMS, largest", "pixels the same"]
    kinds += [f"correlation at {MODEL_SIZE} × {MODEL_SIZE}", "RMS there"]
    line = "Of that, `{name}` alone takes {wall:.1f} s by the clock, {cpu:.1f} s of the processor and {peak_mib:.0f} MiB. "
    base = "".join(line.format(name=IMPORTS[name], **bare) for name, bare in data["imports"].items() if bare)
    return f"""# What protecting a photo costs

Seconds of the processor unless the clock is named; medians of {facts["runs"]} pairs, [least, most]. Verifying: the file is read again and
compared with the photo. Fresh: `anti-i2v protect PHOTO`, median of {facts["fresh"]} processes. {base}

{grid(costs, lines, 2)}

Where the time goes, in ms:

{grid(["photo", "runtime", *STAGES], stages, 2)}

Published by others, for protection in one pass against image models:

{grid(["method", "photo", "seconds", "source"], PEERS, 4)}

## In blocks, and every pixel for itself

A photo of 960 pixels or more along a side is protected in blocks of pixels. Pictures of {facts["large"]}, enlarged, with texture and
noise; where there are two figures, the first is that in blocks.

{grid(kinds, alike)}

{", ".join(f"{name} {value}" for name, value in facts.items())}; `python -m benchmarks.protect --out docs/protect`.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default=DEFAULT_GENERATOR, help="generator folder, or the name of one that ships")
    parser.add_argument("--photos", nargs="+", default=PHOTOS, metavar="WxH.SUFFIX", help=f"default: {' '.join(PHOTOS)}")
    parser.add_argument("--large", default="4032x3024", metavar="WxH", help="of the pictures in blocks (default: 12 megapixels)")
    parser.add_argument("--pictures", nargs="*", default=PICTURES, choices=PICTURES, metavar="NAME", help="default: all")
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--runs", type=int, default=15, help="pairs")
    parser.add_argument("--fresh", type=int, default=3, help="fresh processes for each photo")
    parser.add_argument("--runtimes", nargs="+", default=list(IMPORTS), choices=IMPORTS, help="default: all")
    parser.add_argument("--threads", type=int, default=1, help="of torch and NumPy; Pillow has one, and onnxruntime one for each core")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, write `protect.json` and `protect.md`."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    protectors, rows, alike = {name: Protector.from_pretrained(options.generator, backend=name) for name in options.runtimes}, [], []
    reuse_memory()
    common = ["--generator", options.generator, "--format", "same", "--quiet", "--overwrite", "--key", "none", "--runtime"]
    bare = {name: time_process(IMPORTS[name], [], options.fresh, options.threads) for name in protectors}
    with tempfile.TemporaryDirectory() as folder:
        for name in tqdm(options.photos, unit="photo"):
            source = Path(folder) / name
            large("group", *map(int, source.stem.split("x"))).save(source, quality=92)
            for runtime, protector in protectors.items():
                row = {"size": source.stem, "format": source.suffix[1:].upper(), "bytes": source.stat().st_size, "runtime": runtime}
                row |= compare_codec(protector, source, options.epsilon, options.runs)
                call = [*common, runtime, str(source), "--out", f"{folder}/out"]
                rows.append(row | {"fresh": time_process(COMMAND, call, options.fresh, options.threads)})
    for picture in tqdm(options.pictures, unit="picture"):
        photo = large(picture, *map(int, options.large.split("x")))
        alike.append({"picture": picture, **faithfulness(protectors[options.runtimes[0]], photo, options.epsilon)})
    settings = {name: getattr(options, name) for name in ("generator", "epsilon", "runs", "fresh", "large", "threads")}
    versions = {name: version(name) for name in ("torch", "onnxruntime", "pillow", "numpy")} | {"processor": processor()}
    facts = {"commit": commit() or "unknown", **settings, **versions, "load": round(os.getloadavg()[0], 1)}
    data = {"facts": facts, "rows": rows, "faithfulness": alike, "imports": bare, "peers": PEERS}
    report = text(data)
    write_texts(options.out, {"protect.json": json.dumps(data, indent=1) + "\n", "protect.md": report})
    print(report)


if __name__ == "__main__":
    main()
