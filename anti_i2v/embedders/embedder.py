"""The network of ours that tells people apart: an image backbone whose output is one embedding a frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.embedders.alignment import TEMPLATES, scale_template
from anti_i2v.embedders.base import Embedder
from anti_i2v.errors import UsageError


class IdentityEmbedder(Embedder):
    """An image backbone that gives each frame an embedding of the person and the probability that a face is there.

    Args:
        backbone: A timm model.
        dim: Length of an embedding.
        size: Height and width of the backbone's input in pixels.
        width: Channels of the first of a ResNet's four stages, each further having twice as many; 0 leaves the backbone as it is.
        template: Name of the template that faces are aligned to, see `alignment.TEMPLATES`; by default pictures are seen as they are.

    Raises:
        UsageError: There is no such template.
    """

    def __init__(self, backbone: str = "resnet10t", dim: int = 128, size: int = 64, width: int = 0, template: str | None = None) -> None:
        super().__init__()
        import timm

        if template is not None:
            if template not in TEMPLATES:
                raise UsageError(f"no template {template!r}; choose {' or '.join(TEMPLATES)}")
            self.template = scale_template(TEMPLATES[template], size)
        self.aligned_to = template

        self.backbone, self.dim, self.size, self.width = backbone, dim, size, width
        options = {"channels": tuple(width << stage for stage in range(4))} if width else {}
        self.network = timm.create_model(backbone, pretrained=False, num_classes=dim + 1, **options)
        # Pooled features are all positive, so that all people would start out nearly alike: take their common mean away.
        self.neck = nn.BatchNorm1d(dim, affine=False)

    def config(self) -> dict[str, str | int]:
        """The constructor's arguments."""
        config: dict[str, str | int] = {"backbone": self.backbone, "dim": self.dim, "size": self.size, "width": self.width}
        return config if self.aligned_to is None else config | {"template": self.aligned_to}

    def embed(self, images: Tensor, faces: int | None = None) -> tuple[Tensor, Tensor]:
        """See `Embedder.embed`; with `faces`, further pictures do not count in a training batch's statistics."""
        out = self.network((2.0 * images - 1.0).contiguous(memory_format=torch.channels_last)).float()
        return F.normalize(self.neck(out[:faces, :-1]), dim=1), out[:, -1]
