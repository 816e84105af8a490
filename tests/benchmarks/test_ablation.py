"""The ablation from its command line to its files, on a tiny model with untrained judges, and going on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anti_i2v.evaluation.runner import as_saved
from anti_i2v.imaging.metrics import srgb_to_lab
from anti_i2v.portraits import PortraitClips
from benchmarks.ablation import main, shift_difference
from tests.tiny import FRAMES, HEIGHT, WIDTH


def test_variants_of_both_kinds_are_made_judged_and_stored(
    wan: Path, judges: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = ("rgb", "lab", "dual", "full")
    sizes = f"--size {HEIGHT}x{WIDTH} --num-frames {FRAMES} --photo-size 32 --people 2 --batch 2 --seeds 0 --steps 1"
    short = "--attack-steps 2 --train-steps 1 --train-batch 2"
    words = [*sizes.split(), *short.split(), "--surrogate", str(wan), *judges, "--keep", str(tmp_path / "kept")]
    main([*words, "--out", str(tmp_path / "out"), "--variants", *reversed(variants)])
    text = (tmp_path / "out" / "ablation.json").read_text(encoding="utf-8")
    data = json.loads(text)
    names = [f"{kind}_{variant}" for kind in ("per-photo", "generator") for variant in variants]
    assert list(data["results"]) == ["clean", "white_noise", *names]
    assert list(data["seconds"]) == list(data["commits"]) == names
    assert min(data["seconds"].values()) > 0
    for name in names:
        assert data["results"][name]["psnr"]["mean"] >= 30  # what epsilon 8 allows
        assert data["results"][name]["clip_change"]["mean"] > 0
    # Every kind stays in the space of its variant: Lab leaves lightness alone, low frequencies do not.
    clean = as_saved(PortraitClips("test", 1, 32, 32).batch(range(2)).video[:, 0])
    for kind in ("per-photo", "generator"):
        versions = {variant: load_file(tmp_path / "kept" / f"{kind}_{variant}.safetensors")["photos"] / 255 for variant in variants}
        lightness = {variant: float((srgb_to_lab(photos) - srgb_to_lab(clean))[:, 0].abs().mean()) for variant, photos in versions.items()}
        assert lightness["lab"] < 0.5 * min(lightness["rgb"], lightness["dual"])
    # Variants differ in what they make, and noise is as strong as the whole sum.
    for kind in ("per-photo", "generator"):
        assert len({data["results"][f"{kind}_{variant}"]["residual_rms"]["mean"] for variant in variants}) == 4
    strength = {name: data["results"][name]["residual_rms"]["mean"] for name in ("white_noise", "per-photo_full")}
    assert strength["white_noise"] == pytest.approx(strength["per-photo_full"], rel=0.02)
    drops = {name: data["results"][name]["similarity_drop"]["mean"] for name in names}
    assert list(data["gains"])[:2] == ["per-photo_lab - per-photo_rgb", "per-photo_dual - per-photo_lab"]
    for gain, of in data["gains"].items():
        after, before = gain.split(" - ")
        assert of["similarity_drop"]["mean"] == pytest.approx(drops[after] - drops[before], abs=1e-6)
    assert "| generator full |" in capsys.readouterr().out

    # The second call makes nothing anew, not even the seconds, and writes the same; what is lacking is made.
    dates = {file: file.stat().st_mtime_ns for file in (tmp_path / "kept").iterdir()}
    assert sorted(file.stem for file in dates) == sorted(names)
    main([*words, "--out", str(tmp_path / "again"), "--variants", *reversed(variants)])
    assert (tmp_path / "again" / "ablation.json").read_text(encoding="utf-8") == text
    (tmp_path / "kept" / "generator_dual.safetensors").unlink()
    main([*words, "--out", str(tmp_path / "again"), "--variants", "dual", "lab"])
    some = json.loads((tmp_path / "again" / "ablation.json").read_text(encoding="utf-8"))
    assert list(some["gains"]) == ["per-photo_dual - per-photo_lab", "generator_dual - generator_lab"]
    assert some["results"]["generator_dual"] == data["results"]["generator_dual"]
    assert [file.name for file, date in dates.items() if file.stat().st_mtime_ns != date] == ["generator_dual.safetensors"]
    capsys.readouterr()

    # Photos of another budget are refused before anything is made.
    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", str(tmp_path / "other"), "--epsilon", "4", "--variants", "full"])
    assert ended.value.code == 2
    output = capsys.readouterr()
    assert [line for line in output.err.splitlines() if line.startswith("error:")] == [
        f"error: {tmp_path}/kept/per-photo_full.safetensors holds photos of epsilon 8.0 instead of 4.0; "
        "delete it, or keep these in another folder"
    ]
    assert not (tmp_path / "other").exists()


def test_the_gain_is_the_difference_of_the_identity_shifts_of_the_same_people() -> None:
    # Shifts of 0.5 and 0.25 for everybody: 0.4 of 0.8, and 0.2 of 0.8.
    alike = torch.ones(5)
    after = {"similarity_drop": 0.4 * alike, "identity_similarity": 0.5 * alike, "strangers_similarity": 0.1 * alike}
    before = {"similarity_drop": 0.2 * alike, "identity_similarity": 0.7 * alike, "strangers_similarity": 0.1 * alike}
    assert shift_difference(after, before) == pytest.approx((0.25, 0.25, 0.25))
    # People who all lose as much more are sure of it, however much they differ otherwise.
    lost = torch.tensor([0.1, 0.2, 0.3, 0.6])
    mean, low, high = shift_difference(
        {"similarity_drop": lost + 0.1, "identity_similarity": 0.7 - lost, "strangers_similarity": 0 * lost},
        {"similarity_drop": lost, "identity_similarity": 0.8 - lost, "strangers_similarity": 0 * lost},
    )
    assert (mean, low, high) == pytest.approx((0.125, 0.125, 0.125))
    nobody = {"similarity_drop": 0 * alike, "identity_similarity": 0.1 * alike, "strangers_similarity": 0.1 * alike}
    assert not any(value == value for value in shift_difference(after, nobody))  # who is like nobody before cannot shift
