"""Photos of several sources in one training."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from anti_i2v.data import FacePhotos, FolderPhotos, MixedPhotos, PhotoDataModule
from anti_i2v.errors import UsageError
from anti_i2v.imaging.landmarks import COLUMNS
from anti_i2v.portraits import GroupPhotos, PortraitPhotos


def folder(path: Path, colour: tuple[int, int, int], count: int = 30) -> FolderPhotos:
    path.mkdir()
    for i in range(count):
        Image.new("RGB", (16, 16), colour).save(path / f"{i:03}.png")
    return FolderPhotos(path)


def test_batches_of_training_are_of_one_source_each_and_as_often_as_the_weights_say(tmp_path: Path) -> None:
    red, blue = folder(tmp_path / "red", (255, 0, 0), 200), folder(tmp_path / "blue", (0, 0, 255))
    batches = list(PhotoDataModule(MixedPhotos({"red": red, "blue": blue}, {"blue": 3.0}), photo_size=8, batch_size=2).train_dataloader())
    shares = [float(batch["image"][:, 0].mean()) for batch in batches]
    assert set(shares) == {0.0, 1.0}  # never both in one batch
    assert sum(shares) == 160 / 2  # every photo of the first source once, however often the second begins anew
    assert 2.0 < (len(shares) - sum(shares)) / sum(shares) < 4.2


def test_the_order_of_the_sources_is_that_of_the_seed(tmp_path: Path) -> None:
    source = MixedPhotos({"red": folder(tmp_path / "red", (255, 0, 0)), "blue": folder(tmp_path / "blue", (0, 0, 255))})

    def order(seed: int) -> list[float]:
        return [float(batch["image"][0, 0].mean()) for batch in source.loader("train", 8, 2, 0, seed)]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_validation_is_of_the_first_source_and_prompts_are_of_all(tmp_path: Path) -> None:
    source = MixedPhotos({"red": folder(tmp_path / "red", (255, 0, 0)), "people": PortraitPhotos(people=4)})
    (batch,) = list(PhotoDataModule(source, photo_size=8, batch_size=8).val_dataloader())
    assert batch["image"][:, 0].min() == 1.0
    assert set(source.sources[1].prompts) < set(source.prompts)


def test_sources_and_their_weights_must_fit(tmp_path: Path) -> None:
    red = folder(tmp_path / "red", (255, 0, 0))
    with pytest.raises(UsageError, match="sources is empty"):
        MixedPhotos({})
    with pytest.raises(UsageError, match="weights name 'blue', which is none of the sources red"):
        MixedPhotos({"red": red}, {"blue": 1.0})
    with pytest.raises(UsageError, match="must be positive"):
        MixedPhotos({"red": red}, {"red": 0.0})


def test_photos_without_landmarks_have_none_that_are_numbers_beside_a_source_with_some(tmp_path: Path) -> None:
    red = folder(tmp_path / "red", (255, 0, 0), 12)
    (tmp_path / "red" / "landmarks.csv").write_text(
        ",".join(COLUMNS) + "\n" + "".join(f"{i:03}.png,5,5,11,5,8,8,6,11,10,11\n" for i in range(12))
    )
    mixed = MixedPhotos({"faces": FacePhotos(tmp_path / "red"), "rendered": GroupPhotos(kept=4)})
    known = {bool(batch["landmarks"].isfinite().all()) for batch in mixed.loader("train", 32, 2, 0, 0)}
    assert known == {True, False}
    plain = MixedPhotos({"red": red, "rendered": GroupPhotos(kept=4)})
    assert not plain.has_landmarks
    assert all("landmarks" not in batch for batch in plain.loader("train", 32, 2, 0, 0))
