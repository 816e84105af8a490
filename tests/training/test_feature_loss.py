"""What training and per-photo methods both ask: an objective on two versions of photos, its target and its reference clip."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.objectives import AnchorObjective, DiffusionObjective, Objective, WeightedObjective
from anti_i2v.portraits import PortraitPhotos
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.training.feature_loss import compare
from tests.tiny import FRAMES, tiny_world
from tests.tiny.training import tiny_data, tiny_module, tiny_trainer

PROMPT = "a person nods"


class Seen(Objective):
    """Keeps what it is given."""

    def __init__(self, target: Tensor | None = None) -> None:
        super().__init__()
        self.target_image, self.given = target, dict[str, object]()

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self.given = {"clean": clean, "protected": protected, "draw": draw, "target": target}
        return protected["latent"].sum(), {}


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    return Surrogate.from_pretrained(str(tiny_world(tmp_path_factory.mktemp("wan"))), ["latent", "error"], 32, 32, FRAMES, 4)


def photos(seed: int) -> Tensor:
    return torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(seed))


def ask(surrogate: Surrogate, objective: Seen, video: Tensor | None = None) -> dict[str, object]:
    draw = surrogate.draw(2, torch.Generator().manual_seed(0), max_sigma=0.9)
    compare(surrogate, objective, photos(0), photos(1), surrogate.encode_text([PROMPT]), draw, video)
    return objective.given


def test_a_target_image_is_asked_under_the_same_draw(surrogate: Surrogate) -> None:
    assert ask(surrogate, Seen())["target"] is None
    picture = torch.rand(3, 50, 50, generator=torch.Generator().manual_seed(7))
    given = ask(surrogate, Seen(picture))
    alone = ask(surrogate, Seen(photos(1)[0]))
    assert isinstance(given["target"], dict)
    assert isinstance(alone["target"], dict)
    assert isinstance(alone["protected"], dict)
    assert given["target"]["latent"].shape == alone["target"]["latent"].shape
    torch.testing.assert_close(alone["target"]["latent"][:1], alone["protected"]["latent"][:1])


def test_objectives_that_do_not_read_the_photos_features_spare_them(surrogate: Surrogate) -> None:
    class Blind(Seen):
        reads_clean = False

    assert set(ask(surrogate, Seen())["clean"]) == {"latent", "error"}  # type: ignore[call-overload]
    assert ask(surrogate, Blind())["clean"] == {}
    away, toward, diffusion = AnchorObjective(away=True), AnchorObjective(), DiffusionObjective()
    assert [part.reads_clean for part in (away, toward, diffusion)] == [True, False, False]
    assert not WeightedObjective({"a": toward, "b": diffusion}).reads_clean
    assert WeightedObjective({"a": away, "b": diffusion}).reads_clean


def test_both_versions_are_asked_about_the_same_clip(surrogate: Surrogate) -> None:
    still = ask(surrogate, Seen())["draw"]
    assert isinstance(still, Draw)
    own = surrogate.with_taps(["latent"])
    assert isinstance(ask(own, Seen())["draw"], Draw)
    assert ask(own, Seen())["draw"].reference is None  # type: ignore[attr-defined]  # without the error tap there is nothing to agree on
    assert still.reference is not None
    assert len(still.reference) == 2
    moving = torch.rand(2, FRAMES + 2, 3, 40, 40, generator=torch.Generator().manual_seed(3))
    given = ask(surrogate, Seen(), moving)["draw"]
    assert isinstance(given, Draw)
    assert given.reference is not None
    assert given.reference.shape == still.reference.shape
    assert not torch.equal(given.reference, still.reference)


def test_a_target_image_is_asked_about_the_clip_of_the_photo_where_the_denoiser_is_read(surrogate: Surrogate) -> None:
    picture = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(7))
    references = {
        tap: ask(surrogate.with_taps(["latent", tap]), Seen(picture))["draw"].reference  # type: ignore[attr-defined]
        for tap in ("error", "blocks.0", "latent")
    }
    torch.testing.assert_close(references["blocks.0"], references["error"])  # one z_t, as in the paper's formula
    assert references["latent"] is None  # what the autoencoder says needs no clip


def test_the_clips_of_a_source_reach_the_objective(tmp_path: Path) -> None:
    world, objective = tiny_world(tmp_path / "wan"), Seen()
    data = tiny_data()
    data.source = PortraitPhotos(people=2, num_frames=FRAMES)
    module = tiny_module(world, objective=objective, taps=["latent", "error"])
    tiny_trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(module, data)
    draw = objective.given["draw"]
    assert isinstance(draw, Draw)
    assert draw.reference is not None
    later = draw.reference[:, :, 1:] - draw.reference[:, :, 1:].mean(2, keepdim=True)
    assert draw.reference.shape[2] == module.surrogate.token_frames
    assert later.abs().max() > 0
