"""Second stage of the first video model: the Wan transformer.

Flow matching (arXiv 2210.02747) in the form in which `WanImageToVideoPipeline` with `expand_timesteps` calls the network: the
photo's latent stands clean in frame 0 with timestep 0 on its tokens, and only the later frames are noisy and scored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anti_i2v.portraits import ACTIONS
from anti_i2v.portraits.training import pipeline
from anti_i2v.portraits.training.denoiser_stage import DenoiserBatch, DenoiserStage, even_shares, plain_attention

if TYPE_CHECKING:
    from diffusers import WanImageToVideoPipeline


class LatentBatch(DenoiserBatch):
    """A batch of `LatentData`: normalised latents (B, C, t, h, w), the face's share of each cell (B, 1, t, h, w) and the B prompts."""

    prompt: list[str]


def add_noise(latents: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """x_t = (1 - s) x_0 + s ε in every frame but the first, which stays clean.

    Args:
        latents: (B, C, t, h, w), normalised.
        sigma: (B,) noise level in [0, 1].
        noise: Like `latents`, standard normal.
    """
    s = sigma.view(-1, 1, 1, 1, 1)
    return torch.cat([latents[:, :, :1], ((1.0 - s) * latents + s * noise)[:, :, 1:]], dim=2)


def token_timesteps(sigma: Tensor, latents: Tensor) -> Tensor:
    """1000 s for each 2x2 token of the noisy frames, 0 for those of the first: (B, t * h/2 * w/2)."""
    _, _, frames, height, width = latents.shape
    per_frame = torch.cat([torch.zeros(1), torch.ones(frames - 1)]).to(sigma.device)
    mask = per_frame.repeat_interleave((height // 2) * (width // 2))
    return 1000.0 * sigma[:, None] * mask[None]


def sample_sigma(count: int, shift: float, generator: torch.Generator) -> Tensor:
    """Noise levels (count,) in (0, 1): even ones moved to noise by `shift`, so spread as the sampler spreads its steps."""
    even = even_shares(count, generator)
    return shift * even / (1.0 + (shift - 1.0) * even)


def as_typed(prompt: str, draw: float) -> str:
    """The prompt as people might type it, by `draw` in [0, 1): as it is, with a capital, with a full stop, or with both."""
    if 0.5 <= draw < 0.6 or draw >= 0.8:
        prompt = prompt[:1].upper() + prompt[1:]
    return prompt + "." if draw >= 0.6 else prompt


def in_fp32(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    """Forward hook: the output in fp32."""
    return output.float()


class DenoiserModule(DenoiserStage[LatentBatch]):
    """Trains the transformer of `portrait-dit`; see `DenoiserStage`.

    Call the pipeline with `max_sequence_length=24`, the length it is trained with.

    Args:
        folder: Pipeline folder that holds the trained autoencoder.
        heads: Attention heads.
        head_dim: Channels of a head.
        layers: Transformer blocks.
        ffn_dim: Hidden channels of a block's feed-forward network.
        text_dim: Width of the text encoder.
        flow_shift: Lean of the noise levels to noise, in training and in the folder's sampler.
        text_dropout: Share of clips whose prompt is empty, for classifier-free guidance.
        lr: Highest learning rate.
        warmup: Steps to reach it.
        weight_decay: Of AdamW.
        ema_decay: Of the running mean of the weights.
        face_weight: How much more a cell counts in the loss that the face covers, beside 1 of a wall's.
        start_from: Pipeline folder whose denoiser to go on from, of the same size and the same autoencoder; None starts anew.
        seed: Of noise levels, noise and dropped prompts.
    """

    levels = (0.3, 0.6, 0.9, 0.98)
    fixed_parts = ("text_encoder", "tokenizer", "scheduler")

    def __init__(
        self,
        folder: str = "checkpoints/portrait-dit",
        heads: int = 6,
        head_dim: int = 32,
        layers: int = 12,
        ffn_dim: int = 768,
        text_dim: int = 64,
        flow_shift: float = 2.0,
        text_dropout: float = 0.1,
        lr: float = 1e-3,
        warmup: int = 200,
        weight_decay: float = 0.01,
        ema_decay: float = 0.998,
        face_weight: float = 2.0,
        start_from: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(folder, lr, warmup, weight_decay, ema_decay, face_weight, start_from, seed)
        self.size, self.flow_shift, self.text_dropout = (heads, head_dim, layers, ffn_dim, text_dim), flow_shift, text_dropout
        self.texts: dict[str, Tensor] = {}

    def build(self) -> tuple[nn.Module, WanImageToVideoPipeline]:
        vae = pipeline.load_autoencoder(self.folder)
        transformer = pipeline.build_denoiser(vae.config.z_dim, *self.size)
        # In half precision the blocks compute in it, while the sum that runs through them stays fp32.
        transformer.patch_embedding.register_forward_hook(in_fp32)
        prompts = [prompt for action in ACTIONS for prompt in action.prompts]
        return transformer, pipeline.build_pipeline(vae, transformer, prompts, self.flow_shift)

    def parts(self, network: nn.Module) -> dict[str, tuple[nn.Module, torch.dtype]]:
        return {"transformer": (network, torch.float16)}

    def sample_sigma(self, count: int) -> Tensor:
        return sample_sigma(count, self.flow_shift, self.random)

    def face(self, batch: LatentBatch) -> Tensor:
        """Without the first frame, which is not scored."""
        return batch["face"][:, 0, 1:]

    def with_dropout(self, batch: LatentBatch) -> LatentBatch:
        """Some prompts empty, the others as people type them."""
        prompts = batch["prompt"]
        keep, style = torch.rand(2, len(prompts), generator=self.random).tolist()
        texts = [as_typed(p, style[i]) if keep[i] >= self.text_dropout else "" for i, p in enumerate(prompts)]
        return {**batch, "prompt": texts}

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Text features (B, 24, text_dim) as the pipeline makes them, zero behind the last token; each prompt once."""
        missing = sorted(set(prompts) - self.texts.keys())
        if missing:
            # Validation asks first, in inference mode and half precision; training needs the same features in neither.
            plain = torch.autocast(self.device.type, enabled=False)
            with torch.inference_mode(False), torch.no_grad(), plain:
                features, _ = self.pipeline[0].encode_prompt(
                    missing, do_classifier_free_guidance=False, max_sequence_length=pipeline.TEXT_LENGTH, device=torch.device("cpu")
                )
                self.texts.update(zip(missing, features.to(self.device), strict=True))
        return torch.stack([self.texts[prompt] for prompt in prompts])

    def errors(self, network: nn.Module, batch: LatentBatch, sigma: Tensor, noise: Tensor) -> Tensor:
        """Of the velocity ε - x_0 in the noisy frames: (B, t - 1, h, w)."""
        latents, text = batch["latents"], self.encode_text(batch["prompt"])
        with plain_attention(latents):
            velocity: Tensor = network(
                hidden_states=add_noise(latents, sigma, noise),
                timestep=token_timesteps(sigma, latents),
                encoder_hidden_states=text,
                return_dict=False,
            )[0]
        return (velocity.float() - (noise - latents))[:, :, 1:].square().mean(1)
