"""The validation of identified layers from its command line to its file, on a tiny model with untrained judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anti_i2v.probing.blocks import kind_of
from anti_i2v.probing.choice import Choice, as_yaml
from benchmarks.taps import choices, main
from tests.tiny import FRAMES, HEIGHT, WIDTH


def test_random_layers_are_as_many_and_none_of_the_others() -> None:
    scores = {f"blocks.{i}": 0.1 for i in range(12)}
    choice = Choice(["blocks.3", "blocks.4", "blocks.5"], "blocks.0", "rule", scores)
    draws = [choices(choice, seed) for seed in range(20)]
    for draw in draws:
        assert draw["identified"] == ["blocks.3", "blocks.4", "blocks.5"]
        assert draw["shallowest"] == ["blocks.0", "blocks.1", "blocks.2"]
        assert len(set(draw["random"])) == 3
        assert not {"blocks.0", "blocks.3", "blocks.4", "blocks.5"} & set(draw["random"])
        assert draw["random"] == sorted(draw["random"], key=list(scores).index)
    assert len({tuple(draw["random"]) for draw in draws}) > 10
    assert choices(choice, 7) == draws[7]


def test_it_trains_animates_and_compares(wan: Path, judges: list[str], tmp_path: Path) -> None:
    file = tmp_path / "taps.yaml"
    choice = Choice(["blocks.2"], "blocks.0", "rule", {f"blocks.{i}": 0.1 for i in range(4)})
    file.write_text(as_yaml(choice, kind_of(str(wan))[0], {}), encoding="utf-8")
    sizes = f"--size {HEIGHT}x{WIDTH} --num-frames {FRAMES} --photo-size 32 --people 2 --seeds 0 1 --steps 1"
    common = ["--surrogate", str(wan), "--taps-file", str(file), *judges, "--out", str(tmp_path / "out")]
    main([*sizes.split(), *["--train-steps", "1", "--train-batch", "2"], *common])
    data = json.loads((tmp_path / "out" / "taps.json").read_text(encoding="utf-8"))
    assert [layers["identified"] for layers in data["taps"]] == [["blocks.2"]] * 2
    change = data["results"]["clip_change"]
    assert change["clean"]["mean"] == 0
    assert min(change[name]["mean"] for name in ("identified", "random", "shallowest")) > 0
    difference = change["identified"]["mean"] - change["random"]["mean"]
    assert change["identified - random"]["mean"] == pytest.approx(difference, abs=1e-3)
    by_seed = change["identified - random, by seed"]
    assert sum(by_seed) / 2 == pytest.approx(difference, abs=1e-3)
