"""The benchmark from its command line to its files, on a tiny model with an untrained judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.attackability import COLUMNS, Table, main
from tests.tiny import FRAMES, HEIGHT, WIDTH
from tests.tiny.judges import write_faces


def test_it_writes_a_row_for_every_attack_and_its_noise(wan: Path, judges: list[str], tmp_path: Path) -> None:
    sizes = f"--people 3 --gallery 3 --batch 2 --steps 1 --denoising-steps 1 --frames {FRAMES} --size {HEIGHT} {WIDTH} --sheet-people 1"
    attacks = "--epsilons 2 4 --parts both identity --taps blocks.1 blocks.2 --centred --clip-seeds 1"
    models = ["--surrogate", str(wan), *judges[:2], "--faces", str(write_faces(tmp_path / "faces"))]
    main([*sizes.split(), *attacks.split(), *models, "--out", str(tmp_path / "out")])

    data = json.loads((tmp_path / "out" / "attackability.json").read_text(encoding="utf-8"))
    assert (data["facts"]["people"], data["facts"]["steps"], data["facts"]["clip_seeds"]) == (3, 1, [1])
    rows = {(row["epsilon"], row["part"], row["version"]): row for row in data["rows"]}
    attacked = {(e, p, v) for e in (2.0, 4.0) for p in ("both", "identity") for v in ("PGD", "white noise, equal RMS")}
    assert set(rows) == attacked | {(None, "none", "clean photo"), (None, "none", "clean photo, other seed")}
    for key in attacked:
        measures, people = rows[key]["measures"], rows[key]["people"]
        assert set(measures) == set(COLUMNS)
        assert max(people["true_epsilon"]) <= key[0] + 1e-3
        assert len(people["identity_similarity"]) == 3
        assert measures["identity_similarity"]["low"] <= measures["identity_similarity"]["mean"] <= measures["identity_similarity"]["high"]
    for epsilon in (2.0, 4.0):
        both = [rows[epsilon, "both", version]["measures"]["rms"]["mean"] for version in ("PGD", "white noise, equal RMS")]
        assert both[0] == pytest.approx(both[1], rel=0.03)
    # the noise that the clips start from is the same as for the clean clips; only another seed moves an unchanged photo
    assert rows[None, "none", "clean photo"]["measures"]["last_frame_change"]["mean"] == 0
    assert rows[None, "none", "clean photo, other seed"]["measures"]["last_frame_change"]["mean"] > 0

    table = (tmp_path / "out" / "attackability.md").read_text(encoding="utf-8").splitlines()
    assert len([line for line in table if line.startswith("| ")]) == 2 + len(rows)
    with Image.open(tmp_path / "out" / "attackability.jpg") as picture:  # one person, two parts, at the largest epsilon
        assert picture.size == (12 * (WIDTH + 2) - 2, 2 * (HEIGHT + 2) - 2)
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_people_without_a_defined_identity_shift_are_left_out_and_counted() -> None:
    table = Table({})
    values = dict.fromkeys(set(COLUMNS) - {"set_identity_shift"} | {"clean_identity_similarity"}, torch.tensor([0.5, 0.25, 0.0]))
    own, strangers, clean = torch.tensor([0.2, 0.4, 0.3]), torch.tensor([0.1, 0.1, 0.1]), torch.tensor([0.9, 0.5, 0.1])
    values |= {"identity_similarity": own, "strangers_similarity": strangers, "clean_identity_similarity": clean}
    values["identity_shift"] = torch.tensor([0.875, 0.25, float("nan")])
    table.add(
        8.0, "taps", "PGD", [{name: value[:2] for name, value in values.items()}, {name: value[2:] for name, value in values.items()}]
    )
    measures = table.rows[0]["measures"]
    assert isinstance(measures, dict)
    assert measures["identity_shift"]["mean"] == pytest.approx(0.5625)
    assert measures["identity_shift"]["n"] == 2
    # (0.5 − 0.3) / (0.5 − 0.1) of the means over all three
    assert measures["set_identity_shift"]["mean"] == pytest.approx(0.5)
    assert table.rows[0]["people"]["identity_shift"][2] is None  # type: ignore[index]
