"""Evaluates changed photos with the same people, noise and judge for every kind of change.

What a version of a photo did is measured on its clip (does it show the person?), on the photo itself (is only the judge
fooled?) and on what the pipeline computes from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anti_i2v.embedders import Embedder
from anti_i2v.evaluation.clips import clip_changes
from anti_i2v.evaluation.identity import References, identity_shift, rank1, similarity
from anti_i2v.imaging.metrics import rms255
from anti_i2v.surrogates import Surrogate

Measures = dict[str, Tensor]
"""Name of a measure → (B,) on the CPU, one value a photo; NaN where it is not defined."""


@dataclass(frozen=True)
class CleanBatch:
    """B people.

    Attributes:
        photo: (B, 3, H, W) in [0, 1], at the surrogate's size.
        text: From `Surrogate.encode_text`.
        who: (B,) their rows in the references.
        clips: Of the clean photos, one (B, T, 3, H, W) a seed of the clips.
    """

    photo: Tensor
    text: dict[str, Tensor]
    who: Tensor
    clips: list[Tensor]

    @property
    def first(self) -> int:
        """Row of the first person, which also sets this batch's randomness apart."""
        return int(self.who[0])


@dataclass(frozen=True)
class PhotoEvaluator:
    """What the evaluation of all versions has in common.

    Attributes:
        surrogate: Makes the clips.
        judge: Says who is in them; on the surrogate's device.
        references: References of at least the people judged.
        clip_seeds: Clips are made from each; measures are averaged over them for each person.
    """

    surrogate: Surrogate
    judge: Embedder
    references: References
    clip_seeds: list[int]

    def animate(self, photo: Tensor, text: dict[str, Tensor], shift: int) -> list[Tensor]:
        """Clips of B photos, one (B, T, 3, H, W) a seed."""
        return [self.surrogate.animate(photo, text, seed + shift) for seed in self.clip_seeds]

    @torch.no_grad()
    def measure_identity(self, video: Tensor, clean: Tensor, who: Tensor) -> Measures:
        """What the judge says of clips (B, T, 3, H, W), beside the clips of the clean photos.

        Returns:
            (B,) each: `identity_similarity` and `strangers_similarity` (cosines), `clean_identity_similarity` (that of the
            clean clip), `identity_shift`, `rank1` and `presence` of a face, 0 to 1.
        """
        embedding = self.judge(video)
        own, strangers = similarity(embedding, self.references, who)
        clean_own, _ = similarity(self.judge(clean), self.references, who)
        return {
            "identity_similarity": own,
            "strangers_similarity": strangers,
            "clean_identity_similarity": clean_own,
            "identity_shift": identity_shift(clean_own, own, strangers),
            "rank1": rank1(embedding, self.references, who),
            "presence": self.judge.embed_frames(video)[1].mean(1),
        }

    def measure(self, batch: CleanBatch, photo: Tensor, clips: list[Tensor]) -> Measures:
        """Everything about a version of a batch's photos.

        Args:
            batch: The clean photos.
            photo: (B, 3, H, W), the version.
            clips: From `animate` of the version.

        Returns:
            The measures of `measure_identity` and of `clips.clip_changes`, averaged over the seeds; `photo_identity_similarity` and
            `photo_identity_shift` of the photo itself; `rms` and `true_epsilon` (the largest change) of the residual in 1/255;
            `latent_gain`.
        """
        pairs = zip(clips, batch.clips, strict=True)
        seeds = [{**self.measure_identity(clip, clean, batch.who), **clip_changes(clip, clean)} for clip, clean in pairs]
        still = self.measure_identity(photo[:, None], batch.photo[:, None], batch.who)
        values = {name: torch.stack([seed[name] for seed in seeds]).nanmean(0) for name in seeds[0]}
        values |= {f"photo_{name}": still[name] for name in ("identity_similarity", "identity_shift")}
        values["rms"] = rms255(photo - batch.photo)
        values["true_epsilon"] = 255 * (photo - batch.photo).abs().flatten(1).amax(1)
        values["latent_gain"] = latent_gain(self.surrogate, batch.photo, photo)
        return {name: value.float().cpu() for name, value in values.items()}


@torch.no_grad()
def latent_gain(surrogate: Surrogate, photo: Tensor, other: Tensor) -> Tensor:
    """(‖Δz‖ / ‖z‖) / (‖Δx‖ / ‖x‖), z all that the pipeline computes from a photo x: (B,), NaN for an unchanged photo."""
    before, after = (
        torch.cat([value.float().flatten(1) for value in surrogate.condition(image).values() if value.is_floating_point()], 1)
        for image in (photo, other)
    )
    clean, changed_photo = photo.flatten(1), other.flatten(1)
    gain: Tensor = ((after - before).norm(dim=1) / before.norm(dim=1)) / ((changed_photo - clean).norm(dim=1) / clean.norm(dim=1))
    return gain
