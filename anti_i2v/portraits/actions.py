"""The actions that prompts ask for, as curves of pose over time.

Several motions are too large to copy pixels for: an image-to-video model has to know the person to draw the later frames,
which is what real models do and what makes them attackable (small motions are not enough).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from anti_i2v.portraits.scene import Scene


@dataclass(frozen=True)
class Action:
    """A motion and the ways to ask for it."""

    name: str
    prompts: tuple[str, ...]


ACTIONS: tuple[Action, ...] = (
    Action("turn_left", ("a person turns the head to the left", "the person turns left")),
    Action("turn_right", ("a person turns the head to the right", "the person turns right")),
    Action("lean_in", ("a person leans in to the camera", "the person leans in close")),
    Action("walk_left", ("a person walks to the left", "the person walks left")),
    Action("walk_right", ("a person walks to the right", "the person walks right")),
    Action("nod", ("a person nods", "the person nods the head")),
    Action("talk", ("a person talks", "the person talks to the camera")),
    Action("smile", ("a person smiles", "the person starts to smile")),
    Action("blink", ("a person blinks", "the person blinks with both eyes")),
    Action("look_away", ("a person looks away", "the person looks up and away")),
)


@dataclass(frozen=True)
class Motion:
    """Pose of N people in T frames, each tensor (N, T); angles in radians, openings in [0, 1]."""

    yaw: Tensor  # positive turns the nose to the right edge of the picture
    pitch: Tensor  # positive looks down
    roll: Tensor
    zoom: Tensor  # size relative to the first frame
    x: Tensor  # centre of the head, half picture heights
    y: Tensor
    mouth: Tensor  # 0 closed, 1 wide open
    smile: Tensor  # 0 neutral, 1 broad
    lid: Tensor  # 0 open, 1 closed
    gaze_x: Tensor  # -1 … 1
    gaze_y: Tensor


def perform(action: Tensor, scene: Scene, num_frames: int) -> Motion:
    """The motion of each action from the scene's starting pose.

    Args:
        action: (N,) indices into `ACTIONS`.
        scene: The N scenes; starting pose and amplitude are theirs.
        num_frames: T. Frame 0 is the starting pose whatever T is.
    """
    t = torch.linspace(0, 1, num_frames)[None]
    does = {a.name: (action == i).float()[:, None] for i, a in enumerate(ACTIONS)}
    start = {name: scene[name][:, None] for name in ("x", "y", "yaw", "pitch", "roll", "gaze", "smile", "amplitude")}
    ramp = (t * (2 - t)) * start["amplitude"]  # starts at once, ends softly
    steady = t * start["amplitude"]
    twice = (0.5 - 0.5 * torch.cos(4 * math.pi * t)) * start["amplitude"]
    wave = torch.sin(3 * math.pi * t) * start["amplitude"]
    turn, walk = does["turn_right"] - does["turn_left"], does["walk_right"] - does["walk_left"]
    lean, away = does["lean_in"], does["look_away"]
    side = torch.where(start["gaze"] >= 0, 1.0, -1.0)
    zoom = 1 + 1.15 * steady * lean
    return Motion(
        yaw=start["yaw"] + turn * (1.22 * ramp - start["yaw"] * t) + walk * 0.55 * ramp + away * 0.40 * side * ramp,
        pitch=start["pitch"] + does["nod"] * 0.42 * wave - away * 0.42 * ramp + does["talk"] * 0.05 * wave,
        roll=start["roll"] + away * 0.12 * side * ramp + walk * 0.06 * wave,
        zoom=zoom,
        x=start["x"] * (1 - 0.5 * t * lean) + walk * 0.95 * steady,
        y=start["y"] + does["nod"] * 0.05 * wave + walk.abs() * 0.03 * torch.sin(6 * math.pi * t) + lean * 0.12 * (zoom - 1),
        mouth=(does["talk"] * twice).clamp(0, 1),
        smile=(start["smile"] + does["smile"] * ramp).clamp(-0.2, 1.1),
        lid=(does["blink"] * twice).clamp(0, 1),
        gaze_x=(start["gaze"] + away * 1.1 * side * ramp + turn * 0.5 * ramp).clamp(-1, 1),
        gaze_y=-away * 0.9 * ramp,
    )
