"""The plan compared with a process's memory, and the table of cards, at sizes that take seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cards, planned
from benchmarks.full_size import MODELS
from benchmarks.planned import SMALLER, Smaller, measure


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the highest resident size anew")
def test_a_process_takes_about_what_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process by the C library's defaults holds more than is alive, which nothing can be said about: it is left out.
    run = planned.in_process
    monkeypatch.setattr(planned, "in_process", lambda setting, threads, new: run(setting, threads, new) if new else (1, 0))
    changes = {"transformer": {"num_layers": 2, "num_attention_heads": 8}, "vae": {"block_out_channels": [32, 32, 32, 32]}}
    small = Smaller("cogvideox-1.5-5b-i2v", changes, ("transformer_blocks.1",), (128, 128, 9))
    (row,) = measure({"small": small}, threads=1)
    assert (row["model"], row["size"], row["taps"]) == ("small", [128, 128, 9], ["transformer_blocks.1"])
    assert row["planned_mib"] > 30
    # Loose, since of so little the code that is loaded meanwhile is a good part; docs/planned has the figures that count.
    assert 0.5 < row["planned_mib"] / row["returned_mib"] < 1.15
    assert row["off_returned"] == pytest.approx(row["planned_mib"] / row["returned_mib"] - 1)
    text = planned.text([row], {"commit": "abc"})
    assert f"| small | 128 × 128, 9 frames | {row['planned_mib']:.0f} | {row['returned_mib']:.0f} |" in text
    assert text.endswith("commit abc; `python -m benchmarks.planned --out docs/planned`.\n")


def test_smaller_models_keep_everything_else() -> None:
    for model in SMALLER.values():
        whole, small = MODELS[model.model], model.configuration()
        assert small.parts.keys() == whole.parts.keys()
        for name, (library, kind, settings) in small.parts.items():
            assert (library, kind) == whole.parts[name][:2]
            if name not in model.changes:
                assert settings == whole.parts[name][2]


@pytest.mark.slow
def test_the_table_of_cards_has_a_row_for_each_depth() -> None:
    taps = ("transformer_blocks.0", "transformer_blocks.1", "transformer_blocks.3")
    model = replace(SMALLER["CogVideoX 1.5, 8 blocks of width 1024"].configuration(), taps=taps, size=(32, 48, 9))
    rows = cards.plans({"cogvideox-1.5-5b-i2v": model})
    assert [row["taps"] for row in rows] == [[taps[0]], list(taps[:2]), [taps[2]]]
    assert rows[0]["weights_gib"] < rows[1]["weights_gib"] < rows[2]["weights_gib"]
    assert rows[0]["tflop"] < rows[1]["tflop"] < rows[2]["tflop"]
    assert all(row["fits"] == [24, 48, 80, 141] for row in rows)
    line = next(line for line in cards.text(rows, {}).splitlines() if f"| `{taps[2]}` |" in line)
    assert line.startswith("| THUDM/CogVideoX1.5-5B-I2V | 32 × 48, 9 frames |")
    assert line.endswith("| fits | fits | fits | fits | 10.8 + 6 |")
