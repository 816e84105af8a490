"""The photo shows another person once the video model's autoencoder has reconstructed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anti_i2v.embedders import OBJECTIVE_EMBEDDERS, IdentityEmbedder, load_embedder
from anti_i2v.errors import UsageError
from anti_i2v.objectives.base import Objective
from anti_i2v.surrogates.draw import DECODED, PHOTO, Draw

FLAT = 1e-3  # squared distance below which the slope of a root is no longer let grow


class IdentityObjective(Objective):
    """Cosine between the face embeddings of both decoded photos, plus `keep` times 1 - that of the photos themselves.

    A distance of features does not know what a person is, and finds tints and textures; an embedding trained to tell people apart
    does. The second part keeps the person recognisable in the protected photo itself, so that only what the video model makes of
    it can change. Dodging of face recognition (Sharif et al. 2016, doi 10.1145/2976749.2978392) through an autoencoder.
    It needs the tap `decoded`, and `photo` if `keep` is positive.

    Args:
        embedders: Folders of objective embedders, or the names of shipped ones; the judge is refused. The cosine is the mean of
            theirs: what misleads several misleads others more often.
        keep: Weight of the identity similarity of the photo itself.
        input_diversity: Largest random shift and scaling of each picture before embedding, as a share of its side. What misleads an
            embedder at one position only misleads no other (arXiv 1803.06978).
        reference: What the decoded protected photo is compared with: the photo `decoded` as well, or the `photo` itself, which saves the
            autoencoder's pass over it.
        steep: Minimise minus the distance of both embeddings on the unit sphere instead of their cosine, whose slope vanishes where
            they are equal: photos whose protection an adversary has undone would hardly count.

    Raises:
        UsageError: A folder holds no objective embedder, there is none, or `keep` or `input_diversity` is out of its range.
    """

    def __init__(
        self,
        embedders: Sequence[str] = OBJECTIVE_EMBEDDERS,
        keep: float = 1.0,
        input_diversity: float = 0.0,
        steep: bool = False,
        reference: Literal["decoded", "photo"] = "decoded",
    ) -> None:
        super().__init__()
        if not 0 <= keep < float("inf"):
            raise UsageError(f"keep is {keep}; give a finite number from 0 on")
        if not 0 <= input_diversity <= 0.3:
            raise UsageError(f"input_diversity is {input_diversity}; give a share of the picture's side from 0 to 0.3")
        if not embedders:
            raise UsageError("embedders is empty; give e.g. portrait-faces")
        self.embedders = nn.ModuleList(load_embedder(folder, "objective") for folder in embedders)
        self.keep, self.input_diversity, self.steep, self.reference = keep, input_diversity, steep, reference

    def train(self, mode: bool = True) -> IdentityObjective:
        """Stay in evaluation mode: the embedders are frozen."""
        return super().train(False)

    def similarity(self, clean: Tensor, protected: Tensor) -> Tensor:
        """Mean cosine, in [-1, 1], of the embeddings of pictures (B, 3, H, W) in [0, 1] and of their other versions: (B,)."""
        cosines = []
        for embedder in self.embedders:
            assert isinstance(embedder, IdentityEmbedder)
            with torch.no_grad():
                person, _ = embedder.embed(embedder.resize(clean.float()))
            cosines.append((embedder.embed(embedder.resize(protected.float()))[0] * person).sum(1))
        return torch.stack(cosines).mean(0)

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Objective.needs`."""
        return (DECODED, PHOTO) if self.keep else (DECODED,)

    @property
    def clean_taps(self) -> tuple[str, ...] | None:
        """See `Objective.clean_taps`."""
        return tuple(dict.fromkeys((self.reference, *((PHOTO,) if self.keep else ()))))

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; the parts are the cosines `similarity` of the decoded photos and, with `keep`, `photo_similarity`."""
        self.check_taps(protected)
        cosines = {}
        for tap in self.needs:
            name = "similarity" if tap == DECODED else "photo_similarity"
            pair = clean[self.reference if tap == DECODED else tap], protected[tap]
            before, after = (shift_and_scale(pictures.float(), draw, self.input_diversity) for pictures in pair)
            cosines[name] = self.similarity(before, after)
        loss = (-(2 - 2 * cosines["similarity"] + FLAT).clamp_min(FLAT).sqrt() if self.steep else cosines["similarity"]).mean()
        if self.keep:
            loss = loss + self.keep * (1.0 - cosines["photo_similarity"].mean())
        return loss, {name: cosine.detach().mean() for name, cosine in cosines.items()}


def shift_and_scale(pictures: Tensor, draw: Draw, amount: float) -> Tensor:
    """Shift and scale each picture (B, 3, H, W) by up to `amount` of its side, as the noise of the draw decides: the same shape.

    Both versions of a photo have one draw, so both get the same shift and scale.
    """
    if amount == 0:
        return pictures
    chance = amount * torch.erf(draw.noise.flatten(1)[:, :3].to(pictures) / 2**0.5)  # of a normal number: uniform in [-1, 1]
    theta = torch.zeros(len(pictures), 2, 3).to(pictures)
    theta[:, 0, 0] = theta[:, 1, 1] = 1.0 + chance[:, 0]
    theta[:, :, 2] = 2.0 * chance[:, 1:]  # the side of a grid is 2
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
