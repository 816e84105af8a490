"""Photos with several rendered people: chosen sizes, anywhere in the frame, before any background, of any size and aspect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.portraits.backgrounds import draw_behind
from anti_i2v.portraits.clips import PortraitClips
from anti_i2v.portraits.figures import FINEST, SOLES, Patch, People, Placement, take
from anti_i2v.portraits.scene import Scene

MOST = 6
"""People in one photo, at most."""

TRIES = 60  # places tried for one person before the photo does without


@dataclass(frozen=True)
class GroupRequest:
    """What a photo is to show.

    Attributes:
        clips: Indices in `PortraitClips` of the people: who, in which clothes and pose. The first one surely gets a place, the others
            where one is left.
        faces: Height of each face as a share of the photo's shorter side, above 0 and at most 0.95.
        height: H in pixels.
        width: W in pixels.
        seed: Decides places, background and grain.
        background: (3, h, w) in [0, 1], of which a part is the background; None draws one.
    """

    clips: Sequence[int]
    faces: Sequence[float]
    height: int
    width: int
    seed: int
    background: Tensor | None = None


@dataclass(frozen=True)
class GroupPhoto:
    """A photo with N people.

    Attributes:
        image: (3, H, W) in [0, 1], on the 8-bit grid.
        faces: (N, 3) centre y, centre x and height of each face in pixels: of the bounding box of what is seen of it.
        identities: Number of each person, see `PortraitClips`.
        prompts: The words that ask for each person's action.
        person_mask: (H, W) coverage by people, in [0, 1].
        face_mask: (H, W) coverage by faces, in [0, 1].
    """

    image: Tensor
    faces: Tensor
    identities: list[int]
    prompts: list[str]
    person_mask: Tensor
    face_mask: Tensor


def compose(clips: PortraitClips, requests: Sequence[GroupRequest], finest: int = FINEST) -> list[GroupPhoto]:
    """Make photos; people of one size are drawn together, so many photos at once are cheaper than one by one.

    No face is covered by another person or cut by the frame; shoulders overlap, and the frame may cut a person below the face.

    Args:
        clips: The split that the people are of.
        requests: One a photo.
        finest: See `figures.FINEST`; less is faster and softer.

    Raises:
        UsageError: A photo with no or too many people, with an unusable size, or with fewer faces than people.
    """
    for request in requests:
        _check(request)
    numbers = [clip for request in requests for clip in request.clips]
    cast = clips.cast(numbers)
    photo = [i for i, request in enumerate(requests) for _ in request.clips]
    first = [photo.index(i) for i in photo]
    scene = _same_light(cast.scene, first)
    people = People(cast.identity, scene)
    randoms = [torch.Generator().manual_seed(request.seed) for request in requests]
    places: list[Placement | None] = []
    for request, random in zip(requests, randoms, strict=True):
        members = range(len(places), len(places) + len(request.clips))
        places += arrange(people, members, request, random)
    backgrounds = []
    for i, (request, random) in enumerate(zip(requests, randoms, strict=True)):
        row = photo.index(i)
        part = take(scene, [row])
        backgrounds.append(draw_behind(part, request.height, request.width, random, request.background))
    kept = [i for i, place in enumerate(places) if place is not None]
    shown = People([cast.identity[i] for i in kept], take(scene, kept))
    patches = shown.draw([place for place in places if place is not None], backgrounds, [photo[i] for i in kept], finest)
    photos = []
    for i, background in enumerate(backgrounds):
        mine = [(number, patch) for number, patch in zip(kept, patches, strict=True) if photo[number] == i]
        order = sorted(mine, key=lambda pair: _nearness(places[pair[0]]))
        image, person, face, boxes = _lay(background, [patch for _, patch in order])
        by_number = {number: found for (number, _), found in zip(order, boxes, strict=True)}
        grain = float(scene["grain"][photo.index(i)])
        image += grain * torch.randn(image.shape[-2:], generator=randoms[i])
        image = image.clamp_(0, 1).mul_(255).round_().div_(255)
        who = [number for number, _ in mine]
        faces = torch.tensor([by_number[number] for number in who])
        photos.append(GroupPhoto(image, faces, [cast.identity[n] for n in who], [cast.prompts[n] for n in who], person, face))
    return photos


def _check(request: GroupRequest) -> None:
    if not 1 <= len(request.clips) <= MOST:
        raise UsageError(f"{len(request.clips)} people in one photo; give 1 to {MOST}")
    if len(request.faces) != len(request.clips) or not all(0 < face <= 0.95 for face in request.faces):
        raise UsageError(f"faces {list(request.faces)} for {len(request.clips)} people; give each a share of the shorter side, 0 to 0.95")
    if min(request.height, request.width) < 16:
        raise UsageError(f"cannot compose {request.height}x{request.width} pixels; use at least 16x16")


def _same_light(scene: Scene, first: list[int]) -> Scene:
    """People of one photo stand in one light: that of its first person."""
    light = ("light_x", "light_y", "gamma", "softness", "grain")
    return replace(scene, cast=scene.cast[first], value={**scene.value, **{name: scene[name][first] for name in light}})


def arrange(people: People, members: Sequence[int], request: GroupRequest, random: torch.Generator) -> list[Placement | None]:
    """A place for each of some people; None for who finds none. The largest choose first, after the first person."""
    short = min(request.height, request.width)
    taken: dict[int, Placement] = {}
    order = sorted(members, key=lambda i: (i != members[0], -request.faces[i - members[0]]))
    for i in order:
        unit = request.faces[i - members[0]] * short / people.face[i]
        half = request.faces[i - members[0]] * short / 2
        for _ in range(TRIES):
            y, x = torch.rand(2, generator=random).tolist()
            top, side = half * 1.06, half * 0.95
            centre_y = top + y * max(0.0, request.height - 2 * top)
            centre_x = side + x * max(0.0, request.width - 2 * side)
            place = Placement(unit, centre_y - people.face_centre[i] * unit, centre_x)
            if all(not _hides(people, i, place, j, other) and not _hides(people, j, other, i, place) for j, other in taken.items()):
                taken[i] = place
                break
    return [taken.get(i) for i in members]


Rectangle = tuple[float, float, float, float]
"""Top, left, bottom, right."""


def _hides(people: People, i: int, front: Placement, j: int, behind: Placement) -> bool:
    """Whether person `i` would stand before the face of person `j`."""
    if _nearness(front) < _nearness(behind):
        return False
    face = _box(behind, people.face_centre[j] - 0.55 * people.face[j], people.face_centre[j] + 0.58 * people.face[j], 0.46)
    chin = people.chin[i]
    head = _box(front, -chin - 0.18, max(chin + 0.05, people.hair[i]), 0.58)
    body = _box(front, chin + 0.16, chin + SOLES, 0.95)
    return _overlap(head, face) or _overlap(body, face)


def _nearness(place: Placement | None) -> tuple[float, float]:
    """Whoever is larger stands nearer; among equals the lower one."""
    return (0.0, 0.0) if place is None else (place.unit, place.y)


def _box(place: Placement, top: float, bottom: float, half: float) -> Rectangle:
    return place.y + top * place.unit, place.x - half * place.unit, place.y + bottom * place.unit, place.x + half * place.unit


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _lay(background: Tensor, patches: Sequence[Patch]) -> tuple[Tensor, Tensor, Tensor, list[list[float]]]:
    """Lay people over a background, the last one nearest; also the masks and the box of each face."""
    image, person, face = background.clone(), torch.zeros(background.shape[-2:]), torch.zeros(background.shape[-2:])
    boxes = []
    for patch in patches:
        rows, columns = slice(patch.top, patch.top + patch.cover.shape[0]), slice(patch.left, patch.left + patch.cover.shape[1])
        left = 1 - patch.cover
        image[:, rows, columns] = image[:, rows, columns] * left + patch.colour
        person[rows, columns] = 1 - (1 - person[rows, columns]) * left
        face[rows, columns] = face[rows, columns] * left + patch.face
        boxes.append(_bounds(patch))
    return image, person, face, boxes


def _bounds(patch: Patch) -> list[float]:
    seen = patch.face >= 0.5
    rows, columns = seen.any(1).nonzero()[:, 0].tolist(), seen.any(0).nonzero()[:, 0].tolist()
    if not rows:
        return [math.nan] * 3
    middle = patch.top + (rows[0] + rows[-1] + 1) / 2, patch.left + (columns[0] + columns[-1] + 1) / 2
    return [*middle, float(rows[-1] + 1 - rows[0])]
