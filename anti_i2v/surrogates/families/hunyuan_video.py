"""HunyuanVideo image-to-video, both of its layouts. The photo reaches it by two routes.

One is the autoencoder's latent of the photo: beside the noisy latents of every frame (`latent_concat`), or in place of the
first latent frame (`token_replace`). The other is LLaVA, the language model that reads the prompt: it is given the photo
before the prompt, so that its states of the prompt depend on the photo as well. They are new for every photo, so LLaVA
stays loaded, frozen, beside the denoiser.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import unit
from anti_i2v.surrogates.draw import Draw, Tensors
from anti_i2v.surrogates.families.shared import check_length, check_size, even_sigmas, photo_and_mask, photo_first
from anti_i2v.surrogates.pipeline import PipelineSurrogate

if TYPE_CHECKING:
    from diffusers import SchedulerMixin
    from transformers import LlavaForConditionalGeneration

TEXT_LENGTH = 256
"""Tokens of a prompt, by the pipeline's default."""
SKIPPED_LAYERS = 2
"""Last layers of the language model whose states are not read."""
PHOTO_SHARE = 0.001
"""Share of the photo's latent in the noise that the pipeline starts from."""
INTERLEAVE = {"latent_concat": 2, "token_replace": 4}
"""Layout → of how many of the photo's tokens the denoiser is given one."""
DROPPED_FRAMES = {"latent_concat": 4, "token_replace": 0}
"""Layout → decoded frames that the pipeline throws away at the start of a clip."""


class HunyuanVideoSurrogate(PipelineSurrogate):
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
    """Given to the guidance-distilled denoiser of `token_replace`, by the default of the pipeline's call."""

    block_lists: ClassVar[Mapping[str, str]] = {"transformer_blocks": "num_layers", "single_transformer_blocks": "num_single_layers"}
    # LLaVA reads every photo anew and is never dropped; only its configuration and its tokenizer matter to encoded prompts.
    photo_parts = ("text_encoder",)
    text_parts = ("text_encoder_2", "tokenizer_2", "tokenizer", "text_encoder")

    language_model: LlavaForConditionalGeneration

    def _prepare(self) -> None:
        self.language_model = self.pipeline.text_encoder  # registered, so that it moves along
        self._tokens("")  # a tokenizer that reads the template otherwise is found now, not when a prompt comes

    def check_sizes(self) -> tuple[int, ...]:
        """`(channels, latent frames, latent height, latent width)`."""
        config = self.pipeline.transformer.config
        if self._layout not in INTERLEAVE:
            raise UsageError(f"image_condition_type is {self._layout}; supported HunyuanVideo: {', '.join(INTERLEAVE)}")
        space, time = self.pipeline.vae_scale_factor_spatial, self.pipeline.vae_scale_factor_temporal
        check_size("HunyuanVideo", self.height, self.width, math.lcm(16, space * config.patch_size))  # the pipeline itself insists on 16
        check_length("HunyuanVideo", self.num_frames, time, time + 1)  # a single latent frame may be the photo itself
        channels = config.in_channels if self._replaces else (config.in_channels - 1) // 2
        frames = (self.num_frames + DROPPED_FRAMES[self._layout] - 1) // time + 1
        return (channels, frames, self.height // space, self.width // space)

    @property
    def _layout(self) -> str:
        return str(self.pipeline.transformer.config.image_condition_type)

    @property
    def _replaces(self) -> bool:
        return self._layout == "token_replace"

    def _set_timesteps(self, scheduler: SchedulerMixin, steps: int) -> None:
        """Equal steps of the flow's own time, as the pipeline's call asks for, rather than the scheduler's default."""
        scheduler.set_timesteps(sigmas=even_sigmas(steps), device=self.device)

    # ---------------------------------------------------------------------------------------------------------- text

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """What does not depend on the photo: `pooled_projections` `(prompts, channels)` of CLIP, and LLaVA's input.

        That is `input_ids`, `attention_mask` and `position_ids` `(prompts, tokens)`, with room for the photo; `positions`
        `(prompts, positions)`, those whose states the denoiser reads; `encoder_attention_mask`, their mask.
        """
        tokens = [self._tokens(prompt) for prompt in prompts]
        encoded = {key: torch.stack([row[key] for row in tokens]) for key in tokens[0]}
        return {**encoded, "pooled_projections": self.pipeline._get_clip_prompt_embeds(prompts, device=self.text_device)}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        tokens = {key: (tuple(value.shape), value.dtype) for key, value in self._tokens("").items()}
        return {**tokens, "pooled_projections": ((self.pipeline.transformer.config.pooled_projection_dim,), torch.float32)}

    def _tokens(self, prompt: str) -> dict[str, Tensor]:
        """LLaVA's input for one prompt, see `encode_prompts`, each `(tokens,)`; the pipeline's template and its crops.

        The pipeline finds the end of the prompt by the last `<|end_header_id|>`, and where a long prompt has cut that one
        off, by the end of the text; it can do the latter for a single prompt only, so prompts are read one by one.
        """
        from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video_image2video as diffusers_module

        template, config, tokenizer = diffusers_module.DEFAULT_PROMPT_TEMPLATE, self.pipeline.text_encoder.config, self.pipeline.tokenizer
        crop, start, end, photo = (template[key] for key in ("crop_start", "image_emb_start", "image_emb_end", "image_emb_len"))
        length = TEXT_LENGTH + crop
        encoded = tokenizer(
            template["template"].format(prompt), max_length=length, padding="max_length", truncation=True, return_tensors="pt"
        )
        ids, mask = encoded.input_ids, encoded.attention_mask
        self._check_position_of_photo(prompt, (ids[0] == config.image_token_index).nonzero().flatten().tolist(), start)
        expanded: dict[str, Tensor] = diffusers_module._expand_input_ids_with_image_tokens(
            ids, mask, length, config.image_token_index, photo, start, end, config.pad_token_id
        )
        headers = (ids[0] == tokenizer.convert_tokens_to_ids("<|end_header_id|>")).nonzero().flatten().tolist()
        end_of_prompt = (headers[-1] if len(headers) > 2 else length - 1) + 1  # system, user, assistant
        text = torch.cat([torch.arange(crop, end_of_prompt - 4), torch.arange(end_of_prompt, length)])  # without the assistant's header
        photo_positions = torch.arange(start, end)[:: INTERLEAVE[self._layout]]
        return {key: value[0] for key, value in expanded.items()} | {
            "positions": torch.cat([photo_positions, text + photo - 1]),
            "encoder_attention_mask": torch.cat([torch.ones(len(photo_positions)), mask[0, text].float()]),
        }

    def _check_position_of_photo(self, prompt: str, positions: list[int], expected: int) -> None:
        if positions == [expected]:
            return
        name = self.pipeline.tokenizer.convert_ids_to_tokens(self.pipeline.text_encoder.config.image_token_index)
        if positions[:1] == [expected]:
            raise UsageError(f"the prompt {prompt!r} contains {name!r}, which stands for the photo; leave it out")
        raise UsageError(
            f"{type(self.pipeline.tokenizer).__name__} puts {name!r} at {positions} in HunyuanVideo's template, the pipeline looks for it "
            f"at {expected}; load tokenizer.json as it is (transformers.PreTrainedTokenizerFast), padded on the right"
        )

    # --------------------------------------------------------------------------------------------------------- photo
    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, 1, h, w)`, the photo as one scaled latent frame, and `photo` for LLaVA."""
        return {"latents": self.encode_photo(image) * self.pipeline.vae_scaling_factor, "photo": unit(image)}

    def join_text(self, condition: dict[str, Tensor], text: Tensors) -> dict[str, Tensor]:
        """With `prompt_embeds` `(B, positions, channels)`: LLaVA's states of some of the photo's tokens, then of the prompt's."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.through_language_model):
            states: Tensor = self.language_model.model(  # without the head, whose logits are not needed
                pixel_values=self._resize_for_llava(condition["photo"]).to(self.language_model.dtype),
                **{key: text[key] for key in ("input_ids", "attention_mask", "position_ids")},
                output_hidden_states=True,
                use_cache=False,
            ).hidden_states[-(SKIPPED_LAYERS + 1)]
            embeds = torch.take_along_dim(states, text["positions"].unsqueeze(-1), dim=1)
        return {**condition, "prompt_embeds": embeds.float()}

    def _resize_for_llava(self, photo: Tensor) -> Tensor:
        """The photo as LLaVA's image processor makes it: shorter edge resized, centre cropped, normalised."""
        process = self.pipeline.image_processor
        sized = process(images=photo, do_rescale=False, do_normalize=False, return_tensors="pt").pixel_values
        # Bicubic resizing overshoots; the pipeline's 8 bits end at black and white.
        pixels: Tensor = process(
            images=unit(sized), do_resize=False, do_center_crop=False, do_rescale=False, return_tensors="pt"
        ).pixel_values
        return pixels

    # ------------------------------------------------------------------------------------------------------ sampling

    def noisy_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.noisy_latents`; step 0 is the pipeline's start, which holds 0.1 % of the photo."""
        return self._start(condition, draw.noise) if draw.step == 0 else super().noisy_latents(condition, draw)

    def _start(self, condition: Tensors, noise: Tensor) -> Tensor:
        return (1 - PHOTO_SHARE) * noise + PHOTO_SHARE * condition["latents"]

    def denoise(self, latents: Tensor, condition: Tensors, text: Tensors, scheduler: SchedulerMixin) -> Tensor:
        """The common loop, from the pipeline's start.

        Where the photo replaces the first latent frame the scheduler steps that frame too, without effect: `inputs` and
        `final` replace it.
        """
        return super().denoise(self._start(condition, latents), condition, text, scheduler)

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0, of the latents themselves or of further channels with a mask of where it stands."""
        hidden_states = self.finish(condition, latents)
        if not self._replaces:
            hidden_states = torch.cat([latents, photo_and_mask(condition["latents"], latents)], dim=1)
        takes_guidance = self.pipeline.transformer.config.guidance_embeds
        return {
            "hidden_states": hidden_states,
            "timestep": timestep.expand(len(latents)).to(latents.dtype),
            "encoder_hidden_states": condition["prompt_embeds"],
            "encoder_attention_mask": text["encoder_attention_mask"],
            "pooled_projections": text["pooled_projections"],
            "guidance": latents.new_full((len(latents),), self.guidance_scale * 1000) if takes_guidance else None,
            "attention_kwargs": None,
        }

    def finish(self, condition: Tensors, latents: Tensor) -> Tensor:
        """With `token_replace` the latents with the photo as frame 0."""
        return photo_first(condition["latents"], latents) if self._replaces else latents

    # ------------------------------------------------------------------------------------------------------ pictures
    def reconstruct(self, condition: Tensors) -> Tensor:
        return self.decode_video(condition["latents"] / self.pipeline.vae_scaling_factor)[:, 0]

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents `(B, channels, latent frames, h, w)` → clips `(B, num_frames, 3, height, width)`."""
        return self.decode_video(latents / self.pipeline.vae_scaling_factor)[:, DROPPED_FRAMES[self._layout] :]
