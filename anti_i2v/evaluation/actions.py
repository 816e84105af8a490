"""The action classifier: a small network, trained on rendered clips, that says whether a clip shows what its prompt asks for.

It reads grey frames over time, so that it depends on neither colour nor identity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.errors import UsageError
from anti_i2v.resources import find_folder

GREY = (0.299, 0.587, 0.114)


class ActionClassifier(nn.Module):
    """An image backbone over the grey frames of a clip, stacked as channels.

    Args:
        actions: Name of each class, in the order of the logits → the prompts that ask for it.
        num_frames: Frames of a clip.
        backbone: A timm model.
        size: Height and width at which the backbone looks.
        width: Channels of the first of a ResNet's four stages, each further having twice as many; 0 leaves the backbone as it is.
    """

    def __init__(
        self, actions: Mapping[str, Sequence[str]], num_frames: int = 9, backbone: str = "resnet10t", size: int = 64, width: int = 0
    ) -> None:
        super().__init__()
        import timm

        self.actions = {name: list(prompts) for name, prompts in actions.items()}
        self.num_frames, self.backbone, self.size, self.width = num_frames, backbone, size, width
        self.class_of = {prompt: i for i, prompts in enumerate(self.actions.values()) for prompt in prompts}
        options = {"channels": tuple(width << stage for stage in range(4))} if width else {}
        self.network = timm.create_model(backbone, pretrained=False, in_chans=num_frames, num_classes=len(actions), **options)

    def config(self) -> dict[str, str | int | dict[str, list[str]]]:
        """The constructor's arguments."""
        sizes: dict[str, str | int] = {"num_frames": self.num_frames, "backbone": self.backbone, "size": self.size, "width": self.width}
        return {"actions": self.actions, **sizes}

    def forward(self, video: Tensor) -> Tensor:
        """Logits (B, actions) of clips (B, T, 3, H, W) in [0, 1].

        Raises:
            UsageError: The clips have another number of frames than the network reads.
        """
        if video.shape[1] != self.num_frames:
            raise UsageError(f"clips of {video.shape[1]} frames; this action classifier reads {self.num_frames}")
        weights = torch.tensor(GREY, device=video.device, dtype=video.dtype)
        grey = torch.einsum("btchw,c->bthw", video, weights)
        if grey.shape[-2:] != (self.size, self.size):
            grey = F.interpolate(grey, (self.size, self.size), mode="bilinear", antialias=True)
        # Frame 0 as it is, later frames as changes against it: motion is what the actions differ in.
        inputs = torch.cat([grey[:, :1] - 0.5, grey[:, 1:] - grey[:, :1]], dim=1)
        logits: Tensor = self.network(4.0 * inputs)
        return logits

    @torch.no_grad()
    def shows(self, clips: Tensor, prompts: Sequence[str]) -> Tensor:
        """1 where a clip shows the action that its prompt asks for, else 0; lower is more protection.

        Args:
            clips: (B, T, 3, H, W) in [0, 1].
            prompts: B prompts, each one that an action is known to be asked for by.

        Returns:
            (B,).
        """
        logits: Tensor = self(clips)
        return (logits.argmax(1) == torch.tensor([self.class_of[prompt] for prompt in prompts], device=clips.device)).float()


def load_action_classifier(folder: str | Path) -> ActionClassifier:
    """The trained classifier of a folder, in fp32, in eval mode, frozen.

    Args:
        folder: A folder with `config.json` and `model.safetensors`, or the name of a shipped one, e.g. `portrait-actions`.

    Raises:
        UsageError: The folder or one of its files is missing or is not such a classifier.
    """
    from safetensors.torch import load_file

    path = find_folder(folder)
    config, weights = path / "config.json", path / "model.safetensors"
    for file in (config, weights):
        if not file.is_file():
            raise UsageError(f"no {file.name} in {path}; give the folder of an action classifier, e.g. portrait-actions")
    try:
        model = ActionClassifier(**json.loads(config.read_text()))
    except (TypeError, AttributeError, json.JSONDecodeError) as error:
        raise UsageError(f"{config} does not describe an action classifier: {error}; give e.g. portrait-actions") from error
    model.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in load_file(weights).items()})
    return model.eval().requires_grad_(False)
