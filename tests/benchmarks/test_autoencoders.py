"""The benchmark of autoencoders on photographs: it runs on rendered people, and its figures mean what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from anti_i2v.embedders import load_embedder
from anti_i2v.errors import UsageError
from anti_i2v.imaging.landmarks import COLUMNS
from anti_i2v.imaging.tensors import to_pil
from anti_i2v.portraits import PortraitClips
from anti_i2v.surrogates import Surrogate
from benchmarks.autoencoders import InTurn, Judge, main, shift


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen rendered people with landmarks where their faces are, two of them of the test split."""
    folder, rows = tmp_path_factory.mktemp("photos"), [",".join(COLUMNS)]
    drawn = PortraitClips("test", 1, 96, 96).batch(range(16))
    for i, (image, mask) in enumerate(zip(drawn.video[:, 0], drawn.face_mask[:, 0, 0], strict=True)):
        to_pil(image).save(folder / f"{i:02}.png")
        where = (mask > 0.5).nonzero().float()
        (top, left), (bottom, right) = where.amin(0).tolist(), where.amax(0).tolist()
        h, w = bottom - top, right - left
        points = [(0.25, 0.4), (0.75, 0.4), (0.5, 0.6), (0.3, 0.75), (0.7, 0.75)]  # x, y of eyes, nose and mouth within a face
        rows.append(f"{i:02}.png," + ",".join(f"{left + x * w:.1f},{top + y * h:.1f}" for x, y in points))
    (folder / "landmarks.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_it_measures_every_version_through_every_autoencoder(photos: Path, tmp_path: Path) -> None:
    arguments = ["--judge", "portrait-judge", "--embedders", "portrait-faces-2", "--generators", "portrait-generator"]
    arguments += ["--autoencoders", "photo-kl", "--held-out", "photo-dc", "--attacked", "1", "--steps", "2", "--size", "64"]
    main(["--photos", str(photos), "--out", str(tmp_path), "--photo-size", "96", *arguments])
    data = json.loads((tmp_path / "autoencoders.json").read_text())
    versions = ["portrait-generator, one pass", "PGD, 2 steps, photo-kl", "PGD, 2 steps, all of them"]
    assert list(data["results"]) == [name for version in versions for name in (version, f"noise like {version}")]
    for name, of in data["results"].items():
        assert set(of) == {"photos", "rms", "delta_e", "still", "photo-kl", "photo-dc"}
        assert of["photos"]["mean"] == (2 if "portrait-generator" in name else 1)
    one, noise = data["results"][versions[0]], data["results"][f"noise like {versions[0]}"]
    assert noise["rms"]["mean"] == pytest.approx(one["rms"]["mean"], abs=0.05)
    assert data["quality"]["photo-kl"]["psnr"]["mean"] > 20
    assert str(photos) not in (tmp_path / "autoencoders.json").read_text() + (tmp_path / "autoencoders.md").read_text()


def test_what_was_attacked_does_not_judge(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the judge 'dlib' is an objective embedder"):
        main(["--photos", str(photos), "--out", str(tmp_path), "--embedders", "portrait-faces-2", "dlib"])


def test_a_shift_is_nothing_for_the_photo_itself_and_everything_for_strangers() -> None:
    people = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    judge = Judge(load_embedder("portrait-judge", "judge"), people, torch.zeros(3, 5, 2))
    clean = judge.similarities(people)
    assert shift(clean, judge.similarities(people))["mean"] == 0
    own, strangers = clean
    assert shift(clean, (strangers, own))["mean"] == pytest.approx(1)  # as like its person as strangers are


def test_every_turn_is_one_autoencoder_for_photo_and_protected_photo() -> None:
    surrogates = [Surrogate.from_pretrained(name, ["decoded"], 32, 32) for name in ("photo-kl", "photo-dc")]
    turns, photo = InTurn(surrogates, torch.zeros(1, 5, 2)), torch.rand(1, 3, 32, 32)
    random, seen = torch.Generator().manual_seed(0), set()
    for _ in range(8):
        draw = turns.draw(1, random)
        assert torch.equal(turns(photo, {}, draw)["decoded"], surrogates[draw.step](photo, {}, draw)["decoded"])
        seen.add(draw.step)
    assert seen == {0, 1}
