"""`anti-i2v layers` as people use it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from anti_i2v.__main__ import main
from anti_i2v.probing import read_taps
from tests.tiny import FRAMES, tiny_portrait_dit

SIZES = ["--height", "32", "--width", "32", "--num-frames", str(FRAMES)]
CHEAP = [*SIZES, "--steps", "0,12", "--attacked", "1", "--count", "2", "--quiet"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def video_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_portrait_dit(tmp_path_factory.mktemp("video_model")))


def test_rendered_people_give_a_table_pictures_and_a_choice(video_model: str, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "new" / "folder"
    assert main(["layers", "--surrogate", video_model, "--out", str(out), "--people", "4", "--scenes", "2", *CHEAP]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["layers.csv", "layers.png", "pca.png", "taps.yaml"]
    printed = capsys.readouterr()
    assert "wrote" in printed.out
    assert printed.err == ""
    table = [line for line in (out / "layers.csv").read_text().splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(table))
    assert [(row["layer"], row["step"]) for row in rows] == [(f"blocks.{i}", step) for i in range(4) for step in ("0", "12")]
    assert all(row["subject_later"] and row["person_first"] for row in rows)
    explained = (out / "layers.csv").read_text()
    for column in rows[0]:
        assert f"# {re.sub('_(first|later)$', '', column)}: " in explained or column in ("layer", "step")
    taps = yaml.safe_load((out / "taps.yaml").read_text())
    assert (taps["surrogate"], taps["denoiser"], taps["blocks"], taps["seed"]) == (video_model, "WanTransformer3DModel", 4, 0)
    assert len(taps["deep"]) == 2
    assert read_taps(out / "taps.yaml", video_model) == taps["deep"]
    assert all(Image.open(out / name).size[0] > 200 for name in ("layers.png", "pca.png"))


def test_photos_of_a_folder_need_no_truth_and_one_that_cannot_be_read_is_named(video_model: str, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for i, name in enumerate(("a.png", "sub/b.jpg")):
        Image.effect_noise((50, 40 + i), 60).convert("RGB").save(folder / name)
    (folder / "c.png").write_text("no picture")
    arguments = [
        "layers",
        "--surrogate",
        video_model,
        "--out",
        str(tmp_path / "out"),
        "--photos",
        str(folder),
        "--taps",
        "blocks.0,blocks.2,blocks.3",
    ]
    assert main([*arguments, "--prompt", "a dog", *CHEAP]) == 1
    printed = capsys.readouterr()
    assert "c.png" in printed.err
    taps = yaml.safe_load((tmp_path / "out" / "taps.yaml").read_text())
    assert taps["rule"].startswith("coherence")
    assert taps["photos"].startswith("2 photos of a folder")
    assert (taps["deep"], taps["shallow"]) == (["blocks.2", "blocks.3"], "blocks.0")


def test_without_matplotlib_the_command_names_the_package_before_any_work(
    video_model: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["layers", "--surrogate", video_model, "--out", str(tmp_path / "out"), *CHEAP]) == 2
    assert 'needs matplotlib, which is not installed; pip install "anti-i2v[plot]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--surrogate", "portrait-nowhere"], "portrait-nowhere"),
        (["--photos", "nowhere"], "no folder 'nowhere'"),
        (["--photos", "."], "no photos in ."),
        (["--people", "0"], "--people is 0; there are 1 … 256"),
        (["--scenes", "9"], "--scenes is 9; there are 1 … 8"),
        (["--height", "33"], "33 × 32"),
        (["--height", "-1"], "--height is -1"),
        (["--num-frames", "4"], "num_frames is 4"),
        (["--steps", "0,20"], "steps [0, 20]: the schedule has the steps 0 … 19"),
        (["--steps", "first"], "--steps is 'first'"),
        (["--taps", "blocks.9,blocks.1,blocks.2"], "no tap 'blocks.9'"),
        (["--count", "4"], "--count 4 of 4 layers"),
        (["--device", "nowhere"], "--device nowhere"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    video_model: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main(["layers", "--surrogate", video_model, "--out", str(tmp_path / "out"), "--people", "1", *CHEAP, *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    assert message in lines[0]
