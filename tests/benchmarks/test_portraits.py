"""The benchmark of a Portraits video model, from the command line to the files, on tiny ones of both kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.portraits import main
from tests.tiny import FRAMES
from tests.tiny.unet import FRAMES as UNET_FRAMES

KINDS = ("rendered", "autoencoder", "generated")


@pytest.mark.parametrize(
    ("model", "frames", "tap", "prompted"),
    [("wan", FRAMES, "proj_out", True), ("unet", UNET_FRAMES, "mid_block", False)],
)
def test_clips_are_compared_with_the_rendered_truth(
    model: str, frames: int, tap: str, prompted: bool, judges: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    options = f"--size 32x48 --frames {frames} --tap {tap} --people 3 --gallery 3 --steps 1 --batch 2".split()
    common = ["--surrogate", str(request.getfixturevalue(model)), *judges, "--out", str(tmp_path / "out")]
    main([*options, *common])
    results = json.loads((tmp_path / "out" / "portraits.json").read_text(encoding="utf-8"))
    assert results["facts"]["size"] == f"{frames} frames of 32 x 48"
    measures = results["measures"]
    # A model without prompts is not judged by actions.
    assert [f"action_right_{kind}" in measures for kind in KINDS] == [prompted] * 3
    for kind in KINDS:
        assert 0 <= measures[f"rank1_{kind}"]["mean"] <= 1
    assert 0 < measures["autoencoder_clip_db"]["mean"] < 40  # random weights, neither nothing nor the truth
    with Image.open(tmp_path / "out" / "portraits.jpg") as sheet:
        assert sheet.height >= 6 * 32  # a row for each rendered and each generated clip
