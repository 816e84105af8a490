"""What a per-photo method minimises, photo by photo or by a short training of the default run's generator; alike but for that."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor

from anti_i2v.attacks import Method
from anti_i2v.data import PhotoDataModule
from anti_i2v.evaluation.runner import as_saved
from anti_i2v.generators import BackboneGenerator
from anti_i2v.portraits import PortraitPhotos
from anti_i2v.protector import Protector
from anti_i2v.surrogates import Surrogate
from anti_i2v.training.module import ProtectionModule
from anti_i2v.training.transforms import Identity
from benchmarks.evidence import Photos


def add_clip_options(parser: argparse.ArgumentParser, people: int) -> None:
    """Whose clips are made at which size, and who judges them."""
    parser.add_argument("--surrogate", default="portrait-dit")
    parser.add_argument("--judge", default=Path("portrait-judge"), type=Path)
    parser.add_argument("--actions", default=Path("portrait-actions"), type=Path)
    parser.add_argument("--size", default="128x128", help="HEIGHTxWIDTH of the clips")
    parser.add_argument("--num-frames", type=int, default=9)
    parser.add_argument("--photo-size", type=int, default=128)
    parser.add_argument("--people", type=int, default=people)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--steps", type=int, default=20, help="denoising steps")
    parser.add_argument("--batch", type=int, default=16)


def one_by_one(
    options: argparse.Namespace,
    surrogate: Surrogate,
    method: Method,
    photos: Photos,
    name: str,
    steps: list[int],
    start: Tensor | None = None,
) -> tuple[dict[int, Tensor], float]:
    """Optimise each photo on its own.

    Args:
        options: `seed`, `batch`, `epsilon`.
        surrogate: What is attacked.
        method: Its own number of steps is not read.
        photos: Those of version `clean`.
        name: Of the progress bar.
        steps: One run of the longest passes through the shorter ones.
        start: Residuals to begin from, (P, 3, H, W); random ones if not given.

    Returns:
        Photos after each of `steps` as their files hold them, and the seconds of one step of one photo within its batch.
    """
    image = photos.versions["clean"]
    batches: dict[int, list[Tensor]] = {number: [] for number in steps}
    begin = time.perf_counter()
    for first in range(0, len(image), options.batch):
        part = slice(first, first + options.batch)
        random = torch.Generator().manual_seed(options.seed * 1_000_003 + first)
        results = method.run(
            surrogate, image[part], surrogate.encode_text(photos.prompts[part]), options.epsilon, random, max(steps),
            start=None if start is None else start[part], keep=steps, label=f"{name}, people from {first}",
        )  # fmt: skip
        for number, parts in batches.items():
            parts.append(results[number])
    seconds = (time.perf_counter() - begin) / max(*steps, 1) / len(image)
    return {number: as_saved(torch.cat(parts)) for number, parts in batches.items()}, seconds


def train_generator(options: argparse.Namespace, method: Method, seed: int) -> tuple[Protector, float]:
    """What one forward pass learns of a method: its objective, space and noise levels, without a transform.

    Args:
        options: `surrogate`, `size`, `num_frames`, `steps`, `photo_size`, `epsilon`, and of the training `lr`, `train_steps`,
            `train_batch`.
        method: Its own number and length of steps are not read.
        seed: Of first weights, photos and draws.

    Returns:
        The running average of the generator, and the seconds of training without loading.
    """
    pl.seed_everything(seed, verbose=False)
    settings, (height, width) = method.settings, map(int, options.size.split("x"))
    generator = BackboneGenerator(
        "resnet14t", 64, 32, 32, backbone_width=24, frozen_norm=True, start_from="portrait-faces-2", space=settings.space
    )
    module = ProtectionModule(
        generator, method.objective, Identity(), list(method.taps), Path(options.surrogate), height=height, width=width,
        num_frames=options.num_frames, steps=options.steps, min_sigma=settings.min_sigma, max_sigma=settings.max_sigma, muon=True,
        lr=options.lr, epsilon_low=options.epsilon, epsilon_high=options.epsilon, seed=seed, judge=None, actions=None,
    )  # fmt: skip
    data = PhotoDataModule(PortraitPhotos(), photo_size=options.photo_size, batch_size=options.train_batch, seed=seed)
    timer = Timer(verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu", max_steps=options.train_steps, limit_val_batches=0, logger=False, enable_checkpointing=False,
            enable_model_summary=False, enable_progress_bar=False, gradient_clip_val=1.0, default_root_dir=folder, callbacks=[timer],
        )  # fmt: skip
        trainer.fit(module, data)
    return module.averaged_protector, timer.time_elapsed()


@torch.no_grad()
def in_one_pass(protector: Protector, image: Tensor, epsilon: float, batch: int) -> Tensor:
    """Protected photos as their files hold them: (B, 3, H, W) in [0, 1] → the same."""
    return as_saved(torch.cat([protector(image[i : i + batch], epsilon) for i in range(0, len(image), batch)]))
