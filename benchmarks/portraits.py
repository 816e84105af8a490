"""The quality of a video model of the Portraits: its autoencoder and its clips against the rendered truth, on unseen people.

    python benchmarks/portraits.py --out docs/portraits/portrait-dit
    python benchmarks/portraits.py --out docs/portraits/portrait-unet --surrogate portrait-unet --size 64x64 --tap mid_block

For the first clip of each test person the pipeline gets the first frame and the prompt, through `Surrogate.animate`, so that
what is judged is what protection will be judged on. The judge of identity recognises each person among `--gallery` people.
The decibels of a clip are the mean over its frames; pixels of a clip that moves otherwise than the rendered one count as
errors even where the motion is right, so the action classifier is reported as well, where the pipeline takes a prompt.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from anti_i2v.evaluation.actions import load_action_classifier
from anti_i2v.evaluation.identity import load_identity_judge, rank1, similarity
from anti_i2v.evaluation.pictures import save_sheet, sheet
from anti_i2v.imaging.metrics import mean_interval, psnr
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.references import portrait_references
from anti_i2v.portraits.training import pipeline, unet_pipeline
from anti_i2v.resources import commit
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.families.svd import SVDSurrogate


def frame_psnr(video: Tensor, truth: Tensor) -> Tensor:
    """Decibels of each frame, (B, T), of clips (B, T, 3, H, W) in [0, 1]."""
    return psnr(video.flatten(0, 1), truth.flatten(0, 1)).view(video.shape[:2])


@torch.no_grad()
def reconstruct(surrogate: Surrogate, video: Tensor) -> Tensor:
    """Clips (B, T, 3, H, W) in [0, 1] through the autoencoder and back."""
    if isinstance(surrogate, SVDSurrogate):
        return unet_pipeline.decode(surrogate.vae, unet_pipeline.encode(surrogate.vae, video))
    return pipeline.decode(surrogate.vae, pipeline.encode(surrogate.vae, video))


def measure(surrogate: Surrogate, options: argparse.Namespace) -> tuple[dict[str, Tensor], list[list[Tensor]]]:
    """One value a person for each measure, and rows of frames: rendered clip over generated clip."""
    people, steps, seed, batch = options.people, options.steps, options.seed, options.batch
    clips = PortraitClips("test", surrogate.num_frames, surrogate.height, surrogate.width)
    judge, identity = load_action_classifier(options.actions), load_identity_judge(options.judge)
    references = portrait_references(identity, "test", range(max(people, options.gallery)), surrogate.height, surrogate.width)
    parts: list[dict[str, Tensor]] = []
    rows: list[list[Tensor]] = []
    for first in tqdm(range(0, people, batch), unit="batch"):
        truth = clips.batch(range(first, min(first + batch, people)))
        generated = surrogate.animate(truth.video[:, 0], surrogate.encode_text(truth.prompts), seed + first, steps)
        reconstruction = reconstruct(surrogate, truth.video).clamp(0, 1)
        decibels, inside = frame_psnr(generated, truth.video), frame_psnr(reconstruction, truth.video)
        part = {
            "autoencoder_first_frame_db": inside[:, 0],
            "autoencoder_clip_db": inside.mean(1),
            "generated_first_frame_db": decibels[:, 0],
            "generated_clip_db": decibels.mean(1),
            "generated_last_frame_db": decibels[:, -1],
            "still_clip_db": frame_psnr(truth.video[:, :1].expand_as(truth.video)[:, 1:], truth.video[:, 1:]).clamp_max(60).mean(1),
        }
        for name, video in (("rendered", truth.video), ("autoencoder", reconstruction), ("generated", generated)):
            if surrogate.has_text:
                part[f"action_right_{name}"] = (judge(video).argmax(1) == truth.action).float()
            who, embedding = torch.arange(first, first + len(video)), identity(video.clamp(0, 1))
            part[f"rank1_{name}"] = rank1(embedding, references, who)
            part[f"identity_similarity_{name}"], part[f"strangers_similarity_{name}"] = similarity(embedding, references, who)
        parts.append(part)
        if len(rows) < 20:
            rows += [list(clip) for pair in zip(truth.video, generated, strict=True) for clip in pair]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, rows[:20]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, write `portraits.json` and `portraits.jpg`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for portraits.json and portraits.jpg")
    parser.add_argument("--surrogate", default="portrait-dit", help="pipeline folder, or the name of a shipped one")
    parser.add_argument("--size", default="128x128", help="height x width of the clips")
    parser.add_argument("--frames", type=int, default=9, help="their length")
    parser.add_argument("--tap", default="proj_out", help="a layer of the denoiser; nothing is read there")
    parser.add_argument("--actions", default="portrait-actions", help="folder of the action classifier, or the name of a shipped one")
    parser.add_argument("--judge", default="portrait-judge", help="folder of the judge of identity, or the name of a shipped one")
    parser.add_argument("--gallery", type=int, default=100, help="people whom the judge of identity chooses from")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20, help="denoising steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args(arguments)

    height, width = (int(side) for side in options.size.split("x"))
    surrogate = Surrogate.from_pretrained(options.surrogate, [options.tap], height, width, options.frames, options.steps)
    values, rows = measure(surrogate, options)
    result = {name: dict(zip(("mean", "low", "high"), mean_interval(value), strict=True)) for name, value in values.items()}
    size = f"{surrogate.num_frames} frames of {surrogate.height} x {surrogate.width}"
    facts = {
        "commit": commit() or "unknown",
        "size": size,
        "people": options.people,
        "gallery": options.gallery,
        "steps": options.steps,
        "seed": options.seed,
        "interval": "95 % over people, Student t",
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "portraits.json").write_text(json.dumps({"facts": facts, "measures": result}, indent=2) + "\n", encoding="utf-8")
    save_sheet(sheet(rows, surrogate.height), options.out / "portraits.jpg")
    for name, interval in result.items():
        print(f"{name:32} {interval['mean']:7.2f}  [{interval['low']:.2f}, {interval['high']:.2f}]")


if __name__ == "__main__":
    main()
