"""HunyuanVideo image-to-video, both of its layouts. The photo reaches it by two routes.

One is the autoencoder's latent of the photo: beside the noisy latents of every frame (`latent_concat`), or in place of the
first latent frame (`token_replace`). The other is LLaVA, the language model that reads the prompt: it is shown the photo
before the prompt, so that its states of the prompt depend on the photo as well. They cannot be kept from one photo to the
next, and LLaVA stays loaded, frozen, beside the denoiser.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import unit
from anti_i2v.surrogates.base import Surrogate
from anti_i2v.surrogates.draw import Draw

if TYPE_CHECKING:
    from diffusers import AutoencoderKLHunyuanVideo, DiffusionPipeline, SchedulerMixin
    from transformers import LlavaForConditionalGeneration

TEXT_LENGTH = 256
"""Tokens of a prompt, by the pipeline's default."""
SKIPPED_LAYERS = 2
"""Last layers of the language model whose states are not read."""
LEAKED = 0.001
"""Share of the photo's latent in the noise that the pipeline starts from."""
INTERLEAVE = {"latent_concat": 2, "token_replace": 4}
"""Layout → every how manieth of the photo's tokens the denoiser is given."""
DROPPED = {"latent_concat": 4, "token_replace": 0}
"""Layout → decoded frames that the pipeline throws away at the start of a clip."""


class HunyuanVideoSurrogate(Surrogate):
    """A frozen `HunyuanVideoImageToVideoPipeline`, its `image_condition_type` either `latent_concat` or `token_replace`.

    With `latent_concat` the pipeline's call throws the first four frames away that it has made. `num_frames` counts those
    that are left, so a clip here is that of a call with `num_frames` + 4.

    LLaVA is shown the photo as this class is given it, at `height` × `width`; the pipeline's call, which shows it the
    picture before resizing, does the same for a picture of that size. Unless the shorter edge is LLaVA's own, both resize it
    once more, the pipeline in 8 bits, which has no gradient: a quarter of 1/255 on average, some 10/255 at the sharpest edges.
    """

    through_language_model = True
    """Whether gradients reach the photo through LLaVA too. Without, LLaVA reads the same photo and costs no memory for a
    backward pass through 8 billion weights: features stay as they are, and their gradient lacks that route."""
    guidance_scale = 1.0
    """What the guidance-distilled denoiser of `token_replace` is told, by the default of the pipeline's call."""

    block_lists: ClassVar[Mapping[str, str]] = {"transformer_blocks": "num_layers", "single_transformer_blocks": "num_single_layers"}
    # LLaVA reads every photo anew and is never dropped; of it only the configuration and the tokenizer matter to what is kept.
    photo_parts = ("text_encoder",)
    text_parts = ("text_encoder_2", "tokenizer_2", "tokenizer", "text_encoder")

    vae: AutoencoderKLHunyuanVideo
    language_model: LlavaForConditionalGeneration

    def __init__(self, pipeline: DiffusionPipeline, taps: Sequence[str], height: int, width: int, num_frames: int, steps: int) -> None:
        super().__init__(pipeline, taps, height, width, num_frames, steps)
        self.language_model = pipeline.text_encoder  # registered, so that it moves along
        if pipeline.text_encoder_2 is not None:
            pipeline.text_encoder_2.requires_grad_(False).eval()
        config = pipeline.transformer.config
        self._layout: str = str(config.image_condition_type)
        if self._layout not in INTERLEAVE:
            raise UsageError(f"image_condition_type is {self._layout}; supported HunyuanVideo: {', '.join(INTERLEAVE)}")
        space, time = pipeline.vae_scale_factor_spatial, pipeline.vae_scale_factor_temporal
        multiple = math.lcm(16, space * config.patch_size)  # the pipeline itself insists on 16
        if height < multiple or width < multiple or height % multiple or width % multiple:
            raise UsageError(f"height × width is {height} × {width}; this HunyuanVideo needs multiples of {multiple} × {multiple}")
        made = num_frames + DROPPED[self._layout]
        if num_frames < 2 or (made - 1) % time:  # where the photo replaces the first latent frame, a single one is the photo itself
            raise UsageError(f"num_frames is {num_frames}; this HunyuanVideo needs 1 + a multiple of {time}: {time + 1}, {2 * time + 1}, …")
        channels = config.in_channels if self._replaces else (config.in_channels - 1) // 2
        self._shape = (channels, (made - 1) // time + 1, height // space, width // space)
        self._tokens("")  # a tokenizer that reads the template otherwise is found now, not when a prompt comes

    @property
    def _replaces(self) -> bool:
        return self._layout == "token_replace"

    def _set_timesteps(self, scheduler: SchedulerMixin, steps: int) -> None:
        """Equal steps of the flow's own time, as the pipeline's call asks for, rather than the scheduler's default."""
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1], device=self.device)

    def latent_shape(self, batch: int) -> tuple[int, ...]:
        """`(B, channels, latent frames, latent height, latent width)`."""
        return (batch, *self._shape)

    # ---------------------------------------------------------------------------------------------------------- text
    def drop_text_encoder(self) -> None:
        """Free the CLIP text encoder; LLaVA, by far the larger one, stays, because it reads every photo anew."""
        super().drop_text_encoder()

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """What is known before the photo: `pooled_projections` `(prompts, channels)` of CLIP, and LLaVA's input.

        That is `input_ids`, `attention_mask` and `position_ids` `(prompts, tokens)`, with room for the photo; `kept`
        `(prompts, kept tokens)`, the places whose states the denoiser reads; `encoder_attention_mask`, their mask.
        """
        clip = self.pipeline.text_encoder_2
        if clip is None:
            raise UsageError(f"the text encoder was dropped before the prompt {prompts[0]!r} was encoded")
        tokens = [self._tokens(prompt) for prompt in prompts]
        encoded = {key: torch.stack([row[key] for row in tokens]) for key in tokens[0]}
        return {**encoded, "pooled_projections": self.pipeline._get_clip_prompt_embeds(prompts, device=clip.device)}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """See `Surrogate.text_shapes`."""
        tokens = {key: (tuple(value.shape), value.dtype) for key, value in self._tokens("").items()}
        return {**tokens, "pooled_projections": ((self.pipeline.transformer.config.pooled_projection_dim,), torch.float32)}

    def _tokens(self, prompt: str) -> dict[str, Tensor]:
        """LLaVA's input for one prompt, see `encode_prompts`, each `(tokens,)`; the pipeline's template and its crops.

        The pipeline finds the end of the prompt by the last `<|end_header_id|>`, and where a long prompt has cut that one
        off, by the end of the text; it can do the latter for a single prompt only, so prompts are read one by one.
        """
        from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video_image2video as theirs

        template, config, tokenizer = theirs.DEFAULT_PROMPT_TEMPLATE, self.pipeline.text_encoder.config, self.pipeline.tokenizer
        crop, start, end, photo = (template[key] for key in ("crop_start", "image_emb_start", "image_emb_end", "image_emb_len"))
        length = TEXT_LENGTH + crop
        read = tokenizer(template["template"].format(prompt), max_length=length, padding="max_length", truncation=True, return_tensors="pt")
        ids, mask = read.input_ids, read.attention_mask
        self._check_place_of_photo(prompt, (ids[0] == config.image_token_index).nonzero().flatten().tolist(), start)
        expanded: dict[str, Tensor] = theirs._expand_input_ids_with_image_tokens(
            ids, mask, length, config.image_token_index, photo, start, end, config.pad_token_id
        )
        headers = (ids[0] == tokenizer.convert_tokens_to_ids("<|end_header_id|>")).nonzero().flatten().tolist()
        answer = (headers[-1] if len(headers) > 2 else length - 1) + 1  # system, user, assistant
        text = torch.cat([torch.arange(crop, answer - 4), torch.arange(answer, length)])  # without the assistant's header
        shown = torch.arange(start, end)[:: INTERLEAVE[self._layout]]
        return {key: value[0] for key, value in expanded.items()} | {
            "kept": torch.cat([shown, text + photo - 1]),
            "encoder_attention_mask": torch.cat([torch.ones(len(shown)), mask[0, text].float()]),
        }

    def _check_place_of_photo(self, prompt: str, found: list[int], place: int) -> None:
        if found == [place]:
            return
        name = self.pipeline.tokenizer.convert_ids_to_tokens(self.pipeline.text_encoder.config.image_token_index)
        if found[:1] == [place]:
            raise UsageError(f"the prompt {prompt!r} contains {name!r}, which stands for the photo; leave it out")
        raise UsageError(
            f"{type(self.pipeline.tokenizer).__name__} puts {name!r} at {found} in HunyuanVideo's template, the pipeline looks for it at "
            f"{place}; load tokenizer.json as it is (transformers.PreTrainedTokenizerFast), padded on the right"
        )

    # --------------------------------------------------------------------------------------------------------- photo
    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, 1, h, w)`, the photo as one scaled latent frame (the posterior's mode), and `photo` for LLaVA."""
        photo = unit(image)
        latents = self.vae.encode((photo * 2 - 1).unsqueeze(2)).latent_dist.mode() * self.pipeline.vae_scaling_factor
        return {"latents": latents, "photo": photo}

    def joined(self, condition: dict[str, Tensor], text: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """With `prompt_embeds` `(B, kept tokens, channels)`: LLaVA's states of some of the photo's tokens, then of the prompt's."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.through_language_model):
            states: Tensor = self.language_model.model(  # without the head, whose logits nobody reads
                pixel_values=self._shown_to_llava(condition["photo"]).to(self.language_model.dtype),
                **{key: text[key] for key in ("input_ids", "attention_mask", "position_ids")},
                output_hidden_states=True,
                use_cache=False,
            ).hidden_states[-(SKIPPED_LAYERS + 1)]
            embeds = torch.take_along_dim(states, text["kept"].unsqueeze(-1), dim=1)
        return {**condition, "prompt_embeds": embeds.float()}

    def _shown_to_llava(self, photo: Tensor) -> Tensor:
        """The photo as LLaVA's image processor makes it: shorter edge resized, centre cropped, normalised."""
        process = self.pipeline.image_processor
        sized = process(images=photo, do_rescale=False, do_normalize=False, return_tensors="pt").pixel_values
        # Bicubic resizing overshoots; the pipeline's 8 bits end at black and white.
        pixels: Tensor = process(
            images=unit(sized), do_resize=False, do_center_crop=False, do_rescale=False, return_tensors="pt"
        ).pixel_values
        return pixels

    # ------------------------------------------------------------------------------------------------------ sampling
    def noisy(self, condition: Mapping[str, Tensor], draw: Draw) -> Tensor:
        """At step 0 the pipeline's start, which holds 0.1 % of the photo; later a noised still clip, without gradient, as with Wan."""
        if draw.step == 0:
            return self._start(condition, draw.noise)
        return (1 - draw.sigma) * condition["latents"].detach() + draw.sigma * draw.noise

    def _start(self, condition: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        return (1 - LEAKED) * noise + LEAKED * condition["latents"]

    def denoise(self, latents: Tensor, condition: Mapping[str, Tensor], text: Mapping[str, Tensor], scheduler: SchedulerMixin) -> Tensor:
        """The common loop, from the pipeline's start.

        Where the photo replaces the first latent frame the scheduler steps that frame too, for nobody: `inputs` and
        `final` replace it.
        """
        return super().denoise(self._start(condition, latents), condition, text, scheduler)

    def inputs(self, condition: Mapping[str, Tensor], text: Mapping[str, Tensor], latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0, of the latents themselves or of further channels with a mask of where it stands."""
        shown = self.final(condition, latents)
        if not self._replaces:
            photo = torch.cat([condition["latents"], torch.zeros_like(latents[:, :, 1:])], dim=2)
            mask = torch.zeros_like(latents[:, :1])
            mask[:, :, 0] = 1
            shown = torch.cat([latents, photo, mask], dim=1)
        guided = self.pipeline.transformer.config.guidance_embeds
        return {
            "hidden_states": shown,
            "timestep": timestep.expand(len(latents)).to(latents.dtype),
            "encoder_hidden_states": condition["prompt_embeds"],
            "encoder_attention_mask": text["encoder_attention_mask"],
            "pooled_projections": text["pooled_projections"],
            "guidance": latents.new_full((len(latents),), self.guidance_scale * 1000) if guided else None,
            "attention_kwargs": None,
        }

    def final(self, condition: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """With `token_replace` the latents with the photo as frame 0."""
        return torch.cat([condition["latents"], latents[:, :, 1:]], dim=2) if self._replaces else latents

    # ------------------------------------------------------------------------------------------------------ pictures
    def decoded(self, condition: Mapping[str, Tensor]) -> Tensor:
        """See `Surrogate.decoded`: the single latent frame of the photo, decoded alone."""
        return self._video(condition["latents"])[:, 0]

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents `(B, channels, latent frames, h, w)` → clips `(B, num_frames, 3, height, width)`."""
        return self._video(latents)[:, DROPPED[self._layout] :]

    def _video(self, latents: Tensor) -> Tensor:
        with self._float32():
            video: Tensor = self.vae.decode(latents / self.pipeline.vae_scaling_factor, return_dict=False)[0]
        return unit(video / 2 + 0.5).transpose(1, 2)
