"""The contract of identity embedders: faces of one input size → unit embeddings that are close where the person is the same."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.embedders.alignment import Template, align
from anti_i2v.errors import UsageError

CERTAIN = 20.0
"""The logit of a face from networks that cannot tell whether there is one."""


class Embedder(nn.Module, ABC):
    """A network that gives each face an embedding of the person.

    Attributes:
        name: What messages and cards call it.
        dim: Length of an embedding.
        size: Height and width of the network's input in pixels.
        template: Where landmarks must lie in the input; None for a network that finds faces wherever they are and needs no landmarks.
    """

    name: str = "embedder"
    dim: int
    size: int
    template: Template | None = None

    @abstractmethod
    def embed(self, images: Tensor, faces: int | None = None) -> tuple[Tensor, Tensor]:
        """Unit embeddings (N, dim) and face logits (N,) of pictures (N, 3, size, size) in [0, 1], both in fp32.

        With `faces` only the first so many pictures are embedded.
        """

    def resize(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) at the size of the network's input, differentiably: (N, 3, size, size)."""
        if images.shape[-2:] == (self.size, self.size):
            return images
        return F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)

    def crop(self, images: Tensor, landmarks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The network's input from pictures of any size, differentiably.

        Args:
            images: (N, 3, H, W) in [0, 1].
            landmarks: (N, 5, 2) y, x in pixels of the pictures; see `alignment`. Not read by networks without a template.

        Returns:
            (N, 3, size, size), and (N,) bool, false where the landmarks say that there is no face.

        Raises:
            UsageError: The network needs landmarks and there are none.
        """
        if self.template is None:
            return self.resize(images), torch.ones(len(images), dtype=torch.bool, device=images.device)
        if landmarks is None:
            raise UsageError(
                f"the identity embedder {self.name!r} reads aligned faces, and the photos have no landmarks; "
                "take them from a source that has some, such as anti_i2v.data.FacePhotos"
            )
        if landmarks.shape != (len(images), 5, 2):
            raise UsageError(f"landmarks of {len(images)} pictures are (B, 5, 2), not {tuple(landmarks.shape)}; give one face a picture")
        return align(images, landmarks, self.template)

    def embed_frames(self, video: Tensor, landmarks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Each frame by itself.

        Args:
            video: (B, T, 3, H, W) in [0, 1], any H and W.
            landmarks: (B, T, 5, 2) y, x in pixels of the frames; see `crop`.

        Returns:
            Unit-norm embeddings (B, T, dim) and the presence of a face (B, T) in [0, 1]. Lower presence is more protection; an
            embedding says nothing where presence is low.

        Raises:
            UsageError: The video holds NaN or infinite values, or the network needs landmarks and there are none.
        """
        if not bool(torch.isfinite(video).all()):
            raise UsageError("the video holds NaN or infinite values; no person can be recognised in it; check what made it")
        images, faces = self.crop(video.flatten(0, 1), None if landmarks is None else landmarks.flatten(0, 1))
        embedding, logit = self.embed(images)
        b, t = video.shape[:2]
        return embedding.view(b, t, -1), (logit.sigmoid() * faces).view(b, t)

    def forward(self, video: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Unit-norm embeddings (B, dim) of clips (B, T, 3, H, W) in [0, 1]: the normalised mean over the frames."""
        return F.normalize(self.embed_frames(video, landmarks)[0].mean(1), dim=1)
