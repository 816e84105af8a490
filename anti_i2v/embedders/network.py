"""Networks that tell rendered people apart: one judges clips, others are what objectives attack, and never the same one.

A folder says which of the two it is for, and is refused for the other: a judge that a residual was optimised against sees
nothing but that residual.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.embedders.weights import write_network
from anti_i2v.errors import UsageError
from anti_i2v.resources import find_folder

FORMAT = 1
"""Version of the folder that `save_face_network` writes."""

Role = Literal["judge", "objective"]
"""What a network is for: to judge clips, or to be optimised against."""

FACES = ("portrait-faces", "portrait-faces-2")
"""The shipped networks that objectives attack."""

SHIPPED: dict[Role, str] = {"judge": "portrait-judge", "objective": FACES[0]}
"""Role → a network of that role that ships."""


class FaceNetwork(nn.Module):
    """An image backbone that gives each frame an embedding of the person and the probability that a face is there.

    Args:
        backbone: A timm model.
        dim: Length of an embedding.
        size: Height and width at which the backbone looks.
        width: Channels of the first of a ResNet's four stages, each further having twice as many; 0 leaves the backbone as it is.
    """

    def __init__(self, backbone: str = "resnet10t", dim: int = 128, size: int = 64, width: int = 0) -> None:
        super().__init__()
        import timm

        self.backbone, self.dim, self.size, self.width = backbone, dim, size, width
        options = {"channels": tuple(width << stage for stage in range(4))} if width else {}
        self.network = timm.create_model(backbone, pretrained=False, num_classes=dim + 1, **options)
        # Pooled features are all positive, so that all people would start out nearly alike: take their common mean away.
        self.neck = nn.BatchNorm1d(dim, affine=False)

    def config(self) -> dict[str, str | int]:
        """The constructor's arguments."""
        return {"backbone": self.backbone, "dim": self.dim, "size": self.size, "width": self.width}

    def embed(self, images: Tensor, faces: int | None = None) -> tuple[Tensor, Tensor]:
        """Unit embeddings (N, dim) and face logits (N,) of pictures (N, 3, size, size) in [0, 1], both in fp32.

        With `faces` only so many pictures from the front are embedded: others shall not count in a training batch's statistics.
        """
        out = self.network((2.0 * images - 1.0).contiguous(memory_format=torch.channels_last)).float()
        return F.normalize(self.neck(out[:faces, :-1]), dim=1), out[:, -1]

    def fitted(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) at the size at which the backbone looks, differentiably: (N, 3, size, size)."""
        if images.shape[-2:] == (self.size, self.size):
            return images
        return F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)

    def frames(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Each frame by itself.

        Args:
            video: (B, T, 3, H, W) in [0, 1], any H and W.

        Returns:
            Unit-norm embeddings (B, T, dim) and the presence of a face (B, T) in [0, 1]. Lower presence is more protection; an
            embedding says nothing where presence is low.

        Raises:
            UsageError: The video holds NaN or infinite values.
        """
        if not bool(torch.isfinite(video).all()):
            raise UsageError("the video holds NaN or infinite values; nobody can be recognised in it, so mend what made it")
        embedding, logit = self.embed(self.fitted(video.flatten(0, 1)))
        b, t = video.shape[:2]
        return embedding.view(b, t, -1), logit.sigmoid().view(b, t)

    def forward(self, video: Tensor) -> Tensor:
        """Unit-norm embeddings (B, dim) of clips (B, T, 3, H, W) in [0, 1]: the normalised mean over the frames."""
        return F.normalize(self.frames(video)[0].mean(1), dim=1)


def save_face_network(network: FaceNetwork, folder: str | Path, role: Role) -> None:
    """Write `config.json` and `model.safetensors` (fp16), each complete or not at all."""
    write_network(network, {"format": FORMAT, "role": role, **network.config()}, folder)


def load_face_network(folder: str | Path, role: Role) -> FaceNetwork:
    """The trained network of a folder, in fp32, in eval mode, frozen.

    Args:
        folder: A folder with `config.json` and `model.safetensors`, or the name of a shipped one.
        role: What it shall be used for; a folder that names no role is a judge's.

    Raises:
        UsageError: The folder or one of its files is missing, of another format version, of the other role, or no face network.
    """
    from safetensors.torch import load_file

    path, instead = find_folder(folder), f"give e.g. {SHIPPED[role]}"
    config, weights = path / "config.json", path / "model.safetensors"
    for file in (config, weights):
        if not file.is_file():
            raise UsageError(f"no {file.name} in {path}; {instead}")
    try:
        settings = dict(json.loads(config.read_text(encoding="utf-8")))
        version, held = settings.pop("format", None), settings.pop("role", "judge")
        if version != FORMAT:
            raise UsageError(f"{config} has format {version}; this version of anti_i2v reads format {FORMAT}; {instead}")
        if held != role:
            raise UsageError(f"{path.name} is for the role {held!r}, not {role!r}: none may judge what was optimised on it; {instead}")
        network = FaceNetwork(**settings)
    except (TypeError, ValueError, RuntimeError) as error:  # a JSONDecodeError is a ValueError, an unknown backbone a RuntimeError
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{config} does not describe a face network: {error}; {instead}") from error
    state = {name: value.float() if value.is_floating_point() else value for name, value in load_file(weights).items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"{weights} does not hold the weights that {config.name} describes; {instead}") from error
    return network.eval().requires_grad_(False)
