"""Photos that say where their faces are, for training the salience network: rendered groups, real portraits, and pieces of both."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import to_tensor
from anti_i2v.portraits.backgrounds import draw_behind
from anti_i2v.portraits.clips import PortraitClips
from anti_i2v.portraits.groups import MOST, GroupRequest, compose
from anti_i2v.portraits.scene import sample_scenes

LANDMARKS = "landmarks.csv"
POINTS = ("left_eye", "right_eye", "mouth_left", "mouth_right")
SHORT = 192
"""Shorter side of the photos that are made, in pixels."""


@dataclass(frozen=True)
class FacePhoto:
    """A photo (3, H, W) uint8 and its faces (N, 3): centre y, centre x, height, in pixels."""

    image: Tensor
    faces: Tensor


def to_bytes(image: Tensor) -> Tensor:
    """[0, 1] → bytes."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def log_uniform(low: float, high: float, random: torch.Generator) -> float:
    """A number between the two, each octave as probable as any other."""
    return low * math.exp(math.log(high / low) * float(torch.rand((), generator=random)))


def below(count: int, random: torch.Generator) -> int:
    """A whole number in [0, count)."""
    return int(torch.randint(count, (), generator=random))


def size_of_photo(random: torch.Generator) -> tuple[int, int]:
    """Height and width of a photo to make, of an aspect between 9:16 and 16:9."""
    long = round(SHORT * (1.0 + 0.78 * float(torch.rand((), generator=random))))
    return (SHORT, long) if below(2, random) else (long, SHORT)


def rendered_group(clips: PortraitClips, random: torch.Generator, background: Tensor | None) -> FacePhoto:
    """A rendered photo of one to six people, faces of 6 pixels up to nearly the shorter side."""
    height, width = size_of_photo(random)
    count = 1 + below(MOST, random) * below(2, random)
    faces = [log_uniform(0.035, 0.9 if i == 0 else 0.4, random) for i in range(count)]
    who = [below(len(clips), random) for _ in range(count)]
    photo = compose(clips, [GroupRequest(who, faces, height, width, below(2**31, random), background)])[0]
    return FacePhoto(to_bytes(photo.image), photo.faces[photo.faces.isfinite().all(1)])


def background(pictures: list[Tensor], random: torch.Generator) -> Tensor:
    """(3, H, W) in [0, 1] without people: drawn, or in two of three cases a part of one of the pictures."""
    height, width = size_of_photo(random)
    picture = pictures[below(len(pictures), random)] if pictures and below(3, random) else None
    if picture is not None:
        share = log_uniform(0.3, 1.0, random)
        h, w = (max(16, round(side * share)) for side in picture.shape[-2:])
        top, left = below(picture.shape[-2] - h + 1, random), below(picture.shape[-1] - w + 1, random)
        picture = picture[:, top : top + h, left : left + w].float() / 255
    return draw_behind(sample_scenes([below(2**31, random)]), height, width, random, picture)


def read_pictures(folder: str | Path, short: int = 400) -> list[Tensor]:
    """The pictures of a folder, (3, H, W) uint8, no larger than is of use.

    Raises:
        UsageError: No folder, or no picture in it.
    """
    path = Path(folder).expanduser()
    files = sorted(f for f in path.glob("*") if f.suffix.lower() in (".jpg", ".jpeg", ".png")) if path.is_dir() else []
    if not files:
        raise UsageError(f"no pictures (.jpg, .jpeg, .png) in {path}; give a folder with some")
    pictures = []
    for file in files:
        with Image.open(file) as image:
            factor = min(1.0, short / min(image.size))
            small = image.convert("RGB").resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))))
        pictures.append(to_bytes(to_tensor(small)))
    return pictures


def real_portraits(folder: str | Path) -> list[FacePhoto]:
    """Portraits of real people, one face each, from a folder with `landmarks.csv`.

    The table has the columns `file` and `…_x`, `…_y` of `left_eye`, `right_eye`, `mouth_left` and `mouth_right`, in pixels. A face is three
    times as high as its mouth is below its eyes, and its centre two fifths of the way from there to there. A row without numbers
    is of a photo without a face.

    Raises:
        UsageError: No table, or one without these columns, a row without numbers, or a photo that is missing.
    """
    path = Path(folder).expanduser() / LANDMARKS
    if not path.is_file():
        raise UsageError(f"no {LANDMARKS} in {path.parent}; give a folder of portraits with one, or none at all")
    portraits = []
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if all(row.get(f"{name}_x") == "" for name in POINTS):  # looked at, and no face was found
                continue
            try:
                points = {name: torch.tensor([float(row[f"{name}_y"]), float(row[f"{name}_x"])]) for name in POINTS}
                with Image.open(path.parent / row["file"]) as image:
                    pixels = to_bytes(to_tensor(image))
            except (KeyError, TypeError, ValueError, OSError) as error:
                raise UsageError(f"{path} has an unusable row {dict(row)}: {error}; mend or remove it") from error
            eyes, mouth = (points["left_eye"] + points["right_eye"]) / 2, (points["mouth_left"] + points["mouth_right"]) / 2
            face = [*(eyes + 0.4 * (mouth - eyes)).tolist(), 3.0 * float((mouth - eyes).norm())]
            portraits.append(FacePhoto(pixels, torch.tensor([face])))
    return portraits


def head_and_shoulders(portrait: FacePhoto, random: torch.Generator) -> Tensor:
    """(H, W) soft coverage by the person of a portrait, guessed from the face: an ellipse over a bust; sometimes the whole photo."""
    height, width = portrait.image.shape[-2:]
    if below(4, random) == 0:
        return torch.ones(height, width)
    centre_y, centre_x, face = portrait.faces[0].tolist()
    wide = 0.9 + 0.3 * float(torch.rand((), generator=random))
    y = ((torch.arange(height) + 0.5 - centre_y) / face)[:, None]
    x = ((torch.arange(width) + 0.5 - centre_x) / face)[None]
    head = (x / (0.52 * wide)).square() + ((y + 0.1) / (0.72 * wide)).square() - 1
    bust = (x / (1.1 * wide)).square() + ((y - 1.35) / 0.85).square() - 1
    return torch.sigmoid(-torch.minimum(head, bust) * 12)


def pasted_portraits(portraits: list[FacePhoto], behind: Tensor, random: torch.Generator) -> FacePhoto:
    """One to five real people over a background (3, H, W) in [0, 1], some cut by the frame."""
    sizes = [log_uniform(6.0, 90.0, random) for _ in range(1 + below(5, random) * below(2, random))]
    return paste([portraits[below(len(portraits), random)] for _ in sizes], sizes, behind, random)


def paste(portraits: Sequence[FacePhoto], sizes: Sequence[float], behind: Tensor, random: torch.Generator) -> FacePhoto:
    """Portraits over a background (3, H, W) in [0, 1], their faces of these heights in pixels, the smallest first, anywhere."""
    height, width = behind.shape[-2:]
    canvas, faces = behind.clone(), torch.zeros(0, 3)
    for size, portrait in sorted(zip(sizes, portraits, strict=True), key=lambda pair: pair[0]):
        both = torch.cat([portrait.image.float() / 255, head_and_shoulders(portrait, random)[None]])
        y, x, face = portrait.faces[0].tolist()
        if below(2, random):
            both, x = both.flip(-1), both.shape[-1] - x
        factor = size / face
        h, w = (max(2, round(side * factor)) for side in both.shape[-2:])
        both = F.interpolate(both[None], (h, w), mode="bilinear", antialias=True)[0]
        top = round(float(torch.rand((), generator=random)) * height - y * factor)
        left = round(float(torch.rand((), generator=random)) * width - x * factor)
        rows, columns = slice(max(0, top), min(height, top + h)), slice(max(0, left), min(width, left + w))
        part = both[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        light = 0.7 + 0.5 * float(torch.rand((), generator=random))
        canvas[:, rows, columns] = torch.lerp(canvas[:, rows, columns], part[:3] * light, part[3])
        face_here = torch.tensor([[top + y * factor, left + x * factor, size]])
        faces = torch.cat([_still_seen(faces, rows, columns, part[3]), face_here])
    return FacePhoto(to_bytes(canvas), faces)


def _still_seen(faces: Tensor, rows: slice, columns: slice, cover: Tensor) -> Tensor:
    """The faces that what was laid over them does not cover by half."""
    kept = []
    for y, x, size in faces.tolist():
        top, bottom = math.floor(y - size / 2) - rows.start, math.ceil(y + size / 2) - rows.start
        left, right = math.floor(x - size / 3) - columns.start, math.ceil(x + size / 3) - columns.start
        hidden = cover[max(0, top) : max(0, bottom), max(0, left) : max(0, right)].sum()
        kept.append(float(hidden) < 0.4 * (bottom - top) * (right - left))
    return faces[torch.tensor(kept, dtype=torch.bool)]


def view(photo: FacePhoto, height: int, width: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """A part of a photo at another scale, as a copy of the pyramid might show it.

    A quarter of the views show as much of the photo as fits; most others are scaled so that one of the faces gets a height of 8 to 52
    pixels and lies in the part, anywhere.

    Returns:
        (3, height, width) in [0, 1] and the faces (N, 3) whose centres lie in it or little outside.
    """
    whole_height, whole_width = photo.image.shape[-2:]
    least = max(height / whole_height, width / whole_width)
    scale, face = least, None
    if len(photo.faces) and below(4, random):
        face = photo.faces[below(len(photo.faces), random)]
        scale = log_uniform(8.0, min(52.0, 1.4 * min(height, width)), random) / float(face[2])
    elif below(2, random):
        scale = least * log_uniform(1.0, 3.0, random)
    scale = min(max(scale, least), max(least, 2.0))
    stretch = log_uniform(0.94, 1.06, random)
    h, w = min(whole_height, max(2, round(height / scale * stretch))), min(whole_width, max(2, round(width / scale)))
    y, x = torch.rand(2, generator=random).tolist()
    top, left = y * (whole_height - h), x * (whole_width - w)
    if face is not None:
        top, left = float(face[0]) - y * h, float(face[1]) - x * w
    row, column = min(max(0, round(top)), whole_height - h), min(max(0, round(left)), whole_width - w)
    part = photo.image[None, :, row : row + h, column : column + w].float() / 255
    image = F.interpolate(part, (height, width), mode="bilinear", antialias=True)[0]
    faces = (photo.faces - torch.tensor([row, column, 0])) * torch.tensor([height / h, width / w, math.sqrt(height * width / (h * w))])
    if below(2, random):
        image, faces = image.flip(-1), torch.stack([faces[:, 0], width - faces[:, 1], faces[:, 2]], 1)
    return image, faces
