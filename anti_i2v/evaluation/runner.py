"""The trial: animate the clean photo, its protected version and equally strong noise from the same seed, and compare.

A version is judged as the file that people upload: written as PNG, read again, then scaled to the surrogate's size.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from anti_i2v.embedders import Embedder
from anti_i2v.errors import UsageError
from anti_i2v.evaluation.clips import check_finite, clip_changes, fidelity, mean_damage
from anti_i2v.evaluation.judging import Judges, PeopleClips, Reading, find_references, identity_measures, read_identity
from anti_i2v.evaluation.noise import random_residual, white_noise
from anti_i2v.imaging.metrics import ciede2000, psnr, rms255
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.tensors import resize, to_pil, to_tensor
from anti_i2v.imaging.writing import encode_photo
from anti_i2v.protector import Protector
from anti_i2v.surrogates import Surrogate


@dataclass(frozen=True)
class Trial:
    """Result for B photos.

    Attributes:
        photos: Version (and `clean`) → (B, 3, H, W) in [0, 1] as read from the file.
        clips: Version (and `clean`) → (B, T, 3, h, w) in [0, 1].
        measures: Version → measure → (B,).
        readings: Version → what the judge of identity saw; empty without one.
        identity: (B,) who is in the photos, if that is known; see `PhotoBatch`.
    """

    photos: dict[str, Tensor]
    clips: dict[str, Tensor]
    measures: dict[str, dict[str, Tensor]]
    readings: dict[str, Reading] = field(default_factory=dict)
    identity: Tensor | None = None


@torch.no_grad()
def run_trial(
    surrogate: Surrogate,
    protector: Protector,
    image: Tensor,
    prompts: list[str],
    epsilon: float,
    seed: int,
    judges: Judges | None = None,
    identity: Tensor | None = None,
) -> Trial:
    """Animate all versions of B photos and measure them.

    Args:
        surrogate: Makes the clips; its taps are read for feature damage.
        protector: In evaluation mode.
        image: (B, 3, H, W) in [0, 1], the clean photos at any size.
        prompts: B prompts.
        epsilon: Budget in 1/255.
        seed: Of noise and draws; the same for every version.
        judges: The judges of the clips; `with_identity` then compares all trials of a test.
        identity: (B,) who is in the photos, if that is known.

    Returns:
        The trial; the `clean` photo is the 8-bit file too.

    Raises:
        UsageError: A version, its clip or its features hold NaN or infinite values.
    """
    random = torch.Generator().manual_seed(seed)
    image = as_saved(image)
    output = protector(image, epsilon)
    check_finite("protected", photos=output)  # a file would turn NaN into black
    protected = as_saved(output)
    rms = rms255(protected - image)
    photos = {
        "clean": image,
        "protected": protected,
        "white_noise": as_saved(white_noise(image, rms, epsilon, random)),
        "random_parameters": as_saved(random_residual(protector, image, rms, epsilon, random)),
        "other_seed": image,
    }
    return animate_versions(surrogate, photos, prompts, seed, judges, identity)


@torch.no_grad()
def animate_versions(
    surrogate: Surrogate,
    photos: dict[str, Tensor],
    prompts: list[str],
    seed: int,
    judges: Judges | None = None,
    identity: Tensor | None = None,
    draws: int = 4,
) -> Trial:
    """Animate given versions of B photos from the same noise and measure them against the clean one.

    Args:
        surrogate: Makes the clips.
        photos: Version → (B, 3, H, W) in [0, 1] as read from the file; `clean` comes first, `other_seed` gets other noise.
        prompts: B prompts.
        seed: Of noise and draws.
        judges: The judges of the clips.
        identity: (B,) who is in the photos, if that is known.
        draws: How many the feature damage is averaged over.

    Raises:
        UsageError: A clip or its features hold NaN or infinite values.
    """
    text = surrogate.encode_text(prompts)
    clips, measures, readings = {}, {}, {}
    clean = resize(photos["clean"], surrogate.height, surrogate.width)
    for name, photo in photos.items():
        picture = resize(photo, surrogate.height, surrogate.width)
        clips[name] = surrogate.animate(picture, text, seed=seed + (1_000_003 if name == "other_seed" else 0))
        damage = mean_damage(surrogate, clean, picture, text, seed, draws)
        check_finite(name, clips=clips[name], features=damage)
        measures[name] = {
            "residual_rms": rms255(photo - photos["clean"]),
            "psnr": psnr(photos["clean"], photo),
            "delta_e": ciede2000(photos["clean"], photo),
            **clip_changes(clips[name], clips["clean"]),
            "feature_damage": damage,
            **fidelity(clips[name], clips["clean"], clean),
        }
        if judges is not None and judges.actions is not None:
            measures[name]["action"] = judges.actions.shows(clips[name], prompts)
        if judges is not None and judges.identity is not None:
            readings[name] = read_identity(judges.identity, clips[name], picture)
    return Trial(photos, clips, measures, readings, identity)


def with_identity(trials: Sequence[Trial], judge: Embedder, people_clips: PeopleClips | None = None) -> tuple[list[Trial], str]:
    """Add to all trials of a test whether people are still recognised: strangers are the others of the test.

    Args:
        trials: From `run_trial` with this judge.
        judge: The judge of identity.
        people_clips: Gives clips of the same people in other scenes, where the source of photos has some.

    Returns:
        The trials with more measures, and a note that says what the people were compared with, or why they were not.
    """
    parts = [trial.readings["clean"] for trial in trials]
    clean = Reading(
        clip=torch.cat([part.clip for part in parts]),
        photo=torch.cat([part.photo for part in parts]),
        face=torch.cat([part.face for part in parts]),
        photo_face=torch.cat([part.photo_face for part in parts]),
        consistency=torch.cat([part.consistency for part in parts]),
    )
    identities = [trial.identity for trial in trials if trial.identity is not None]
    identity = torch.cat(identities) if len(identities) == len(trials) else None
    try:
        references, rows, words = find_references(judge, clean, identity, people_clips)
    except UsageError as error:  # all other measures are valid, and took long
        return list(trials), f"identity similarity is not judged: {error}"
    results, first = [], 0
    for trial, part in zip(trials, parts, strict=True):
        who = rows[first : first + len(part.clip)]
        first += len(who)
        more = identity_measures(trial.readings, references, who)
        results.append(replace(trial, measures={name: {**old, **more[name]} for name, old in trial.measures.items()}))
    return results, f"identity similarity is the cosine to {words}"


@torch.no_grad()
def photo_measures(
    surrogate: Surrogate, protector: Protector, image: Tensor, prompts: list[str], epsilon: float, seed: int
) -> dict[str, Tensor]:
    """The quick judgement that validation makes: features and photos only, no clips.

    Args:
        surrogate: Its taps are read at one draw.
        protector: In evaluation mode.
        image: (B, 3, H, W) in [0, 1].
        prompts: B prompts.
        epsilon: Budget in 1/255.
        seed: Of draw and noise.

    Returns:
        (B,) each: `damage` of the protected photo, `damage_noise` of white noise with the same RMS, `damage_jpeg75`
        (protected and clean photo both after a real JPEG file of quality 75), `psnr` in dB, `delta_e` (ΔE2000).
    """
    random = torch.Generator().manual_seed(seed)
    protected = protector(image, epsilon)
    check_finite("protected", photos=protected)
    noisy = white_noise(image, rms255(protected - image), epsilon, random)
    text = surrogate.encode_text(prompts)

    def damage(clean: Tensor, other: Tensor) -> Tensor:
        pictures = [resize(photo, surrogate.height, surrogate.width) for photo in (clean, other)]
        return mean_damage(surrogate, pictures[0], pictures[1], text, seed, draws=1)

    return {
        "damage": damage(image, protected),
        "damage_noise": damage(image, noisy),
        "damage_jpeg75": damage(as_jpeg(image, 75), as_jpeg(protected, 75)),
        "psnr": psnr(image, protected),
        "delta_e": ciede2000(image, protected),
    }


def as_jpeg(images: Tensor, quality: int) -> Tensor:
    """Write each picture as an ordinary JPEG (4:2:0) and read it again: (B, 3, H, W) in [0, 1] → the same."""
    pictures = []
    for image in images:
        file = io.BytesIO()
        to_pil(image).save(file, "JPEG", quality=quality)
        file.seek(0)
        pictures.append(to_tensor(read_photo(file, "a photo in memory")))
    return torch.stack(pictures).to(images.device)


def as_saved(images: Tensor) -> Tensor:
    """Write each picture as PNG and read it again: (B, 3, H, W) in [0, 1] → the same, exactly what the file holds."""
    pictures = []
    for image in images:
        picture, file = to_pil(image), io.BytesIO()
        encode_photo(picture, file, ".png", picture)
        file.seek(0)
        pictures.append(to_tensor(read_photo(file, "a protected photo")))
    return torch.stack(pictures).to(images.device)
