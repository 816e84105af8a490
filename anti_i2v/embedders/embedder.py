"""The network that tells rendered people apart: an image backbone whose output is one embedding a frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.embedders.base import Embedder


class IdentityEmbedder(Embedder):
    """An image backbone that gives each frame an embedding of the person and the probability that a face is there.

    Args:
        backbone: A timm model.
        dim: Length of an embedding.
        size: Height and width of the backbone's input in pixels.
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
        """See `Embedder.embed`; with `faces`, further pictures do not count in a training batch's statistics."""
        out = self.network((2.0 * images - 1.0).contiguous(memory_format=torch.channels_last)).float()
        return F.normalize(self.neck(out[:faces, :-1]), dim=1), out[:, -1]
