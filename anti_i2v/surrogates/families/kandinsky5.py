"""Kandinsky 5 image-to-video: the photo is the first latent frame at every step; latents have their channels last.

https://arxiv.org/abs/2511.14993
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.draw import Draw, Tensors
from anti_i2v.surrogates.families.shared import check_length, check_size, photo_first
from anti_i2v.surrogates.pipeline import PipelineSurrogate

MULTIPLE = 16
"""The pipeline insists on it for height and width."""
FITTED_FRAMES = 4
"""Latent frames at the start whose brightness and contrast the pipeline fits to those that follow, before it decodes them."""
EXAMPLE_PROMPT = "a dog runs"
"""The prompt of a memory estimate: the tokens of prompts count for little beside those of a clip."""


class Kandinsky5Surrogate(PipelineSurrogate):
    """A frozen `Kandinsky5I2VPipeline` with dense attention.

    The denoiser takes prompts of any length, but no mask: what is padded is read. So a prompt is encoded alone, and photos
    whose prompts differ in length go through the denoiser one by one; as many prompts of one length as there are photos, or
    a single one, go through at once.
    """

    block_lists: ClassVar[Mapping[str, str]] = {
        "text_transformer_blocks": "num_text_blocks",
        "visual_transformer_blocks": "num_visual_blocks",
    }
    text_parts = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    encode_prompts_singly = True  # the pipeline would pad the shorter ones
    float32_arguments = frozenset()  # the pipeline hands over even the timestep in the denoiser's type

    def _prepare(self) -> None:
        attention = self.pipeline.transformer.config.attention_type
        if attention != "regular":
            raise UsageError(
                f"attention_type is {attention}, attention to chosen blocks of a long clip; supported Kandinsky 5: regular, "
                "as in the checkpoints for clips of 5 seconds"
            )
        self._scale = self.pipeline._get_scale_factor(self.height, self.width)

    def check_sizes(self) -> tuple[int, ...]:
        """`(latent frames, latent height, latent width, channels)`; of a shorter clip the pipeline makes no picture."""
        space, time = self.pipeline.vae_scale_factor_spatial, self.pipeline.vae_scale_factor_temporal
        check_size("Kandinsky 5", self.height, self.width, MULTIPLE)
        check_length("Kandinsky 5", self.num_frames, time, FITTED_FRAMES * time + 1)
        frames, channels = (self.num_frames - 1) // time + 1, self.pipeline.transformer.config.in_visual_dim
        return (frames, self.height // space, self.width // space, channels)

    def _check_taps(self, taps: Sequence[str]) -> tuple[str, ...]:
        if text_taps := [tap for tap in taps if tap.startswith("text_transformer_blocks.")]:
            raise UsageError(f"tap {text_taps[0]!r} reads no photo, only the prompt; choose one of visual_transformer_blocks")
        return super()._check_taps(taps)

    @property
    def token_frames(self) -> int:
        return int(self.clip_shape[0])

    # ---------------------------------------------------------------------------------------------------------- text

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """`encoder_hidden_states` `(prompts, tokens, channels)` of Qwen and `pooled_projections` `(prompts, channels)` of CLIP."""
        states, pooled, _ = self.pipeline.encode_prompt(prompts, device=self.text_device)
        return {"encoder_hidden_states": states, "pooled_projections": pooled}

    def stack_texts(self, texts: Sequence[Tensors]) -> dict[str, Tensor]:
        """With `words` `(prompts, tokens)`, True on a prompt's own tokens, False behind those of a shorter one."""
        states = [text["encoder_hidden_states"] for text in texts]
        return {
            "encoder_hidden_states": pad_sequence(states, batch_first=True),
            "pooled_projections": torch.stack([text["pooled_projections"] for text in texts]),
            "words": pad_sequence([torch.ones(len(each), dtype=torch.bool) for each in states], batch_first=True),
        }

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """See `FrozenPipeline.text_shapes`; of a short prompt."""
        config, pipeline = self.pipeline.transformer.config, self.pipeline
        tokens = pipeline.tokenizer(text=[pipeline.prompt_template.format(EXAMPLE_PROMPT)], return_tensors="pt")["input_ids"]
        length = tokens.shape[1] - pipeline.prompt_template_encode_start_idx
        return {
            "encoder_hidden_states": ((length, config.in_text_dim), torch.float32),
            "pooled_projections": ((config.in_text_dim2,), torch.float32),
            "words": ((length,), torch.bool),
        }

    def _split_by_photo(self, text: Tensors) -> list[dict[str, Tensor]]:
        """The texts of photos one by one, each without padding; none if there is no padding."""
        words = text["words"]
        if not bool((~words).any()):
            return []
        rows = [{key: value[i : i + 1] for key, value in text.items()} for i in range(len(words))]
        return [
            {**each, "encoder_hidden_states": each["encoder_hidden_states"][:, row], "words": each["words"][:, row]}
            for each, row in zip(rows, words, strict=True)
        ]

    # --------------------------------------------------------------------------------------------------------- photo
    def forward(self, image: Tensor, text: Tensors, draw: Draw, early_exit: bool = True) -> dict[str, Tensor]:
        photos, texts = self._check_inputs(image, text)
        single_texts = self._split_by_photo(texts) if len(photos) == len(draw.noise) else []
        if not single_texts:
            return super().forward(image, text, draw, early_exit)
        features = []
        for i, single in enumerate(single_texts):
            features.append(super().forward(photos[i : i + 1], single, replace(draw, noise=draw.noise[i : i + 1]), early_exit))
        return {tap: torch.cat([each[tap] for each in features]) for tap in self.taps}

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, 1, h, w, channels)`: the photo as one scaled latent frame."""
        return {"latents": (self.encode_photo(image) * self.vae.config.scaling_factor).permute(0, 2, 3, 4, 1)}

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0; where the denoiser has room for it, empty channels and a mask of where the photo stands."""
        hidden_states = photo_first(condition["latents"], latents, dim=1)
        if self.pipeline.transformer.config.visual_cond:
            mask = torch.zeros_like(latents[..., :1])
            mask[:, 0] = 1
            hidden_states = torch.cat([hidden_states, torch.zeros_like(latents), mask], dim=-1)
        frames, rows, columns, _ = self.clip_shape
        return {
            "hidden_states": hidden_states,
            "encoder_hidden_states": text["encoder_hidden_states"],
            "pooled_projections": text["pooled_projections"],
            "timestep": timestep.expand(len(latents)),
            "visual_rope_pos": [torch.arange(length, device=latents.device) for length in (frames, rows // 2, columns // 2)],
            "text_rope_pos": torch.arange(text["encoder_hidden_states"].shape[1], device=latents.device),
            "scale_factor": self._scale,
            "sparse_params": None,
        }

    # ------------------------------------------------------------------------------------------------------ sampling
    def predict(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> Tensor:
        """See `FrozenPipeline.predict`; this denoiser wraps its output in no tuple."""
        single_texts = self._split_by_photo(text)
        if single_texts:
            photos = [{key: value[i : i + 1] for key, value in condition.items()} for i in range(len(latents))]
            return torch.cat([self.predict(photos[i], single, latents[i : i + 1], timestep) for i, single in enumerate(single_texts)])
        output: Tensor = self.denoiser_at(timestep)(**self.typed_inputs(condition, text, latents, timestep), return_dict=False)
        return output.float()

    def finish(self, condition: Tensors, latents: Tensor) -> Tensor:
        """The photo as frame 0, then the first frames fitted to those that follow, by the pipeline's own statistics of a single clip."""
        clips = photo_first(condition["latents"], latents, dim=1)
        return torch.cat([self.pipeline.normalize_first_frame(clips[i : i + 1]) for i in range(len(clips))])

    # ------------------------------------------------------------------------------------------------------ pictures

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents `(B, latent frames, h, w, channels)` → clips `(B, num_frames, 3, height, width)`."""
        return self.decode_video(latents.permute(0, 4, 1, 2, 3) / self.vae.config.scaling_factor)
