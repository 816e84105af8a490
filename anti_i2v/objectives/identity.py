"""The photo shows another person once the video model's autoencoder has reconstructed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anti_i2v.embedders import OBJECTIVE_EMBEDDERS, Embedder, load_embedder
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
        embedders: Folders of objective embedders, or the names of shipped ones, or `dlib`; the judge is refused. The cosine is the mean of
            theirs: what misleads several misleads others more often. Those that read aligned faces need the draw's landmarks, and do not
            count a photo whose face is missing or cut off.
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

    def similarity(self, clean: Tensor, protected: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """The first of what `compare` gives: (B,)."""
        return self.compare(clean, protected, landmarks)[0]

    def compare(self, clean: Tensor, protected: Tensor, landmarks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """How alike pictures and their other versions are to the embedders.

        Args:
            clean: (B, 3, H, W) in [0, 1].
            protected: Likewise, differentiable.
            landmarks: (B, 5, 2) y, x in pixels of both; see `Draw.landmarks`.

        Returns:
            (B,) mean cosine of those embedders that read the face, in [-1, 1], and (B,) bool, whether any did; it is 0 where none did.

        Raises:
            UsageError: An embedder reads aligned faces, and there are no landmarks.
        """
        cosines, counts = [], []
        for embedder in self.embedders:
            assert isinstance(embedder, Embedder)
            with torch.no_grad():
                crop, faces = embedder.crop(clean.float(), landmarks)
                person, _ = embedder.embed(crop)
            cosine = (embedder.embed(embedder.crop(protected.float(), landmarks)[0])[0] * person).sum(1)
            cosines.append(torch.where(faces, cosine, torch.zeros_like(cosine)))
            counts.append(faces)
        count = torch.stack(counts).sum(0)
        return torch.stack(cosines).sum(0) / count.clamp_min(1), count > 0

    @property
    def embedder_names(self) -> tuple[str, ...]:
        """See `Objective.embedder_names`."""
        return tuple(embedder.name for embedder in self.embedders if isinstance(embedder, Embedder))

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
        cosines, counted = {}, {}
        for tap in self.needs:
            name = "similarity" if tap == DECODED else "photo_similarity"
            pair = clean[self.reference if tap == DECODED else tap], protected[tap]
            before, after = (shift_and_scale(pictures.float(), draw, self.input_diversity) for pictures in pair)
            landmarks = move_with_pictures(draw, pair[1].shape[-2:], self.input_diversity)
            cosines[name], counted[name] = self.compare(before, after, landmarks)
        values = -(2 - 2 * cosines["similarity"] + FLAT).clamp_min(FLAT).sqrt() if self.steep else cosines["similarity"]
        loss = mean_where(values, counted["similarity"])
        if self.keep:
            loss = loss + self.keep * mean_where(1.0 - cosines["photo_similarity"], counted["photo_similarity"])
        return loss, {name: mean_where(cosine.detach(), counted[name]) for name, cosine in cosines.items()}


def mean_where(values: Tensor, counted: Tensor) -> Tensor:
    """The mean of those values (B,) that count, where `counted` (B,) is true; 0 where none does, so that such a step changes nothing."""
    return (values * counted).sum() / counted.sum().clamp_min(1)


def shift_and_scale(pictures: Tensor, draw: Draw, amount: float) -> Tensor:
    """Shift and scale each picture (B, 3, H, W) by up to `amount` of its side, as the noise of the draw decides: the same shape.

    Both versions of a photo have one draw, so both get the same shift and scale.
    """
    if amount == 0:
        return pictures
    chance = _chance(draw, amount).to(pictures)
    theta = torch.zeros(len(pictures), 2, 3).to(pictures)
    theta[:, 0, 0] = theta[:, 1, 1] = 1.0 + chance[:, 0]
    theta[:, :, 2] = 2.0 * chance[:, 1:]  # the side of a grid is 2
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _chance(draw: Draw, amount: float) -> Tensor:
    """Scaling, shift to the left and shift upwards of each picture: (B, 3) uniform in [-amount, amount]."""
    return amount * torch.erf(draw.noise.flatten(1)[:, :3].float() / 2**0.5)  # of a normal number: uniform in [-1, 1]


def move_with_pictures(draw: Draw, size: Sequence[int], amount: float) -> Tensor | None:
    """The draw's landmarks (B, 5, 2) where `shift_and_scale` moves them in pictures of a size (height, width) in pixels."""
    if draw.landmarks is None or amount == 0:
        return draw.landmarks
    chance = _chance(draw, amount).to(draw.landmarks)[:, None]
    sides = draw.landmarks.new_tensor(list(size))
    # The pixel at u in [-1, 1] shows what was at (1 + scaling) · u + 2 · shift; the shift along x comes first.
    place = 2 * draw.landmarks / sides - 1
    return ((place - 2 * chance[..., 1:].flip(-1)) / (1 + chance[..., :1]) + 1) / 2 * sides
