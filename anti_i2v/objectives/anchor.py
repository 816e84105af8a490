"""Internal representation anchoring: features become those of an unrelated picture, or at least not those of the photo."""

from __future__ import annotations

from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives.base import Objective
from anti_i2v.objectives.distance import check_weights, departure, relative, weighted_mean
from anti_i2v.objectives.targets import target_image
from anti_i2v.surrogates.draw import SPECIAL, Draw


class AnchorObjective(Objective):
    """L_IRA of Anti-I2V (arXiv 2603.24570): Σ ‖f(protected) - f(target)‖² over layers of the denoiser and of the VAE's encoder.

    Here the weighted mean over taps of MSE / Var(f(target)), each photo on its own, so that the layers' scales do not decide. The
    paper sums over every layer, which is what happens without weights where the surrogate has all of them as taps. Anchoring the
    encoder's layers beside its latent is also FastProtect's multi-layer loss (arXiv 2412.11423).

    Args:
        target: The target image, see `targets.target_image`.
        away: Instead leave the photo's own features, without a target image: minus the mean of MSE / Var(f(photo)).
        weights: Tap → weight of its loss; by default equal for all layers, of the denoiser and of the autoencoder (`vae.encoder.…`).
        balance: Measure every latent frame by its own variance and give all equal weight, so that the photo's own frame, which
            changes most easily, is not enough (per-frame balance: Immune2V, arXiv 2604.10837). With `away` of ln(1 + distance), see
            `departure`.

    Raises:
        UsageError: Weights are unusable, or there is no such target image.
    """

    def __init__(self, target: str = "checker", away: bool = False, weights: dict[str, float] | None = None, balance: bool = True) -> None:
        super().__init__()
        if weights is not None:
            check_weights(weights)
        self.away, self.weights, self.balance = away, weights, balance
        self.target_image = None if away else target_image(target)

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Objective.needs`."""
        return tuple(self.weights or ())

    @property
    def clean_taps(self) -> tuple[str, ...] | None:
        """See `Objective.clean_taps`."""
        return None if self.away else ()

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; the parts are the distances of the taps, by tap name."""
        self.check_taps(protected)
        reference = clean if self.away else target
        if reference is None:
            raise UsageError(f"{type(self).__name__} needs the features of its target image; compute them, or set away: true")
        measure, frames = departure if self.away else _mean_relative, draw.frames if self.balance else None
        distances = {}
        for tap in self.weights or [tap for tap in protected if tap not in SPECIAL]:
            value = reference[tap].detach().float()
            distances[tap] = measure(protected[tap].float() - value, value, frames)
        mean = weighted_mean(distances, self.weights)
        return -mean if self.away else mean, {tap: distance.detach() for tap, distance in distances.items()}


def _mean_relative(away: Tensor, reference: Tensor, frames: int | None) -> Tensor:
    """The mean of `relative` over photos and frames: every frame must come near, so none needs a logarithm."""
    return relative(away, reference, frames).mean()
