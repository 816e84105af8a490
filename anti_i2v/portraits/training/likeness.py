"""A perceptual loss on faces: the identity similarity of reconstructed and true frames."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from anti_i2v.embedders import OBJECTIVE_EMBEDDERS, Embedder, load_embedder
from anti_i2v.errors import UsageError
from anti_i2v.pretraining.embedder import MIN_FACE


class FaceLoss(nn.Module):
    """Weight times the mean of 1 - cosine between the face embeddings of reconstructed and true frames, where a face is visible.

    A perceptual loss (arXiv 1603.08155) whose features are those that tell people apart. The networks are the ones made for objectives;
    the judge is refused, so that no autoencoder is trained against the network that judges it.

    Args:
        weight: 0 loads no network and costs nothing.
        networks: Folders of identity embedders made for objectives, or the names of shipped ones.

    Raises:
        UsageError: The weight is negative, or a folder holds no such network.
    """

    def __init__(self, weight: float, networks: Sequence[str] = OBJECTIVE_EMBEDDERS) -> None:
        super().__init__()
        if weight < 0:
            raise UsageError(f"likeness_weight is {weight}; give 0 or more")
        self.weight = weight
        # In a list: frozen networks are no part of a checkpoint, and none of what is trained.
        self.networks = [load_embedder(network, "objective") for network in networks] if weight else []

    def forward(self, rebuilt: Tensor, video: Tensor, face: Tensor) -> Tensor:
        """The loss, a scalar.

        Args:
            rebuilt: (B, T, 3, H, W) in about [0, 1].
            video: The same shape, in [0, 1].
            face: (B, T, 1, H, W) mask of the face in [0, 1].
        """
        has_face = (face.flatten(0, 1).mean((1, 2, 3)) >= MIN_FACE).float()
        loss = has_face.new_zeros(())
        for network in self.networks:
            distance = 1.0 - self._similarity(network.to(video.device), rebuilt, video)
            loss = loss + (distance * has_face).sum() / has_face.sum().clamp(min=1.0)
        return self.weight * loss / max(1, len(self.networks))

    @staticmethod
    def _similarity(network: Embedder, rebuilt: Tensor, video: Tensor) -> Tensor:
        """Cosines (B T,)."""
        embedding, true = (network.embed(network.resize(frames.flatten(0, 1)))[0] for frames in (rebuilt, video))
        return (embedding * true).sum(1)
