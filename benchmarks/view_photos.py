"""Photos with people of all sizes, their protected versions as files, and what an adversary cuts from them; see `views`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.runner import as_saved
from anti_i2v.imaging.cielab import delta_e2000, lab
from anti_i2v.imaging.metrics import rms255
from anti_i2v.imaging.tensors import resize, to_pil, to_tensor
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.groups import GroupRequest, compose

CELLS = {"1": 1.0, "1/2": 0.5, "1/4": 0.25, "1/8": 0.125}
"""Name → height of the face as a share of the shorter side; 1: a portrait that fills the photo, as `PortraitPhotos` are."""

VIEWS = ("whole", "square", "crop75", "shoulders", "tight")
"""What the adversary cuts out; see `cut`."""

SIZES = ("512x512", "1024x768", "768x1024", "1080x1920", "1920x1080", "1200x1600", "900x900", "3000x4000")
"""Height and width of photos: 3:4, 4:3, 16:9, 9:16 and square, 0.3 to 12 megapixels."""

SMALLEST = 96
"""Pixels of a face's height below which nobody would animate it: smaller photos are left out of a cell."""

PICTURES = ("coffee", "chelsea", "rocket", "retina", "brick", "grass", "gravel", "immunohistochemistry")
"""Pictures of scikit-image without people that every third photo has behind its people."""

REGIONS = ("face", "person", "background")

SQUARE = 2.4  # faces: as much of a person as portraits show of theirs, which is what the judge knows

SAMPLE = 2**15  # pixels of each region whose colour difference is computed

Protect = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Subject:
    """The person of a photo whom the adversary wants: `face` is centre y, centre x and height in pixels; masks (H, W)."""

    image: Tensor
    face: tuple[float, float, float]
    people: int
    person_mask: Tensor
    face_mask: Tensor


@dataclass(frozen=True)
class Cell:
    """What a cell's photos gave.

    Attributes:
        views: View → (rows, version → (B, 3, S, S) in [0, 1]): `rows` are the people whose photos have it.
        visibility: Measure → one value a person; NaN where a photo has no such region.
        people: Number of people in each photo.
        sizes: `HEIGHTxWIDTH` of each.
    """

    views: dict[str, tuple[list[int], dict[str, Tensor]]]
    visibility: dict[str, Tensor]
    people: list[int]
    sizes: list[str]


def pictures() -> list[Tensor]:
    """The pictures behind people, (3, h, w) in [0, 1].

    Raises:
        UsageError: scikit-image is not installed, or cannot find its pictures.
    """
    try:
        from skimage import data

        return [to_tensor(Image.fromarray(getattr(data, name)()).convert("RGB")) for name in PICTURES if _offline(data, name)]
    except ImportError as error:
        raise UsageError(f"the pictures behind people are scikit-image's: {error}; pip install 'anti-i2v[test]'") from error


def _offline(data: object, name: str) -> bool:
    """Whether a picture comes with the package; the others would be fetched."""
    try:
        getattr(data, name)()
    except Exception:  # pooch without network raises what its transport does
        return False
    return True


def subjects(cell: str, people: Sequence[int], sizes: Sequence[str], behind: Sequence[Tensor]) -> Iterable[Subject]:
    """One photo a person of the test split, always the same for a cell and a person."""
    clips = PortraitClips("test", 1, 8, 8)
    share = CELLS[cell]
    fit = [
        (height, width) for height, width in (tuple(map(int, size.split("x"))) for size in sizes) if share * min(height, width) >= SMALLEST
    ]
    if not fit:
        raise UsageError(f"no size of {', '.join(sizes)} has {SMALLEST} pixels for a face of {cell} of the shorter side; add a larger one")
    for person in people:
        height, width = fit[person % len(fit)]
        if share == 1:
            height = width = min(height, width, 1024)
            clip = PortraitClips("test", 1, height, width)[person]
            image, masks = (255 * clip.video[0]).round() / 255, (clip.person_mask[0, 0], clip.face_mask[0, 0])
            yield Subject(image, face_box(masks[1]), 1, *masks)
            continue
        chance = random.Random(f"{cell} {person}")
        count = chance.randint(1, {"1/2": 2, "1/4": 4}.get(cell, 6))
        others = [chance.randrange(len(clips)) for _ in range(count - 1)]
        faces = [share, *(min(0.5, share * 2 ** chance.uniform(-0.5, 0.5)) for _ in others)]
        background = behind[person // 3 % len(behind)] if behind and person % 3 == 0 else None
        (photo,) = compose(clips, [GroupRequest([person, *others], faces, height, width, person * 31 + int(1 / share), background)])
        y, x, tall = photo.faces[0].tolist()
        yield Subject(photo.image, (y, x, tall), len(photo.identities), photo.person_mask, photo.face_mask)


def face_box(mask: Tensor) -> tuple[float, float, float]:
    """Centre y, centre x and height of a face's bounding box, from its coverage (H, W)."""
    rows, columns = ((mask >= 0.5).any(axis).nonzero()[:, 0] for axis in (1, 0))
    return float(rows[0] + rows[-1] + 1) / 2, float(columns[0] + columns[-1] + 1) / 2, float(rows[-1] + 1 - rows[0])


def cut(view: str, subject: Subject, chance: random.Random) -> tuple[int, int, int, int] | None:
    """What the adversary cuts out of a photo: top, left, height, width; None where the view makes no sense.

    * `whole`: the photo as it is, squeezed to the model's shape; only of faces from 1/3 of the shorter side, and of shapes up to 4:3.
    * `square`: the video model's aspect, around the person: 2.4 faces high, or as much as the photo has.
    * `crop75`: 75 % of that, anywhere around the face.
    * `shoulders`: head and shoulders, two faces high ± 20 %, off the middle by up to 20 % of a face.
    * `tight`: the face, 1.35 times its height.
    """
    (y, x, tall), (height, width) = subject.face, subject.image.shape[-2:]
    short = min(height, width)
    if view == "whole":
        return (0, 0, height, width) if tall >= short / 3 and max(height, width) <= 1.34 * short else None
    share = {"square": SQUARE, "crop75": 0.75 * SQUARE, "shoulders": 2 * chance.uniform(0.8, 1.2), "tight": 1.35}[view]
    whole = min(short, round(SQUARE * tall))
    side = min(short, round(0.75 * whole) if view == "crop75" else round(share * tall))
    free = max(0.0, (side - 1.1 * tall) / 2)
    reach = {"crop75": free, "shoulders": 0.2 * tall}.get(view, 0.0)
    down = 0.2 * tall if view in ("square", "shoulders") else 0.0  # shoulders are below
    top, left = y + down + chance.uniform(-reach, reach) - side / 2, x + chance.uniform(-reach, reach) - side / 2
    return round(min(max(top, 0), height - side)), round(min(max(left, 0), width - side)), side, side


def local_noise(image: Tensor, residual: Tensor, seed: int) -> Tensor:
    """White noise as strong as a residual in the same place: random signs times its RMS nearby, on the 8-bit grid.

    Args:
        image: (3, H, W) in [0, 1].
        residual: The same shape.
        seed: Of the signs and of the rounding.

    Returns:
        (3, H, W), within the largest change of the residual.
    """
    generator = torch.Generator().manual_seed(seed)
    block = max(2, min(image.shape[-2:]) // 48)
    energy = F.avg_pool2d((255 * residual).square().mean(0)[None, None], block, ceil_mode=True)
    strength = F.interpolate(energy, image.shape[-2:], mode="nearest")[0, 0].sqrt()
    steps = (strength + torch.rand(image.shape, generator=generator)).floor()  # rounds up or down, right in the mean
    signs = 2.0 * torch.randint(2, image.shape, generator=generator) - 1
    return ((255 * image + signs * steps).round().clamp(0, 255)) / 255


def visibility(subject: Subject, protected: Tensor) -> dict[str, float]:
    """RMS and largest change in 1/255 steps, and mean and 95th percentile of ΔE2000 of all pixels and of each region."""
    change = protected - subject.image
    values = {"residual_rms": float(rms255(change[None])), "true_epsilon": float((255 * change.abs()).max().round())}
    values["covered"] = float((subject.person_mask >= 0.5).float().mean())
    regions = {"all": torch.ones_like(subject.face_mask, dtype=torch.bool), "face": subject.face_mask >= 0.5}
    regions |= {"person": subject.person_mask >= 0.5, "background": subject.person_mask < 0.01}
    random_pixels = torch.Generator().manual_seed(0)
    for name, mask in regions.items():
        pixels = mask.flatten().nonzero()[:, 0]
        if len(pixels) > SAMPLE:
            pixels = pixels[torch.randint(len(pixels), (SAMPLE,), generator=random_pixels)]
        a, b = (np.ascontiguousarray(photo.flatten(1)[:, pixels].numpy()) for photo in (subject.image, protected))
        difference = delta_e2000(lab(a), lab(b)) if len(pixels) else np.full(1, np.nan)
        values[f"delta_e_{name}"] = float(difference.mean())
        values[f"delta_e_{name}_95"] = float(np.quantile(difference, 0.95))
    return values


def make(cell: str, people: Sequence[int], sizes: Sequence[str], behind: Sequence[Tensor], protect: Protect, size: int) -> Cell:
    """Compose, protect, write and read again, measure, cut; photos of many megapixels are dropped one by one.

    Args:
        cell: Of `CELLS`.
        people: Of the test split.
        sizes: As `SIZES`.
        behind: From `pictures`.
        protect: Photo → protected photo.
        size: S, side of the views in pixels.
    """
    views: dict[str, tuple[list[int], dict[str, list[Tensor]]]] = {}
    measures: list[dict[str, float]] = []
    counts, shapes = [], []
    photos = tqdm(subjects(cell, people, sizes, behind), desc=f"photos, face {cell}", total=len(people), unit="photo", mininterval=5.0)
    for row, subject in enumerate(photos):
        protected = as_saved(to_tensor(protect(to_pil(subject.image)))[None])[0]
        versions = {"clean": subject.image, "noise": local_noise(subject.image, protected - subject.image, row), "protected": protected}
        measures.append({**visibility(subject, protected), "noise_rms": float(rms255((versions["noise"] - subject.image)[None]))})
        counts.append(subject.people)
        shapes.append("x".join(map(str, subject.image.shape[-2:])))
        for view in VIEWS:
            box = cut(view, subject, random.Random(f"{cell} {people[row]} {view}"))
            if box is None:
                continue
            top, left, height, width = box
            rows, parts = views.setdefault(view, ([], {name: [] for name in versions}))
            rows.append(row)
            for name, photo in versions.items():
                parts[name].append(resize(photo[None, :, top : top + height, left : left + width], size, size)[0])
    stacked = {view: (rows, {name: torch.stack(part) for name, part in parts.items()}) for view, (rows, parts) in views.items()}
    return Cell(stacked, {name: torch.tensor([m[name] for m in measures]) for name in measures[0]}, counts, shapes)
