"""The validation of identified layers from its command line to its file, on the tiny world with untrained judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anti_i2v.probing.blocks import kind_of
from anti_i2v.probing.choice import Choice, as_yaml
from benchmarks.taps import choices, main
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_world
from tests.tiny.judges import write_judges


def test_random_layers_are_as_many_and_none_of_the_others() -> None:
    scores = {f"blocks.{i}": 0.1 for i in range(12)}
    choice = Choice(["blocks.3", "blocks.4", "blocks.5"], "blocks.0", "rule", scores)
    drawn = [choices(choice, seed) for seed in range(20)]
    for found in drawn:
        assert found["identified"] == ["blocks.3", "blocks.4", "blocks.5"]
        assert found["shallowest"] == ["blocks.0", "blocks.1", "blocks.2"]
        assert len(set(found["random"])) == 3
        assert not {"blocks.0", "blocks.3", "blocks.4", "blocks.5"} & set(found["random"])
        assert found["random"] == sorted(found["random"], key=list(scores).index)
    assert len({tuple(found["random"]) for found in drawn}) > 10
    assert choices(choice, 7) == drawn[7]


def test_it_trains_animates_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identity, actions = write_judges(tmp_path)
    world, file = tiny_world(tmp_path / "wan"), tmp_path / "taps.yaml"
    choice = Choice(["blocks.2"], "blocks.0", "rule", {f"blocks.{i}": 0.1 for i in range(4)})
    file.write_text(as_yaml(choice, kind_of(str(world))[0], {}), encoding="utf-8")
    sizes = f"--size {HEIGHT}x{WIDTH} --num-frames {FRAMES} --photo-size 32 --people 3 --seeds 0 1 --steps 2"
    named = {"surrogate": world, "taps-file": file, "judge": identity, "actions": actions, "out": tmp_path / "out"}
    words = [word for name, path in named.items() for word in (f"--{name}", str(path))]
    main([*sizes.split(), *["--train-steps", "1", "--train-batch", "2"], *words])
    data = json.loads((tmp_path / "out" / "taps.json").read_text(encoding="utf-8"))
    assert [found["identified"] for found in data["taps"]] == [["blocks.2"]] * 2
    moved = data["results"]["clip_change"]
    assert moved["clean"]["mean"] == 0
    assert min(moved[name]["mean"] for name in ("identified", "random", "shallowest")) > 0
    difference = moved["identified"]["mean"] - moved["random"]["mean"]
    assert moved["identified - random"]["mean"] == pytest.approx(difference, abs=1e-3)
    by_seed = moved["identified - random, by seed"]
    assert sum(by_seed) / 2 == pytest.approx(difference, abs=1e-3)
