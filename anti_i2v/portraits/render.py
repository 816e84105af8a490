"""The renderer: identity, scene and motion → frames and masks.

Backgrounds are drawn once per clip, bodies on whole frames, and heads only on the pixels around them, which are most of
the work and a quarter of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from anti_i2v.portraits.actions import Motion
from anti_i2v.portraits.canvas import box, cover, ellipse, paint
from anti_i2v.portraits.head import Head, draw_face, draw_skull
from anti_i2v.portraits.identity import Identity
from anti_i2v.portraits.scene import BLOBS, Scene


@dataclass(frozen=True)
class Frames:
    """What `render` returns: `video` (N, T, 3, H, W) in [0, 1]; masks (N, T, 1, H, W) in [0, 1]."""

    video: Tensor
    person_mask: Tensor
    face_mask: Tensor


def _plane(value: Tensor) -> Tensor:
    """(M,) → (M, 1, 1); (M, 3) → (3, M, 1, 1)."""
    return value.view(-1, 1, 1) if value.ndim == 1 else value.T[:, :, None, None]


def draw_background(x: Tensor, y: Tensor, scene: Scene, texture: Tensor) -> Tensor:
    """(3, N, H, W): a wall with a gradient, a few objects before it, and a faint surface."""
    tilt = _plane(scene["tilt"])
    wave = 0.5 + 0.5 * torch.sin(x * torch.cos(tilt) * 1.6 + y * torch.sin(tilt) * 1.6)
    image = torch.lerp(_plane(scene.wall[:, 0]), _plane(scene.wall[:, 1]), wave)
    for i in range(BLOBS):
        blob = {name: _plane(value[:, i]) for name, value in scene.blob.items()}
        shape = box(x - blob["x"], y - blob["y"], blob["width"], blob["height"], blob["power"])
        paint(image, cover(shape, 0.10) * blob["alpha"], _plane(scene.blobs[:, i]))
    surface = F.interpolate(texture, image.shape[-2:], mode="bicubic", align_corners=False)[:, 0]
    return image + _plane(scene["texture"]) * surface


def _body(
    image: Tensor,
    x: Tensor,
    y: Tensor,
    edge: Tensor,
    who: dict[str, Tensor],
    what: dict[str, Tensor],
    colour: dict[str, Tensor],
) -> Tensor:
    """Neck, shoulders and shirt, drawn into `image` (3, M, H, W); returns their coverage (M, H, W)."""
    chin = who["face_height"]
    neck = cover(torch.maximum(x.abs() - who["face_width"] * 0.52, (y - chin * 0.95).abs() - 0.4), edge)
    paint(image, neck, colour["skin"] * 0.86)
    shirt = cover(ellipse(x, y - chin - 0.90, 0.90, 0.74), edge)
    shade = (1 + 0.4 * what["light_x"] * x).clamp(0.7, 1.3)
    paint(image, shirt, colour["shirt"] * shade)
    paint(image, shirt * what["stripes"] * (torch.sin(y * what["stripe_width"]) > 0), colour["trim"])
    collar = cover(x.abs() * 1.3 + (y - chin - 0.06 - what["collar"]), edge) * shirt
    paint(image, collar * (what["collar"] > 0.08), colour["skin"] * 0.90)
    return torch.maximum(neck, shirt)


def render(
    identity: Identity, scene: Scene, motion: Motion, height: int, width: int, grain: Tensor, texture: Tensor, behind: Tensor | None = None
) -> Frames:
    """Draw N people in N scenes over T frames.

    Args:
        identity: N people.
        scene: N scenes.
        motion: Their poses, (N, T) each.
        height: H in pixels.
        width: W in pixels.
        grain: (N, T, 1, H, W) unit noise of the sensor.
        texture: (N, 1, h, w) unit noise of the background's surface, any size.
        behind: (3, N, H, W) in [0, 1] before light and colour cast, instead of the scenes' walls.
    """
    n, t = motion.yaw.shape
    clip = torch.arange(n).repeat_interleave(t)  # frame → clip
    y = (((torch.arange(height) + 0.5) * (2 / height)) - 1).view(1, height, 1)
    x = ((torch.arange(width) + 0.5) * (2 / height) - width / height).view(1, 1, width)
    image = (draw_background(x, y, scene, texture) if behind is None else behind)[:, clip].contiguous()

    who = {name: value[clip] for name, value in identity.geometry.items()}
    what = {name: value[clip] for name, value in scene.value.items()}
    pose = {name: getattr(motion, name).flatten() for name in motion.__dataclass_fields__}
    pose["scale"] = what["scale"] * pose["zoom"]
    lip = identity.skin * torch.stack([torch.full((n,), 0.90), identity["lip_red"], identity["lip_red"] * 1.02], 1)
    white = torch.tensor([0.88, 0.865, 0.845]).expand(n, 3)
    colour = {
        "skin": identity.skin,
        "hair": identity.hair,
        "iris": identity.iris,
        "lip": lip,
        "white": white,
        "shirt": scene.shirt,
        "trim": scene.trim,
    }
    colour = {name: value[clip] for name, value in colour.items()}

    scale, edge = _plane(pose["scale"]), _plane(what["softness"] * 2 / height) / _plane(pose["scale"])
    body_y = pose["y"] - 0.5 * (motion.y - motion.y[:, :1]).flatten()  # a nod moves the head, hardly the shoulders
    local_x, local_y = (x - _plane(pose["x"])) / scale, (y - _plane(body_y)) / scale
    person = _body(image, local_x, local_y, edge, *({k: _plane(v) for k, v in part.items()} for part in (who, what, colour)))

    head = Head(x, y, edge, who, what, pose, colour, identity.skin_map, clip)
    pixels = image.view(3, -1)[:, head.pixels]
    whole, skin = draw_skull(pixels, head)
    face, fringe = draw_face(pixels, head, skin)
    image.view(3, -1)[:, head.pixels] = pixels
    person.view(-1)[head.pixels] = torch.maximum(person.view(-1)[head.pixels], torch.maximum(whole, fringe))
    faces = torch.zeros_like(person)
    faces.view(-1)[head.pixels] = face

    image = image.clamp_(0.004, 1) ** _plane(what["gamma"]) * _plane(scene.cast[clip])
    image = (image + _plane(what["grain"]) * grain.view(n * t, height, width)).clamp_(0, 1)
    video = image.transpose(0, 1).reshape(n, t, 3, height, width)
    return Frames(video, person.view(n, t, 1, height, width), faces.view(n, t, 1, height, width))
