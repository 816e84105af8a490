"""Make the photo that the video model paints again show somebody else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anti_i2v.embedders import OBJECTIVE_EMBEDDERS, IdentityEmbedder, load_embedder
from anti_i2v.errors import UsageError
from anti_i2v.objectives.base import Objective
from anti_i2v.surrogates.draw import DECODED, PHOTO, Draw


class IdentityObjective(Objective):
    """Cosine between the face embeddings of both decoded photos, plus `keep` times 1 - that of the photos themselves.

    A distance of features does not know what a person is, and finds tints and textures; an embedding trained to tell people apart
    does. The second part says that the protected photo itself shall still show its person: what is left to change is what the video
    model makes of it. Dodging of face recognition (Sharif et al. 2016, doi 10.1145/2976749.2978392) through an autoencoder. It
    needs the tap `decoded`, and `photo` if `keep` is positive.

    Args:
        networks: Folders of identity embedders made for objectives, or the names of shipped ones; the judge is refused. The cosine is
            the mean of theirs: what misleads several misleads others more often.
        keep: Weight of the likeness of the photo itself.
        jitter: How much each look at a picture is moved and scaled, as a share of its side; another look at each draw. What misleads
            a network at one place only misleads no other network (input diversity, arXiv 1803.06978).

    Raises:
        UsageError: A folder holds no such network, none is given, or `keep` or `jitter` is out of its range.
    """

    def __init__(self, networks: Sequence[str] = OBJECTIVE_EMBEDDERS, keep: float = 1.0, jitter: float = 0.0) -> None:
        super().__init__()
        if not 0 <= keep < float("inf"):
            raise UsageError(f"keep is {keep}; give a finite number from 0 on")
        if not 0 <= jitter <= 0.3:
            raise UsageError(f"jitter is {jitter}; give a share of the picture's side from 0 to 0.3")
        self.jitter = jitter
        if not networks:
            raise UsageError("no identity embedder is given; give e.g. portrait-faces")
        self.networks, self.keep = nn.ModuleList(load_embedder(network, "objective") for network in networks), keep

    def train(self, mode: bool = True) -> IdentityObjective:
        """Stay in evaluation mode: the networks are frozen."""
        return super().train(False)

    def likeness(self, clean: Tensor, protected: Tensor) -> Tensor:
        """Mean cosine, in [-1, 1], of the embeddings of pictures (B, 3, H, W) in [0, 1] and of their other versions: (B,)."""
        cosines = []
        for network in self.networks:
            assert isinstance(network, IdentityEmbedder)
            with torch.no_grad():
                aim, _ = network.embed(network.resize(clean.float()))
            cosines.append((network.embed(network.resize(protected.float()))[0] * aim).sum(1))
        return torch.stack(cosines).mean(0)

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Objective.needs`."""
        return (DECODED, PHOTO) if self.keep else (DECODED,)

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; the parts are the cosines `likeness` of the decoded photos and, if kept, `photo_likeness`."""
        self.check_taps(clean)
        cosines = {}
        for tap in self.needs:
            name = "likeness" if tap == DECODED else "photo_likeness"
            before, after = (jittered(features[tap].float(), draw, self.jitter) for features in (clean, protected))
            cosines[name] = self.likeness(before, after).mean()
        loss = cosines["likeness"]
        if self.keep:
            loss = loss + self.keep * (1.0 - cosines["photo_likeness"])
        return loss, {name: cosine.detach() for name, cosine in cosines.items()}


def jittered(pictures: Tensor, draw: Draw, amount: float) -> Tensor:
    """Pictures (B, 3, H, W), each moved and scaled by up to `amount` of its side, as the noise of the draw decides: the same shape.

    Both versions of a photo are seen at one draw, so both are moved alike.
    """
    if amount == 0:
        return pictures
    chance = amount * torch.erf(draw.noise.flatten(1)[:, :3].to(pictures) / 2**0.5)  # of a normal number: uniform in [-1, 1]
    theta = torch.zeros(len(pictures), 2, 3).to(pictures)
    theta[:, 0, 0] = theta[:, 1, 1] = 1.0 + chance[:, 0]
    theta[:, :, 2] = 2.0 * chance[:, 1:]  # the side of a grid is 2
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
