"""The diffusion loss with a gradient through the autoencoder only: no backward pass through the denoiser."""

from __future__ import annotations

from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives.diffusion import DiffusionObjective
from anti_i2v.surrogates.draw import ERROR, LATENT, Draw


class SdsObjective(DiffusionObjective):
    """Score distillation as an attack: SDS(+) and SDS(-) of arXiv 2311.12832 (ICLR 2024), after DreamFusion (arXiv 2209.14988, eq. 3).

    The gradient with respect to the latent z is the denoiser's error itself, as if the denoiser's derivative were 1:
    ∇L = E[error · ∂z/∂photo]. It is that of the inner product of `latent` with a constant `error`, the mean over values, which has
    no meaning as a number. A clip's error is a map a frame; where the latent is of one frame it gets the mean over the frames that
    are not the photo's own: for a still clip of the photo that is each frame's gradient added up, over their number.
    Together with `LatentObjective` it is SDST, the variant with a target. It needs the taps `latent` and `error`.

    Args:
        sign: 1 to raise the diffusion loss, -1 to lower it, whose perturbations the paper finds the more natural.

    Raises:
        UsageError: The sign is neither.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Objective.needs`."""
        return (LATENT, ERROR)

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; the part is the diffusion loss `diffusion`, which the inner product is not."""
        self.check_taps(protected)
        latent, error = protected[LATENT].float(), protected[ERROR].detach().float()
        value = (match_latent(error, latent) * latent).mean()
        return -self.sign * value, {"diffusion": error.square().mean()}


def match_latent(error: Tensor, latent: Tensor) -> Tensor:
    """The error `(B, channels, frames, h, w)` in the shape of the latent: itself, or the mean over frames that are not all 0.

    Raises:
        UsageError: The latent has neither one frame nor those of the error, or other channels or another size.
    """
    if error.shape == latent.shape:
        return error
    later = error.abs().amax((0, 1, 3, 4)) > 0  # it is 0 in the frames that the photo itself occupies
    mean = error[:, :, later].sum(2, keepdim=True) / later.sum().clamp_min(1)
    mean = mean.squeeze(2) if latent.ndim == 4 else mean
    if mean.shape != latent.shape:
        raise UsageError(f"the error {tuple(error.shape)} does not fit the latent {tuple(latent.shape)}; use DiffusionObjective here")
    return mean
