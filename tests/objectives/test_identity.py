"""The identity objective on tiny identity embedders, against cosines computed from their own embeddings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.embedders import load_embedder, save_embedder
from anti_i2v.errors import UsageError
from anti_i2v.objectives import IdentityObjective
from anti_i2v.objectives.identity import move_with_pictures, shift_and_scale
from anti_i2v.surrogates import Draw
from tests.tiny.judges import tiny_faces, write_faces
from tests.tiny.onnx_faces import write_onnx

DRAW = Draw(step=0, timestep=torch.tensor(999), sigma=1.0, noise=torch.zeros(2, 1))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("faces")
    return [str(write_faces(root / str(seed), seed)) for seed in (1, 2)]


def pictures(seed: int) -> dict[str, Tensor]:
    """What a surrogate with the taps `decoded` and `photo` gives for two photos of 40 x 48."""
    random = torch.Generator().manual_seed(seed)
    return {tap: torch.rand(2, 3, 40, 48, generator=random) for tap in ("decoded", "photo")}


def cosine(folder: str, clean: Tensor, other: Tensor) -> float:
    """Mean cosine of the embeddings that the network of a folder gives clips of one frame."""
    network = load_embedder(folder, "objective")
    return float(F.cosine_similarity(network(clean[:, None]), network(other[:, None]), dim=1).mean())


def test_an_unchanged_photo_is_its_person(folders: list[str]) -> None:
    features = pictures(0)
    loss, parts = IdentityObjective(folders, keep=3.0)(features, features, DRAW)
    assert float(loss) == pytest.approx(1.0, abs=1e-5)  # 1 + 3 · (1 − 1)
    assert parts.keys() == {"similarity", "photo_similarity"}
    assert [float(value) for value in parts.values()] == pytest.approx([1.0, 1.0], abs=1e-5)


def test_loss_is_the_cosine_of_the_decoded_photos_and_keep_times_what_the_photo_itself_lost(folders: list[str]) -> None:
    clean, protected = pictures(0), pictures(1)
    decoded, photo = (cosine(folders[0], clean[tap], protected[tap]) for tap in ("decoded", "photo"))
    assert abs(decoded - photo) > 0.01  # else the test could not tell them apart
    loss, parts = IdentityObjective(folders[:1], keep=3.0)(clean, protected, DRAW)
    assert float(parts["similarity"]) == pytest.approx(decoded, abs=1e-5)
    assert float(parts["photo_similarity"]) == pytest.approx(photo, abs=1e-5)
    assert float(loss) == pytest.approx(decoded + 3 * (1 - photo), abs=1e-4)
    assert loss.shape == ()
    assert not any(value.requires_grad for value in parts.values())


def test_several_embedders_are_averaged(folders: list[str]) -> None:
    clean, protected = pictures(0), pictures(1)
    each = [cosine(folder, clean["decoded"], protected["decoded"]) for folder in folders]
    loss, _ = IdentityObjective(folders, keep=0.0)(clean, protected, DRAW)
    assert float(loss) == pytest.approx(sum(each) / 2, abs=1e-5)


def test_the_reference_can_be_the_photo_itself(folders: list[str]) -> None:
    clean, protected = pictures(0), pictures(1)
    expected = cosine(folders[0], clean["photo"], protected["decoded"])
    objective = IdentityObjective(folders[:1], keep=0.0, reference="photo")
    assert objective.clean_taps == ("photo",)
    assert objective.needs == ("decoded",)
    loss, parts = objective({"photo": clean["photo"]}, protected, DRAW)  # nothing is decoded of the clean photo
    assert float(loss) == float(parts["similarity"]) == pytest.approx(expected, abs=1e-5)


def test_what_is_read_of_clean_photos(folders: list[str]) -> None:
    taps = [IdentityObjective(folders, keep, reference=r).clean_taps for keep in (0.0, 1.0) for r in ("decoded", "photo")]  # type: ignore[arg-type]
    assert taps == [("decoded",), ("photo",), ("decoded", "photo"), ("photo",)]


def test_steep_is_minus_the_distance_on_the_sphere(folders: list[str]) -> None:
    clean, protected = pictures(0), pictures(1)
    network = load_embedder(folders[0], "objective")
    cosines = F.cosine_similarity(network(clean["decoded"][:, None]), network(protected["decoded"][:, None]), dim=1)
    loss, parts = IdentityObjective(folders[:1], keep=0.0, steep=True)(clean, protected, DRAW)
    assert float(loss) == pytest.approx(-float((2 - 2 * cosines).sqrt().mean()), abs=5e-3)
    assert float(parts["similarity"]) == pytest.approx(float(cosines.mean()), abs=1e-5)  # what is logged stays a cosine


def test_steep_has_a_slope_where_the_cosine_has_hardly_any(folders: list[str]) -> None:
    clean = pictures(0)
    lengths = {}
    for steep in (False, True):
        leaf = (clean["decoded"] + 1e-3 * pictures(1)["decoded"]).requires_grad_()
        loss, _ = IdentityObjective(folders[:1], keep=0.0, steep=steep)(clean, {"decoded": leaf}, DRAW)
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert bool(gradient.isfinite().all())
        lengths[steep] = float(gradient.norm())
    assert lengths[True] > 3 * lengths[False]
    same = clean["decoded"].clone().requires_grad_()
    loss, _ = IdentityObjective(folders[:1], keep=0.0, steep=True)(clean, {"decoded": same}, DRAW)
    assert bool(torch.autograd.grad(loss, same)[0].isfinite().all())


def test_without_keep_the_photo_is_not_needed(folders: list[str]) -> None:
    clean, protected = pictures(0), pictures(1)
    del clean["photo"], protected["photo"]
    _, parts = IdentityObjective(folders, keep=0.0)(clean, protected, DRAW)
    assert list(parts) == ["similarity"]
    with pytest.raises(UsageError, match="needs the taps decoded, photo; add photo to the taps"):
        IdentityObjective(folders, keep=1.0)(clean, protected, DRAW)
    with pytest.raises(UsageError, match="needs the taps decoded; add decoded to the taps"):
        IdentityObjective(folders, keep=0.0)({"blocks.1": clean["decoded"]}, {"blocks.1": clean["decoded"]}, DRAW)


def test_gradient_leads_away_from_the_person_in_the_decoded_photo_and_back_in_the_photo(folders: list[str]) -> None:
    objective, clean = IdentityObjective(folders, keep=2.0), pictures(0)
    # one value at each tap, a little beside the clean one: at the clean photo itself both cosines have no slope
    protected = {tap: (0.95 * value + 0.05 * pictures(1)[tap]).requires_grad_() for tap, value in clean.items()}
    loss, before = objective(clean, protected, DRAW)
    loss.backward()
    step = {}
    for tap, value in protected.items():
        assert value.grad is not None
        step[tap] = value.detach() - 0.5 / 255 * value.grad.sign()
    _, after = objective(clean, step, DRAW)
    assert after["similarity"] < before["similarity"]
    assert after["photo_similarity"] > before["photo_similarity"]
    assert all(p.grad is None for p in objective.parameters())


def test_training_leaves_the_embedders_unchanged(folders: list[str]) -> None:
    objective = IdentityObjective(folders)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    loss, _ = objective(pictures(0), pictures(1), DRAW)
    again, _ = objective.train()(pictures(0), pictures(1), DRAW)  # batch statistics would give another loss
    assert torch.equal(loss, again)
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
    assert not any(p.requires_grad for p in objective.parameters())


def test_unusable_arguments_are_refused_with_the_value(folders: list[str], tmp_path: Path) -> None:
    for keep in (-0.5, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=f"keep is {keep}; give a finite number from 0 on"):
            IdentityObjective(folders, keep)
    with pytest.raises(UsageError, match="embedders is empty; give"):
        IdentityObjective([])
    save_embedder(tiny_faces(), tmp_path / "judge", "judge")
    with pytest.raises(UsageError, match="judge is for the role 'judge', not 'objective'"):
        IdentityObjective([*folders, str(tmp_path / "judge")])


def test_aligned_embedders_read_the_face_where_the_landmarks_are(tmp_path: Path) -> None:
    pytest.importorskip("onnx2torch", reason="needs anti-i2v[faces]")
    aligned = str(write_onnx(tmp_path / "aligned"))
    objective = IdentityObjective([aligned], keep=1.0)
    assert objective.embedder_names == ("aligned",)
    clean, protected = pictures(0), {tap: value.requires_grad_() for tap, value in pictures(1).items()}
    with pytest.raises(UsageError, match="'aligned' reads aligned faces, and the photos have no landmarks"):
        objective(clean, protected, DRAW)
    embedder = load_embedder(aligned, "objective")
    assert embedder.template is not None
    face = torch.tensor(embedder.template.points) * 0.8 + torch.tensor([3.0, 9.0])
    landmarks = torch.stack([face, torch.full((5, 2), torch.nan)])
    expected = [embedder.embed(embedder.crop(each["decoded"][:1], landmarks[:1])[0])[0] for each in (clean, protected)]
    loss, parts = objective(clean, protected, replace(DRAW, landmarks=landmarks))
    assert float(parts["similarity"]) == pytest.approx(
        float((expected[0] * expected[1]).sum().detach()), abs=1e-5
    )  # the photo with a face alone
    loss.backward()
    for value in protected.values():
        assert value.grad is not None
        assert bool(value.grad.isfinite().all())
        assert float(value.grad[0].abs().sum()) > 0
        assert float(value.grad[1].abs().sum()) == 0
    loss, parts = objective(clean, protected, replace(DRAW, landmarks=torch.full((2, 5, 2), torch.nan)))  # nobody at all
    assert float(loss.detach()) == float(parts["similarity"]) == 0
    assert bool(torch.autograd.grad(loss, protected["decoded"])[0].isfinite().all())


def test_landmarks_follow_the_shift_and_scaling() -> None:
    picture = torch.zeros(2, 3, 64, 96)
    picture[:, :, 30:36, 40:46] = 1.0
    noise = torch.tensor([[0.7, -0.5, 0.9], [-1.0, 0.4, -0.3]])
    points = torch.tensor([[33.0, 43.0]]).expand(2, 5, 2)
    draw = replace(DRAW, noise=noise, landmarks=points)
    moved = shift_and_scale(picture, draw, 0.1)
    landmarks = move_with_pictures(draw, (64, 96), 0.1)
    assert landmarks is not None
    assert float((landmarks - points).abs().max()) > 2
    for view, found in zip(moved, landmarks, strict=True):
        weights = view[0] / view[0].sum()
        at = [float((weights.sum(1 - axis) * (torch.arange(view.shape[1 + axis]) + 0.5)).sum()) for axis in (0, 1)]
        assert found[0].tolist() == pytest.approx(at, abs=0.2)
