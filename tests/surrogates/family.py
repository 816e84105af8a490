"""What a test must know of a family to compare its surrogate with the real pipeline's own call, and all families by name."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from anti_i2v.surrogates import Draw, Surrogate
from tests import tiny
from tests.tiny import (
    cogvideox,
    cosmos2,
    framepack,
    hunyuan_video,
    hunyuan_video15,
    i2vgen_xl,
    kandinsky5,
    ltx,
    ltx2,
    sana_video,
    skyreels_df,
    unet,
    wan,
)

PROMPT = "a dog runs"
STEPS = 4


def one_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The noise of most pipelines: one tensor for the whole clip."""
    return torch.randn(shape, generator=generator)


def through_vae(vae: Any, photos: Tensor, draw: Draw) -> Tensor:
    """Each photo alone through the autoencoder of a video, as a clip of one frame; `(B, 3, H, W)` in [-1, 1]."""
    frames = []
    for photo in (2 * photos - 1).unsqueeze(2).split(1):
        frames.append(vae.decode(vae.encode(photo).latent_dist.mode()).sample[:, :, 0])
    return torch.cat(frames)


def through_timed_vae(vae: Any, photos: Tensor, draw: Draw) -> Tensor:
    """As above where the decoder takes a timestep, or draws noise from the global random state, which starts at 0 here."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        frames: Tensor = vae.decode(vae.encode((2 * photos - 1).unsqueeze(2)).latent_dist.mode(), torch.zeros(len(photos))).sample[:, :, 0]
    return frames


def through_image_vae(vae: Any, photos: Tensor, draw: Draw) -> Tensor:
    """As above by an autoencoder of pictures."""
    pictures: Tensor = vae.decode(vae.encode(2 * photos - 1).latent_dist.mode()).sample
    return pictures


def through_noisy_vae(vae: Any, photos: Tensor, draw: Draw) -> Tensor:
    """As above where the pipeline shows its autoencoder a photo with noise of 0.02 on it."""
    assert draw.image_noise is not None
    pictures: Tensor = vae.decode(vae.encode(2 * photos - 1 + 0.02 * draw.image_noise).latent_dist.mode(), num_frames=1).sample
    return pictures


@dataclass(frozen=True)
class Family:
    """A tiny pipeline of the real classes, and how a user would call it.

    Attributes:
        name: Of the row; also in the names of tests.
        write: Writes the pipeline into a folder.
        taps: Two layers of the denoiser, the shallower first.
        num_frames: Length of the clips.
        height, width: Of photo and clip; not square, so that a swap of the two shows.
        denoiser: Attribute of the pipeline that holds the denoiser of the first steps.
        options: Arguments of the pipeline's call beside photo, prompt, size, length, steps and generator.
        other_name: Class of another pipeline with the same parts, which the public checkpoints name and which is taken for this one.
        has_prompt: Whether the call takes a prompt.
        has_size: Whether the call takes height and width; otherwise it makes a clip of the photo's.
        samples: Whether the pipeline samples the photo's latent; the surrogate takes the mode, so the test makes it do so too.
        rounding: Argument of the denoiser → how far it may lie off because the pipeline rounds a resized photo to 8 bits.
        first_noise: Shape of the latents, generator → the noise of the first step, as the pipeline draws it.
        clip_of_photo: The photo's latents → the still clip that noise is put on at later steps; None where noise is added otherwise.
        through_vae: Autoencoder, photos, draw → the photos through it and back, in [-1, 1].
        min_first_sigma: Share of noise that the first step of the schedule exceeds.
        extra_frames: Frames that the pipeline's call must be given beside `num_frames`, because it throws them away; below 0 where
            it makes more than it is given.
        length: Argument of the pipeline's call that takes the number of frames.
        half: Share of its norm by which half precision may move a feature.
        in_bytes: Whether the pipeline rounds the clips it returns to 8 bits.
        own_parts: Folder → parts of the pipeline that diffusers itself loads wrongly, or that a user would set otherwise.
    """

    name: str
    write: Callable[[Path], Path]
    taps: tuple[str, str]
    num_frames: int
    height: int = 32
    width: int = 48
    denoiser: str = "transformer"
    options: Mapping[str, Any] = field(default_factory=lambda: {"guidance_scale": 1.0})
    other_name: str | None = None
    has_prompt: bool = True
    has_size: bool = True
    samples: bool = False
    rounding: Mapping[str, float] = field(default_factory=dict)
    first_noise: Callable[[tuple[int, ...], torch.Generator], Tensor] = one_noise
    clip_of_photo: Callable[[Tensor], Tensor] | None = lambda latents: latents
    through_vae: Callable[[Any, Tensor, Draw], Tensor] = through_vae
    min_first_sigma: float = 0.99
    extra_frames: int = 0
    length: str = "num_frames"
    half: float = 0.05
    in_bytes: bool = False
    own_parts: Callable[[Path], Mapping[str, Any]] = lambda folder: {}

    def surrogate(self, folder: Path, **options: Any) -> Surrogate:
        """The surrogate of a folder that `write` wrote; `options` are those of `Surrogate.from_pretrained`."""
        sizes = {"height": self.height, "width": self.width, "num_frames": self.num_frames, "steps": STEPS}
        return Surrogate.from_pretrained(str(folder), **{"taps": self.taps, **sizes, **options})

    def load(self, folder: Path, dtype: torch.dtype = torch.float32) -> DiffusionPipeline:
        """The same folder, loaded by diffusers itself."""
        pipeline = DiffusionPipeline.from_pretrained(folder, dtype=dtype, use_safetensors=True, **self.own_parts(folder))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def photos(self, height: int | None = None, width: int | None = None) -> Tensor:
        """Two photos on the 8-bit grid, `(2, 3, height, width)` in [0, 1]."""
        size = (2, 3, height or self.height, width or self.width)
        return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(1)) / 255

    def call(self, pipeline: DiffusionPipeline, photo: Tensor, seed: int, prompt: str = PROMPT, **options: Any) -> Tensor:
        """The pipeline's own call on a photo `(3, H, W)`, given as the picture a user would give: `(1, T, 3, H, W)` in [0, 1]."""
        sampling = mode_instead_of_sample() if self.samples else contextlib.nullcontext()
        size = {"height": photo.shape[1], "width": photo.shape[2]} if self.has_size else {}
        settings = {
            **({"prompt": prompt} if self.has_prompt else {}),
            **size,
            self.length: self.num_frames + self.extra_frames,
            "num_inference_steps": STEPS,
            "generator": torch.Generator().manual_seed(seed),
            "output_type": "pt",
            **self.options,
            **options,
        }
        with sampling, torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # what a pipeline draws past its generator, the surrogate draws from this seed
            frames: Tensor = pipeline(image=to_picture(photo), **settings).frames
        return frames


def to_picture(photo: Tensor) -> Image.Image:
    """A photo `(3, H, W)` in [0, 1] as an 8-bit picture."""
    return Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy())


def draw_at(surrogate: Surrogate, step: int, batch: int = 2) -> Draw:
    """Always the same noise."""
    return surrogate.draw_at(step, batch, torch.Generator().manual_seed(7))


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


class TinyModels:
    """Folders, surrogates and pipelines of the families by name, each made once; for tests that change none of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder, self.surrogate, self.pipeline = map(functools.cache, (self._folder, self._surrogate, self._pipeline))

    def _folder(self, name: str) -> Path:
        return FAMILIES[name].write(self.root / name)

    def _surrogate(self, name: str) -> Surrogate:
        return FAMILIES[name].surrogate(self.folder(name))

    def _pipeline(self, name: str) -> DiffusionPipeline:
        return FAMILIES[name].load(self.folder(name))


WAN = ("blocks.1", "blocks.2")
COGVIDEOX = {"guidance_scale": 1.0, "max_sequence_length": cogvideox.WORDS}
SANA = {"guidance_scale": 1.0, "use_resolution_binning": False}
HUNYUAN_15 = (hunyuan_video15.TAPS, hunyuan_video15.FRAMES, hunyuan_video15.HEIGHT, hunyuan_video15.WIDTH)
UNET = ("down_blocks.0", "mid_block")

ROWS = (
    *(
        Family(
            name,
            write,
            ("transformer_blocks.0", "transformer_blocks.1"),
            cogvideox.FRAMES,
            options=COGVIDEOX,
            samples=True,
            clip_of_photo=lambda latents: latents * cogvideox.SCALE,
        )
        for name, write in (("cogvideox-1.0", cogvideox.tiny_cogvideox), ("cogvideox-1.5", cogvideox.tiny_cogvideox_15))
    ),
    Family(
        "cosmos-2",
        cosmos2.tiny_cosmos2,
        cosmos2.TAPS,
        cosmos2.FRAMES,
        samples=True,
        clip_of_photo=None,
        min_first_sigma=0.98,
        in_bytes=True,
        own_parts=cosmos2.no_safety_checker,
    ),
    *(
        Family(
            name,
            write,
            hunyuan_video.TAPS,
            hunyuan_video.FRAMES,
            hunyuan_video.HEIGHT,
            hunyuan_video.WIDTH,
            options={},
            extra_frames=extra,
            own_parts=hunyuan_video.own_tokenizer,
        )
        for name, write, extra in (
            ("hunyuan-video-concat", hunyuan_video.tiny_hunyuan_concat, 4),
            ("hunyuan-video-replace", hunyuan_video.tiny_hunyuan_replace, 0),
        )
    ),
    Family(
        "framepack",
        framepack.tiny_framepack,
        framepack.TAPS,
        framepack.FRAMES,
        16,
        32,
        options={"guidance_scale": 6.0},
        samples=True,
        extra_frames=framepack.CALL_FRAMES - framepack.FRAMES,
        half=0.15,  # the guidance that the denoiser is given, 6000, is 6016 in half precision, in the pipeline too
        own_parts=hunyuan_video.own_tokenizer,
    ),
    *(
        Family(
            name,
            write,
            *HUNYUAN_15,
            options={},
            has_size=False,
            rounding={"image_embeds": off, "hidden_states": 5e-5},
            own_parts=hunyuan_video15.unguided,
        )
        for name, write, off in (
            ("hunyuan-video-1.5", hunyuan_video15.tiny_hunyuan_video15, 0.04),
            ("hunyuan-video-1.5-meanflow", hunyuan_video15.tiny_hunyuan_video15_meanflow, 0.05),
        )
    ),
    Family(
        "i2vgen-xl",
        i2vgen_xl.tiny_i2vgen_xl,
        UNET,
        i2vgen_xl.FRAMES,
        denoiser="unet",
        samples=True,
        rounding={"image_embeddings": 1e-2},
        through_vae=through_image_vae,
        min_first_sigma=0.7,
        own_parts=i2vgen_xl.own_text_encoder,
    ),
    Family("kandinsky-5", kandinsky5.tiny_kandinsky5, kandinsky5.TAPS, kandinsky5.FRAMES, samples=True),
    Family("ltx", ltx.tiny_ltx, ltx.TAPS, ltx.FRAMES, ltx.HEIGHT, ltx.WIDTH, other_name="LTXPipeline", samples=True),
    Family("ltx-0.9.1", ltx.tiny_ltx_timed, ltx.TAPS, ltx.FRAMES, ltx.HEIGHT, ltx.WIDTH, samples=True, through_vae=through_timed_vae),
    Family(
        "ltx-condition",
        ltx.tiny_ltx_condition,
        ltx.TAPS,
        ltx.FRAMES,
        ltx.HEIGHT,
        ltx.WIDTH,
        samples=True,
        first_noise=ltx.noise_of_clip_and_photo,
        clip_of_photo=None,
        through_vae=through_timed_vae,
    ),
    Family("wan-2.2-5b", tiny.tiny_portrait_dit, WAN, tiny.FRAMES, options={"guidance_scale": 1.0, "max_sequence_length": 32}),
    *(
        Family(name, write, WAN, wan.FRAMES, rounding=rounding, clip_of_photo=lambda latents: latents[:, :, :1])
        for name, write, rounding in (
            ("wan-2.1", wan.tiny_wan21, {"encoder_hidden_states_image": 0.02, "hidden_states": 3e-4}),
            ("wan-2.2-a14b", wan.tiny_wan22_a14b, {}),
            ("skyreels-v2-i2v", wan.tiny_skyreels_v2, {"encoder_hidden_states_image": 0.015, "hidden_states": 2e-4}),
        )
    ),
    *(
        Family(
            name,
            write,
            ltx2.TAPS,
            ltx2.FRAMES,
            ltx2.HEIGHT,
            ltx2.WIDTH,
            options=ltx2.UNGUIDED,
            other_name=other,
            first_noise=ltx2.noise_of_video_and_sound,
            clip_of_photo=ltx2.still_and_silent,
        )
        for name, write, other in (("ltx-2", ltx2.tiny_ltx2, "LTX2Pipeline"), ("ltx-2.3", ltx2.tiny_ltx23, None))
    ),
    *(
        Family(
            name,
            write,
            sana_video.TAPS,
            sana_video.FRAMES,
            sana_video.HEIGHT,
            sana_video.WIDTH,
            options=SANA,
            other_name=other,
            length="frames",
        )
        for name, write, other in (
            ("sana-video", sana_video.tiny_sana_480p, "SanaVideoPipeline"),
            ("sana-video-720p", sana_video.tiny_sana_720p, None),
        )
    ),
    Family("skyreels-v2-df", skyreels_df.tiny_skyreels_df, WAN, wan.FRAMES, other_name="SkyReelsV2DiffusionForcingPipeline"),
    Family(
        "svd",
        unet.tiny_portrait_unet,
        UNET,
        unet.FRAMES,
        denoiser="unet",
        options={"min_guidance_scale": 1.0, "max_guidance_scale": 1.0},
        has_prompt=False,
        rounding={"encoder_hidden_states": 1e-5},
        clip_of_photo=lambda latents: latents.unsqueeze(1) * unet.SCALING,
        through_vae=through_noisy_vae,
    ),
)
FAMILIES = {family.name: family for family in ROWS}
