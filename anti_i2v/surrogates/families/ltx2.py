"""LTX-2, which makes video with sound: the photo enters as in LTX-Video, and noisy sound beside the noisy video.

Both are denoised together and attend to each other, so both are drawn and stepped; sound is never decoded, and taps read the
video's stream. The public checkpoints name `LTX2Pipeline`, from text to video, which shares every part with
`LTX2ImageToVideoPipeline` and is taken for it. https://arxiv.org/abs/2601.03233
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.surrogates.draw import Draw, Tensors
from anti_i2v.surrogates.families.ltx import LTXSurrogate
from anti_i2v.surrogates.families.shared import photo_first
from anti_i2v.surrogates.frozen import FrozenPipeline

if TYPE_CHECKING:
    from diffusers import SchedulerMixin


class LTX2Surrogate(LTXSurrogate):
    """A frozen `LTX2ImageToVideoPipeline`, with the frame rate that its call has by default, of LTX-2, 2.3 or 2.5.

    By default the pipeline compresses the photo with H.264 before it encodes it (`image_crf`, 33, of LTX-2.5 18), as the model
    was trained. That has no gradient, so the photo is taken as it is here: what is compared to is a call with `image_crf=0`.
    A protection that shall last in the default call must survive compression; train it with transforms that include one.

    Prompts are not enhanced, as by default, and a clip is as long as `num_frames` says, whatever a duration head would say.
    """

    unused_parts = ("processor", "prompt_enhancer", "duration_head", "vocoder")
    text_parts = ("text_encoder", "connectors", "tokenizer")
    encode_prompts_singly = True  # the states of all layers take much memory
    float32_arguments = frozenset({"timestep", "audio_timestep", "sigma", "video_coords", "audio_coords"})
    frame_rate: float = 24.0
    text_length = 1024
    use_cross_timestep = True
    """Whether video and sound attend to each other as of LTX-2.3 on; true by default in the call, also for LTX-2."""

    video_coords: Tensor
    audio_coords: Tensor

    def _prepare(self) -> None:
        super()._prepare()
        self.pipeline.audio_vae = None  # only its configuration was needed
        device, transformer = torch.device("cpu"), self.pipeline.transformer
        video = transformer.rope.prepare_video_coords(1, *self._grid, device, fps=self.frame_rate)
        self.register_buffer("video_coords", video, persistent=False)
        sound = transformer.audio_rope.prepare_audio_coords(1, self._sound[1], device)
        self.register_buffer("audio_coords", sound, persistent=False)

    def check_sizes(self) -> tuple[int, ...]:
        """`(numbers,)`: those of the video, `(channels, latent frames, h, w)`, then those of the sound, `(channels, length, pitches)`.

        That is the order in which the pipeline draws noise, and drawn at once it is the same where the video has a multiple of
        16 numbers, which its 128 channels see to.
        """
        pipeline, config = self.pipeline, self.pipeline.audio_vae.config
        a_second = pipeline.audio_sampling_rate / pipeline.audio_hop_length / float(pipeline.audio_vae_temporal_compression_ratio)
        length = round(self.num_frames / self.frame_rate * a_second)
        self._video = super().check_sizes()
        self._sound = (int(config.latent_channels), length, int(config.mel_bins // pipeline.audio_vae_mel_compression_ratio))
        return (math.prod(self._video) + math.prod(self._sound),)

    @classmethod
    def text_encoders(cls) -> tuple[str, ...]:
        """The language model, and the connectors that read its states and that no photo goes through."""
        return cls.text_parts[:2]

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """What the connectors make of the states of all layers, which take 300 times as much room.

        `encoder_hidden_states` and `audio_encoder_hidden_states` `(prompts, tokens, channels)`, and `encoder_attention_mask`
        `(prompts, tokens)`, 1 where a token counts.
        """
        states, mask, _, _ = self.pipeline.encode_prompt(
            prompts,
            do_classifier_free_guidance=False,
            max_sequence_length=self.text_length,
            device=self.text_device,  # by itself the pipeline would take the autoencoder's
        )
        video, sound, mask = self.pipeline.connectors(states, mask, padding_side=self.pipeline.tokenizer.padding_side)
        return {"encoder_hidden_states": video, "audio_encoder_hidden_states": sound, "encoder_attention_mask": mask}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        config = self.pipeline.transformer.config
        video, sound = config.cross_attention_dim, config.audio_cross_attention_dim
        if config.use_prompt_embeddings:  # LTX-2 projects the same states for either
            video = sound = config.caption_channels
        return {
            "encoder_hidden_states": ((self.text_length, video), torch.float32),
            "audio_encoder_hidden_states": ((self.text_length, sound), torch.float32),
            "encoder_attention_mask": ((self.text_length,), torch.int64),
        }

    @property
    def token_frames(self) -> int:
        return int(self._video[1])

    def _split(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents of `latent_shape` → video `(B, channels, frames, h, w)`, sound `(B, length, channels · pitches)`."""
        end = math.prod(self._video)
        video, sound = latents[:, :end].reshape(-1, *self._video), latents[:, end:].reshape(-1, *self._sound)
        return video, sound.transpose(1, 2).flatten(2)

    def _join(self, video: Tensor, sound: Tensor) -> Tensor:
        channels, length, pitches = self._sound
        sound = sound.reshape(-1, length, channels, pitches).transpose(1, 2)
        return torch.cat([video.flatten(1), sound.flatten(1)], dim=1)

    def clip_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.clip_latents`; it sounds like the average of all sounds, which is the latent 0."""
        still = condition["latents"].detach().expand(-1, *self._video).flatten(1)
        return F.pad(still, (0, math.prod(self._sound)))

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0, packed `(B, tokens, channels)`, a timestep a token, 0 on the photo's; and the sound."""
        batch = len(latents)
        frames, rows, columns = self._grid
        sound = self._split(latents)[1]
        time = timestep.expand(batch)
        times = timestep.expand(batch, 1, *self._grid).clone()
        times[:, :, 0] = 0
        return {
            "hidden_states": self._packed(self.finish(condition, latents)),
            "audio_hidden_states": sound,
            "encoder_hidden_states": text["encoder_hidden_states"],
            "audio_encoder_hidden_states": text["audio_encoder_hidden_states"],
            "timestep": self._packed(times).squeeze(-1),
            "audio_timestep": time,
            "sigma": time,
            "encoder_attention_mask": text["encoder_attention_mask"],
            "audio_encoder_attention_mask": text["encoder_attention_mask"],
            "num_frames": frames,
            "height": rows,
            "width": columns,
            "fps": self.frame_rate,
            "audio_num_frames": self._sound[1],
            "video_coords": self.video_coords.expand(batch, -1, -1, -1),
            "audio_coords": self.audio_coords.expand(batch, -1, -1, -1),
            "isolate_modalities": False,
            "spatio_temporal_guidance_blocks": None,
            "perturbation_mask": None,
            "use_cross_timestep": self.use_cross_timestep,
            "attention_kwargs": None,
        }

    def predict(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> Tensor:
        """The denoiser's prediction for video and sound, in the shape of the latents."""
        arguments = self.typed_inputs(condition, text, latents, timestep)
        video, sound = self.denoiser_at(timestep)(**arguments, return_dict=False)
        return self._join(video.float().transpose(1, 2), sound.float())

    def denoise(self, latents: Tensor, condition: Tensors, text: Tensors, scheduler: SchedulerMixin) -> Tensor:
        """The common loop, unlike LTX: it steps video and sound alike. What is stepped where the photo is, `finish` replaces."""
        return FrozenPipeline.denoise(self, latents, condition, text, scheduler)

    def finish(self, condition: Tensors, latents: Tensor) -> Tensor:
        """The video's latents `(B, channels, frames, h, w)` with the photo as frame 0."""
        return photo_first(condition["latents"], self._split(latents)[0])
