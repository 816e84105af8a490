"""The bandwidth of the residual: damage left after JPEG and resizing, against the bandwidth of both perturbation spaces.

    python benchmarks/bandwidth.py --out docs/bandwidth

For each bandwidth K (the side of the chroma field and the DCT cut-off, on a working size of 64) the parameters of each photo
are optimised on their own (Adam through the protector's own spaces and budget), so that the curve shows what the *space*
allows, whatever generator is trained later. The protected file is then re-read as PNG, after a real JPEG (Pillow, q75), after a
round trip through half the size, and after both, and the damage of the surrogate's features is measured at noise draws that
the optimisation did not see. White noise of equal RMS stands beside.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from anti_i2v.budget import fit_to_budget
from anti_i2v.evaluation.clips import mean_damage
from anti_i2v.evaluation.noise import white_noise
from anti_i2v.evaluation.runner import as_jpeg, as_saved
from anti_i2v.imaging.metrics import mean_interval, rms255
from anti_i2v.imaging.tensors import resize
from anti_i2v.objectives import FeatureObjective
from anti_i2v.portraits import PortraitClips
from anti_i2v.resources import commit
from anti_i2v.spaces import FrequencySpace, LabSpace
from anti_i2v.surrogates import Surrogate

CHANNELS = ("file", "jpeg75", "half size", "half size + jpeg75")


Interval = tuple[float, float, float]
"""Mean and 95 % interval over photos."""


@dataclass(frozen=True)
class Row:
    """One bandwidth: RMS of the residual in 1/255, and the damage for each `version channel`."""

    bandwidth: int
    rms: Interval
    damage: dict[str, Interval]


def pass_channel(photo: Tensor, channel: str) -> Tensor:
    """What becomes of a file (B, 3, H, W) on its way to the video model."""
    height, width = photo.shape[-2:]
    if channel.startswith("half size"):
        photo = as_saved(resize(resize(photo, height // 2, width // 2), height, width))
    return as_jpeg(photo, 75) if channel.endswith("jpeg75") else photo


def optimise(surrogate: Surrogate, photo: Tensor, text: dict[str, Tensor], size: int, epsilon: float, steps: int, spaces: str) -> Tensor:
    """Protected photos (B, 3, H, W): the parameters of each, K = `size`, ascended on the feature objective."""
    random = torch.Generator().manual_seed(size)
    lab, frequency, objective = LabSpace(), FrequencySpace(), FeatureObjective(centred=True)
    budget = torch.full((len(photo),), epsilon)
    field = torch.randn(len(photo), 2, size, size, generator=random).mul_(0.3).requires_grad_()
    picture = torch.randn(len(photo), 3, size, size, generator=random).mul_(0.3).requires_grad_()
    optimizer = torch.optim.Adam([field, picture], lr=0.15)

    def protect() -> Tensor:
        residual = torch.zeros_like(photo)
        if spaces != "frequency":
            residual = residual + lab.residual(photo, field, budget)
        if spaces != "lab":
            residual = residual + frequency.residual(photo, picture, budget)
        return fit_to_budget(photo, residual, epsilon)

    for _ in range(steps):
        draw = surrogate.draw(len(photo), random, min_sigma=0.75)
        with torch.no_grad():
            clean = surrogate(resize(photo, surrogate.height, surrogate.width), text, draw)
        features = surrogate(resize(protect(), surrogate.height, surrogate.width), text, draw)
        loss, _ = objective(clean, features, draw)
        optimizer.zero_grad()
        (len(photo) * loss).backward()
        optimizer.step()
    with torch.no_grad():
        return as_saved(protect())


def main() -> None:
    """Measure, then write the table, the figures and the curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surrogate", default="portrait-dit")
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--photo-size", type=int, default=128)
    parser.add_argument("--taps", nargs="+", default=["decoded"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 24, 32, 48, 64])
    parser.add_argument("--spaces", choices=("both", "lab", "frequency"), default="both")
    parser.add_argument("--out", type=Path, default=Path("docs/bandwidth"))
    options = parser.parse_args()

    surrogate = Surrogate.from_pretrained(options.surrogate, options.taps)
    clips = PortraitClips("validation", 1, options.photo_size, options.photo_size).batch(range(options.people))
    photo, text = as_saved(clips.video[:, 0]), surrogate.encode_text(clips.prompts)
    rows: list[Row] = []
    for size in options.sizes:
        protected = optimise(surrogate, photo, text, size, options.epsilon, options.steps, options.spaces)
        rms = rms255(protected - photo)
        noise = as_saved(white_noise(photo, rms, options.epsilon, torch.Generator().manual_seed(0)))
        row = Row(size, mean_interval(rms), {})
        for name, version in (("protected", protected), ("noise", noise)):
            for channel in CHANNELS:
                pair = [resize(pass_channel(p, channel), surrogate.height, surrogate.width) for p in (photo, version)]
                row.damage[f"{name} {channel}"] = mean_interval(mean_damage(surrogate, pair[0], pair[1], text, seed=10_000))
        rows.append(row)
        print(row, flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    settings = {"commit": commit() or "unknown", **{k: str(v) for k, v in vars(options).items() if k != "out"}}
    (options.out / f"{options.spaces}.json").write_text(
        json.dumps({"settings": settings, "rows": [asdict(row) for row in rows]}, indent=1) + "\n"
    )
    plot(rows, options.out / f"{options.spaces}.png", options.epsilon)


def plot(rows: list[Row], path: Path, epsilon: float) -> None:
    """Draw damage over bandwidth, one line a channel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    sizes = [row.bandwidth for row in rows]
    for channel in CHANNELS:
        mean, low, high = zip(*[row.damage[f"protected {channel}"] for row in rows], strict=True)
        axes.plot(sizes, list(mean), marker="o", label=channel)
        axes.fill_between(sizes, list(low), list(high), alpha=0.15)
    axes.plot(sizes, [row.damage["noise file"][0] for row in rows], "k:", label="noise of equal RMS, file")
    axes.set_xlabel("bandwidth: field side and DCT cut-off, of 64")
    axes.set_ylabel("feature damage")
    axes.set_title(f"per-photo optimum, epsilon {epsilon:g}")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
