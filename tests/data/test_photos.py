"""Photos with an index: portraits and folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from anti_i2v.data import FolderPhotos, PhotoDataModule
from anti_i2v.errors import UsageError
from anti_i2v.portraits import ACTIONS, PortraitClips, PortraitPhotos


def write(path: Path, colour: tuple[int, int, int] = (255, 0, 0), size: tuple[int, int] = (40, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def test_portrait_batches_are_the_first_frames_of_clips_with_their_prompts() -> None:
    data = PhotoDataModule(PortraitPhotos(people=5), photo_size=16, batch_size=4)
    first, last = list(data.val_dataloader())
    assert first["image"].shape == (4, 3, 16, 16)
    assert last["image"].shape == (1, 3, 16, 16)
    clip = PortraitClips("validation", num_frames=1, height=16, width=16)[4]
    assert torch.equal(last["image"][0], clip.video[0])
    assert last["prompt"] == [clip.prompt]
    assert first["identity"].tolist() == [0, 1, 2, 3]
    assert last["identity"].tolist() == [4]


def test_every_prompt_that_a_portrait_brings_is_announced() -> None:
    data = PhotoDataModule(PortraitPhotos(people=40), photo_size=8, batch_size=40)
    (batch,) = list(data.test_dataloader())
    assert set(batch["prompt"]) <= set(data.prompts)
    assert len(data.prompts) == sum(len(action.prompts) for action in ACTIONS)


def test_training_order_is_decided_by_the_seed() -> None:
    def first(seed: int) -> torch.Tensor:
        data = PhotoDataModule(PortraitPhotos(), photo_size=8, batch_size=2, seed=seed)
        return next(iter(data.train_dataloader()))["image"]

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_folder_photos_of_any_size_and_mode_become_squares(tmp_path: Path) -> None:
    write(tmp_path / "a.png", size=(40, 20))
    Image.new("L", (9, 31), 128).save(tmp_path / "b.png")
    (tmp_path / "sub").mkdir()
    Image.new("RGBA", (16, 16), (0, 255, 0, 0)).save(tmp_path / "sub" / "c.png")
    with pytest.warns(UserWarning, match="3 photos: training, validation and test share them"):
        (batch,) = list(PhotoDataModule(FolderPhotos(tmp_path), photo_size=12, batch_size=8).val_dataloader())
    assert batch["image"].shape == (3, 3, 12, 12)
    assert "identity" not in batch  # nobody says who they are
    assert torch.allclose(batch["image"][:, :, 0, 0], torch.tensor([[1, 0, 0], [128 / 255] * 3, [0, 1, 0]], dtype=torch.float32))


def test_a_folder_without_splits_gives_every_photo_to_one_split(tmp_path: Path) -> None:
    for i in range(20):
        write(tmp_path / f"{i:02d}.png")
    source = FolderPhotos(tmp_path)
    names = {split: [p.name for p in source.files(split)] for split in ("train", "validation", "test")}
    assert names["validation"] == ["08.png", "18.png"]
    assert names["test"] == ["09.png", "19.png"]
    assert len(names["train"]) == 16


def test_split_subfolders_are_the_splits(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a.png"), write(tmp_path / "validation" / "b.png"), write(tmp_path / "test" / "c.png")
    source = FolderPhotos(tmp_path)
    assert [p.name for p in source.files("train")] == ["a.png"]
    assert [p.name for p in source.files("test")] == ["c.png"]


@pytest.mark.filterwarnings("ignore:.*share them")
def test_an_unreadable_photo_is_named_and_its_successor_taken(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    write(tmp_path / "b.png", (0, 0, 255))
    with pytest.warns(UserWarning, match=r"skipped: cannot read .*a\.png"):
        (batch,) = list(PhotoDataModule(FolderPhotos(tmp_path), photo_size=8, batch_size=2).val_dataloader())
    assert torch.equal(batch["image"][0], batch["image"][1])


@pytest.mark.filterwarnings("ignore:skipped", "ignore:.*share them")
def test_a_folder_of_nothing_readable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match="none of the 1 photos"):
        list(PhotoDataModule(FolderPhotos(tmp_path), photo_size=8, batch_size=2).val_dataloader())


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        FolderPhotos(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=f"no photos for train in {tmp_path}"):
        FolderPhotos(tmp_path).files("train")


def test_training_crops_differ_and_validation_crops_do_not(tmp_path: Path) -> None:
    ramp = torch.arange(64, dtype=torch.uint8).repeat(64, 1).numpy()
    for i in range(10):
        Image.fromarray(ramp).save(tmp_path / f"{i}.png")
    data = PhotoDataModule(FolderPhotos(tmp_path), photo_size=8, batch_size=8)
    crops = next(iter(data.train_dataloader()))["image"]
    assert len({float(crop.mean()) for crop in crops}) > 4
    assert torch.equal(next(iter(data.val_dataloader()))["image"], next(iter(data.val_dataloader()))["image"])


def test_prompts_come_from_the_prompts_file(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    words = tmp_path / "prompts.txt"
    words.write_text("wave\n\n jump \nwave\n", encoding="utf-8")
    assert FolderPhotos(tmp_path, words).prompts == ("wave", "jump")
    words.write_text("\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"prompts\.txt has no prompt"):
        FolderPhotos(tmp_path, words)
    with pytest.raises(UsageError, match=r"missing\.txt"):
        FolderPhotos(tmp_path, tmp_path / "missing.txt")


def test_a_photo_lying_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    photo = Image.new("RGB", (20, 20), (0, 0, 0))
    photo.paste((255, 255, 255), (0, 0, 20, 10))  # white above
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    photo.save(tmp_path / "a.png", exif=exif)
    with pytest.warns(UserWarning, match="share them"):
        (batch,) = list(PhotoDataModule(FolderPhotos(tmp_path), photo_size=20, batch_size=1).val_dataloader())
    assert batch["image"][0, :, 0].max() == 0
    assert batch["image"][0, :, -1].min() == 1
