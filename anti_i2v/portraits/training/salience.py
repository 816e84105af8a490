"""The training of the salience network: a focal loss on where faces' centres are, L1 on their place in the cell and their height.

The focal loss is that of CenterNet (arXiv 1904.07850, eq. 1): cells near a centre count the less as negatives the nearer they are.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.errors import UsageError
from anti_i2v.generators.salience import STRIDE, TYPICAL_HEIGHT, SalienceNetwork, load_salience, save_salience
from anti_i2v.inference.windows import SIDE_OF_FACE, Map, Window, find_windows, levels
from anti_i2v.portraits.training.crowds import SalienceBatch
from anti_i2v.pretraining.stage import Stage
from anti_i2v.training.schedule import share_of_run

KNOWN = (10.0, 44.0)
"""Face heights in pixels of the copy that the network shall find."""

DOUBTFUL = (6.5, 60.0)
"""Face heights of which nothing is said outside of `KNOWN`: another copy shows them larger or smaller. Beyond, none shall be found."""


def targets(faces: Sequence[Tensor], height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the map of each picture shall be.

    Args:
        faces: For each of B pictures (N, 3): centre y, centre x and height of its faces in pixels.
        height: Of the pictures in pixels.
        width: Of the pictures in pixels.

    Returns:
        `heat` (B, h, w): 1 in the cell of a face's centre, falling around it; 0 elsewhere. `counts` (B, h, w): 0 where nothing is said,
        else 1. `values` (B, 4, h, w): place y and x and log2 height as the network shall give them, and how much each cell's counts.
    """
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    heat, counts = torch.zeros(len(faces), rows, columns), torch.ones(len(faces), rows, columns)
    values = torch.zeros(len(faces), 4, rows, columns)
    y, x = torch.arange(rows)[:, None] + 0.5, torch.arange(columns)[None] + 0.5
    for i, some in enumerate(faces):
        for centre_y, centre_x, size in some.tolist():
            cell_y, cell_x, cells = centre_y / STRIDE, centre_x / STRIDE, size / STRIDE
            dy, dx = cell_y - y, cell_x - x
            inside = 0 <= centre_y < height and 0 <= centre_x < width
            if inside and KNOWN[0] <= size <= KNOWN[1]:
                row, column = int(cell_y), int(cell_x)
                spread = 0.5 + 0.06 * cells
                heat[i] = torch.maximum(heat[i], torch.exp(-(dy.square() + dx.square()) / (2 * spread * spread)).clamp(max=0.99))
                heat[i, row, column] = 1.0
                near = ((y - 0.5 - row).abs() <= 1) & ((x - 0.5 - column).abs() <= 1)
                weight = torch.where((y - 0.5 == row) & (x - 0.5 == column), 1.0, 0.25) * near
                log_size = torch.full_like(weight, size / TYPICAL_HEIGHT).log2()
                new = torch.stack([dy.expand_as(weight), dx.expand_as(weight), log_size, weight])
                values[i] = torch.where(weight >= values[i, 3], new, values[i])
            elif DOUBTFUL[0] <= size <= DOUBTFUL[1]:
                counts[i][dy.square() + dx.square() < (0.5 * cells) ** 2] = 0.0
    counts[heat == 1] = 1.0
    return heat, counts, values


def focal_loss(logit: Tensor, heat: Tensor, counts: Tensor) -> Tensor:
    """CenterNet's loss of a map of logits (B, h, w), a face's mean: a scalar; see `targets`."""
    centre = (heat == 1).float()
    probability = logit.sigmoid()
    found = F.logsigmoid(logit) * (1 - probability).square() * centre
    quiet = F.logsigmoid(-logit) * probability.square() * (1 - heat) ** 4 * (1 - centre)
    return -((found + quiet) * counts).sum() / centre.sum().clamp(min=1)


@torch.no_grad()
def look(network: nn.Module, image: Tensor) -> list[Window]:
    """The windows of a photo (3, H, W) in [0, 1]."""
    height, width = image.shape[-2:]
    maps: list[Map] = []
    for size in levels(height, width):
        copy = F.interpolate(image[None], size, mode="bilinear", antialias=True)
        maps.append(network(copy)[0].float().cpu().numpy())
    return find_windows(maps, height, width)


def match(windows: Sequence[Window], faces: Tensor) -> tuple[list[tuple[float, float, float]], int]:
    """Which windows show which face, the strongest first.

    Args:
        windows: As `find_windows` gives them.
        faces: (N, 3) centre y, centre x and height in pixels.

    Returns:
        For each face that has a window within half its height and of half to twice its size: distance of the centres over the face's
        height, log2 of the window's size over what it should be, and its strength. And the number of windows without a face.
    """
    left, found, alone = faces.tolist(), [], 0
    for window in windows:
        y, x, size = window.top + window.side / 2, window.left + window.side / 2, window.side / SIDE_OF_FACE
        fits = [(float(np.hypot(y - f[0], x - f[1])) / f[2], float(np.log2(size / f[2])), f) for f in left]
        good = [fit for fit in fits if fit[0] <= 0.5 and abs(fit[1]) <= 1]
        if not good:
            alone += 1
            continue
        distance, error, face = min(good, key=lambda fit: fit[0])
        left.remove(face)
        found.append((distance, error, window.strength))
    return found, alone


def shift(network: SalienceNetwork, amount: float) -> None:
    """Add to the logits of faces, in place."""
    assert network.head.bias is not None
    with torch.no_grad():
        network.head.bias[0] += amount


class SalienceModule(Stage):
    """Trains the salience network and writes its folder after every validation and at the end.

    Args:
        folder: Folder to write: `config.json` and `model.safetensors` (fp16).
        width: Channels of the network.
        lr: Highest learning rate.
        warmup: Steps to reach it.
        weight_decay: Of AdamW.
        place_weight: Of the L1 loss of place and height, beside 1 of the focal loss.
        settle: Share of the run from which the batch norms keep their statistics, 0–1: those of small copies and of large ones differ,
            and in use there is one for all.
        caution: Taken off the logits when the folder is written. By the focal loss alone, textures that are no face reach a probability of
            0.25 to 0.5 about twice a photo, faces lie above: with 1.1, what had 0.5 has 0.25, from where on windows begin.
        start_from: Folder of a salience network of this width, or the name of a shipped one, to go on from; None begins anew.
        seed: Of the draws.

    Raises:
        UsageError: The network to go on from is missing or of another width.
    """

    def __init__(
        self,
        folder: str = "checkpoints/portrait-salience",
        width: int = 32,
        lr: float = 3e-3,
        warmup: int = 50,
        weight_decay: float = 0.01,
        place_weight: float = 1.0,
        settle: float = 0.6,
        caution: float = 1.1,
        start_from: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folder, self.lr, self.warmup, self.seed = Path(folder), lr, warmup, seed
        self.weight_decay, self.place_weight, self.settle = weight_decay, place_weight, settle
        network = SalienceNetwork(width) if start_from is None else load_salience(start_from).train().requires_grad_()
        if network.width != width:
            raise UsageError(f"{start_from} has width {network.width}, not {width}; give --model.width {network.width}")
        self.caution = caution
        if start_from is not None:
            shift(network, caution)
        self.network = network.to(memory_format=torch.channels_last)

    def training_step(self, batch: SalienceBatch, batch_idx: int) -> Tensor:
        """The losses of one batch of pictures of one size."""
        if share_of_run(self.trainer, self.trainer.global_step) >= self.settle:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        image = batch["image"]
        heat, counts, values = (t.to(image.device) for t in targets(batch["faces"], *image.shape[-2:]))
        out = self.network(image.contiguous(memory_format=torch.channels_last)).float()
        centre = focal_loss(out[:, 0], heat, counts)
        weight = values[:, 3:]
        place = ((out[:, 1:] - values[:, :3]).abs() * weight).sum() / weight.sum().clamp(min=1)
        self.log_dict({"train/centre": centre, "train/place": place}, prog_bar=True, batch_size=len(image))
        loss: Tensor = centre + self.place_weight * place
        return loss

    def validation_step(self, batch: SalienceBatch, batch_idx: int) -> None:
        """Find the faces of whole photos (B, 3, H, W): recall, windows without a face, errors of place and size."""
        network = copy.deepcopy(self.network)
        shift(network, -self.caution)
        for image, faces in zip(batch["image"], batch["faces"], strict=True):
            found, alone = match(look(network, image), faces)
            values = {"false_windows": float(alone)}
            if len(faces):
                values["recall"] = len(found) / len(faces)
            if found:
                values["place_error"] = float(np.mean([f[0] for f in found]))
                values["size_error"] = float(np.mean([abs(f[1]) for f in found]))
            self.log_dict({f"val/{name}": value for name, value in values.items()}, prog_bar=True, batch_size=1, on_epoch=True)

    def write(self) -> None:
        network = copy.deepcopy(self.network)
        shift(network, -self.caution)
        save_salience(network, self.folder)
