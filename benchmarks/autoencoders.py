"""What autoencoders of video models make of protected photographs of real people: whom does the decoded photo show?

    python -m benchmarks.autoencoders --photos PORTRAITS --out docs/autoencoders

PORTRAITS is a folder of photos with faces (`data/README.md`), of which the test split is used: no network here was trained on it. Each
photo is cut to a square of `--photo-size` pixels and protected as an 8-bit file: by each of `--generators` in one pass, and, for the first
`--attacked` photos, by `--steps` steps of PGD against each of `--autoencoders`, and against one of them after another. White noise of
equal RMS stands beside each of them. Every file is scaled to `--size` pixels, encoded and decoded by each of `--autoencoders` and of
`--held-out`, and the judge compares the decoded photo with the clean one.

Identity shift: 0, the decoded photo is as like its person as the clean photo's decoded one; 1, no liker than strangers. Of the still
photo: the same of the file itself. Figures are ratios of means over people, with 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from anti_i2v.attacks.loop import Settings, optimise
from anti_i2v.data import FacePhotos
from anti_i2v.embedders import Embedder, load_embedder, refuse_shared
from anti_i2v.evaluation.noise import white_noise
from anti_i2v.evaluation.report import Interval, interval, ratio_interval, write_texts
from anti_i2v.evaluation.runner import as_saved
from anti_i2v.generators.hub import open_folder
from anti_i2v.imaging.metrics import ciede2000, mean_interval, psnr, rms255
from anti_i2v.imaging.tensors import resize
from anti_i2v.objectives import IdentityObjective
from anti_i2v.protector import Protector
from anti_i2v.resources import commit
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.draw import DECODED, PHOTO, Tensors
from benchmarks.tables import cell as figure
from benchmarks.tables import grid

SEEN = ("photo-wan", "photo-cogvideox", "photo-kl")
HELD_OUT = ("photo-dc",)
GENERATORS = ("portrait-generator",)
EMBEDDERS = ("photo-faces",)

TOGETHER = "all of them"
"""What PGD is called that takes another autoencoder at every step."""


class InTurn:
    """Surrogates that take turns: each draw is one of them, the same for a photo and its protected version.

    Args:
        surrogates: At least one, all of one size.
        landmarks: (B, 5, 2) y, x of the photos' faces in their pixels, for embedders that read aligned faces.
    """

    encode_clip = Surrogate.encode_clip

    def __init__(self, surrogates: Sequence[Surrogate], landmarks: Tensor) -> None:
        self.surrogates, self.height, self.width = list(surrogates), surrogates[0].height, surrogates[0].width
        self.landmarks = landmarks

    def __getattr__(self, name: str) -> object:
        return getattr(self.surrogates[0], name)

    def with_taps(self, taps: Sequence[str]) -> InTurn:
        return InTurn([surrogate.with_taps(taps) for surrogate in self.surrogates], self.landmarks)

    def draw(self, batch: int, generator: torch.Generator, min_sigma: float = 0.0, max_sigma: float = 1.0) -> Draw:
        turn = int(torch.randint(len(self.surrogates), (), generator=generator))
        return replace(self.surrogates[turn].draw(batch, generator), step=turn, landmarks=self.landmarks)

    def __call__(self, image: Tensor, text: Tensors, draw: Draw) -> dict[str, Tensor]:
        features: dict[str, Tensor] = self.surrogates[draw.step](image, text, draw)
        return features


class Judge:
    """Reads who a picture shows, by an embedder that no objective here attacks.

    Args:
        embedder: The judge.
        photos: Clean photos (P, 3, S, S) in [0, 1], whose people are to be recognised.
        landmarks: (P, 5, 2) y, x in their pixels.
    """

    def __init__(self, embedder: Embedder, photos: Tensor, landmarks: Tensor) -> None:
        self.embedder, self.landmarks, self.side = embedder, landmarks, photos.shape[-1]
        self.people = self._embed(photos)

    @torch.no_grad()
    def _embed(self, pictures: Tensor) -> Tensor:
        landmarks = self.landmarks[: len(pictures)] * (pictures.shape[-1] / self.side)
        parts = [slice(i, i + 32) for i in range(0, len(pictures), 32)]
        return torch.cat([self.embedder(pictures[rows, None], landmarks[rows, None]) for rows in parts])

    def similarities(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines of the first pictures (N, 3, H, W) to their own person and, in the mean, to the others: (N,) each."""
        cosines = self._embed(pictures) @ self.people.T
        own = cosines.diagonal()
        return own, (cosines.sum(1) - own) / (cosines.shape[1] - 1)


def shift(clean: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Interval:
    """Identity shift from the similarities of clean pictures and of others of the same people, those of the first ones."""
    own, strangers = (values[: len(other[0])] for values in clean)
    return interval(ratio_interval(own - other[0], own - strangers))


@torch.no_grad()
def decoded(surrogate: Surrogate, photos: Tensor, batch: int) -> Tensor:
    """Photos (N, 3, S, S) as the autoencoder makes them again, at its own size, as 8-bit pictures."""
    small = resize(photos, surrogate.height, surrogate.width).clamp(0, 1)
    parts = [surrogate.reconstruct(surrogate.condition(small[i : i + batch])) for i in range(0, len(small), batch)]
    return torch.cat(parts).mul(255).round().div(255)


def pgd(
    surrogates: Sequence[Surrogate], photos: Tensor, landmarks: Tensor, options: argparse.Namespace, label: str
) -> tuple[Tensor, float]:
    """Photos by PGD through autoencoders in turn, on the objective that generators are trained on, and seconds a photo."""
    objective, start = IdentityObjective(list(options.embedders), keep=1.0, input_diversity=0.1), time.perf_counter()
    protected = []
    for first in range(0, len(photos), options.batch):
        random = torch.Generator().manual_seed(options.seed * 1_000_003 + first)
        rows = photos[first : first + options.batch]
        model: Any = InTurn(surrogates, landmarks[first : first + len(rows)]).with_taps([DECODED, PHOTO])
        result = optimise(model, rows, {}, objective, options.epsilon, options.steps, random, Settings(), label=label)
        protected.append(result[options.steps])
    return as_saved(torch.cat(protected)), (time.perf_counter() - start) / len(photos)


def versions(
    options: argparse.Namespace, photos: Tensor, landmarks: Tensor, surrogates: Mapping[str, Surrogate]
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Protected photos by name, as read from files, and the seconds of one photo."""
    made, seconds = {}, {}
    for name in options.generators:
        protector = Protector.from_pretrained(name, backend="torch")
        start = time.perf_counter()
        with torch.no_grad():
            results = [protector(photo[None], options.epsilon) for photo in tqdm(photos, desc=name, leave=False)]
        seconds[f"{Path(name).name}, one pass"] = (time.perf_counter() - start) / len(photos)
        made[f"{Path(name).name}, one pass"] = as_saved(torch.cat(results))
    attacked = photos[: options.attacked]
    if len(attacked):
        seen = [surrogates[name] for name in options.autoencoders]
        for name, those in {**dict(zip(options.autoencoders, ([one] for one in seen), strict=True)), TOGETHER: seen}.items():
            row = f"PGD, {options.steps} steps, {Path(name).name}"
            made[row], seconds[row] = pgd(those, attacked, landmarks, options, row)
    return made, seconds


def measure(
    options: argparse.Namespace, photos: Tensor, made: Mapping[str, Tensor], surrogates: Mapping[str, Surrogate], judge: Judge
) -> dict[str, dict[str, Interval]]:
    """Version → measure, `still` and the name of each autoencoder being identity shifts; noise as strong follows each version."""
    random, rows = torch.Generator().manual_seed(options.seed + 1), {}
    for name, version in made.items():
        clean = photos[: len(version)]
        rows[name] = version
        rows[f"noise like {name}"] = as_saved(white_noise(clean, rms255(version - clean), options.epsilon, random))
    results: dict[str, dict[str, Interval]] = {}
    still = judge.similarities(photos)
    for name, version in rows.items():
        clean = photos[: len(version)]
        results[name] = {
            "photos": {"mean": float(len(version)), "low": None, "high": None},
            "rms": interval(mean_interval(rms255(version - clean))),
            "delta_e": interval(mean_interval(ciede2000(clean, version))),
            "still": shift(still, judge.similarities(version)),
        }
    for name, surrogate in surrogates.items():
        rebuilt = judge.similarities(decoded(surrogate, photos, options.batch))
        for row, version in tqdm(rows.items(), desc=Path(name).name, leave=False):
            results[row][Path(name).name] = shift(rebuilt, judge.similarities(decoded(surrogate, version, options.batch)))
    return results


def quality(photos: Tensor, surrogates: Mapping[str, Surrogate], judge: Judge, batch: int) -> dict[str, dict[str, Interval]]:
    """How well each autoencoder rebuilds clean photos: PSNR in dB, and how like their person the judge finds them."""
    results = {}
    for name, surrogate in surrogates.items():
        again = decoded(surrogate, photos, batch)
        small = resize(photos, surrogate.height, surrogate.width).clamp(0, 1)
        own, strangers = judge.similarities(again)
        values = {"psnr": psnr(small, again), "similarity": own, "strangers": strangers}
        results[Path(name).name] = {key: interval(mean_interval(value)) for key, value in values.items()}
    return results


def table(data: Mapping[str, dict[str, dict[str, Interval]]], names: Sequence[str]) -> str:
    """Both tables as Markdown."""
    rows = []
    for name, of in data["results"].items():
        number = int(of["photos"]["mean"] or 0)
        rows.append(
            [name, str(number), figure(of["rms"], 1), figure(of["delta_e"], 1), figure(of["still"]), *(figure(of[n]) for n in names)]
        )
    again = [[name, figure(of["psnr"], 1), figure(of["similarity"]), figure(of["strangers"])] for name, of in data["quality"].items()]
    return "\n".join(
        [
            "## Identity shift of the decoded photo\n",
            grid(["protected by", "photos", "RMS", "ΔE2000", "the still photo", *names], rows),
            "\n## Clean photos\n",
            grid(["autoencoder", "PSNR in dB", "similarity to the person", "to strangers"], again),
        ]
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos with faces; its test split is used")
    parser.add_argument("--out", type=Path, default=Path("docs/autoencoders"))
    parser.add_argument("--autoencoders", nargs="+", default=list(SEEN), help="those that PGD attacks")
    parser.add_argument("--held-out", nargs="*", default=list(HELD_OUT))
    parser.add_argument("--generators", nargs="*", default=list(GENERATORS))
    parser.add_argument("--embedders", nargs="+", default=list(EMBEDDERS), help="what PGD attacks")
    parser.add_argument("--judge", default="dlib")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--attacked", type=int, default=24, help="so many of them by PGD")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--photo-size", type=int, default=224)
    parser.add_argument("--size", type=int, default=128, help="of the autoencoders' input")
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Protect, decode, judge, write."""
    options = parse(arguments)
    trained_on = [open_folder(name).entries.get("embedders", []) for name in options.generators]
    refuse_shared(options.judge, [*options.embedders, *(str(name) for names in trained_on if isinstance(names, list) for name in names)])
    batches = list(FacePhotos(options.photos).loader("test", options.photo_size, 25, 0, 0))
    photos = as_saved(torch.cat([batch["image"] for batch in batches])[: options.people])
    landmarks = torch.cat([batch["landmarks"][:, 0] for batch in batches])[: options.people]
    judge = Judge(load_embedder(options.judge, "judge"), photos, landmarks)
    names = [*options.autoencoders, *options.held_out]
    surrogates = {name: Surrogate.from_pretrained(name, [DECODED, PHOTO], options.size, options.size) for name in names}
    made, seconds = versions(options, photos, landmarks, surrogates)
    facts = {"commit": commit(), **{key: value for key, value in vars(options).items() if key not in ("photos", "out")}}
    facts |= {"photos": len(photos), "threads": torch.get_num_threads()}
    data = {
        "facts": copy.deepcopy(facts),
        "quality": quality(photos, surrogates, judge, options.batch),
        "seconds": seconds,
        "results": measure(options, photos, made, surrogates, judge),
    }
    lines = ["# Autoencoders and photographs of real people", "", *[f"* {key}: {value}" for key, value in facts.items()], ""]
    text = "\n".join([*lines, table(data, [Path(name).name for name in names])]) + "\n"
    write_texts(options.out, {"autoencoders.json": json.dumps(data, indent=1) + "\n", "autoencoders.md": text})
    print(text)


if __name__ == "__main__":
    main()
