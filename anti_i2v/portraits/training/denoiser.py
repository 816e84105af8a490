"""Second stage of the embedded world: the Wan transformer learns to animate a photo, on the latents of the first stage.

Flow matching (arXiv 2210.02747) in the form in which `WanImageToVideoPipeline` with `expand_timesteps` will ask: the
photo's latent stands clean in frame 0 with timestep 0 on its tokens, and only the later frames are noisy and scored.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from anti_i2v.errors import UsageError
from anti_i2v.portraits import ACTIONS
from anti_i2v.portraits.training import pipeline
from anti_i2v.portraits.training.optimizer import adamw
from anti_i2v.portraits.training.stage import Stage
from anti_i2v.resources import find_folder
from anti_i2v.training.ema import decay_at, frozen_copy, update_average

if TYPE_CHECKING:
    from diffusers import WanImageToVideoPipeline, WanTransformer3DModel


class LatentBatch(TypedDict):
    """A batch of `LatentData`: normalised latents (B, C, t, h, w), the face's share of each cell (B, 1, t, h, w) and the B prompts."""

    latents: Tensor
    face: Tensor
    prompt: list[str]


def noised(latents: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
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
    """Noise levels (count,) in (0, 1): even ones moved to noise by `shift`, so spread as the sampler spreads its steps.

    One level from each of `count` equal shares, in random order, so that every batch sees the whole range.
    """
    even = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
    return shift * even / (1.0 + (shift - 1.0) * even)


def as_typed(prompt: str, draw: float) -> str:
    """The prompt as people might type it, by `draw` in [0, 1): as it is, with a capital, with a full stop, or with both."""
    if 0.5 <= draw < 0.6 or draw >= 0.8:
        prompt = prompt[:1].upper() + prompt[1:]
    return prompt + "." if draw >= 0.6 else prompt


def in_fp32(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    """Forward hook: the output in fp32."""
    return output.float()


class DenoiserModule(Stage):
    """Trains the denoiser and writes the rest of the world folder after every validation and at the end.

    The folder gets the running mean of the weights (EMA), and is complete from the first writing on:
    `DiffusionPipeline.from_pretrained(folder)`. Call it with `max_sequence_length=24`, the length it is trained with.

    Args:
        folder: World folder that holds the trained autoencoder.
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
        face_weight: How much more a cell counts in the loss that the face covers, beside 1 of a wall's.
        ema_decay: Of the running mean of the weights.
        start_from: World folder whose denoiser to go on from, of the same size and the same autoencoder; None starts anew.
        seed: Of noise levels, noise and dropped prompts.
    """

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
        super().__init__()
        self.folder, self.size = Path(folder), (heads, head_dim, layers, ffn_dim, text_dim)
        self.flow_shift, self.text_dropout = flow_shift, text_dropout
        self.lr, self.warmup, self.weight_decay, self.ema_decay, self.seed = lr, warmup, weight_decay, ema_decay, seed
        self.face_weight, self.start_from = face_weight, start_from
        self.transformer: WanTransformer3DModel | None = None
        self.ema: WanTransformer3DModel | None = None
        self.world: list[WanImageToVideoPipeline] = []  # in a list: its frozen parts are no part of a checkpoint
        self.texts: dict[str, Tensor] = {}
        self.complete = False

    def configure_model(self) -> None:
        """Build the network once, around the folder's autoencoder."""
        if self.transformer is not None:
            return
        vae = pipeline.load_autoencoder(self.folder)
        self.transformer = pipeline.build_denoiser(vae.config.z_dim, *self.size)
        # In half precision the blocks compute in it, while the sum that runs through them stays fp32.
        self.transformer.patch_embedding.register_forward_hook(in_fp32)
        if self.start_from is not None:
            held = pipeline.load_denoiser(find_folder(self.start_from))
            try:
                self.transformer.load_state_dict(held.state_dict())
            except RuntimeError as error:
                size = "heads {}, head_dim {}, layers {}, ffn_dim {}, text_dim {}".format(*self.size)
                raise UsageError(f"the denoiser of {self.start_from} is of another size than {size}; give it its own") from error
        self.ema = frozen_copy(self.transformer)
        prompts = [prompt for action in ACTIONS for prompt in action.prompts]
        self.world = [pipeline.build_pipeline(vae, self.transformer, prompts, self.flow_shift)]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, warmup and cosine."""
        assert self.transformer is not None
        return adamw(self.transformer.parameters(), self.trainer, self.lr, self.warmup, self.weight_decay)

    def on_train_start(self) -> None:
        """Seed the draws; a resumed run goes on with others than the run it continues."""
        self.random = torch.Generator().manual_seed(self.seed + 7919 * self.trainer.global_step)

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Text features (B, 24, text_dim) as the pipeline makes them, zero behind the last token; each prompt once."""
        missing = sorted(set(prompts) - self.texts.keys())
        if missing:
            # Validation asks first, in inference mode and half precision; training needs the same features in neither.
            plain = torch.autocast(self.device.type, enabled=False)
            with torch.inference_mode(False), torch.no_grad(), plain:
                features, _ = self.world[0].encode_prompt(
                    missing, do_classifier_free_guidance=False, max_sequence_length=pipeline.TEXT_LENGTH, device=torch.device("cpu")
                )
                self.texts.update(zip(missing, features.to(self.device), strict=True))
        return torch.stack([self.texts[prompt] for prompt in prompts])

    def errors(self, network: nn.Module, latents: Tensor, prompts: list[str], sigma: Tensor, noise: Tensor) -> Tensor:
        """Squared error of the velocity ε - x_0 in the cells of the noisy frames, mean over channels: (B, t - 1, h, w)."""
        text = self.encode_text(prompts)
        # On a CPU in bf16, the backward pass of the fused attention kernel takes half of a step; the plain one hardly anything.
        with sdpa_kernel(SDPBackend.MATH) if latents.device.type == "cpu" else nullcontext():
            velocity: Tensor = network(
                hidden_states=noised(latents, sigma, noise),
                timestep=token_timesteps(sigma, latents),
                encoder_hidden_states=text,
                return_dict=False,
            )[0]
        return (velocity.float() - (noise - latents))[:, :, 1:].square().mean(1)

    def training_step(self, batch: LatentBatch, batch_idx: int) -> Tensor:
        """One draw of noise level, noise and dropped prompts for latents (B, C, t, h, w)."""
        assert self.transformer is not None
        latents, prompts = batch["latents"], batch["prompt"]
        sigma = sample_sigma(len(latents), self.flow_shift, self.random).to(latents)
        noise = torch.randn(latents.shape, generator=self.random).to(latents)
        keep, style = torch.rand(2, len(latents), generator=self.random).tolist()
        typed = [as_typed(p, style[i]) if keep[i] >= self.text_dropout else "" for i, p in enumerate(prompts)]
        errors = self.errors(self.transformer, latents, typed, sigma, noise)
        weight = 1.0 + self.face_weight * batch["face"][:, 0, 1:]
        self.log("train/loss", errors.detach().mean(), prog_bar=True)
        return (weight * errors).sum() / weight.sum()

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Average the weights."""
        assert self.ema is not None
        assert self.transformer is not None
        update_average(self.ema, self.transformer, decay_at(self.trainer.global_step, self.ema_decay))

    def validation_step(self, batch: LatentBatch, batch_idx: int) -> None:
        """Loss of the averaged weights at four fixed noise levels, the same noise every time."""
        assert self.ema is not None
        latents, prompts = batch["latents"], batch["prompt"]
        random = torch.Generator().manual_seed(self.seed + batch_idx)
        losses, face, inside = {}, batch["face"][:, 0, 1:], []
        for level in (0.3, 0.6, 0.9, 0.98):
            noise = torch.randn(latents.shape, generator=random).to(latents)
            sigma = torch.full((len(latents),), level, device=latents.device)
            errors = self.errors(self.ema, latents, prompts, sigma, noise)
            losses[f"val/loss_{level}"] = errors.mean()
            inside.append((errors * face).sum() / face.sum().clamp_min(1e-6))
        self.log_dict(losses, batch_size=len(latents))
        self.log("val/face", torch.stack(inside).mean(), prog_bar=True, batch_size=len(latents))
        self.log("val/loss", torch.stack(list(losses.values())).mean(), prog_bar=True, batch_size=len(latents))

    def write(self) -> None:
        """Write everything but the autoencoder: transformer (EMA, fp16), text parts, scheduler and, last, the index."""
        assert self.ema is not None
        world = self.world[0]
        pipeline.save_part(self.ema, self.folder / "transformer")
        if self.complete:
            return
        # fp32: transformers, unlike diffusers, loads a network in the type of its file.
        pipeline.save_part(world.text_encoder, self.folder / "text_encoder", torch.float32)
        pipeline.save_part(world.tokenizer, self.folder / "tokenizer")
        pipeline.save_part(world.scheduler, self.folder / "scheduler")
        pipeline.save_index(world, self.folder)
        self.complete = True
