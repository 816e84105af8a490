"""What every family of pipelines does in the same way, on top of what `frozen.py` lets each of them define."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.base import LoadOptions
from anti_i2v.surrogates.capture import check_taps, count_blocks, read_layers
from anti_i2v.surrogates.draw import ERROR, Draw, Tensors, denoiser_layers
from anti_i2v.surrogates.frozen import FrozenPipeline
from anti_i2v.surrogates.loading import load_pipeline, read_index, text_identity
from anti_i2v.surrogates.texts import PromptCache, TextStore

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

FACTORS = ("vae_scale_factor_spatial", "vae_spatial_compression_ratio", "vae_scale_factor")
"""What pipelines call the number of pixels that become one of the latent, along a side."""


class PipelineSurrogate(FrozenPipeline):
    """A frozen image-to-video pipeline. Build one with `Surrogate.from_pretrained`.

    Args:
        pipeline: The loaded diffusers pipeline; its networks are frozen in place.
        taps: Names of layers of the denoiser; `vae.` and the name of a layer of the autoencoder; `decoded` for the photo
            reconstructed by the autoencoder, `photo` for the photo itself, `latent` and `error`, see `anti_i2v.surrogates.draw`.
        height: Height of the photos and clips in pixels.
        width: Width of the photos and clips in pixels.
        num_frames: Length of the clips.
        steps: Length of the schedule that draws come from.
    """

    def __init__(self, pipeline: DiffusionPipeline, taps: Sequence[str], height: int, width: int, num_frames: int, steps: int) -> None:
        super().__init__(pipeline, height, width, num_frames, steps)
        self.taps = self._check_taps(taps)
        self.texts = PromptCache()

    @classmethod
    def load(cls, source: str, options: LoadOptions) -> PipelineSurrogate:
        location, _ = read_index(source)
        prompts, dtype = options.prompts, options.dtype
        texts = PromptCache()
        if prompts and cls.has_text:  # families read the same encoder to different lengths, and it is loaded in that type
            texts = PromptCache(TextStore(f"{cls.__name__} {dtype} {text_identity(location, cls.text_parts)}"))
        without = cls.unused_parts
        if prompts and cls.has_text and not texts.missing(prompts):
            without += cls.text_encoders()
        num_blocks = count_blocks(options.taps, cls.block_lists) if options.features_only else {}
        pipeline = load_pipeline(location, getattr(torch, dtype), without, dict.fromkeys(cls.denoiser_names, num_blocks))
        surrogate = cls(pipeline, options.taps, options.height, options.width, options.num_frames, options.steps)
        surrogate.texts = texts
        if prompts:
            surrogate.encode_text(list(prompts))
            surrogate.drop_text_encoder()
        return surrogate

    # -------------------------------------------------------------------------------------------------------- memory
    @property
    def cell(self) -> tuple[int, int]:
        factor = next((int(getattr(self.pipeline, name)) for name in FACTORS if hasattr(self.pipeline, name)), 1)
        patch = getattr(getattr(self.denoiser, "config", None), "patch_size", None) or 1
        rows, columns = (patch, patch) if isinstance(patch, int) else (patch[-2], patch[-1])
        return factor * rows, factor * columns

    def checkpoint_layers(self) -> None:
        super().checkpoint_layers()
        for name in self.denoiser_names:
            part = getattr(self.pipeline, name, None)
            if part is not None and getattr(part, "_supports_gradient_checkpointing", False):
                part.enable_gradient_checkpointing()

    def drop_text_encoder(self) -> None:
        """Free what reads only prompts, the largest part of most pipelines; those encoded so far stay known."""
        for name in self.text_encoders() if self.has_text else ():
            setattr(self.pipeline, name, None)

    # ---------------------------------------------------------------------------------------------------------- taps
    def _check_taps(self, taps: Sequence[str]) -> tuple[str, ...]:
        layers = denoiser_layers(taps)
        if layers or not taps:
            check_taps(self.denoiser, layers)
        if ERROR in taps and type(self).prediction_error is FrozenPipeline.prediction_error:
            raise UsageError(f"{type(self).__name__} has no tap {ERROR!r} yet; it is there for Wan, CogVideoX and SVD")
        return super()._check_taps(taps)

    # ---------------------------------------------------------------------------------------------------------- text
    def encode_text(self, prompts: list[str]) -> dict[str, Tensor]:
        if not self.has_text or not prompts:
            return {}
        new = self.texts.missing(prompts)
        if new and getattr(self.pipeline, self.text_parts[0], None) is None:
            raise UsageError(f"the text encoder was dropped before the prompt {new[0]!r} was encoded; name all prompts when loading")
        for group in [[prompt] for prompt in new] if self.encode_prompts_singly else [new] if new else []:
            with torch.no_grad(), torch.autocast(self.text_device.type, enabled=False):
                self.texts.add(group, self.encode_prompts(group))
        batch = self.stack_texts([self.texts[prompt] for prompt in prompts])
        return {key: value.to(self.device) for key, value in batch.items()}

    # --------------------------------------------------------------------------------------------------------- draws
    def draw(self, batch: int, generator: torch.Generator, min_sigma: float = 0.0, max_sigma: float = 1.0) -> Draw:
        tolerance = 1e-5  # the first sigma of a flow schedule is 1 − 1e-6, and 1.0 means that step
        choices = [step for step, sigma in enumerate(self.sigmas) if min_sigma - tolerance <= sigma <= max_sigma + tolerance]
        if not choices:
            levels = f"the schedule's are {min(self.sigmas):.4f} to {max(self.sigmas):.4f}"
            raise UsageError(f"no noise level lies between min_sigma {min_sigma} and max_sigma {max_sigma}; {levels}")
        choice = torch.randint(len(choices), (1,), generator=generator, device=generator.device)
        return self.draw_at(choices[int(choice)], batch, generator)

    def draw_at(self, step: int, batch: int, generator: torch.Generator) -> Draw:
        """Draw noise for a batch at a given step of the schedule; see `draw`."""
        image_noise = self._image_noise(batch, generator)
        noise = torch.randn(self.latent_shape(batch), generator=generator, device=generator.device).to(self.device)
        return Draw(step, self.timesteps[step].to(self.device), self.sigmas[step], noise, image_noise, self.token_frames)

    def _image_noise(self, batch: int, generator: torch.Generator) -> Tensor | None:
        shape = self.image_noise_shape(batch)
        return None if shape is None else torch.randn(shape, generator=generator, device=generator.device).to(self.device)

    @torch.no_grad()
    def with_reference(self, draw: Draw, video: Tensor) -> Draw:
        clip = video.unsqueeze(1).expand(-1, self.num_frames, -1, -1, -1) if video.ndim == 4 else video
        if clip.ndim != 5 or clip.shape[1:] != (self.num_frames, 3, self.height, self.width):
            size = f"(B, {self.num_frames}, 3, {self.height}, {self.width})"
            raise UsageError(f"a reference is a clip {size}, not {tuple(video.shape)}; cut and resize it first")
        with self._float32():
            return replace(draw, reference=self.encode_clip(clip.float()))

    # ------------------------------------------------------------------------------------------------------ features
    def _read_denoiser(self, condition: dict[str, Tensor], text: Tensors, draw: Draw, early_exit: bool) -> dict[str, Tensor]:
        layers = [*denoiser_layers(self.taps), *([""] if ERROR in self.taps else [])]  # the layer "" is the denoiser itself
        if not layers:
            return {}
        condition = self.join_text(condition, text)
        arguments = self.typed_inputs(condition, text, self.noisy_latents(condition, draw), draw.timestep)
        outputs = read_layers(self.denoiser_at(draw.timestep), layers, {**arguments, "return_dict": False}, early_exit)
        features = {tap: self.group_by_photo(value, len(draw.noise)).float() for tap, value in outputs.items() if tap}
        if "" in outputs:
            features[ERROR] = self.prediction_error(outputs[""].float(), condition, draw).float()
        return features

    # --------------------------------------------------------------------------------------------------------- clips
    def check_animates(self) -> None:
        if self.features_only:
            raise UsageError("this surrogate was loaded for features only; load it with features_only: false to animate")

    @torch.no_grad()
    def animate(self, image: Tensor, text: Tensors, seed: int, steps: int | None = None) -> Tensor:
        self.check_animates()
        image, text = self._check_inputs(image, text)
        scheduler = self._schedule(self.steps if steps is None else steps)
        with self._float32():
            generator = torch.Generator().manual_seed(seed)
            image_noises, noises, generators = [], [], []
            for position in range(len(image)):  # photo after photo, each in the pipelines' own order
                image_noises.append(self._image_noise(1, generator))
                noises.append(torch.randn(self.latent_shape(1), generator=generator))
                generators.append(generator.clone_state())  # goes on where the pipeline's own generator would
                if position:  # elsewhere that would repeat a neighbour's noise
                    generators[-1].manual_seed(int(torch.randint(2**62, (1,), generator=generators[-1])))
            scheduler = self.seed_scheduler(scheduler, generators)
            image_noise = [noise for noise in image_noises if noise is not None]
            condition = self.join_text(self.condition(image, torch.cat(image_noise) if image_noise else None), text)
            latents = torch.cat(noises).to(self.device) * getattr(scheduler, "init_noise_sigma", 1.0)  # flows start from unit noise
            return self.decode(self.finish(condition, self.denoise(latents, condition, text, scheduler)))
