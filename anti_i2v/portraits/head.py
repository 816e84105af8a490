"""Heads: an ellipsoid that turns in three dimensions, with a flat face on it.

Each pixel near a head is traced back to the flat coordinates (u, v) of the face, where eyes, brows, nose, mouth and skin
detail are plain two-dimensional shapes; foreshortening under a turn of 70° comes by itself. All tensors are (P,) lists of the
pixels around the heads, colours (3, P).
"""

from __future__ import annotations

import torch
from torch import Tensor

from anti_i2v.portraits.canvas import box, cover, ellipse, lens, paint


class Head:
    """The pixels around the heads of M frames, their coordinates, and the parameters each is drawn with.

    Args:
        x: (1, 1, W) and
        y: (1, H, 1) picture coordinates in half picture heights.
        edge: (M, 1, 1) width of a soft edge in head units.
        who: Geometry of the person in each frame, (M,) each.
        what: Scene values, (M,) each.
        pose: Motion values and `scale`, (M,) each.
        colour: (M, 3) each.
        skin_map: (N, 1, S, S) of the N clips.
        clip: (M,) which clip a frame belongs to.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        edge: Tensor,
        who: dict[str, Tensor],
        what: dict[str, Tensor],
        pose: dict[str, Tensor],
        colour: dict[str, Tensor],
        skin_map: Tensor,
        clip: Tensor,
    ) -> None:
        reach_x = (who["face_width"] + 0.16) * pose["scale"]
        reach_up = (who["face_height"] + 0.14) * pose["scale"]
        reach_down = torch.maximum(who["face_height"] + 0.06, what["hair_length"] * 1.2) * pose["scale"]
        dx, dy = x - pose["x"].view(-1, 1, 1), y - pose["y"].view(-1, 1, 1)
        near = (dx.abs() < reach_x.view(-1, 1, 1)) & (dy > -reach_up.view(-1, 1, 1)) & (dy < reach_down.view(-1, 1, 1))
        self.pixels = near.flatten().nonzero()[:, 0]
        self.frame = self.pixels // (x.numel() * y.numel())
        self._values, self._colours, self._skin_map, self._clip = {**what, **who, **pose}, colour, skin_map, clip
        self._cache: dict[str, Tensor] = {}
        px, py = (
            dx.expand(near.shape).flatten()[self.pixels] / self["scale"],
            dy.expand(near.shape).flatten()[self.pixels] / self["scale"],
        )
        roll = self["roll"]
        self.x, self.y = torch.cos(roll) * px + torch.sin(roll) * py, torch.cos(roll) * py - torch.sin(roll) * px
        self.edge = edge.flatten()[self.frame]
        self.normal_y = (self.y / self["face_height"]).clamp(-1, 1)
        self.half = self["face_width"] * (1 - self["taper"] * self.normal_y.clamp(min=0))
        rim = torch.sqrt((1 - self.normal_y**2).clamp(min=0.02))
        self.normal_x = (self.x / (self.half * rim)).clamp(-1, 1)
        self.theta = torch.asin(self.normal_x) - self["yaw"]  # longitude on the head; 0 is the nose
        self.u = self.theta * self["face_width"] * 0.80
        self.v = (torch.asin(self.normal_y) - self["pitch"]) * self["face_height"] * 0.82
        # A turn squeezes shapes toward the limb; a wider edge there keeps them from aliasing.
        self.stretch = self.edge / torch.sqrt((1 - self.normal_x**2).clamp(min=0.08))
        self.shade = (1 + self["light_x"] * 0.9 * self.normal_x + self["light_y"] * 0.9 * self.normal_y).clamp(0.5, 1.4)

    def __getitem__(self, name: str) -> Tensor:
        """(P,) a named parameter at every pixel."""
        if name not in self._cache:
            self._cache[name] = self._values[name][self.frame]
        return self._cache[name]

    def colour(self, name: str) -> Tensor:
        """(3, P) a named colour at every pixel."""
        key = f"colour {name}"
        if key not in self._cache:
            self._cache[key] = self._colours[name][self.frame].T.contiguous()
        return self._cache[key]

    def skin_detail(self) -> Tensor:
        """(P,) the person's skin map, looked up bilinearly at the face coordinates."""
        size = self._skin_map.shape[-1]
        column = ((self.theta / 1.5) * 0.5 + 0.5).clamp(0, 1) * (size - 1.001)
        row = ((self.v / (self["face_height"] * 1.25)) * 0.5 + 0.5).clamp(0, 1) * (size - 1.001)
        i, j = row.long(), column.long()
        fi, fj = row - i, column - j
        flat, base = self._skin_map.flatten(), self._clip[self.frame] * size * size + i * size + j
        top = torch.lerp(flat[base], flat[base + 1], fj)
        return torch.lerp(top, torch.lerp(flat[base + size], flat[base + size + 1], fj), fi)


def draw_skull(image: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Hair behind the head and the bare head; returns the coverage of both together and of the skin."""
    width, volume, length = head["face_width"], head["hair_volume"], head["hair_length"]
    back = head.x + 0.16 * width * torch.sin(head["yaw"])
    hair = cover(ellipse(back, head.y + volume * 0.7, width + volume * 0.55, head["face_height"] + volume * 0.45), head.edge)
    fall = torch.maximum(back.abs() - width - volume * 0.5, (head.y - length * 0.5).abs() - length * 0.6)
    hair = torch.maximum(hair, cover(fall, head.edge * 2) * (length > 0))
    paint(image, hair, head.colour("hair") * head.shade)
    skull = box(head.x * width / head.half, head.y, width, head["face_height"], head["jaw"])
    skin = cover(skull, head.edge)
    nose_x = width * 1.02 * torch.sin(head["yaw"])  # in profile the nose stands out over the limb
    nose = ellipse(
        head.x - nose_x,
        head.y - head["nose_length"] * 0.8 - head["pitch"] * 0.3,
        head["nose_width"] * 1.15,
        head["nose_length"] * 0.55,
    )
    skin = torch.maximum(skin, cover(nose, head.edge) * (head["yaw"].abs() > 0.5))
    paint(image, skin, head.colour("skin") * head.shade)
    return torch.maximum(hair, skin), skin


def draw_face(image: Tensor, head: Head, skin: Tensor) -> tuple[Tensor, Tensor]:
    """Everything on the front of the head; returns the coverage of the visible face and of the hair over it."""
    front = cover(head.theta.abs() - 1.45, 0.12) * skin
    image *= 1 - front * head.skin_detail()
    cheek = ellipse(head.u.abs() - head["eye_distance"] * 1.15, head.v - 0.12, 0.11, 0.08)
    paint(image, cover(cheek, head.stretch + 0.08) * front * head["blush"], head.colour("lip"))
    _eyes(image, head, front)
    length, width = head["nose_length"], head["nose_width"]
    nostril = ellipse(head.u.abs() - width * 0.55, head.v - length, width * 0.45, width * 0.28)
    paint(image, cover(nostril, head.stretch) * front * 0.6, head.colour("skin") * 0.45)
    lit = torch.where(head["light_x"] >= 0, 1.0, -1.0)
    flank = ellipse(head.u + width * lit * 0.9, head.v - length * 0.45, width * 0.4, length * 0.75)
    paint(image, cover(flank, head.stretch + 0.03) * front * 0.35, head.colour("skin") * 0.6)
    _mouth(image, head, front)
    hair = _hair(image, head, skin)
    return front * (1 - hair), hair


def _eyes(image: Tensor, head: Head, front: Tensor) -> None:
    side = torch.where(head.u >= 0, 1.0, -1.0)  # both eyes at once: distances are taken from |u|
    du, dv, wide = head.u.abs() - head["eye_distance"], head.v - head["eye_height"], head["eye_width"]
    tilted, opening = dv + head["eye_tilt"] * du, wide * head["eye_open"] * (1 - head["lid"]) + 1e-3
    paint(
        image,
        cover(ellipse(du, tilted, wide * 1.45, wide * 1.1), head.stretch + 0.05) * front * 0.22,
        head.colour("skin") * 0.55,
    )
    white = cover(lens(du, tilted, wide * 1.08, opening), head.stretch) * front * (opening > 0.008)
    paint(image, white, head.colour("white") * head.shade.clamp(max=1.1))
    iris = ellipse(du - side * head["gaze_x"] * wide * 0.42, tilted - head["gaze_y"] * wide * 0.2, wide * 0.52, wide * 0.52)
    paint(image, cover(iris, head.stretch) * white, head.colour("iris"))
    lash = lens(du, tilted + opening * (1 - (du / wide) ** 2) * 0.9 - wide * 0.15 * head["lid"], wide * 1.12, wide * 0.16)
    paint(image, cover(lash, head.stretch) * front * 0.9, head.colour("hair") * 0.5)
    brow_v = dv + head["brow_gap"] + wide * 0.45 + head["brow_tilt"] * du + 2.0 * du * du
    brow = lens(du, brow_v, wide * 1.45, head["brow_thickness"] * 1.3)
    paint(image, cover(brow, head.stretch) * front * 0.9, head.colour("hair") * 0.8)
    radius, across = wide * 1.5, head.u.abs() - head["eye_distance"]
    rim = ellipse(du, dv - 0.01, radius, radius * 0.85).abs() - 0.012
    bar = torch.maximum((dv + 0.02).abs() - 0.010, radius - across.abs())  # the bridge and, outside, the temples
    frame = cover(torch.minimum(rim, bar), head.stretch) * front * head["glasses"]
    paint(image, frame, head["rim"] * torch.tensor([[1.0], [0.9], [0.8]]))


def _mouth(image: Tensor, head: Head, front: Tensor) -> None:
    smile, opening, height = head["smile"], head["mouth"], head["face_height"]
    beard = ellipse(head.u, head.v - height * 0.80, head["face_width"] * 1.05, height * 0.46)
    paint(image, cover(beard, head.stretch + 0.10) * front * head["beard"], head.colour("hair") * 1.05)
    width = head["mouth_width"] * (1 + 0.38 * smile - 0.15 * opening)
    bend = (head.u / width).clamp(-1.2, 1.2)
    v = head.v - head["mouth_height"] - 0.060 * smile * (1 - bend * bend) + 0.025 * smile
    gape = 0.085 * opening + 0.026 * smile.clamp(min=0)
    paint(
        image,
        cover(lens(head.u, v, width, head["lip"] * 1.2 + gape), head.stretch) * front,
        head.colour("lip") * head.shade,
    )
    inner = cover(lens(head.u, v, width * 0.9, gape + 0.005), head.stretch) * front
    paint(image, inner, head.colour("lip") * 0.35)
    teeth = cover(v + gape * 0.15, head.stretch) * inner * (gape > 0.012)
    paint(image, teeth, head.colour("white") * 0.95)


def _hair(image: Tensor, head: Head, skin: Tensor) -> Tensor:
    width, height = head["face_width"], head["face_height"]
    # A little wider than the skin, or the skin's own soft edge would shine through as a pale seam.
    scalp = torch.maximum(skin, cover(box(head.x * width / head.half, head.y, width, height, head["jaw"]) - 2 * head.edge, head.edge))
    fringe = head.v + height * 1.12 - head["hairline"] * 1.05 - head["widow"] * 0.7 * head.u * head.u
    sides = (1.30 + head["hair_volume"] * 1.2 - head.theta.abs() + 0.5 * (head.v - 0.1).clamp(min=0)) * width
    hair = cover(torch.minimum(fringe, sides), head.stretch) * scalp
    paint(image, hair, head.colour("hair") * head.shade)
    ear = ellipse((head.theta.abs() - 1.40) * width, head.v - 0.03, head["ear"] * 0.55, head["ear"])
    paint(image, cover(ear, head.stretch) * skin * (head["hair_length"] == 0), head.colour("skin") * 0.92 * head.shade)
    return hair
