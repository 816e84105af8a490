"""Which cards train against which public model? The plan of a step at real sizes, without a weight and without a GPU.

    python -m benchmarks.cards --out docs/planned

One photo a step, denoiser in bfloat16, checkpointing; cards as `anti-i2v plan` counts them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from anti_i2v.evaluation.report import write_texts
from anti_i2v.surrogates.memory.estimate import GIB
from anti_i2v.surrogates.memory.table import CARDS, USABLE
from benchmarks.full_size import MODELS, FullSize, write_configuration
from benchmarks.planned import ending, versions
from benchmarks.steps import Setting
from benchmarks.tables import grid

BY_HAND = {
    "cogvideox-5b-i2v": "10.8 + 6",
    "cogvideox-1.5-5b-i2v": "10.8 + 6",
    "wan-2.1-i2v-14b-480p": "31.9 + 7 to 22",
    "wan-2.2-ti2v-5b": "9.9 + 5",
    "ltx-video-2b": "4 to 5 + 2 to 10",
    "svd-xt": "4.2 + 2 to 6",
    "hunyuan-video-i2v": "39.9 + 8",
}
"""Model → earlier estimate for the whole denoiser, in GiB."""


def plans(models: Mapping[str, FullSize]) -> list[dict[str, Any]]:
    """Rows for each model, in GiB: a tap after a third of its blocks, with one after two thirds as well, and at its last block."""
    rows = []
    for name, model in tqdm(models.items(), unit="model"):
        height, width, frames = model.size
        with tempfile.TemporaryDirectory() as folder:
            source = str(write_configuration(model, Path(folder)))
            for taps in (model.taps[:1], model.taps[:2], model.taps[2:]):
                need = Setting(source, taps, height, width, frames, dtype="bfloat16", checkpointing=True).need()
                what = {"model": name, "published": model.published, "size": list(model.size), "taps": list(taps)}
                figures = {"weights_gib": (need.total - need.peak) / GIB, "step_gib": need.peak / GIB, "tflop": need.flops / 1e12}
                rows.append({**what, **figures, "fits": [card for card in CARDS if need.total <= USABLE * card * GIB]})
    return rows


def text(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, object]) -> str:
    """`cards.md`."""
    lines = []
    for row in rows:
        weights, peak = row["weights_gib"], row["step_gib"]
        figures = [f"{weights:.1f}", f"{peak:.1f}", f"{weights + peak:.1f}", f"{row['tflop']:.0f}"]
        fits = ["fits" if card in row["fits"] else "–" for card in CARDS]
        clips = "{} × {}, {} frames".format(*row["size"])
        taps = ", ".join(f"`{tap}`" for tap in row["taps"])
        lines.append([row["published"], clips, taps, *figures, *fits, BY_HAND.get(row["model"], "–")])
    headings = ["model", "clips", "taps", "weights, GiB", "+ step", "=", "TFLOP", *(f"{card} GiB" for card in CARDS), "by hand, whole"]
    return f"""# Which cards train against public models

Estimated, without a GPU and without a weight: the plan of a step for one photo, denoiser in bfloat16, autoencoder and image
encoder in float32, checkpointing, blocks beyond the deepest tap left out. Taps are after about a third of the blocks, with one
after two thirds as well, and the last block. A card counts as fitting where {USABLE:.0%} of it is enough. The generator, its optimiser and
its batch come on top, some hundred megabytes. Text encoders are gone by then, but for HunyuanVideo's LLaVA, which reads every
photo.

{grid(headings, lines, 3)}

By hand: an earlier estimate for the whole denoiser, weights + activations, those extrapolated from what single layers keep a token
and a pixel; image encoders in bfloat16 there.

{ending("cards", facts)}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan, print the table, write `cards.json` and `cards.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=list(MODELS), metavar="MODEL", help="default: all")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    facts = versions()
    rows = plans({name: MODELS[name] for name in options.models})
    report = text(rows, facts)
    write_texts(options.out, {"cards.json": json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n", "cards.md": report})
    print(report)


if __name__ == "__main__":
    main()
