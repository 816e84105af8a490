"""The adversary who trains a network: it learns to take a residual away, and the benchmark runs from its command line to its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.generators import BackboneGenerator
from anti_i2v.protector import Protector
from benchmarks import remover
from benchmarks.remover_network import Remover
from benchmarks.remover_training import Plan, draw_faces, train
from tests.tiny import FRAMES, HEIGHT
from tests.tiny.training import BACKBONE


def tiny(keyed: bool) -> Protector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = BackboneGenerator(**BACKBONE, keyed=keyed, salience=None)  # type: ignore[arg-type]
    return Protector(generator.requires_grad_(False).eval())


@pytest.mark.parametrize("size", [(32, 32), (33, 50), (7, 5)])
def test_a_remover_sees_nothing_before_it_is_trained_in_photos_of_any_size(size: tuple[int, int]) -> None:
    photo = torch.rand(1, 3, *size)
    assert torch.equal(Remover(8).remove(photo, passes=2), photo)


def test_a_remover_has_half_to_one_million_weights() -> None:
    assert 5e5 <= sum(value.numel() for value in Remover().parameters()) <= 1e6


def test_a_short_training_takes_most_of_a_keyless_residual_away() -> None:
    protector = tiny(False)
    faces = draw_faces(protector, 4, 32, 0, known=True)
    assert faces.images.shape == (4, 3, 32, 32)
    _, facts = train(protector, faces, Plan(minutes=10, most_steps=60, batch=4), 16, None)
    left = facts["left"]
    assert isinstance(left, list)
    assert left[-1] < 0.5 < left[0]


def test_a_generator_that_finds_nobody_is_refused() -> None:
    with pytest.raises(UsageError, match="finds nobody in 2 photos"):
        draw_faces(tiny(False), 2, 32, 0, known=False)


def test_a_file_that_holds_no_remover_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.safetensors").write_bytes(b"what")
    with pytest.raises(UsageError, match="--save"):
        Remover.load(tmp_path / "missing.safetensors")
    with pytest.raises(UsageError, match="--save"):
        Remover.load(tmp_path / "none.safetensors")


def test_it_trains_removes_animates_and_writes(wan: Path, judges: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny(True).save_pretrained(tmp_path / "generator", card="")
    tiny(False).save_pretrained(tmp_path / "theirs", card="")
    sizes = f"--model-size {HEIGHT} --frames {FRAMES} --people 2 --seeds 0 1 --steps 1 --batch 2 --known-faces --width 8"
    words = [*sizes.split(), "--surrogate", str(wan), *judges[:2], "--generator", str(tmp_path / "generator"), "--wrong-keys", "2"]
    file, out = tmp_path / "remover.safetensors", tmp_path / "out"
    short = "--train-steps 2 --train-batch 2 --photos 4 --likeness 0.1 --animate 1 --inversion-steps 1 2"
    adversaries = ["--adversary-trains", str(tmp_path / "generator"), str(tmp_path / "theirs")]
    remover.main([*words, *short.split(), "--save", str(file), *adversaries, "--out", str(out)])
    data = json.loads((out / "remover.json").read_text(encoding="utf-8"))
    assert data["training"]["steps"] == 2
    assert list(data["results"])[:5] == ["clean", "protected", "noise", "removed", "removed twice"]
    assert data["photos"]["noise"]["left"]["mean"] == pytest.approx(data["photos"]["protected"]["left"]["mean"], rel=0.03)
    assert data["photos"]["protected"]["share"]["mean"] == pytest.approx(1)
    assert data["photos"]["clean"]["left"]["mean"] == 0
    assert [of["keys"] for of in data["inversion"].values()] == [2, 1]
    text = capsys.readouterr().out
    assert "| removed twice |" in text
    assert "## Inversion" in text

    remover.main([*words, "--load", str(file), "--out", str(out)])
    again = json.loads((out / "remover.json").read_text(encoding="utf-8"))
    assert again["photos"]["removed"]["left"]["mean"] == pytest.approx(data["photos"]["removed"]["left"]["mean"], rel=1e-4)


def test_quick_leaves_what_is_given_in_words() -> None:
    options = remover.parse(["--quick", "--people", "3"])
    assert (options.people, options.seeds, options.minutes) == (3, [0], 4.0)
    assert remover.parse([]).minutes == 30
