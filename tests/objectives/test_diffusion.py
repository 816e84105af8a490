"""The diffusion loss in both signs, with and without the denoiser's derivative, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.objectives import DiffusionObjective, SdsObjective
from anti_i2v.surrogates import Draw

DRAW = Draw(step=0, timestep=torch.tensor(999), sigma=1.0, noise=torch.zeros(1, 1))


def test_diffusion_loss_is_the_mean_square_of_the_error_raised_or_lowered() -> None:
    error = torch.tensor([0.0, 0.0, 1.0, -3.0]).view(1, 1, 2, 1, 2).requires_grad_()  # 0 in the photo's own frame
    for sign in (1, -1):
        loss, parts = DiffusionObjective(sign)({}, {"error": error}, DRAW)
        assert float(loss.detach()) == pytest.approx(-sign * 2.5)  # (0 + 0 + 1 + 9) / 4
        assert float(parts["diffusion"]) == pytest.approx(2.5)
        (gradient,) = torch.autograd.grad(loss, error)
        torch.testing.assert_close(gradient, -sign * error.detach() / 2)


def sds(error: torch.Tensor, latent: torch.Tensor, sign: Any = 1) -> torch.Tensor:
    """The gradient with respect to the latent; through the error there is none."""
    error, latent = error.clone().requires_grad_(), latent.clone().requires_grad_()
    loss, _ = SdsObjective(sign)({}, {"latent": latent, "error": error}, DRAW)
    by_error, by_latent = torch.autograd.grad(loss, [error, latent], allow_unused=True)
    assert by_error is None
    return by_latent


def test_sds_moves_the_latent_along_the_error_of_the_frames_that_are_not_the_photos() -> None:
    error = torch.tensor([[0.0, 0.0], [1.0, -3.0], [3.0, 1.0]]).view(1, 1, 3, 1, 2)  # frame 0 is the photo's own
    mean = torch.tensor([2.0, -1.0])
    for latent in (torch.ones(1, 1, 1, 1, 2), torch.ones(1, 1, 1, 2)):  # of a video autoencoder, of a picture one
        up, down = sds(error, latent), sds(error, latent, -1)
        torch.testing.assert_close(up.flatten(), -mean / 2)  # minimising goes along +error, over the number of values
        torch.testing.assert_close(down, -up)
        assert up.shape == latent.shape


def test_without_a_frame_of_its_own_all_frames_count() -> None:
    error = torch.tensor([[4.0, 0.0], [1.0, -3.0]]).view(1, 1, 2, 1, 2)
    torch.testing.assert_close(sds(error, torch.ones(1, 1, 1, 1, 2)).flatten(), -torch.tensor([2.5, -1.5]) / 2)


def test_a_latent_of_all_frames_meets_the_error_frame_by_frame() -> None:
    error = torch.arange(4.0).view(1, 1, 2, 1, 2)
    torch.testing.assert_close(sds(error, torch.ones_like(error)), -error / 4)


def test_sds_reports_the_diffusion_loss_and_not_the_inner_product() -> None:
    error = torch.tensor([0.0, 0.0, 1.0, -3.0]).view(1, 1, 2, 1, 2)
    loss, parts = SdsObjective()({}, {"latent": torch.tensor([2.0, 4.0]).view(1, 1, 1, 1, 2), "error": error}, DRAW)
    assert float(loss) == pytest.approx(-(2 * 1 + 4 * -3) / 2)
    assert float(parts["diffusion"]) == pytest.approx(2.5)


def test_it_is_the_true_gradient_where_the_denoisers_derivative_is_one() -> None:
    """A denoiser that answers with its input errs by latent + constant: half its loss has the gradient error / n."""
    latent = torch.tensor([0.5, -2.0, 1.0, 3.0]).view(1, 1, 1, 2, 2).requires_grad_()
    error = latent + 0.25
    (true,) = torch.autograd.grad(DiffusionObjective(-1)({}, {"error": error}, DRAW)[0] / 2, latent)
    torch.testing.assert_close(sds(error.detach(), latent.detach(), -1), true)


def test_bad_input_is_refused() -> None:
    sign: Any
    for sign in (0, 2, 0.5):
        for kind in (DiffusionObjective, SdsObjective):
            with pytest.raises(UsageError, match=f"sign is {sign}; give 1 to raise the diffusion loss, or -1 to lower it"):
                kind(sign)
    with pytest.raises(UsageError, match="DiffusionObjective needs the taps error; add error to the taps"):
        DiffusionObjective()({}, {}, DRAW)
    with pytest.raises(UsageError, match="SdsObjective needs the taps latent, error; add latent to the taps"):
        SdsObjective()({}, {"error": torch.zeros(1, 1, 2, 1, 2)}, DRAW)
    with pytest.raises(UsageError, match=r"the error \(1, 1, 3, 1, 2\) does not fit the latent \(1, 1, 2, 1, 2\)"):
        sds(torch.ones(1, 1, 3, 1, 2), torch.ones(1, 1, 2, 1, 2))
