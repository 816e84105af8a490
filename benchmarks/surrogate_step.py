"""How fast is a training step against a surrogate of real size, how well does it use the card, and does it need what the plan says?

    python -m benchmarks.surrogate_step --model cogvideox-5b-i2v --random-weights --dtype bfloat16 --checkpointing --out runs/steps
    python -m benchmarks.surrogate_step --config FOLDER --taps blocks.1,blocks.3 --size 128x128 --frames 9 --out runs/steps

A step is what `anti-i2v plan` counts: the features of protected photos, forward, and backward to the photos; a training also
reads the clean photos, without a backward pass. Random weights are made on the device itself, in the type asked for, and only
as far as the deepest tap; a step takes as long with them as with trained ones, which need not be fetched. Prompts are random
encodings, unless the denoiser needs a language model's tokens.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.report import write_texts
from anti_i2v.resources import commit
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.memory.estimate import GIB, MemoryEstimate
from anti_i2v.surrogates.memory.peak import LivePeak
from benchmarks.full_size import MODELS, write_configuration
from benchmarks.steps import Setting, all_tensors, inputs, random_surrogate, step, trained_surrogate


def bytes_of(tensors: Sequence[Tensor]) -> int:
    """Of their storages, each once."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def seconds(run: Callable[[], object], repeats: int, device: torch.device) -> list[float]:
    """Wall time of each of several runs, an accelerator's work included."""
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return times


def median_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Median, and the order statistics that enclose it with at least 95 %, whatever the distribution; none below six values."""
    ordered, n = sorted(values), len(values)
    outside, rank = 0.0, 0  # chance that the median lies beyond the (rank + 1)-th smallest or largest value
    while rank < n // 2 and outside + 2 * math.comb(n, rank) / 2**n <= 0.05:
        outside += 2 * math.comb(n, rank) / 2**n
        rank += 1
    ends = (ordered[rank - 1], ordered[n - rank]) if rank else (None, None)
    return statistics.median(ordered), *ends


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, the median of ten."""
    side = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds(lambda: a @ b, 3, device)
    return 2 * side**3 / statistics.median(seconds(lambda: a @ b, 10, device))


def peak_bytes(surrogate: Surrogate, run: Callable[[], object], device: torch.device) -> tuple[int, int]:
    """Weights, and the most that lies in memory during a step, weights included.

    On a card what the allocator handed out, workspaces included; elsewhere the tensors that are alive.
    """
    tensors = all_tensors(surrogate)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return bytes_of(tensors), torch.cuda.max_memory_allocated(device)
    with LivePeak(tensors) as live:
        run()
    return bytes_of(tensors), bytes_of(tensors) + live.peak


def check_room(need: MemoryEstimate, device: torch.device) -> None:
    """Refuse what cannot fit, before minutes are spent on it or the machine starts to swap."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need.total > free:
        raise UsageError(
            f"the step needs {need.total / GIB:.1f} GiB by the plan, {device.type} has {free / GIB:.1f}; "
            "take shallower taps, fewer frames, --dtype bfloat16 or --checkpointing"
        )


def measure(
    setting: Setting, surrogate: Surrogate, need: MemoryEstimate, random_weights: bool, warmup: int, repeats: int
) -> dict[str, Any]:
    """All figures of one setting by name; memory in GiB, operations in 10¹²."""
    device = surrogate.device
    photos, text, draw = inputs(surrogate, setting.batch, random_weights)

    def run() -> None:
        step(surrogate, photos, text, draw)

    def encode() -> None:
        with torch.autocast(device.type, enabled=False):
            sum(v.square().mean() for v in surrogate.condition(photos, draw.image_noise).values()).backward()  # type: ignore[union-attr]

    seconds(run, warmup, device)
    weights, peak = peak_bytes(surrogate, run, device)
    times = seconds(run, repeats, device)
    photo_alone = statistics.median(seconds(encode, max(1, repeats // 2), device))
    best = matmul_peak(device, getattr(torch, setting.dtype))
    median, low, high = median_interval(times)
    return {
        "seconds": {"median": median, "low": low, "high": high, "all": times},
        "seconds_photo_alone": photo_alone,
        "tflop": need.flops / 1e12,
        "tflop_per_second": need.flops / median / 1e12,
        "matmul_tflop_per_second": best / 1e12,
        "share_of_matmul": need.flops / median / best,
        "weights_gib": weights / GIB,
        "peak_gib": peak / GIB,
        "planned_weights_gib": (need.total - need.peak) / GIB,
        "planned_peak_gib": need.total / GIB,
        "peak_by": "torch.cuda.max_memory_allocated" if device.type == "cuda" else "bytes of tensors alive",
    }


def markdown(facts: dict[str, Any], of: dict[str, Any]) -> str:
    """The figures for people."""
    time_, off = of["seconds"], of["peak_gib"] / of["planned_peak_gib"] - 1
    ends = "" if time_["low"] is None else f" [{time_['low']:.3g}, {time_['high']:.3g}]"
    rows = {
        "a step, median and 95 % interval": f"{time_['median']:.3g}{ends} s",
        "of which the photo's encoding, alone": f"{of['seconds_photo_alone']:.3g} s",
        "operations of a step": f"{of['tflop']:.4g} TFLOP",
        "achieved": f"{of['tflop_per_second']:.4g} TFLOP/s",
        f"a large {facts['dtype']} matrix product": f"{of['matmul_tflop_per_second']:.4g} TFLOP/s",
        "achieved, share of that": f"{of['share_of_matmul']:.1%}",
        "weights, measured and planned": f"{of['weights_gib']:.3g}, {of['planned_weights_gib']:.3g} GiB",
        "peak with weights, measured and planned": f"{of['peak_gib']:.3g}, {of['planned_peak_gib']:.3g} GiB, {off:+.1%}",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    notes = "\n".join(f"* {name.replace('_', ' ')}: {value}" for name, value in facts.items())
    return f"# A step against {facts['model']}\n\n| | |\n| --- | --- |\n{table}\n\n{notes}\n* peak by: {of['peak_by']}\n"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", choices=sorted(MODELS), help="a public model at its real size; its taps and sizes are the defaults")
    which.add_argument("--config", metavar="SOURCE", help="pipeline folder, shipped name or hub id, as for anti-i2v plan")
    parser.add_argument("--random-weights", action="store_true", help="read configuration only; needed with --model, which has no other")
    parser.add_argument("--taps", metavar="A,B", help="layers to read")
    parser.add_argument("--size", metavar="HxW", help="of the photos, in pixels")
    parser.add_argument("--frames", type=int, help="length of the clips")
    parser.add_argument("--batch", type=int, default=1, help="photos in a step")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of the denoiser")
    parser.add_argument("--checkpointing", action="store_true", help="compute layers again in the backward pass")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: a GPU if there is one")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True, help="folder for MODEL.json and MODEL.md")
    options = parser.parse_args(arguments)
    if options.model and not options.random_weights:
        parser.error("--model is a configuration without weights; add --random-weights, or give --config a folder that has some")
    if options.config and not (options.taps and options.size and options.frames):
        parser.error("--config needs --taps, --size and --frames")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA GPU here; leave --device out to measure on the CPU, at a tiny size")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one setting, print it, write it as JSON and Markdown."""
    options = parse(arguments)
    gpu = torch.cuda.is_available() and options.device != "cpu"
    device = torch.device("cuda" if gpu else "cpu")
    card = torch.cuda.get_device_name() if gpu else "CPU (no GPU was used; times say nothing about a card)"
    if not torch.cuda.is_available():
        print("no CUDA GPU here: measuring on the CPU, where peak memory is that of tensors alive")
    with tempfile.TemporaryDirectory() as folder:
        model = MODELS.get(options.model)
        source = str(write_configuration(model, Path(folder))) if model else options.config
        taps = tuple(options.taps.split(",")) if options.taps else model.taps[:2]  # type: ignore[union-attr]
        height, width = map(int, options.size.split("x")) if options.size else model.size[:2]  # type: ignore[union-attr]
        frames = options.frames or model.size[2]  # type: ignore[union-attr]
        setting = Setting(source, taps, height, width, frames, options.batch, options.dtype, options.checkpointing)
        try:
            need = setting.need()
            check_room(need, device)
            surrogate = (random_surrogate if options.random_weights else trained_surrogate)(setting, device)
        except UsageError as error:
            raise SystemExit(f"error: {error}") from error
        measures = measure(setting, surrogate, need, options.random_weights, options.warmup, options.repeats)
    name = options.model or Path(options.config).name
    facts = {
        **{"model": name, "weights": "random" if options.random_weights else "loaded", "taps": ", ".join(taps)},
        **{"size": f"{height} x {width}", "frames": frames, "batch": options.batch, "dtype": options.dtype},
        **{"checkpointing": options.checkpointing, "device": card, "torch": torch.__version__, "commit": commit() or "unknown"},
        **{"tf32_convolutions": torch.backends.cudnn.allow_tf32, "warmup": options.warmup, "repeats": options.repeats},
    }
    text = markdown(facts, measures)
    write_texts(options.out, {f"{name}.json": json.dumps({"facts": facts, "measures": measures}, indent=2) + "\n", f"{name}.md": text})
    print(text)


if __name__ == "__main__":
    main()
