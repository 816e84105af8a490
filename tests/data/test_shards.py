"""WebDataset shards as a source of photos."""

from __future__ import annotations

import io
import tarfile
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from anti_i2v.data import PhotoDataModule, ShardPhotos
from anti_i2v.errors import UsageError


def shard(path: Path, greys: list[int], broken: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for i, grey in enumerate(greys):
            file = io.BytesIO()
            Image.new("RGB", (12, 10), (grey,) * 3).save(file, "PNG")
            data = b"no picture" if broken and i == 0 else file.getvalue()
            info = tarfile.TarInfo(f"{path.stem}-{i}.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def source(tmp_path: Path) -> ShardPhotos:
    for i in range(3):
        shard(tmp_path / "train" / f"{i}.tar", [20 * i, 20 * i + 5, 20 * i + 10])
    shard(tmp_path / "validation" / "v.tar", [100, 110, 120, 130, 140])
    return ShardPhotos(tmp_path / "train", tmp_path / "validation", shuffle=4)


def greys(batch: dict[str, torch.Tensor]) -> list[int]:
    return (255 * batch["image"][:, 0, 0, 0]).round().int().tolist()


def test_training_never_ends_and_repeats_exactly_for_a_seed(source: ShardPhotos) -> None:
    def run(seed: int) -> list[list[int]]:
        data = PhotoDataModule(source, photo_size=8, batch_size=4, seed=seed)
        return [greys(batch) for batch in islice(data.train_dataloader(), 12)]

    assert run(0) == run(0)
    assert run(0) != run(1)
    assert {grey for batch in run(0) for grey in batch} == {0, 5, 10, 20, 25, 30, 40, 45, 50}


def test_validation_sees_every_photo_once_and_in_order(source: ShardPhotos) -> None:
    for workers in (0, 2):  # more workers than shards
        data = PhotoDataModule(source, photo_size=8, batch_size=2, workers=workers)
        assert [greys(batch) for batch in data.val_dataloader()] == [[100, 110], [120, 130], [140]]


def test_a_broken_photo_in_a_shard_is_named_and_left_out(tmp_path: Path) -> None:
    shard(tmp_path / "v.tar", [1, 2, 3], broken=True)
    with pytest.warns(UserWarning, match=r"skipped: cannot read v-0\.png in .*v\.tar"):
        (batch,) = list(PhotoDataModule(ShardPhotos(tmp_path, tmp_path), photo_size=8, batch_size=4).test_dataloader())
    assert greys(batch) == [2, 3]


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"no .tar shards in '{tmp_path}'"):
        ShardPhotos(tmp_path, tmp_path)
