"""How different pictures look to a feature network: raised for what the video model decodes, or a penalty on the photo itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anti_i2v.embedders import load_backbone
from anti_i2v.errors import UsageError
from anti_i2v.objectives.base import Objective
from anti_i2v.surrogates.draw import DECODED, PHOTO, Draw


class PictureObjective(Objective):
    """A distance of pictures at one tap: pushed up at `decoded`, as L_aux of Anti-I2V (arXiv 2603.24570), kept low at `photo`.

    Args:
        tap: `decoded` for minus the distance, `photo` for the distance.

    Raises:
        UsageError: The tap is neither.
    """

    def __init__(self, tap: Literal["decoded", "photo"] = "decoded") -> None:
        super().__init__()
        if tap not in (DECODED, PHOTO):
            raise UsageError(f"tap is {tap!r}; give {DECODED} to push pictures apart there, or {PHOTO} to keep the photo near")
        self.tap = tap

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Objective.needs`."""
        return (self.tap,)

    def train(self, mode: bool = True) -> PictureObjective:
        """Stay in evaluation mode: networks are frozen."""
        return super().train(False)

    @abstractmethod
    def distance(self, clean: Tensor, protected: Tensor) -> Tensor:
        """Distances `(B,)` of pictures `(B, 3, H, W)` in [0, 1]."""

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; the part is the `distance`, whatever the tap."""
        self.check_taps(protected)
        distance = self.distance(clean[self.tap].detach().float(), protected[self.tap].float()).mean()
        return -distance if self.tap == DECODED else distance, {"distance": distance.detach()}


class PerceptualObjective(PictureObjective):
    """Mean over stages of Σ_channels (f̂(protected) - f̂(clean))², averaged over positions, f̂ of unit length at each position.

    LPIPS (arXiv 1801.03924, eq. 1) with all channel weights 1, on a network of one's own.

    Args:
        network: A folder with an objective embedder, or the name of a shipped one; or, with `weights`, a timm model.
        weights: A safetensors file with the timm model's weights; nothing is ever downloaded.
        stages: Numbers of the stages, from 0, the finest; all without.
        tap: See `PictureObjective`.

    Raises:
        UsageError: There is no such network or file, the file is another network's, or the network has no such stages.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: str = "portrait-faces",
        weights: str | None = None,
        stages: Sequence[int] | None = None,
        tap: Literal["decoded", "photo"] = "decoded",
    ) -> None:
        super().__init__(tap)
        self.size: int | None = None
        self.embedder: str | None = None
        mean, std = [0.5] * 3, [0.5] * 3
        if weights is None:
            embedder = load_backbone(network, "objective")
            self.network, self.size, self.embedder = embedder.network, embedder.size, embedder.name
        else:
            self.network = load_timm(network, Path(weights).expanduser())
            config = self.network.pretrained_cfg
            mean, std = list(config["mean"]), list(config["std"])
            self.size = config["input_size"][-1] if config.get("fixed_input_size") else None
        self.stages = None if stages is None else list(stages)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self._check_stages(network)

    @property
    def embedder_names(self) -> tuple[str, ...]:
        """See `Objective.embedder_names`."""
        return () if self.embedder is None else (self.embedder,)

    def _check_stages(self, network: str) -> None:
        if not hasattr(self.network, "forward_intermediates") or not hasattr(self.network, "feature_info"):
            raise UsageError(f"{network} gives no features by stage; choose another timm model, such as resnet18")
        count = len(self.network.feature_info)
        if self.stages is not None and (not self.stages or not all(0 <= stage < count for stage in self.stages)):
            raise UsageError(f"{network} has no stages {self.stages}; it has 0 to {count - 1}")

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Maps of the stages `(B, C, h, w)`, each position's vector of unit length, of pictures `(B, 3, H, W)` in [0, 1]."""
        if self.size is not None and pictures.shape[-2:] != (self.size, self.size):
            pictures = F.interpolate(pictures, (self.size, self.size), mode="bilinear", antialias=True)
        maps = self.network.forward_intermediates((pictures - self.mean) / self.std, indices=self.stages, intermediates_only=True)
        return [F.normalize(x.float(), dim=1, eps=1e-6) for x in maps]

    def distance(self, clean: Tensor, protected: Tensor) -> Tensor:
        """See `PictureObjective.distance`."""
        with torch.no_grad():
            before = self.features(clean)
        each = [(b - a).square().sum(1).mean((1, 2)) for a, b in zip(before, self.features(protected), strict=True)]
        return torch.stack(each).mean(0)


def load_timm(name: str, weights: Path) -> nn.Module:
    """A timm model with weights from a safetensors file, without its classifier, in evaluation mode, frozen.

    Raises:
        UsageError: timm has no such model, or the file is missing, no safetensors, or another model's.
    """
    import timm
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not weights.is_file():
        raise UsageError(f"no file {weights}; give the safetensors file with the weights of {name}, or an identity embedder instead")
    if not timm.is_model(name):
        raise UsageError(f"timm has no model {name!r}; timm.list_models() names them")
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    try:
        missing, _ = network.load_state_dict(load_file(weights), strict=False)  # the file may hold a classifier beside
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UsageError(f"{weights} does not hold the weights of {name}; give another file ({str(error).splitlines()[0]})") from error
    if missing:
        raise UsageError(f"{weights} lacks {missing[0]} and {len(missing) - 1} other weights of {name}; give another file")
    return network.eval().requires_grad_(False)
