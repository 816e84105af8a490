"""The evidence from its command line to its files, on the tiny world with untrained judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from anti_i2v.generators import BackboneGenerator
from anti_i2v.protector import Protector
from benchmarks.evidence import main
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_world
from tests.tiny_judges import write_judges
from tests.tiny_training import BACKBONE


def test_it_writes_tables_shares_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, other = tiny_world(tmp_path / "world"), tiny_world(tmp_path / "other")
    identity, actions = write_judges(tmp_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = BackboneGenerator(**BACKBONE)  # type: ignore[arg-type]
    Protector(generator).save_pretrained(tmp_path / "generator", card="", extra={})
    sizes = f"--people 3 --batch 2 --seeds 0 4 --pgd-steps 2 1 --steps 2 --frames {FRAMES} --size {HEIGHT} {WIDTH} --photo-size 48"
    models = ["--surrogates", str(world), str(other), "--taps", "blocks.1,blocks.2", "blocks.3", "--generator", str(tmp_path / "generator")]
    judges = ["--judge", str(identity), "--actions", str(actions)]
    main([*sizes.split(), *models, *judges, "--out", str(tmp_path / "out")])

    found = json.loads((tmp_path / "out" / "evidence.json").read_text(encoding="utf-8"))
    assert found["facts"]["seeds"] == [0, 4]
    versions = ["clean", "white_noise", "random_parameters", "one_pass", "pgd_1", "pgd_2"]
    for name in (str(world), str(other)):
        results = found["results"][name]
        assert list(results) == versions
        assert results["clean"]["all_frames"]["mean"] == results["clean"]["drop"]["mean"] == 0
        assert results["white_noise"]["residual_rms"]["mean"] == pytest.approx(results["one_pass"]["residual_rms"]["mean"], rel=0.02)
        for version in versions[1:]:
            assert results[version]["psnr"]["mean"] >= 30  # what epsilon 8 allows: 20·log10(255/8)
        people = found["people"][name]
        passed, optimised = (sum(people[version]["drop"]) for version in ("one_pass", "pgd_2"))
        share = found["share"][name]["mean"]
        # Each person's value is rounded to four digits, and an untrained judge's drops are hardly more.
        assert share is None or abs(optimised) < 0.01 or share == pytest.approx(passed / optimised, abs=0.05)
    # the same photos on the same weights: the second surrogate is the first under another name, but for its taps
    assert found["people"][str(world)] == found["people"][str(other)]
    assert found["seconds"]["pgd_2"] == pytest.approx(2 * found["seconds"]["pgd_1"])
    assert "| PGD-2 |" in (tmp_path / "out" / "evidence.md").read_text(encoding="utf-8")
    assert "PGD is white-box here" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "evidence.gif") as film:
        assert film.n_frames == FRAMES
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["evidence.gif", "evidence.json", "evidence.md", "evidence.png"]


def test_every_surrogate_needs_taps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--surrogates", "portrait-dit", "portrait-unet", "--taps", "blocks.1"])
    assert "2 surrogates but taps for 1" in capsys.readouterr().err
