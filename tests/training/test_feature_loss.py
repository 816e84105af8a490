"""The loss of training and of the per-photo attacks: an objective on two versions of photos, its target and its reference clip."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.objectives import AnchorObjective, DiffusionObjective, Objective, WeightedObjective
from anti_i2v.portraits import PortraitPhotos
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.training.feature_loss import feature_loss
from tests.tiny import FRAMES, tiny_portrait_dit
from tests.tiny.training import tiny_data, tiny_module, tiny_trainer

PROMPT = "a person nods"


class Recorder(Objective):
    """Keeps its arguments."""

    def __init__(self, target: Tensor | None = None) -> None:
        super().__init__()
        self.target_image, self.arguments = target, dict[str, object]()

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self.arguments = {"clean": clean, "protected": protected, "draw": draw, "target": target}
        return protected["latent"].sum(), {}


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    return Surrogate.from_pretrained(str(tiny_portrait_dit(tmp_path_factory.mktemp("wan"))), ["latent", "error"], 32, 32, FRAMES, 4)


def photos(seed: int) -> Tensor:
    return torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(seed))


def arguments_of(surrogate: Surrogate, objective: Recorder, video: Tensor | None = None) -> dict[str, object]:
    draw = surrogate.draw(2, torch.Generator().manual_seed(0), max_sigma=0.9)
    feature_loss(surrogate, objective, photos(0), photos(1), surrogate.encode_text([PROMPT]), draw, video)
    return objective.arguments


def test_a_target_image_gets_the_same_draw(surrogate: Surrogate) -> None:
    assert arguments_of(surrogate, Recorder())["target"] is None
    picture = torch.rand(3, 50, 50, generator=torch.Generator().manual_seed(7))
    with_target = arguments_of(surrogate, Recorder(picture))
    alone = arguments_of(surrogate, Recorder(photos(1)[0]))
    assert isinstance(with_target["target"], dict)
    assert isinstance(alone["target"], dict)
    assert isinstance(alone["protected"], dict)
    assert with_target["target"]["latent"].shape == alone["target"]["latent"].shape
    torch.testing.assert_close(alone["target"]["latent"][:1], alone["protected"]["latent"][:1])


def test_clean_features_are_not_computed_for_objectives_that_do_not_read_them(surrogate: Surrogate) -> None:
    class Blind(Recorder):
        clean_taps = ()

    assert set(arguments_of(surrogate, Recorder())["clean"]) == {"latent", "error"}  # type: ignore[call-overload]
    assert arguments_of(surrogate, Blind())["clean"] == {}
    away, toward, diffusion = AnchorObjective(away=True), AnchorObjective(), DiffusionObjective()
    assert [part.clean_taps for part in (away, toward, diffusion)] == [None, (), ()]
    assert WeightedObjective({"a": toward, "b": diffusion}).clean_taps == ()
    assert WeightedObjective({"a": away, "b": diffusion}).clean_taps is None


def test_of_the_clean_photo_only_the_taps_that_are_read_are_computed(surrogate: Surrogate) -> None:
    class Sparing(Recorder):
        clean_taps = ("latent",)

    clean, found = arguments_of(surrogate, Recorder())["clean"], arguments_of(surrogate, Sparing())
    assert set(found["clean"]) == {"latent"}  # type: ignore[call-overload]
    assert set(found["protected"]) == {"latent", "error"}  # type: ignore[call-overload]
    torch.testing.assert_close(found["clean"]["latent"], clean["latent"])  # type: ignore[index]


def test_both_versions_get_noise_on_the_same_clip(surrogate: Surrogate) -> None:
    still = arguments_of(surrogate, Recorder())["draw"]
    assert isinstance(still, Draw)
    own = surrogate.with_taps(["latent"])
    assert isinstance(arguments_of(own, Recorder())["draw"], Draw)
    assert arguments_of(own, Recorder())["draw"].reference is None  # type: ignore[attr-defined]  # without the error tap there is nothing to agree on
    assert still.reference is not None
    assert len(still.reference) == 2
    moving = torch.rand(2, FRAMES + 2, 3, 40, 40, generator=torch.Generator().manual_seed(3))
    moving_draw = arguments_of(surrogate, Recorder(), moving)["draw"]
    assert isinstance(moving_draw, Draw)
    assert moving_draw.reference is not None
    assert moving_draw.reference.shape == still.reference.shape
    assert not torch.equal(moving_draw.reference, still.reference)


def test_a_target_image_gets_noise_on_the_clip_of_the_photo_where_the_denoiser_is_read(surrogate: Surrogate) -> None:
    picture = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(7))
    references = {}
    for tap in ("error", "blocks.0", "latent"):
        draw = arguments_of(surrogate.with_taps(["latent", tap]), Recorder(picture))["draw"]
        references[tap] = draw.reference  # type: ignore[attr-defined]
    torch.testing.assert_close(references["blocks.0"], references["error"])  # one z_t, as in the paper's formula
    assert references["latent"] is None  # what the autoencoder says needs no clip


def test_the_clips_of_a_source_reach_the_objective(tmp_path: Path) -> None:
    video_model, objective = tiny_portrait_dit(tmp_path / "wan"), Recorder()
    data = tiny_data()
    data.source = PortraitPhotos(people=2, num_frames=FRAMES)
    module = tiny_module(video_model, objective=objective, taps=["latent", "error"])
    tiny_trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(module, data)
    draw = objective.arguments["draw"]
    assert isinstance(draw, Draw)
    assert draw.reference is not None
    later = draw.reference[:, :, 1:] - draw.reference[:, :, 1:].mean(2, keepdim=True)
    assert draw.reference.shape[2] == module.surrogate.token_frames
    assert later.abs().max() > 0
