"""Wan pipelines that set the photo's latents beside the noisy ones: Wan 2.1, Wan 2.2 A14B and SkyReels-V2, image to video.

The autoencoder encodes a whole clip, the photo and then grey, since it is causal and its later frames remember the photo.
Four mask channels say which frames of the clip are fixed. Wan 2.1 and SkyReels-V2 also encode the photo with CLIP, whose tokens
stand before the text; A14B has two denoisers instead, one for noisy timesteps and one for the others.

https://arxiv.org/abs/2503.20314 (Wan), https://arxiv.org/abs/2504.13074 (SkyReels-V2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import unit
from anti_i2v.surrogates.capture import check_taps
from anti_i2v.surrogates.draw import Tensors, denoiser_layers
from anti_i2v.surrogates.families.wan_base import WanBase
from anti_i2v.surrogates.families.wan_encode import encode_in_chunks
from anti_i2v.surrogates.pipeline import PipelineSurrogate

if TYPE_CHECKING:
    from transformers import CLIPImageProcessor


def resize_for_clip(image: Tensor, processor: CLIPImageProcessor) -> Tensor:
    """Photos `(B, 3, H, W)` in [0, 1] as CLIP gets them: resized, cropped and normalised as the pipeline's processor is set to.

    The pipeline resizes an 8-bit picture, the width and then the height. What is out of the range of 8 bits is clipped after each, and a
    bicubic resize overshoots at every edge, so it is clipped here too. Rounding to 8 bits has no gradient and is left out:
    a pixel may be off by about 1/255.
    """
    height, width = image.shape[-2:]
    size = dict(processor.size)
    if size.get("shortest_edge"):
        short = int(size["shortest_edge"])
        height, width = (short, short * width // height) if height <= width else (short * height // width, short)
    else:
        height, width = int(size["height"]), int(size["width"])
    pixels = unit(image)
    if processor.do_resize:
        for rows, columns in ((pixels.shape[-2], width), (height, width)):
            size = {"height": rows, "width": columns}
            resized = processor(pixels, size=size, do_rescale=False, do_center_crop=False, do_normalize=False, return_tensors="pt")
            pixels = unit(resized.pixel_values)
    normalised: Tensor = processor(pixels, do_resize=False, do_rescale=False, return_tensors="pt").pixel_values
    return normalised


class WanConcatSurrogate(WanBase):
    """A frozen `WanImageToVideoPipeline` without `expand_timesteps`, or a `SkyReelsV2ImageToVideoPipeline`.

    With two denoisers a tap is read in the one that is in charge at the draw's timestep. The memory of the encoding grows
    with `num_frames`; where the photo needs a gradient, `encode_in_chunks` keeps it low.
    """

    denoiser_names = ("transformer", "transformer_2")

    photo_mask: Tensor

    def _prepare(self) -> None:
        super()._prepare()
        config, ratio = self.pipeline.transformer.config, self.pipeline.config.get("boundary_ratio")
        channels = 2 * self.clip_shape[0] + self.pipeline.vae_scale_factor_temporal
        if config.in_channels != channels:
            raise UsageError(
                f"the denoiser reads {config.in_channels} channels, not {channels} (noise, mask, photo); this is no Wan 2.1, 2.2 A14B "
                "or SkyReels-V2 image-to-video pipeline; supported: those, and Wan 2.2 TI2V-5B"
            )
        if config.pos_embed_seq_len is not None:
            raise UsageError(
                f"pos_embed_seq_len is {config.pos_embed_seq_len}: a Wan for a first and a last frame (FLF2V), which a single photo "
                "does not fit; give an image-to-video one, such as Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"
            )
        if config.image_dim is not None and getattr(self.pipeline, "image_encoder", None) is None:
            raise UsageError(
                f"image_dim is {config.image_dim}, so it reads the photo through CLIP, but there is no image_encoder; "
                "fetch the whole pipeline"
            )
        self.boundary = None if ratio is None else float(ratio * self.pipeline.scheduler.config.num_train_timesteps)
        self.low_noise_denoiser: nn.Module | None = None if ratio is None else self.pipeline.transformer_2
        self.image_encoder: nn.Module | None = None if config.image_dim is None else self.pipeline.image_encoder
        photo_mask = torch.zeros(1, self.pipeline.vae_scale_factor_temporal, *self.clip_shape[1:])
        photo_mask[:, :, 0] = 1  # a channel for each frame that a latent frame stands for; the first stands for the photo alone
        self.register_buffer("photo_mask", photo_mask, persistent=False)

    @classmethod
    def variant(cls, source: str, index: Mapping[str, object]) -> type[PipelineSurrogate]:
        """The denoisers that the pipeline will call must be there."""
        experts = ("transformer",) if index.get("boundary_ratio") is None else ("transformer", "transformer_2")
        for name in experts:
            if index.get(name) in (None, [None, None]):
                ratio = f"boundary_ratio {index.get('boundary_ratio')}"
                raise UsageError(f"{source} has no {name}, which a Wan of {ratio} needs; fetch the whole pipeline")
        return cls

    def _check_taps(self, taps: Sequence[str]) -> tuple[str, ...]:
        unique = super()._check_taps(taps)
        layers = denoiser_layers(unique)
        if layers and self.pipeline.config.get("boundary_ratio") is not None:
            check_taps(self.pipeline.transformer_2, layers)
        return unique

    def denoiser_at(self, timestep: Tensor) -> nn.Module:
        """Of two denoisers the second below the boundary."""
        if self.boundary is None or self.low_noise_denoiser is None or timestep >= self.boundary:
            return self.denoiser
        return self.low_noise_denoiser

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, latent frames, h, w)` of the photo and grey after it, normalised, the posterior's mode.

        With CLIP also `image_embeds` `(B, tokens, channels)`, the states before its last layer. It sees the photo at
        `height` × `width`, as if a user had given it at that size.
        """
        clip = F.pad((unit(image) * 2 - 1).unsqueeze(2), (0, 0, 0, 0, 0, self.num_frames - 1))  # 0 is grey
        latents = encode_in_chunks(self.vae, clip) if clip.requires_grad else self.vae.encode(clip).latent_dist.mode()
        condition = {"latents": self.normalise(latents)}
        if self.image_encoder is not None:
            processor = self.pipeline.image_processor  # SkyReels-V2 ships a CLIPProcessor, which holds the one for images
            pixels = resize_for_clip(image, getattr(processor, "image_processor", processor))
            condition["image_embeds"] = self.image_encoder(pixels, output_hidden_states=True).hidden_states[-2]
        return condition

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """Noise, mask and photo side by side; one timestep a photo."""
        mask = self.photo_mask.expand(len(latents), -1, -1, -1, -1)
        return {
            "hidden_states": torch.cat([latents, mask, condition["latents"]], dim=1),
            "timestep": timestep.expand(len(latents)),
            "encoder_hidden_states": text["prompt_embeds"],
            "encoder_hidden_states_image": condition.get("image_embeds"),
            "attention_kwargs": None,
        }
