"""All objectives as a configuration builds them, on what real surrogates of tiny size return."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from anti_i2v.imaging.tensors import resize
from anti_i2v.objectives import Objective, WeightedObjective
from anti_i2v.surrogates import Surrogate
from tests.tiny import tiny_portrait_dit
from tests.tiny.judges import write_faces
from tests.tiny.unet import tiny_portrait_unet

# family → how to write a tiny pipeline, a shallow and a deep layer of one shape, frames, height, width
ROWS: dict[str, tuple[Callable[[str | Path], Path], str, str, int, int, int]] = {
    "wan22": (tiny_portrait_dit, "blocks.0", "blocks.3", 5, 32, 32),
    "svd": (tiny_portrait_unet, "mid_block.resnets.0", "mid_block", 3, 16, 24),
}


def config(shallow: str, deep: str, faces: str) -> dict[str, object]:
    parts = {
        "irc": ("CollapseObjective", {"deep": [deep], "shallow": shallow}),
        "ira": ("AnchorObjective", {"target": "stripes", "weights": {deep: 1.0, "vae.encoder.conv_in": 0.5}}),
        "away": ("AnchorObjective", {"away": True}),
        "features": ("FeatureObjective", {"weights": {deep: 1.0}, "balance": True}),
        "advdm": ("DiffusionObjective", {"sign": 1}),
        "sds": ("SdsObjective", {"sign": -1}),
        "encoder": ("LatentObjective", {"target": "stripes"}),
        "look": ("PerceptualObjective", {"network": faces}),
        "seen": ("VisibilityObjective", {"threshold": 0.5}),
    }
    parts_config = {name: {"class_path": f"anti_i2v.objectives.{kind}", "init_args": args} for name, (kind, args) in parts.items()}
    return {"class_path": "anti_i2v.objectives.WeightedObjective", "init_args": {"objectives": parts_config}}


@pytest.mark.parametrize("family", ROWS)
def test_every_objective_is_built_from_plain_types_and_has_a_gradient_in_the_photo(family: str, tmp_path: Path) -> None:
    write, shallow, deep, frames, height, width = ROWS[family]
    parser = ArgumentParser()
    parser.add_argument("--objective", type=Objective)
    settings = config(shallow, deep, str(write_faces(tmp_path / "faces")))
    objective = parser.instantiate_classes(parser.parse_object({"objective": settings})).objective
    assert isinstance(objective, WeightedObjective)
    assert objective.target_image is not None

    surrogate = Surrogate.from_pretrained(str(write(tmp_path / "video_model")), objective.needs, height, width, frames, 6)
    text, draw = surrogate.encode_text(["a person nods"]), surrogate.draw(2, torch.Generator().manual_seed(0))

    def features_of(image: Tensor) -> dict[str, Tensor]:
        return surrogate(image, text, draw)

    photo = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(2))
    protected = (photo + 8 / 255 * noise).clamp(0, 1).requires_grad_()
    with torch.no_grad():
        clean, target = features_of(photo), features_of(resize(objective.target_image[None], height, width).expand(2, -1, -1, -1))
    features = features_of(protected)
    loss, parts = objective(clean, features, draw, target)
    assert loss.dtype == torch.float32
    assert set(objective.objectives) <= set(parts)
    for name, part in objective.objectives.items():
        value, gradient_parts = part(clean, features, draw, target if part.target_image is not None else None)
        (gradient,) = torch.autograd.grad(value, protected, retain_graph=True)
        assert bool(gradient.isfinite().all()), name
        assert float(gradient.abs().max()) > 0, name
        assert value.shape == (), name
        assert all(not part.requires_grad for part in gradient_parts.values()), name
