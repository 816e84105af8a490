"""How good a video model of the Portraits is, from the command line to the files, on tiny ones of both kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.portraits import main
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
def test_clips_are_compared_with_the_rendered_truth(
    write: Callable[[Path], Path], frames: int, tap: str, prompted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "surrogate")
    identity, actions = write_judges(tmp_path)
    options = f"--size 32x48 --frames {frames} --tap {tap} --people 3 --gallery 4 --steps 2 --batch 2".split()
    named = ["--surrogate", str(folder), "--judge", str(identity), "--actions", str(actions), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["portraits.py", *options, *named])
    main()
    found = json.loads((tmp_path / "out" / "portraits.json").read_text(encoding="utf-8"))
    assert found["facts"]["size"] == f"{frames} frames of 32 x 48"
    measures = found["measures"]
    # A model without prompts is not judged by actions.
    assert [f"action_right_{kind}" in measures for kind in KINDS] == [prompted] * 3
    for kind in KINDS:
        assert 0 <= measures[f"rank1_{kind}"]["mean"] <= 1
    assert 0 < measures["autoencoder_clip_db"]["mean"] < 40  # random weights, neither nothing nor the truth
    with Image.open(tmp_path / "out" / "portraits.png") as sheet:
        assert sheet.height >= 6 * 32  # a row for each rendered and each generated clip
