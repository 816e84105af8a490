"""IRA, and the encoder attack, which is the same at the latent, against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.objectives import AnchorObjective, LatentObjective, target_image
from anti_i2v.surrogates import Draw

DRAW = Draw(step=0, timestep=torch.tensor(999), sigma=1.0, noise=torch.zeros(1, 1))
TWO = replace(DRAW, frames=2)
# two latent frames of two tokens; the target's have the variances 1 and 4, 3.25 together (mean 1, squares 0, 4, 9, 0), the photo's 9 and 1
TARGET = {"blocks.1": torch.tensor([1.0, 3.0, -2.0, 2.0]).view(1, 4, 1)}
CLEAN = {"blocks.1": torch.tensor([0.0, 6.0, 1.0, 3.0]).view(1, 4, 1)}
PROTECTED = {"blocks.1": torch.tensor([3.0, 3.0, 0.0, 2.0]).view(1, 4, 1)}


def test_toward_the_target_every_frame_counts_alike() -> None:
    # differences 2, 0 | 2, 0: mean squares 2 and 2 over 1 and 4
    loss, parts = AnchorObjective()(CLEAN, PROTECTED, TWO, TARGET)
    assert float(loss) == pytest.approx((2 + 0.5) / 2)
    assert float(parts["blocks.1"]) == pytest.approx(1.25)


def test_without_balance_it_is_the_mean_square_over_the_targets_variance() -> None:
    variance = (0 + 4 + 9 + 1) / 4  # around the mean 1
    loss, _ = AnchorObjective(balance=False)(CLEAN, PROTECTED, TWO, TARGET)
    assert float(loss) == pytest.approx(2 / variance)


def test_away_leaves_the_photos_own_features_and_no_target_is_needed() -> None:
    # differences 3, -3 | -1, -1: mean squares 9 and 1 over 9 and 1
    objective = AnchorObjective(away=True)
    assert objective.target_image is None
    assert float(objective(CLEAN, PROTECTED, TWO)[0]) == pytest.approx(-math.log(2))
    plain, _ = AnchorObjective(away=True, balance=False)(CLEAN, PROTECTED, TWO)
    assert float(plain) == pytest.approx(-5 / (5.25))  # Var(0, 6, 1, 3) = 46 / 4 - 2.5²


def test_maps_are_parted_by_their_own_frames() -> None:
    def as_map(features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"vae.encoder.conv_in": features["blocks.1"].view(1, 1, 2, 1, 2)}  # one channel, two frames of 1 x 2

    loss, _ = AnchorObjective()(as_map(CLEAN), as_map(PROTECTED), DRAW, as_map(TARGET))
    assert float(loss) == pytest.approx(1.25)
    still = {"vae.encoder.conv_in": TARGET["blocks.1"].view(1, 1, 2, 2)}  # a picture's map is one frame
    other = {"vae.encoder.conv_in": PROTECTED["blocks.1"].view(1, 1, 2, 2)}
    assert float(AnchorObjective()(still, other, DRAW, still)[0]) == pytest.approx(2 / 3.5)


def test_layers_of_denoiser_and_encoder_count_with_their_weights_and_nothing_else_does() -> None:
    encoder, special = "vae.encoder.conv_in", torch.full((1, 1, 1, 1), 7.0)
    clean = {"photo": special, encoder: special, "latent": special, "decoded": special, **CLEAN, "error": special}
    target = {**clean, **TARGET, encoder: torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)}
    protected = {**clean, **PROTECTED, encoder: torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)}  # mean square 1 over 1/4
    loss, parts = AnchorObjective()(clean, protected, TWO, target)
    assert {tap: float(value) for tap, value in parts.items()} == pytest.approx({encoder: 4.0, "blocks.1": 1.25})
    assert float(loss) == pytest.approx((4 + 1.25) / 2)
    weighted, _ = AnchorObjective(weights={encoder: 1.0, "blocks.1": 3.0})(clean, protected, TWO, target)
    assert float(weighted) == pytest.approx((4 + 3 * 1.25) / 4)


def test_descent_reaches_the_target_in_every_frame() -> None:
    features = PROTECTED["blocks.1"].clone().requires_grad_()
    optimizer = torch.optim.SGD([features], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        AnchorObjective()(CLEAN, {"blocks.1": features}, TWO, TARGET)[0].backward()
        optimizer.step()
    torch.testing.assert_close(features.detach(), TARGET["blocks.1"], atol=1e-3, rtol=0)


def test_latent_goes_toward_the_targets_or_leaves_its_own() -> None:
    clean = {"latent": torch.tensor([1.0, -1.0]).view(1, 1, 1, 1, 2)}  # variance 1
    protected = {"latent": torch.tensor([2.0, 0.0]).view(1, 1, 1, 1, 2)}
    target = {"latent": torch.tensor([0.0, 4.0]).view(1, 1, 1, 1, 2)}  # variance 4; mean square (4 + 16) / 2
    toward, away = LatentObjective("grey"), LatentObjective(away=True)
    assert toward.needs == away.needs == ("latent",)
    assert toward.target_image is not None
    assert float(toward(clean, protected, DRAW, target)[0]) == pytest.approx(10 / 4)
    assert float(away(clean, protected, DRAW)[0]) == pytest.approx(-1)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="AnchorObjective needs the features of its target image"):
        AnchorObjective()(CLEAN, PROTECTED, TWO)
    with pytest.raises(UsageError, match=r"needs the taps blocks\.7; add blocks\.7 to the taps"):
        AnchorObjective(weights={"blocks.7": 1.0})(CLEAN, PROTECTED, TWO, TARGET)
    with pytest.raises(UsageError, match="LatentObjective needs the taps latent; add latent to the taps"):
        LatentObjective()(CLEAN, PROTECTED, TWO, TARGET)
    with pytest.raises(UsageError, match="weights must be finite, not negative"):
        AnchorObjective(weights={"blocks.1": math.nan})
    with pytest.raises(UsageError, match=r"\(1, 4, 1\) are no tokens .* of 3 latent frames; use balance=False"):
        AnchorObjective()(CLEAN, PROTECTED, replace(DRAW, frames=3), TARGET)


def test_target_images_are_what_their_names_say() -> None:
    assert float(target_image("grey", 32).std()) == 0
    checker = target_image("checker", 64)  # cells of 4 pixels
    assert checker.shape == (3, 64, 64)
    assert checker[0, 0, :8].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert checker[2, :8, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert float(checker.mean()) == 0.5
    stripes = target_image("stripes", 64)
    assert torch.equal(stripes[:, :1].expand(3, 64, 64), stripes)
    assert stripes[1, 30, :8].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    noise = target_image("noise")
    assert torch.equal(noise, target_image("noise"))
    assert sorted(noise.unique().tolist()) == [0, 1]
    assert float(noise.mean()) == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(noise[0], noise[1])


def test_a_target_image_can_be_a_picture(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 20), (255, 0, 51)).save(tmp_path / "red.png")
    image = target_image(str(tmp_path / "red.png"), 32)
    assert image.shape == (3, 32, 32)
    torch.testing.assert_close(image[:, 5, 7], torch.tensor([1.0, 0.0, 0.2]))
    assert AnchorObjective(str(tmp_path / "red.png")).target_image is not None


def test_unusable_target_images_are_refused(tmp_path: Path) -> None:
    for name in ("chequer", "~nobody-here/a.png", "x" * 300):
        with pytest.raises(UsageError, match=f"no target image '{name}'; give grey, checker, stripes, noise, or the path of a picture"):
            AnchorObjective(name)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UsageError, match=r"cannot read .*text\.png: not a picture"):
        LatentObjective(str(tmp_path / "text.png"))
    with pytest.raises(UsageError, match="size is 8; a target image has at least 16 pixels a side"):
        target_image("grey", 8)
