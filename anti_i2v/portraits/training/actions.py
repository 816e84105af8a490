"""The training of the action classifier, on rendered clips made worse in the ways generated ones are."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.embedders.folder import save_network
from anti_i2v.evaluation.actions import ActionClassifier
from anti_i2v.portraits import ACTIONS
from anti_i2v.pretraining.stage import Stage


def worsen(video: Tensor, generator: torch.Generator) -> Tensor:
    """Clips as a small image-to-video model makes them: softer, shifted, flickering in light, noisy; each clip differently.

    The clips keep their actions. One clip in five stays as it is.

    Args:
        video: (B, T, 3, H, W) in [0, 1].
        generator: Source of all draws, on the CPU.

    Returns:
        The same shape and range.
    """
    return torch.stack([_worsen_one(clip, generator) for clip in video])


def _worsen_one(clip: Tensor, generator: torch.Generator) -> Tensor:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(shape, generator=generator)).to(clip)

    if float(uniform(0, 1)) < 0.2:
        return clip
    frames, _, height, width = clip.shape
    if float(uniform(0, 1)) < 0.5:  # a smaller picture enlarged: what an autoencoder's blur looks like
        factor = float(uniform(0.3, 1.0))
        small = (max(4, round(height * factor)), max(4, round(width * factor)))
        soft = F.interpolate(clip, small, mode="bilinear", antialias=True)
        clip = F.interpolate(soft, (height, width), mode="bicubic")
    # One affine view for the whole clip, so that no motion is added.
    scale, shift = uniform(0.9, 1.1), uniform(-0.08, 0.08, 2)
    theta = torch.zeros(1, 2, 3).to(clip)
    theta[0, 0, 0] = theta[0, 1, 1] = scale
    theta[0, :, 2] = shift
    grid = F.affine_grid(theta, [1, 3, height, width], align_corners=False).expand(frames, -1, -1, -1)
    clip = F.grid_sample(clip, grid, padding_mode="reflection", align_corners=False)
    gain, flicker = uniform(0.8, 1.2), uniform(-0.03, 0.03, frames, 1, 1, 1)
    blotches = uniform(-1, 1, frames, 1, height // 8, width // 8) * uniform(0, 0.08)
    clip = clip * gain + flicker + F.interpolate(blotches, (height, width), mode="bicubic")
    grain = torch.randn(clip.shape, generator=generator).to(clip) * uniform(0, 0.06)
    return (clip + grain).clamp(0, 1)


class ActionClassifierModule(Stage):
    """Trains the classifier and writes its folder after every validation and at the end.

    Args:
        folder: Folder to write: `config.json` and `model.safetensors` (fp16).
        backbone: A timm model.
        num_frames: Frames of a clip.
        size: Height and width at which the backbone looks.
        width: Channels of its first stage; see `ActionClassifier`.
        lr: Highest learning rate.
        warmup: Steps to reach it.
        weight_decay: Of AdamW.
        label_smoothing: Share of the target spread over all classes.
        seed: Of the augmentation.
    """

    def __init__(
        self,
        folder: str = "checkpoints/portrait-actions",
        backbone: str = "resnet10t",
        num_frames: int = 9,
        size: int = 64,
        width: int = 32,
        lr: float = 2e-3,
        warmup: int = 50,
        weight_decay: float = 0.05,
        label_smoothing: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folder, self.size = Path(folder), (num_frames, backbone, size, width)
        self.lr, self.warmup, self.weight_decay = lr, warmup, weight_decay
        self.label_smoothing, self.seed = label_smoothing, seed
        self.classifier: ActionClassifier | None = None

    def configure_model(self) -> None:
        if self.classifier is None:
            self.classifier = ActionClassifier({action.name: action.prompts for action in ACTIONS}, *self.size)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy on worsened clips (B, T, 3, H, W)."""
        assert self.classifier is not None
        logits = self.classifier(worsen(batch["video"], self.random))
        loss = F.cross_entropy(logits, batch["action"], label_smoothing=self.label_smoothing)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Share of clips named rightly: as rendered, and worsened with fixed draws."""
        assert self.classifier is not None
        worse = worsen(batch["video"], torch.Generator().manual_seed(batch_idx))
        for name, video in (("clean", batch["video"]), ("worsened", worse)):
            right = (self.classifier(video).argmax(1) == batch["action"]).float().mean()
            self.log(f"val/accuracy_{name}", right, prog_bar=True, batch_size=len(video))

    def write(self) -> None:
        assert self.classifier is not None
        save_network(self.classifier, self.classifier.config(), self.folder)
