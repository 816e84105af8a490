"""What a test must know of a family to hold its surrogate against the real pipeline's own call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from anti_i2v.surrogates import Surrogate

PROMPT = "a dog runs"
STEPS = 4


def drawn_at_once(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The noise of most pipelines: one tensor for the whole clip."""
    return torch.randn(shape, generator=generator)


@dataclass(frozen=True)
class Family:
    """A tiny pipeline of the real classes, and how a user would call it.

    Attributes:
        name: Of the row.
        write: Writes the pipeline into a folder.
        taps: Two layers of the denoiser, the shallower first.
        num_frames: Length of the clips.
        height, width: Of photo and clip; not square, so that a swap of the two shows.
        denoiser: Attribute of the pipeline that holds the denoiser of the first steps.
        options: Arguments of the pipeline's call beside photo, prompt, size, length, steps and generator.
        prompted: Whether the call takes a prompt.
        sized: Whether the call takes height and width; otherwise it makes a clip of the photo's.
        samples: Whether the pipeline samples the photo's latent; the surrogate takes the mode, so the test makes it do so too.
        rounded: Argument of the denoiser → how far it may lie off because the pipeline rounds a resized photo to 8 bits.
        first_noise: Shape of the latents, generator → the noise of the first step, as the pipeline draws it.
        noisiest: Share of noise that the first step of the schedule exceeds.
        shown: Share of the photo's pixels that must get a gradient.
        dropped: Frames that the pipeline's call is asked for beside `num_frames`, because it throws them away; below 0 where it
            makes more than it is asked for.
        length: Argument of the pipeline's call that takes the number of frames.
        half: Share of its norm by which half precision may move a feature.
        in_bytes: Whether the pipeline rounds the clips it returns to 8 bits.
        apart: Folder → parts of the pipeline that diffusers itself loads wrongly, or that a user would set otherwise.
    """

    name: str
    write: Callable[[Path], Path]
    taps: tuple[str, str]
    num_frames: int
    height: int = 32
    width: int = 48
    denoiser: str = "transformer"
    options: Mapping[str, Any] = field(default_factory=dict)
    prompted: bool = True
    sized: bool = True
    samples: bool = False
    rounded: Mapping[str, float] = field(default_factory=dict)
    first_noise: Callable[[tuple[int, ...], torch.Generator], Tensor] = drawn_at_once
    noisiest: float = 0.99
    shown: float = 1.0
    dropped: int = 0
    length: str = "num_frames"
    half: float = 0.05
    in_bytes: bool = False
    apart: Callable[[Path], Mapping[str, Any]] = lambda folder: {}

    def surrogate(self, folder: Path, taps: tuple[str, ...] | None = None) -> Surrogate:
        """The surrogate of the folder that `write` wrote."""
        return Surrogate.from_pretrained(str(folder), list(taps or self.taps), self.height, self.width, self.num_frames, STEPS)

    def load(self, folder: Path) -> DiffusionPipeline:
        """The same folder, loaded by diffusers itself, in float32."""
        pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **self.apart(folder))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def photos(self) -> Tensor:
        """Two photos on the 8-bit grid, `(2, 3, height, width)` in [0, 1]."""
        return torch.randint(0, 256, (2, 3, self.height, self.width), generator=torch.Generator().manual_seed(1)) / 255

    def call(self, pipeline: DiffusionPipeline, photo: Tensor, seed: int) -> Tensor:
        """The pipeline's own call on a photo `(3, H, W)`, given as the picture a user would give: `(1, T, 3, H, W)` in [0, 1]."""
        picture = Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy())
        sampling = mode_instead_of_sample() if self.samples else contextlib.nullcontext()
        with sampling, torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # what a pipeline draws past its generator, the surrogate draws from this seed
            frames: Tensor = pipeline(
                image=picture,
                **({"prompt": PROMPT} if self.prompted else {}),
                **({"height": self.height, "width": self.width} if self.sized else {}),
                **{self.length: self.num_frames + self.dropped},
                num_inference_steps=STEPS,
                generator=torch.Generator().manual_seed(seed),
                output_type="pt",
                **self.options,
            ).frames
        return frames


@contextlib.contextmanager
def mode_instead_of_sample() -> Iterator[None]:
    """Every autoencoder's posterior gives its mean where it is asked for a sample, and the generator is left alone."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    sample = DiagonalGaussianDistribution.sample
    DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mean
    try:
        yield
    finally:
        DiagonalGaussianDistribution.sample = sample
