"""An adversary who subtracts what a generator adds: exact where the residual does not depend on the photo, invisible to the gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.budget import fit_to_budget
from anti_i2v.errors import UsageError
from anti_i2v.generators import Generator
from anti_i2v.inference.batches import lay
from anti_i2v.inference.windows import Window
from anti_i2v.portraits import PortraitClips
from anti_i2v.protector import Protector
from anti_i2v.training.adversary import Inversion, mix_colours
from tests.tiny.generator import tiny_generator

WINDOWS = [[Window(4, 4, 32, 1.0)], [Window(0, 8, 32, 1.0), Window(20, 20, 24, 1.0)]]
EPSILON = torch.tensor([8.0, 4.0])


class Blind(Generator):
    """Paints the same field in every window, whatever it shows; with `keyed`, times the first number of the key."""

    def __init__(self, keyed: bool = False) -> None:
        super().__init__(salience=None)
        self.working_size, self.keyed = 32, keyed
        self.field = torch.nn.Parameter(torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)))

    def config(self) -> dict[str, str | int | float]:
        return {}

    def forward(self, window: Tensor, epsilon: Tensor, key: Tensor) -> dict[str, Tensor]:
        number = key[:, :1] if self.keyed else torch.ones_like(key[:, :1])
        return {"rgb": self.field * number[:, :, None, None]}


def grey() -> Tensor:
    """Photos with room in every direction."""
    return torch.randint(80, 170, (2, 3, 48, 48), generator=torch.Generator().manual_seed(1)) / 255


def inverted(inversion: Inversion, protector: Protector, protected: Tensor, seed: int = 0) -> Tensor:
    return inversion(grey(), protected, EPSILON, WINDOWS, protector, torch.Generator().manual_seed(seed))[0]


def test_who_has_the_very_generator_gets_the_photo_back_where_residuals_do_not_depend_on_it() -> None:
    protector, photo = Protector(Blind()), grey()
    protected = protector(photo, EPSILON, torch.zeros(2, 32), WINDOWS)
    assert (protected - photo).abs().amax((1, 2, 3)).mul(255).round().tolist() == [8, 4]
    back = inverted(Inversion(share=1.0, factor=(1.0, 1.0), added=0), protector, protected)
    torch.testing.assert_close(back, photo, atol=1e-6, rtol=0)


def test_twice_the_factor_subtracts_twice_the_residual() -> None:
    protector, photo = Protector(Blind()), grey()
    residual = protector(photo, EPSILON, torch.zeros(2, 32), WINDOWS) - photo
    found = inverted(Inversion(share=1.0, factor=(2.0, 2.0), added=0), protector, photo)
    torch.testing.assert_close(found, photo - 2 * residual, atol=1e-6, rtol=0)


def test_the_adversary_has_another_key() -> None:
    protector, photo, key = Protector(Blind(keyed=True)), grey(), torch.full((2, 32), 1.5)
    protected = protector(photo, EPSILON, key, WINDOWS)
    random = torch.Generator().manual_seed(0)
    torch.rand(5, 2, generator=random)  # who, where they begin, and in which colours
    torch.rand(2, 1, 2, 1, 1, 1, generator=random)  # the factor and its sign
    for _ in ("steps", "keys"):
        torch.randint(1, 2, (), generator=random)
    mix_colours(torch.zeros(2, dtype=torch.bool), random)
    theirs = torch.randn(1, 2, 32, generator=random)[0]
    field = protector.propose(protected, WINDOWS, EPSILON, theirs)
    expected = protected - (fit_to_budget(protected, lay(protected, WINDOWS, field, EPSILON), EPSILON) - protected)
    found = inverted(Inversion(share=1.0, factor=(1.0, 1.0), added=0), protector, protected)
    torch.testing.assert_close(found, expected)
    assert (found - photo).abs().max() > 3 / 255  # not undone


def test_gradient_passes_to_the_photo_as_if_nothing_had_been_subtracted() -> None:
    protector, leaf = Protector(Blind()), grey().requires_grad_()
    weights = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(2))
    (weights * inverted(Inversion(share=1.0), protector, leaf)).sum().backward()
    assert torch.equal(leaf.grad, weights)  # type: ignore[arg-type]
    assert protector.generator.field.grad is not None  # the generator in training learns to be of no use to an adversary


def test_an_adversary_who_adds_the_residual_doubles_it_and_is_told_from_one_who_subtracts() -> None:
    protector, photo = Protector(Blind()), grey()
    residual = protector(photo, EPSILON, torch.zeros(2, 32), WINDOWS) - photo
    found = inverted(Inversion(share=1.0, factor=(1.0, 1.0), added=1.0), protector, photo)
    torch.testing.assert_close(found, photo + residual, atol=1e-6, rtol=0)


def test_residuals_that_do_not_depend_on_the_photo_are_wholly_alike() -> None:
    protector, photo = Protector(Blind()), grey()
    protected = protector(photo, EPSILON, torch.zeros(2, 32), WINDOWS)
    random = torch.Generator().manual_seed(0)
    for share, expected in ((1.0, 1.0), (0.0, 0.0)):
        alike = Inversion(share=share)(photo, protected, EPSILON, WINDOWS, protector, random)[1]
        assert float(alike.detach()) == pytest.approx(expected, abs=1e-3)


def test_a_share_of_the_photos_is_inverted() -> None:
    protector, photo = Protector(Blind()), grey()
    assert torch.equal(inverted(Inversion(share=0.0), protector, photo), photo)
    inversion = Inversion(share=0.5)
    changed = [(inverted(inversion, protector, photo, seed) != photo).any((1, 2, 3)) for seed in range(60)]
    assert float(torch.cat([row[None] for row in changed]).float().mean()) == pytest.approx(0.5, abs=0.15)


def test_generators_of_folders_are_inverted_too_and_stay_as_they_are(tmp_path: Path) -> None:
    folder = tiny_generator(tmp_path / "public")
    inversion, photo = Inversion([folder], share=1.0, factor=(1.0, 1.0), own=False, added=0), grey()
    public = Protector.from_pretrained(folder, backend="torch")
    found = inverted(inversion, Protector(Blind()), photo)
    expected = photo - (public(photo, EPSILON, torch.zeros(2, 32), WINDOWS) - photo)  # this generator has no use for a key
    torch.testing.assert_close(found, expected.detach().clamp(0, 1), atol=1e-6, rtol=0)
    assert not any(p.requires_grad for protector in inversion.foreign for p in protector.generator.parameters())
    both = Inversion([folder], share=1.0, own=True)
    results = [inverted(both, Protector(Blind()), photo, seed)[0] for seed in range(8)]
    assert len({round(float((result - photo[0]).detach().abs().sum()), 3) for result in results}) > 2


class Fading(Blind):
    """Paints less the brighter a window is, so that a photo and its protected version get different residuals."""

    def forward(self, window: Tensor, epsilon: Tensor, key: Tensor) -> dict[str, Tensor]:
        return {"rgb": self.field.abs() * (1 - 8 * (window.mean((1, 2, 3)) - 0.5)).view(-1, 1, 1, 1)}


def test_several_steps_walk_from_the_protected_photo() -> None:
    protector, photo, zeros = Protector(Fading()), grey(), torch.zeros(2, 32)
    protected = protector(photo, EPSILON, zeros, WINDOWS).detach()
    inversion = Inversion(share=1.0, factor=(1.0, 1.0), added=0, steps=2)
    estimate, expected = protected, []
    for _ in range(2):
        estimate = protected - (protector(estimate, EPSILON, zeros, WINDOWS).detach() - estimate)
        expected.append(estimate)
    assert not torch.equal(*expected)
    found = [inverted(inversion, protector, protected, seed).detach() for seed in range(12)]
    steps = [[float((one - other).abs().max()) < 1e-6 for other in expected].index(True) for one in found]
    assert {0, 1} == set(steps)


def test_who_knows_the_photo_subtracts_the_residual_of_the_photo_itself() -> None:
    protector, photo = Protector(Fading()), grey()
    protected = protector(photo, EPSILON, torch.zeros(2, 32), WINDOWS).detach()
    distances = []
    for known in (0.0, 1.0):
        inversion = Inversion(share=1.0, factor=(1.0, 1.0), added=0, known=known)
        found = torch.stack([inverted(inversion, protector, protected, seed) for seed in range(12)])
        distances.append((found - photo).square().mean((1, 2, 3, 4)))
    assert distances[1].min() < 0.5 * distances[0].min()  # nearer to the clean photo, its residual is nearer to what was added


def test_mixed_colours_lie_between_the_channels_from_grey_to_swapped_ones() -> None:
    mixes = mix_colours(torch.tensor([True, False] * 200), torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixes.sum(-1), torch.ones(400, 3))  # white stays white, and nothing leaves [0, 1]
    assert mixes.min() >= 0
    assert torch.equal(mixes[1::2], torch.eye(3).expand(200, 3, 3))
    off_diagonal = 1 - mixes[::2].diagonal(dim1=1, dim2=2)
    assert (off_diagonal > 0.9).all(-1).any()  # each channel shows another one
    assert ((mixes[::2] - 1 / 3).abs().amax((1, 2)) < 0.1).any()  # nearly grey


class Red(Blind):
    """Paints only where a window is redder than green, so that other colours make it do otherwise."""

    def forward(self, window: Tensor, epsilon: Tensor, key: Tensor) -> dict[str, Tensor]:
        return {"rgb": self.field * (window[:, 0] > window[:, 1]).float().mean((1, 2)).view(-1, 1, 1, 1)}


def test_a_photo_in_other_colours_is_only_what_the_generator_sees_and_its_residual_is_subtracted_from_the_photo() -> None:
    protector, photo = Protector(Red()), grey()
    photo = photo[:, 1:2] + torch.tensor([0.1, 0, 0]).view(3, 1, 1)  # red everywhere
    changes = {}
    for recoloured in (0.0, 1.0):
        inversion = Inversion(share=1.0, factor=(1.0, 1.0), added=0, recoloured=recoloured)
        found = [inversion(photo, photo, EPSILON, WINDOWS, protector, torch.Generator().manual_seed(seed))[0] for seed in range(24)]
        changes[recoloured] = (torch.stack(found).detach() - photo).abs().amax((2, 3, 4)).mul(255).round()
    assert (changes[0.0] == EPSILON).all()
    painted = (changes[1.0] == EPSILON).float().mean()
    nothing = (changes[1.0] == 0).float().mean()
    assert float(painted + nothing) == 1
    assert 0.3 < float(nothing) < 0.7  # a drawn mix has less of the red in its first channel than in its second as often as not


def test_the_mean_over_keys_is_weaker_than_one_key() -> None:
    protector, photo = Protector(Blind(keyed=True)), grey()
    one, eight = (Inversion(share=1.0, factor=(1.0, 1.0), added=0, keys=keys) for keys in (1, 8))
    strength = [
        torch.stack([(inverted(way, protector, photo, seed) - photo).square().mean() for seed in range(12)]).mean() for way in (one, eight)
    ]
    assert strength[1] < 0.7 * strength[0]


def test_of_several_factors_that_one_counts_which_brings_the_person_back() -> None:
    clean = PortraitClips("test", 1, 48, 48).batch([0, 1]).video[:, 0]
    protector = Protector(Blind())
    protected = protector(clean, torch.tensor([32.0, 32.0]), torch.zeros(2, 32), WINDOWS).detach()
    inversion = Inversion(share=1.0, factor=(1.0, 1.0), added=0.5, tries=12)

    def repaint(photos: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        return clean[rows], photos

    for seed in range(3):
        random = torch.Generator().manual_seed(seed)
        found = inversion(clean, protected, torch.tensor([32.0, 32.0]), WINDOWS, protector, random, repaint)[0]
        assert (found - clean).square().mean() < 0.5 * (protected - clean).square().mean()  # subtracted, never added


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UsageError, match=r"share is 1\.5; give a share of photos, from 0 to 1"):
        Inversion(share=1.5)
    with pytest.raises(UsageError, match=r"known is -1; give a share of photos, from 0 to 1"):
        Inversion(known=-1)
    for name in ("steps", "keys", "tries"):
        with pytest.raises(UsageError, match=f"{name} is 0; give a number from 1 on"):
            Inversion(**{name: 0})
    with pytest.raises(UsageError, match=r"factor \(0, 1\) must be a smallest and a largest value within 0–8"):
        Inversion(factor=(0, 1))
    with pytest.raises(UsageError, match="an inversion needs generators; name some, or set own: true"):
        Inversion(own=False)
