"""LPIPS with its published weights, where they are; they are never downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives.perceptual import PictureObjective

Network = Literal["alex", "vgg", "squeeze"]

WEIGHTS: dict[str, str] = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights", "squeeze": "SqueezeNet1_1_Weights"}
"""Network → torchvision's name for the weights of its backbone; torchmetrics brings the weights of the channels itself."""


class LpipsObjective(PictureObjective):
    """LPIPS (arXiv 1801.03924, eq. 1) as torchmetrics computes it, between the photo and its protected version at a tap.

    The backbone's weights must lie in torch.hub's folder, where torchvision looks for them. Without them `PerceptualObjective` does
    the same on a network that ships.

    Args:
        network: `alex`, `vgg` or `squeeze`.
        tap: See `PictureObjective`.

    Raises:
        UsageError: The weights of the backbone are missing or unreadable; or there is no such network.
    """

    def __init__(self, network: Network = "alex", tap: Literal["decoded", "photo"] = "decoded") -> None:
        super().__init__(tap)
        if network not in get_args(Network):
            raise UsageError(f"network is {network!r}; give {', '.join(get_args(Network))}")
        file = weights_file(network)
        if not file.is_file():
            raise UsageError(f"LPIPS needs {file.name}, which is not in {file.parent}; put it there, or use PerceptualObjective")
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        try:  # torchmetrics' function would read the weights again at every call, so only its network is used
            self.network = LearnedPerceptualImagePatchSimilarity(net_type=network).net
        except Exception as error:  # a truncated file fails in zipfile, pickle or load_state_dict
            raise UsageError(f"cannot read {file}: {str(error).splitlines()[0]}; copy it again") from error
        self.requires_grad_(False)

    def distance(self, clean: Tensor, protected: Tensor) -> Tensor:
        """See `PictureObjective.distance`."""
        distances: Tensor = self.network(clean, protected, normalize=True)
        return distances.flatten()


def weights_file(network: Network) -> Path:
    """Where torchvision looks for the weights of a backbone."""
    import torchvision  # type: ignore[import-untyped]

    url: str = getattr(torchvision.models, WEIGHTS[network]).DEFAULT.url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
