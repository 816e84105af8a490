"""An autoencoder of any class of diffusers learns to rebuild photos, one by one, as video models do with the photo they animate."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.metrics import psnr
from anti_i2v.pretraining.augment import recolour
from anti_i2v.pretraining.folder import save_part
from anti_i2v.pretraining.reconstruction import reconstruction_loss
from anti_i2v.pretraining.stage import Stage
from anti_i2v.surrogates.autoencoders.classes import decode_photos, most_likely, to_pixels
from anti_i2v.surrogates.fast_wan_vae import accelerate_vae

if TYPE_CHECKING:
    from diffusers import ModelMixin

    from anti_i2v.data import PhotoBatch

PRIOR = 1e-3
"""Weight of the distance of the posterior's log variance from that of the noise in training."""


class PhotoAutoencoderModule(Stage):
    """Trains an autoencoder on single photos and writes its folder after every validation and at the end.

    The mean of the posterior is trained, under fixed noise that keeps the latents smooth; the posterior's variance, where the class
    has one, becomes that noise's.

    Args:
        folder: Folder to write: `config.json` and the weights, as diffusers has them.
        architecture: A `config.json` of diffusers that names the class and its sizes; by default the folder's own.
        resume_weights: Start from the weights that the folder holds instead of random ones.
        lr: Highest learning rate of Muon.
        warmup: Steps to reach it.
        latent_noise: Standard deviation of the noise on the latents while training.
        latent_penalty: Weight of the mean square of the latents, which keeps their scale near the noise's.
        recoloured: Share of the photos in another light: protected photos have colours that photos have not.
        seed: Of noise and light.
    """

    def __init__(
        self,
        folder: str,
        architecture: Path | None = None,
        resume_weights: bool = False,
        lr: float = 4e-3,
        warmup: int = 50,
        latent_noise: float = 0.05,
        latent_penalty: float = 1e-4,
        recoloured: float = 0.3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folder, self.lr, self.warmup, self.seed = Path(folder), lr, warmup, seed
        self.architecture, self.resume_weights = architecture or self.folder / "config.json", resume_weights
        self.latent_noise, self.latent_penalty, self.recoloured = latent_noise, latent_penalty, recoloured
        self.vae: ModelMixin | None = None
        self.deviation, self.deviations = 1.0, list[Tensor]()

    def configure_model(self) -> None:
        """Build the network once, from its description or from the folder."""
        if self.vae is None:
            network = autoencoder_class(self.architecture)
            if self.resume_weights:
                vae = network.from_pretrained(str(self.folder), dtype=torch.float32, use_safetensors=True)
            else:
                vae = network.from_config(network.load_config(str(self.architecture)))
            if type(vae).__name__ == "AutoencoderKLWan":
                accelerate_vae(vae)
            self.vae = vae.train().requires_grad_(True)

    def rebuild(self, image: Tensor, noise: float) -> tuple[Tensor, Tensor, Tensor | None]:
        """Rebuilt photos (B, 3, H, W) in [0, 1], their latents, and the posterior's log variance where there is one."""
        assert self.vae is not None
        output = self.vae.encode(to_pixels(self.vae, image))
        latents, posterior = most_likely(output), getattr(output, "latent_dist", None)
        rebuilt = decode_photos(self.vae, latents + noise * torch.randn_like(latents))
        return rebuilt, latents, None if posterior is None else posterior.logvar

    def training_step(self, batch: PhotoBatch, batch_idx: int) -> Tensor:
        """Rebuild the photos of the batch."""
        image = batch["image"]
        changed = torch.rand(len(image), generator=self.random) < self.recoloured
        if bool(changed.any()):
            image = image.clone()
            image[changed] = recolour(image[changed], self.random)
        rebuilt, latents, log_variance = self.rebuild(image, self.latent_noise)
        loss = reconstruction_loss(rebuilt[:, None], image[:, None], image.new_ones(()), 0.5)
        self.log("train/loss", loss, prog_bar=True)
        if log_variance is not None:
            loss = loss + PRIOR * (log_variance - 2.0 * math.log(max(self.latent_noise, 1e-6))).square().mean()
        return loss + self.latent_penalty * latents.square().mean()

    def validation_step(self, batch: PhotoBatch, batch_idx: int) -> None:
        """PSNR of the rebuilt photos in dB, mean over photos."""
        rebuilt, latents, _ = self.rebuild(batch["image"], 0.0)
        quality = psnr(batch["image"], rebuilt)
        self.log("val/psnr", quality.mean(), prog_bar=True, batch_size=len(quality))
        self.deviations.append(latents.std())

    def on_validation_epoch_end(self) -> None:
        """Keep the scale of the latents, and write the folder."""
        self.deviation, self.deviations = float(torch.stack(self.deviations).mean()), []
        super().on_validation_epoch_end()

    def write(self) -> None:
        """The folder; its scaling factor, where the class has one, gives the latents a deviation of about 1."""
        assert self.vae is not None
        vae = copy.deepcopy(self.vae)
        if vae.config.get("scaling_factor") is not None:
            vae.register_to_config(scaling_factor=1.0 / self.deviation)
        save_part(vae, self.folder)


def autoencoder_class(architecture: Path) -> type[ModelMixin]:
    """The class of diffusers that a `config.json` names.

    Raises:
        UsageError: There is no such file, or it names no autoencoder.
    """
    import diffusers

    try:
        name = str(json.loads(architecture.read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{architecture} describes no network of diffusers: {error}; give an autoencoder's config.json") from error
    network = getattr(diffusers, name, None)
    if not name.startswith("Autoencoder") or network is None:
        raise UsageError(f"{architecture} names {name}, which is no autoencoder of the installed diffusers")
    found: type[ModelMixin] = network
    return found
