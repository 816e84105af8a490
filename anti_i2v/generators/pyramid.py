"""A timm backbone as a feature pyramid, built from scratch or with the weights of an identity embedder."""

from __future__ import annotations

import difflib
import math

import torch
from torch import nn

from anti_i2v.embedders import load_backbone
from anti_i2v.errors import UsageError


def start_from(backbone: nn.Module, source: str) -> None:
    """Copy an embedder's weights; the two name their layers alike but for dots, and differ in scale and channels of their input."""
    weights = {name.replace(".", "_"): value for name, value in load_backbone(source, "objective").network.state_dict().items()}
    own = backbone.state_dict()
    missing = [name for name in own if not name.endswith("num_batches_tracked") and name.replace(".", "_") not in weights]
    if missing:
        raise UsageError(f"{source} has no {missing[0]}; start_from needs an identity embedder of the same backbone")
    for i, (name, value) in enumerate(own.items()):
        initial = weights.get(name.replace(".", "_"), value)
        if i == 0:  # its colours ran from -1 to 1, here they run from -2 to 2, and the fourth channel is epsilon
            initial = torch.cat([initial / 2, torch.zeros_like(initial[:, :1])], dim=1)
        if initial.shape != value.shape:
            shapes = f"{tuple(initial.shape)} instead of {tuple(value.shape)}"
            raise UsageError(f"{name} of {source} is {shapes}; give backbone and backbone_width of that network")
        value.copy_(initial)


def feature_pyramid(name: str, size: int, width: int, frozen_norm: bool) -> tuple[nn.Module, list[int], list[int]]:
    """A feature pyramid by name: the network, the channels and the sides of its maps, shallowest first."""
    import timm.layers  # two seconds of import, and only needed where a generator is built

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        raise UsageError(f"unknown backbone {name!r}; close names: {', '.join(close) or 'see timm.list_models()'}")
    try:
        options = {"channels": tuple(width << stage for stage in range(4))} if width else {}
        network: nn.Module = timm.create_model(name, pretrained=False, features_only=True, in_chans=4, **options)
        network = (timm.layers.freeze_batch_norm_2d(network) if frozen_norm else _without_batch_norm(network)).eval()
        with torch.no_grad():
            shapes = [tuple(feature.shape) for feature in network(torch.zeros(1, 4, size, size))]
    except (RuntimeError, AttributeError, TypeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"backbone {name!r} gives no feature maps at {size} pixels ({reason}); try a ResNet or ConvNeXt") from None
    channels: list[int] = network.feature_info.channels()  # type: ignore[operator, union-attr]
    if [shape[1] for shape in shapes] != channels:
        raise UsageError(f"backbone {name!r} puts channels last, which the decoder cannot use; try a ResNet or ConvNeXt")
    return network.train(), channels, [shape[-1] for shape in shapes]


def _without_batch_norm(module: nn.Module) -> nn.Module:
    """Replace batch norm by group norm: training batches are small, and weights are averaged (EMA), statistics not."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            count = child.num_features
            norm: nn.Module = nn.GroupNorm(math.gcd(count, 8), count)
            activation = getattr(child, "act", None)  # timm fuses it into the norm
            setattr(module, name, nn.Sequential(norm, activation) if isinstance(activation, nn.Module) else norm)
        else:
            _without_batch_norm(child)
    return module
