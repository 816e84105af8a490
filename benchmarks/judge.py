"""The identity judge: how well it recognises people, and whether a small residual fools it.

    python benchmarks/judge.py --judge portrait-judge --out docs/judge

The clips of scene 0 of each test person are recognised by references from four other scenes: as rendered, and then made worse. What
protects a photo must not count as protection merely because the judge cannot look through it, so the similarity of the worsened
clip to its person's reference is given as a share of the clean clip's. "PGD, other network" is computed against a network of
random weights, a weak adversary; "PGD, judge" against the judge itself, the hardest control. References and clips are rendered
people of the test split, whose pictures the judge was never trained on.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from anti_i2v.embedders import Embedder, IdentityEmbedder
from anti_i2v.evaluation.identity import load_identity_judge, rank1, similarity
from anti_i2v.evaluation.judge_attack import attack_judge
from anti_i2v.imaging.metrics import mean_interval
from anti_i2v.imaging.tensors import to_pil, to_tensor
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.references import portrait_references
from anti_i2v.resources import commit

Change = Callable[[Tensor], Tensor]


def each_frame(video: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A change of single pictures (3, H, W) on clips (B, T, 3, H, W)."""
    return torch.stack([change(frame) for frame in video.flatten(0, 1)]).view_as(video)


def jpeg(image: Tensor, quality: int = 50) -> Tensor:
    """A picture (3, H, W) written as JPEG and read again."""
    file = io.BytesIO()
    to_pil(image).save(file, "JPEG", quality=quality)
    return to_tensor(Image.open(file).convert("RGB"))


def half_size(video: Tensor) -> Tensor:
    """Clips (B, T, 3, H, W) at half their height and width, and enlarged again."""
    frames, (height, width) = video.flatten(0, 1), video.shape[-2:]
    small = F.interpolate(frames, (height // 2, width // 2), mode="bilinear", antialias=True)
    return F.interpolate(small, (height, width), mode="bilinear").view_as(video)


def smooth_tint(video: Tensor, epsilon: float, random: torch.Generator) -> Tensor:
    """A smooth coloured residual that reaches epsilon / 255 somewhere, the same on all frames of a clip."""
    b, _, _, height, width = video.shape
    field = F.interpolate(torch.randn(b, 3, 3, 3, generator=random), (height, width), mode="bicubic")
    field = field / field.abs().amax((1, 2, 3), keepdim=True) * (epsilon / 255.0)
    return (video + field[:, None]).clamp(0, 1)


def changes(judge: Embedder, seed: int, epsilons: tuple[int, ...] = (2, 4, 8)) -> dict[str, Change]:
    """What is done to the clips, by the name of its row."""
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        other = IdentityEmbedder("mobilenetv3_small_050", judge.dim, judge.size).eval().requires_grad_(False)

    def noise(video: Tensor) -> Tensor:
        return (video + torch.empty_like(video).uniform_(-1, 1, generator=random) * (8.0 / 255.0)).clamp(0, 1)

    def against(network: Embedder, epsilon: float) -> Change:
        return lambda video: attack_judge(network, video, epsilon, 10, random)

    rows: dict[str, Change] = {
        "white noise, 8/255": noise,
        "smooth tint, 8/255": lambda video: smooth_tint(video, 8.0, random),
        "JPEG, quality 50": lambda video: each_frame(video, jpeg),
        "half the size": half_size,
        "PGD, other network, 8/255": against(other, 8.0),
    }
    return rows | {f"PGD, judge, {e}/255": against(judge, e) for e in epsilons}


@torch.no_grad()
def measure(judge: Embedder, people: int, size: int, batch: int, seed: int) -> dict[str, dict[str, Tensor]]:
    """Row → measure → one value a person."""
    clips = PortraitClips("test", 3, size, size)
    references = portrait_references(judge, "test", range(people), size, size)
    rows: dict[str, Change] = {"clean": lambda video: video, **changes(judge, seed)}
    parts: dict[str, list[dict[str, Tensor]]] = {name: [] for name in rows}
    for first in tqdm(range(0, people, batch), unit="batch"):
        who = torch.arange(first, min(first + batch, people))
        video, clean_own = clips.batch(who.tolist()).video, torch.empty(0)
        for name, change in rows.items():
            worse = change(video)
            embedding = judge(worse)
            own, strangers = similarity(embedding, references, who)
            clean_own = own if name == "clean" else clean_own
            part = {"rank1": rank1(embedding, references, who), "identity_similarity": own, "strangers_similarity": strangers}
            part["similarity_share"] = own / clean_own
            parts[name].append({**part, "presence": judge.embed_frames(worse)[1].mean(1)})
    return {row: {name: torch.cat([part[name] for part in values]) for name in values[0]} for row, values in parts.items()}


def table(result: dict[str, dict[str, dict[str, float]]]) -> str:
    """A Markdown table of means and intervals."""
    heads = ["rank1", "identity_similarity", "strangers_similarity", "similarity_share", "presence"]
    lines = ["| clip | rank 1 | own cosine | strangers' cosine | share of the clean own cosine | presence |", "|---|---|---|---|---|---|"]
    for row, values in result.items():
        cells = ["{mean:.3f} [{low:.3f}, {high:.3f}]".format(**values[name]) for name in heads]
        lines.append("| " + " | ".join([row, *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, write `judge.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", default="portrait-judge", help="folder of the identity judge, or the name of a shipped one")
    parser.add_argument("--out", type=Path, required=True, help="folder for judge.json")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--size", type=int, default=128, help="height and width of the rendered clips")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    values = measure(load_identity_judge(options.judge), options.people, options.size, options.batch, options.seed)
    result = {
        row: {name: dict(zip(("mean", "low", "high"), mean_interval(value), strict=True)) for name, value in measures.items()}
        for row, measures in values.items()
    }
    facts = {
        "commit": commit() or "unknown",
        "people": options.people,
        "size": options.size,
        "seed": options.seed,
        "interval": "95 % over people, Student t",
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "judge.json").write_text(json.dumps({"facts": facts, "rows": result}, indent=2) + "\n", encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
