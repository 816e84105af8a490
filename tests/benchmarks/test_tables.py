"""Figures in documents come from result files, and the documents of this repository are up to date."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from benchmarks.tables import CARD, ROOT, cell, fill, main

START = "# Title\n\n<!-- table: {name} -->\nstale 99\n<!-- end -->\n\nEnd.\n"


def interval(mean: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"mean": mean, "low": low, "high": high}


def write(root: Path, name: str, data: object) -> None:
    file = root / "docs" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data), encoding="utf-8")


def evidence(way: float) -> dict[str, object]:
    """What benchmarks/evidence.py writes, as far as the tables read it."""
    versions = {"clean": 0.0, "white_noise": 0.01, "random_parameters": 0.02, "one_pass": way, "pgd_20": 0.5, "pgd_100": 0.75}
    rows = {name: {"identity_shift": interval(w, w - 0.01, w + 0.01), "rank1": interval(0.5, 0.25, 0.75)} for name, w in versions.items()}
    facts = {"commit": "abc", "people": 64, "seeds": [0, 1, 2], "epsilon": 8.0, "threads": 2}
    seconds, share = {"one_pass": 0.0312, "pgd_100": 41.7}, {"portrait-dit": interval(0.4, 0.3, 0.5)}
    return {"facts": facts, "results": {"portrait-dit": rows}, "seconds": seconds, "share": share}


def test_the_documents_of_this_repository_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_a_figure_is_shown_with_its_interval_or_not_at_all() -> None:
    assert cell(interval(0.123, 0.1, 0.2)) == "0.12 [0.10, 0.20]"
    assert cell(interval(0.123)) == "0.12"
    assert cell([-0.001, -0.004, 0.5], 1) == "0.0 [0.0, 0.5]"
    assert cell(interval(0.75, 0.5, 1.0), 0, 100, "%") == "75% [50, 100]"
    assert cell(interval(float("nan"), 0.0, 1.0)) == cell(interval(None)) == cell(None) == "–"


def test_blocks_are_filled_checked_and_filled_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(START.format(name="evidence/portrait-dit") + "Now <!-- table: evidence/portrait-dit/line -->?<!-- end -->.\n")
    assert main([], tmp_path) == 0
    assert "not measured yet\n\n<!-- end -->" in readme.read_text()
    assert "Now <!-- table: evidence/portrait-dit/line -->not measured yet<!-- end -->." in readme.read_text()
    assert main(["--check"], tmp_path) == 0

    write(tmp_path, "evidence/evidence", evidence(0.3))
    before = readme.read_text()
    assert main(["--check"], tmp_path) == 1
    assert "README.md is out of date" in capsys.readouterr().out
    assert readme.read_text() == before

    assert main([], tmp_path) == 0
    text = readme.read_text()
    assert "| **protected, one pass** |" in text
    assert "0.30 [0.29, 0.31]" in text
    assert "50% [25, 75]" in text
    assert "One pass takes 0.40 [0.30, 0.50] of the likeness that PGD-100 takes from the clips, in 0.031 s a photo instead of 42 s" in text
    assert "one pass: 0.30 [0.29, 0.31], white noise: 0.01 [0.00, 0.02], PGD-100: 0.75 [0.74, 0.76]<!-- end -->." in text
    assert "commit abc" in text
    assert text.startswith("# Title\n\n")
    assert main(["--check"], tmp_path) == 0
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_surrogate_that_was_not_judged_is_not_measured_yet(tmp_path: Path) -> None:
    write(tmp_path, "evidence/evidence", evidence(0.3))
    assert "\nnot measured yet\n" in fill(START.format(name="evidence/portrait-unet"), tmp_path)


def test_several_surrogates_have_a_table_each_and_one_together(tmp_path: Path) -> None:
    data = evidence(0.3)
    facts, results, share = data["facts"], data["results"], data["share"]
    assert isinstance(facts, dict)
    assert isinstance(results, dict)
    assert isinstance(share, dict)
    facts |= {"surrogates": ["portrait-dit", "portrait-unet"], "sizes": ["128x128", "64x64"], "frames": [9, 9]}
    facts |= {"attack": "identity", "faces": ["portrait-faces"], "keep": 1.0, "centred": False}
    results["portrait-unet"] = {name: {"identity_shift": interval(0.125, 0.0, 0.25)} for name in results["portrait-dit"]}
    share["portrait-unet"] = interval(None)
    boxes = {"portrait-dit": ("white box", "white box", "128x128"), "portrait-unet": ("black box", "black box", "64x64")}
    data["surrogates"] = {n: {"generator": g, "pgd": p, "size": s, "frames": 9, "left_out": []} for n, (g, p, s) in boxes.items()}
    write(tmp_path, "evidence/evidence", data)

    command = "evidence.py --surrogates portrait-dit portrait-unet --sizes 128x128 64x64 --people 64 --seeds 0 1 2 --attack identity "
    white = fill(START.format(name="evidence/portrait-dit"), tmp_path)
    assert "| PGD-100, each photo on its own |" in white
    assert "9 frames of 128x128, white box for the generator, white box for PGD" in white
    black = fill(START.format(name="evidence/portrait-unet"), tmp_path)
    assert "| PGD-100 against portrait-dit, each photo on its own |" in black
    assert "PGD-100 against portrait-dit takes no likeness from the clips, so one pass has no share of it." in black
    assert "9 frames of 64x64, black box for the generator, black box for PGD" in black
    together = fill(START.format(name="evidence"), tmp_path)
    assert "| portrait-dit | **protected, one pass** | white box | – | 0.30 [0.29, 0.31] |" in together
    assert "| portrait-unet | **protected, one pass** | black box | – | 0.12 [0.00, 0.25] |" in together
    assert "| portrait-unet | white noise, equal RMS | – |" in together
    assert "| portrait-dit | PGD-100 | white box |" in together
    assert together.count("| portrait-unet |") == 4
    for text in (white, black, together):
        assert f"`python benchmarks/{command}--faces portrait-faces --keep 1.0`" in text


def test_tables_of_the_other_benchmarks(tmp_path: Path) -> None:
    row = {"measures": {"identity_shift": interval(0.4, 0.3, 0.5), "rank1": interval(1.0, 1.0, 1.0)}}
    rows = [{"epsilon": e, "part": "taps", "version": "PGD", **row} for e in (None, 4.0, 8.0)]
    write(tmp_path, "attackability/attackability", {"facts": {"people": 16, "steps": 200, "commit": "c"}, "rows": rows})
    whole = fill(START.format(name="attackability"), tmp_path)
    assert whole.count("| taps | PGD |") == 3
    some = fill(START.format(name="attackability/8"), tmp_path)
    assert "| 8 | taps | PGD | – | 0.40 [0.30, 0.50] |" in some
    assert "| 4 |" not in some

    facts: dict[str, object] = {
        "people": 16,
        "steps": 100,
        "parts": ["identity"],
        "faces": ["portrait-faces"],
        "keep": 1.0,
        "centred": False,
    }
    write(
        tmp_path, "attackability/attackability", {"facts": facts, "rows": [{"epsilon": 8.0, "part": "identity", "version": "PGD", **row}]}
    )
    attacked = fill(START.format(name="attackability/8"), tmp_path)
    assert "| 8 | identity | PGD | – | 0.40 [0.30, 0.50] |" in attacked
    assert "--people 16 --steps 100 --parts identity --faces portrait-faces --keep 1.0`" in attacked

    of = {name: interval(0.9, 0.8, 1.0) for name in ("rank1", "identity_similarity", "strangers_similarity", "similarity_share")}
    of["presence"] = of["rank1"]
    write(tmp_path, "judge/judge", {"facts": {"people": 100, "size": 128}, "rows": {"clean": of, "JPEG, quality 50": of}})
    assert "| JPEG, quality 50 | 90% [80, 100] | 0.90 [0.80, 1.00] |" in fill(START.format(name="judge"), tmp_path)
    assert "names 90% [80, 100] of 100 test people" in fill("<!-- table: judge/line --><!-- end -->", tmp_path)


def test_the_ablation_has_a_row_for_each_variant_and_both_kinds_beside_each_other(tmp_path: Path) -> None:
    assert "\nnot measured yet\n" in fill(START.format(name="ablation"), tmp_path)

    def of(way: float) -> dict[str, object]:
        shift, rank1 = interval(way, way, way), interval(0.5, 0.25, 0.75)
        return {"identity_shift": shift, "rank1": rank1, "clip_change": interval(8.0), "ssim": interval(0.9)}

    facts: dict[str, object] = {"commit": "abc", "people": 64, "seeds": [0, 1, 2], "epsilon": 8.0, "surrogate": "portrait-dit"}
    facts |= {"kinds": ["per-photo", "generator"], "variants": ["rgb", "full"]}
    facts |= {"attack_steps": 100, "train_steps": 200, "train_batch": 8}
    results = {"clean": of(0.0), "white_noise": of(0.01)}
    results |= {"per-photo_rgb": of(0.1), "per-photo_full": of(0.2), "generator_rgb": of(0.05), "generator_full": of(0.15)}
    write(tmp_path, "ablation/ablation", {"facts": facts, "results": results})
    lines = fill(START.format(name="ablation"), tmp_path).splitlines()
    rest = "50% [25, 75] | 8.0 | 0.90 |"
    four = ("identity shift", "rank-1 accuracy", "clip change, RMSE", "SSIM")
    heads = [f"{kind}: {name}" for kind in ("per photo", "one pass") for name in four]
    assert f"| version | {' | '.join(heads)} |" in lines
    assert f"| clean photo | 0.00 [0.00, 0.00] | {rest} 0.00 [0.00, 0.00] | {rest}" in lines
    assert f"| white noise, RMS of the last row, per photo | 0.01 [0.01, 0.01] | {rest} 0.01 [0.01, 0.01] | {rest}" in lines
    assert f"| diffusion loss, in RGB | 0.10 [0.10, 0.10] | {rest} 0.05 [0.05, 0.05] | {rest}" in lines
    assert f"| + perceptual: the whole sum | 0.20 [0.20, 0.20] | {rest} 0.15 [0.15, 0.15] | {rest}" in lines
    told = next(line for line in lines if "benchmarks.ablation" in line)
    known = "epsilon 8, against portrait-dit, 100 steps per photo, one pass after 200 training steps of 8 photos; mean and 95 % interval;"
    assert told.startswith(f"64 people of the test split, 3 clip seeds, {known}")
    options = "--people 64 --seeds 0 1 2 --attack-steps 100 --train-steps 200 --train-batch 8"
    assert told.endswith(f"`python -m benchmarks.ablation --out docs/ablation {options}`.")

    facts["kinds"] = ["generator"]
    write(tmp_path, "ablation/ablation", {"facts": facts, "results": results})
    alone = fill(START.format(name="ablation"), tmp_path)
    assert f"\n| diffusion loss, in RGB | 0.05 [0.05, 0.05] | {rest}\n" in alone
    assert "steps per photo" not in alone


def test_hashes_and_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"a": "b"}, "w": {"dtype": "F16", "shape": [1000, 250], "data_offsets": [0, 500_000]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(500_000)
    (tmp_path / "checkpoints" / "mine").mkdir(parents=True)
    (tmp_path / "checkpoints" / "mine" / "model.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    assert f"| `mine/model.safetensors` | `{digest}` |" in fill(START.format(name="hashes"), tmp_path)
    assert fill("<!-- table: size/mine --><!-- end -->", tmp_path) == "<!-- table: size/mine -->0.25 M numbers in 0.5 MB<!-- end -->"
    assert "not measured yet" in fill("<!-- table: size/other --><!-- end -->", tmp_path)


def test_an_exported_card_gets_its_block(tmp_path: Path) -> None:
    card = tmp_path / CARD
    card.parent.mkdir(parents=True)
    card.write_text("# portrait-generator\n\n## Measured\n\nChange of generated videos: typed.\n\n## Limits\n\n* Many.\n")
    assert main(["--check"], tmp_path) == 1
    assert main([], tmp_path) == 0
    text = card.read_text()
    assert "## Measured\n\n<!-- table: evidence/portrait-dit -->\n\nnot measured yet\n\n<!-- end -->\n\n## Limits\n\n* Many.\n" in text
    assert "typed" not in text
    assert main(["--check"], tmp_path) == 0


def test_mistakes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, said in (
        ("<!-- table: nothing -->\n<!-- end -->\n", "no table 'nothing'"),
        ("<!-- table: judge -->\nno end\n", "no `<!-- end -->`"),
        ("<!-- table: judge -->\nno end\n<!-- table: judge --><!-- end -->\n", "no `<!-- end -->`"),
        ("<!-- table: portraits --><!-- end -->\n", "another layout"),
    ):
        write(tmp_path, "portraits/portrait-dit/portraits", {"facts": {}})
        (tmp_path / "README.md").write_text(text)
        with pytest.raises(SystemExit) as ended:
            main([], tmp_path)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err
        assert (tmp_path / "README.md").read_text() == text


def test_every_document_that_should_have_blocks_has_some() -> None:
    for name in ("README.md", "configs/README.md", "checkpoints/README.md", CARD):
        assert "<!-- table: " in (ROOT / name).read_text(encoding="utf-8"), name
