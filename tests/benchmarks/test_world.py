"""How good a world is, from the command line to the files, on tiny worlds of both kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.world import main
from tests.tiny import FRAMES, tiny_world
from tests.tiny.judges import write_judges
from tests.tiny.unet import FRAMES as UNET_FRAMES
from tests.tiny.unet import tiny_unet_world

KINDS = ("rendered", "autoencoder", "generated")


@pytest.mark.parametrize(
    ("write", "frames", "tap", "prompted"),
    [(tiny_world, FRAMES, "proj_out", True), (tiny_unet_world, UNET_FRAMES, "mid_block", False)],
    ids=["transformer", "u-net"],
)
def test_a_world_is_held_against_the_rendered_truth(
    write: Callable[[Path], Path], frames: int, tap: str, prompted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = write(tmp_path / "world")
    identity, actions = write_judges(tmp_path)
    options = f"--size 32x48 --frames {frames} --tap {tap} --people 3 --gallery 4 --steps 2 --batch 2".split()
    named = ["--world", str(world), "--judge", str(identity), "--actions", str(actions), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["world.py", *options, *named])
    main()
    found = json.loads((tmp_path / "out" / "world.json").read_text(encoding="utf-8"))
    assert found["facts"]["size"] == f"{frames} frames of 32 x 48"
    measures = found["measures"]
    # What is told nothing cannot be blamed for showing another action.
    assert [f"action_right_{kind}" in measures for kind in KINDS] == [prompted] * 3
    for kind in KINDS:
        assert 0 <= measures[f"rank1_{kind}"]["mean"] <= 1
    assert 0 < measures["autoencoder_clip_db"]["mean"] < 40  # random weights, neither nothing nor the truth
    with Image.open(tmp_path / "out" / "world.png") as sheet:
        assert sheet.height >= 6 * 32  # a row for each rendered and each generated clip
