"""What an adversary uses of a protected photo: a person cut out of it, at any scale and place, or all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.inference.batches import Windows
from anti_i2v.inference.windows import SIDE_OF_FACE, Window, window_around


class View:
    """A square around one person of each photo, or the whole photo, scaled to one size.

    Args:
        size: Height and width of the views in pixels; the surrogate's.
        face: Smallest and largest height of the face in a view, as a share of the view.
        place: Largest distance of the face from where it would be in the middle, as a share of the face's height.
        whole: Share of the photos that are used whole, in [0, 1].

    Raises:
        UsageError: A value out of its range.
    """

    def __init__(self, size: int = 128, face: tuple[float, float] = (0.35, 0.95), place: float = 0.2, whole: float = 0.25) -> None:
        if size < 8:
            raise UsageError(f"size of a view is {size}; give at least 8 pixels")
        if not 0.05 <= face[0] <= face[1] <= 2:
            raise UsageError(f"face {tuple(face)} must be a smallest and a largest share within 0.05–2")
        if not 0 <= place <= 1 or not 0 <= whole <= 1:
            raise UsageError(f"place {place} and whole {whole} must be between 0 and 1")
        self.size, self.face, self.place, self.whole = size, face, place, whole

    def sample(self, windows: Windows, height: int, width: int, random: torch.Generator) -> Tensor:
        """Boxes (B, 4) of one view of each photo: centre y, centre x, height and width, in pixels; the whole photo where nobody is."""
        return self.sample_people(windows, height, width, random)[0]

    def sample_people(self, windows: Windows, height: int, width: int, random: torch.Generator) -> tuple[Tensor, list[int]]:
        """The same, and the number of the person that each view is of, among the windows of the photo; 0 where nobody is."""
        uniform = torch.rand(len(windows), 5, generator=random).tolist()
        people = [int(draws[1] * len(those)) for those, draws in zip(windows, uniform, strict=True)]
        boxes = [(height / 2, width / 2, float(height), float(width))] * len(windows)
        for row, (those, (whole, _, scale, y, x)) in enumerate(zip(windows, uniform, strict=True)):
            if not those or whole < self.whole:
                continue
            window = those[people[row]]
            face = window.side / SIDE_OF_FACE
            side = min(face / (self.face[0] + (self.face[1] - self.face[0]) * scale), height, width)
            centre = [first + window.side / 2 + 2 * (u - 0.5) * self.place * face for first, u in ((window.top, y), (window.left, x))]
            inside = [min(max(c, side / 2), n - side / 2) for c, n in zip(centre, (height, width), strict=True)]
            boxes[row] = (*inside, side, side)
        return torch.tensor(boxes), people

    def __call__(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Cut views: (B, 3, H, W) and boxes of `sample` → (B, 3, size, size), differentiably, bilinear as video tools do."""
        height, width = image.shape[-2:]
        theta = torch.zeros(len(image), 2, 3)
        theta[:, 0, 0], theta[:, 1, 1] = boxes[:, 3] / width, boxes[:, 2] / height
        theta[:, 0, 2], theta[:, 1, 2] = boxes[:, 1] / width * 2 - 1, boxes[:, 0] / height * 2 - 1
        # Sampling at one point a pixel would alias where a view is made smaller; twice as many points each way are averaged.
        grid = F.affine_grid(theta.to(image), [len(image), 3, 2 * self.size, 2 * self.size], align_corners=False)
        return F.avg_pool2d(F.grid_sample(image.float(), grid, padding_mode="border", align_corners=False), 2)


class DrawnView(Protocol):
    """Cuts one drawn view out of each photo of a batch."""

    def __call__(self, photos: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Photos (N, 3, H, W), and their numbers in the batch where they are not all of it → (N, 3, S, S)."""


class ViewOfBatch:
    """The views of a batch of photos, once for all versions of it; see `DrawnView`.

    Args:
        view: None for the whole photos.
        image: (B, 3, H, W) the photos.
        windows: Where people are in each; in the order of their landmarks where there are some.
        random: Decides the views.
    """

    def __init__(self, view: View | None, image: Tensor, windows: Windows, random: torch.Generator) -> None:
        self.view, self.people = view, [0] * len(image)
        if view is not None:
            self.boxes, self.people = view.sample_people(windows, image.shape[-2], image.shape[-1], random)

    def __call__(self, photos: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """See `DrawnView`."""
        return photos if self.view is None else self.view(photos, self.boxes if rows is None else self.boxes[list(rows)])

    def landmarks(self, landmarks: Tensor) -> Tensor:
        """The landmarks, in pixels of the views, of the person that each view is of.

        Args:
            landmarks: (B, N, 5, 2) y, x in pixels of the photos, NaN where there is no face; see `PhotoBatch`.

        Returns:
            (B, 5, 2), outside of the view where a face is cut off; NaN where nobody is.
        """
        known = landmarks.isfinite().flatten(2).all(2).tolist()
        chosen = torch.full_like(landmarks[:, 0], torch.nan)
        for row, person in enumerate(self.people):
            numbers = [number for number, is_face in enumerate(known[row]) if is_face]
            if numbers:
                chosen[row] = landmarks[row, numbers[min(person, len(numbers) - 1)]]
        if self.view is None:
            return chosen
        boxes = self.boxes.to(landmarks)[:, None]
        return (chosen - boxes[..., :2] + boxes[..., 2:] / 2) / boxes[..., 2:] * self.view.size


def draw_view(view: View | None, image: Tensor, windows: Windows, random: torch.Generator) -> ViewOfBatch:
    """Draw a view of each photo of a batch (B, 3, H, W), once for all versions of it; without a `View` the whole photos."""
    return ViewOfBatch(view, image, windows, random)


def around(faces: Tensor) -> list[list[Window]]:
    """The windows around faces that the source of the photos knows: (B, N, 3) of `PhotoBatch`, heights of 0 where there is none."""
    return [[window_around(y, x, height) for y, x, height in those if height > 0] for those in faces.tolist()]


def jitter(windows: Windows, amount: float, random: torch.Generator) -> list[list[Window]]:
    """Windows moved and scaled by up to a share of their side."""
    moved: list[list[Window]] = []
    for those in windows:
        draws: Sequence[list[float]] = (2 * torch.rand(len(those), 3, generator=random) - 1).tolist()
        moved.append([_moved(window, [amount * d for d in draw]) for window, draw in zip(those, draws, strict=True)])
    return moved


def _moved(window: Window, change: list[float]) -> Window:
    side = max(1, round(window.side * (1 + change[0])))
    grown = (window.side - side) / 2
    top, left = (round(first + grown + by * window.side) for first, by in ((window.top, change[1]), (window.left, change[2])))
    return replace(window, top=top, left=left, side=side)
