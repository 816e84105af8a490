"""The network that tells rendered people apart: an image backbone whose output is one embedding a frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.errors import UsageError


class IdentityEmbedder(nn.Module):
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
        """Unit embeddings (N, dim) and face logits (N,) of pictures (N, 3, size, size) in [0, 1], both in fp32.

        With `faces` only the first so many pictures are embedded: others shall not count in a training batch's statistics.
        """
        out = self.network((2.0 * images - 1.0).contiguous(memory_format=torch.channels_last)).float()
        return F.normalize(self.neck(out[:faces, :-1]), dim=1), out[:, -1]

    def resize(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) at the size of the backbone's input, differentiably: (N, 3, size, size)."""
        if images.shape[-2:] == (self.size, self.size):
            return images
        return F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)

    def embed_frames(self, video: Tensor) -> tuple[Tensor, Tensor]:
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
            raise UsageError("the video holds NaN or infinite values; no person can be recognised in it; check what made it")
        embedding, logit = self.embed(self.resize(video.flatten(0, 1)))
        b, t = video.shape[:2]
        return embedding.view(b, t, -1), logit.sigmoid().view(b, t)

    def forward(self, video: Tensor) -> Tensor:
        """Unit-norm embeddings (B, dim) of clips (B, T, 3, H, W) in [0, 1]: the normalised mean over the frames."""
        return F.normalize(self.embed_frames(video)[0].mean(1), dim=1)
