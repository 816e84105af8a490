"""The choice of layers, and the surrogates that a taps file is valid for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from anti_i2v.errors import UsageError
from anti_i2v.probing.blocks import kind_of
from anti_i2v.probing.choice import as_yaml, choose, read_choice, read_taps
from anti_i2v.probing.study import Row


def rows(figures: dict[str, list[tuple[float, float]]], names: tuple[str, str] = ("subject_later", "person_later")) -> list[Row]:
    """Layer → (subject, person) at noise 1, 0.6 and 0.3."""
    levels = (1.0, 0.6, 0.3)
    return [
        Row(layer, i, levels[i], dict(zip(names, pair, strict=True))) for layer, pairs in figures.items() for i, pair in enumerate(pairs)
    ]


def test_subject_times_person_at_the_noisy_steps_decides() -> None:
    choice = choose(
        rows(
            {
                "blocks.0": [(0.9, 0.9), (0.9, 0.9), (0.9, 0.9)],  # the best, but then there would be no shallow one
                "blocks.1": [(0.1, 0.2), (0.1, 0.2), (1.0, 1.0)],  # the third step is not noisy
                "blocks.2": [(0.5, 0.4), (0.5, 0.8), (0.0, 0.0)],
                "blocks.3": [(-0.5, -0.4), (0.2, 0.5), (1.0, 1.0)],  # two wrongs make no right
                "blocks.4": [(0.6, 0.5), (0.4, 0.5), (0.0, 0.0)],
            }
        ),
        2,
    )
    assert choice.scores == pytest.approx({"blocks.0": 0.81, "blocks.1": 0.02, "blocks.2": 0.3, "blocks.3": 0.05, "blocks.4": 0.25})
    assert (choice.deep, choice.shallow) == (["blocks.2", "blocks.4"], "blocks.1")
    assert choice.rule.startswith("subject x person")


def test_what_a_layer_carries_counts_as_much_as_an_attack_moves_it() -> None:
    carried = {"blocks.0": 0.2, "blocks.1": 0.4, "blocks.2": 0.3}
    gains = {"blocks.0": 0.1, "blocks.1": 0.5, "blocks.2": 2.0}
    table = [Row(layer, 0, 1.0, {"subject_later": c, "person_later": 0.5, "attack_later": gains[layer]}) for layer, c in carried.items()]
    choice = choose(table, 1)
    assert choice.scores == pytest.approx({"blocks.0": 0.01, "blocks.1": 0.1, "blocks.2": 0.3})
    assert choice.deep == ["blocks.2"]
    unseen = [Row(layer, 0, 1.0, {"coherence_later": c, "attack_later": gains[layer]}) for layer, c in carried.items()]
    assert choose(unseen, 1).scores == pytest.approx({"blocks.0": 0.02, "blocks.1": 0.2, "blocks.2": 0.6})


def test_without_truth_coherence_decides_and_one_latent_frame_is_enough() -> None:
    table = rows({f"blocks.{i}": [(c, math.nan)] * 3 for i, c in enumerate((0.1, 0.4, 0.2))}, ("coherence_first", "subject_first"))
    choice = choose(table, 1)
    assert (choice.deep, choice.shallow) == (["blocks.1"], "blocks.0")
    assert choice.rule.startswith("coherence")


def test_of_equal_layers_the_deeper_is_deep() -> None:
    same = rows({f"blocks.{i}": [(0.5, 0.5)] * 3 for i in range(4)})
    assert choose(same, 2).deep == ["blocks.2", "blocks.3"]
    assert choose(same, 2).shallow == "blocks.0"
    with pytest.raises(UsageError, match="4 of 4 layers"):
        choose(same, 4)


def written(folder: Path, **changes: object) -> Path:
    """A taps file for portrait-dit."""
    choice = choose(rows({f"blocks.{i}": [(0.1 * i, 0.5)] * 3 for i in range(12)}))
    content = yaml.safe_load(as_yaml(choice, kind_of("portrait-dit")[0], {"seed": 0}))
    file = folder / "taps.yaml"
    file.write_text(yaml.safe_dump({**content, **changes}))
    return file


def test_a_taps_file_is_read_for_the_surrogate_it_was_made_for(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert read_taps(file, "portrait-dit") == ["blocks.9", "blocks.10", "blocks.11"]
    assert read_choice(file, "portrait-dit").shallow == "blocks.0"


def test_a_taps_file_for_another_surrogate_is_refused_by_both_names(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"made for portrait-dit .*WanTransformer3DModel of 12 blocks.* not for portrait-unet .*of 5 blocks"
    ):
        read_taps(written(tmp_path), "portrait-unet")
    with pytest.raises(UsageError, match=r"of 30 blocks.* not for portrait-dit"):
        read_taps(written(tmp_path, blocks=30), "portrait-dit")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deep": ["blocks.12"]}, r"names blocks\.12, which portrait-dit lacks"),
        ({"deep": []}, "no deep layers"),
        ({"scores": None}, "cannot read"),
    ],
)
def test_a_taps_file_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_taps(written(tmp_path, **changes), "portrait-dit")


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "deep: blocks.1"])
def test_what_is_no_taps_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "taps.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"anti-i2v layers --surrogate portrait-dit"):
        read_taps(tmp_path / "taps.yaml", "portrait-dit")
    with pytest.raises(UsageError, match="cannot read"):
        read_taps(tmp_path / "none.yaml", "portrait-dit")
