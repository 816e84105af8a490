"""The estimate of `anti-i2v plan` against the memory that a process really took, at sizes that a laptop can hold.

    python -m benchmarks.planned --out docs/planned

Public models made narrower and shorter, with random weights, take one step on the CPU, each in a process of its own. Its highest
resident size by the system's count, less what it held before the step, stands beside the plan's peak. The C library keeps freed
memory for itself in pieces up to a size that grows while a program runs, so each is measured once more with that size held
small, where what is freed goes back. Linux only; some minutes.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from anti_i2v.evaluation.report import write_texts
from anti_i2v.resources import commit
from benchmarks.full_size import MODELS, FullSize, Settings, write_configuration
from benchmarks.steps import Setting, inputs, random_surrogate, step
from benchmarks.tables import grid

MIB = 2**20
TRIM_BYTES = str(64 * 1024)
"""Bytes from which on a freed piece goes back to the system, in the second run of each."""


@dataclass(frozen=True)
class Smaller:
    """A public model made small enough for a laptop: part → changed settings; taps and size as in `Setting`."""

    model: str
    changes: Mapping[str, Settings]
    taps: tuple[str, ...]
    size: tuple[int, int, int]

    def configuration(self) -> FullSize:
        """With the changes."""
        model = MODELS[self.model]
        parts = {name: (library, kind, self._changed(name, settings)) for name, (library, kind, settings) in model.parts.items()}
        return replace(model, parts=parts)

    def _changed(self, name: str, settings: Any) -> Any:  # noqa: ANN401  # what a part is configured with
        return {**settings, **self.changes[name]} if name in self.changes else settings


FEW_LAYERS: Settings = {"num_hidden_layers": 4}
SMALLER = {
    "Wan 2.1, 8 blocks of width 1024": Smaller(
        "wan-2.1-i2v-14b-480p",
        {
            "transformer": {"num_layers": 8, "num_attention_heads": 8, "ffn_dim": 4096, "added_kv_proj_dim": 1024},
            "vae": {"base_dim": 48},
            "image_encoder": FEW_LAYERS,
        },
        ("blocks.3", "blocks.7"),
        (128, 192, 9),
    ),
    "CogVideoX 1.5, 8 blocks of width 1024": Smaller(
        "cogvideox-1.5-5b-i2v",
        {"transformer": {"num_layers": 8, "num_attention_heads": 16}, "vae": {"block_out_channels": [64, 128, 128, 256]}},
        ("transformer_blocks.3", "transformer_blocks.7"),
        (160, 224, 17),
    ),
    "SVD of half the width": Smaller(
        "svd-xt",
        {
            "unet": {"block_out_channels": [160, 320, 640, 640]},
            "vae": {"block_out_channels": [64, 128, 256, 256]},
            "image_encoder": FEW_LAYERS,
        },
        ("down_blocks.2", "up_blocks.0"),
        (128, 192, 9),
    ),
}
"""How tables call it → model."""


def resident(field: str) -> int:
    """Bytes of this process in memory: `VmRSS` now, `RssFile` of them files, `VmHWM` the most since `clear_refs`."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def load_libraries() -> None:
    """Have kernels and thread pools loaded before the measurement, which is about tensors."""
    x = torch.randn(1, 8, 8, 8, requires_grad=True)
    maps = F.conv3d(F.conv2d(x, torch.randn(8, 8, 3, 3), padding=1).unsqueeze(2), torch.randn(8, 8, 1, 3, 3))
    tokens = nn.Linear(8, 8)(maps.flatten(2).transpose(1, 2)).unsqueeze(1)
    F.scaled_dot_product_attention(tokens, tokens, tokens).sum().backward()  # type: ignore[no-untyped-call]


def measure_step(setting: Setting, threads: int) -> tuple[int, int]:
    """Bytes that one step of a fresh process adds to what it holds, and those of them that are code loaded meanwhile."""
    torch.set_num_threads(threads)
    surrogate = random_surrogate(setting, torch.device("cpu"))
    arguments = inputs(surrogate, setting.batch)
    load_libraries()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest resident size starts anew
    before, code = resident("VmRSS"), resident("RssFile")
    step(surrogate, *arguments)
    return resident("VmHWM") - before, resident("RssFile") - code


def in_process(setting: Setting, threads: int, environment: Mapping[str, str]) -> tuple[int, int]:
    """`measure_step` in a fresh process, whose C library reads the environment when it starts."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(measure_step, setting, threads).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def measure(models: Mapping[str, Smaller], threads: int) -> list[dict[str, Any]]:
    """A row a model: the plan's peak beside weights, and what one step took, in MiB."""
    rows = []
    for name, model in tqdm(models.items(), unit="model"):
        with tempfile.TemporaryDirectory() as folder:
            source = str(write_configuration(model.configuration(), Path(folder)))
            setting = Setting(source, model.taps, *model.size)
            need = setting.need()
            took, _ = in_process(setting, threads, {})
            trimmed, code = in_process(setting, threads, {"MALLOC_MMAP_THRESHOLD_": TRIM_BYTES, "MALLOC_TRIM_THRESHOLD_": TRIM_BYTES})
        what = {"model": name, "size": list(model.size), "taps": list(model.taps), "weights_mib": (need.total - need.peak) / MIB}
        sizes = {"planned_mib": need.peak / MIB, "measured_mib": took / MIB, "returned_mib": trimmed / MIB, "code_mib": code / MIB}
        rows.append({**what, **sizes, "off": need.peak / took - 1, "off_returned": need.peak / trimmed - 1})
    return rows


def text(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, object]) -> str:
    """`planned.md`."""
    lines = []
    for row in rows:
        planned, trimmed, code, default = (f"{row[name]:.0f}" for name in ("planned_mib", "returned_mib", "code_mib", "measured_mib"))
        lines.append([row["model"], "{} × {}, {} frames".format(*row["size"]), planned, trimmed, f"{row['off_returned']:+.1%}", code])
        lines[-1] += [default, f"{row['off']:+.1%}"]
    headings = ["model, random weights", "clips", "planned, MiB", "taken, what is freed goes back", "plan against that"]
    headings += ["code loaded, of it", "taken, C library's defaults", "plan against that"]
    return f"""# The plan against memory really taken

The peak of one step beside the weights: features and their gradient with respect to one photo, float32, on a CPU. Taken is the
highest resident size of a process of its own, less what it held before the step.

{grid(headings, lines, 2)}

The plan counts tensors while they are alive. Where the C library gives back what is freed
(`MALLOC_MMAP_THRESHOLD_={TRIM_BYTES}`), a process takes about that; more by code that is loaded meanwhile and by what kernels need
for themselves. By its defaults the library keeps freed pieces of up to 32 MiB for later use, and the process holds more than is
alive: on a CPU set that variable, or leave room. A GPU has an allocator of its own, of which this says nothing;
`benchmarks.surrogate_step` compares there.

{ending("planned", facts)}
"""


def ending(command: str, facts: Mapping[str, object]) -> str:
    """What figures depend on, and what gives them."""
    return ", ".join(f"{name} {value}" for name, value in facts.items()) + f"; `python -m benchmarks.{command} --out docs/planned`."


def versions() -> dict[str, object]:
    """Of what the figures come from."""
    return {"commit": commit() or "unknown", "torch": torch.__version__, "diffusers": version("diffusers")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write `planned.json` and `planned.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of a step")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    system = f"{platform.system()} {platform.machine()} with {' '.join(platform.libc_ver())}"
    facts = {**versions(), "system": system, "threads": options.threads}
    rows = measure(SMALLER, options.threads)
    report = text(rows, facts)
    write_texts(options.out, {"planned.json": json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n", "planned.md": report})
    print(report)


if __name__ == "__main__":
    main()
