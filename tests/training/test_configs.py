"""Every config parses, names classes that exist, and is listed in the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from anti_i2v.training.cli import main

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(path.name for path in CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_parses(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(CONFIGS / name), "--print_config"])
    assert ended.value.code == 0, capsys.readouterr().err


def test_the_table_has_a_row_for_each_file_and_no_other() -> None:
    rows = [line.split("`")[1] for line in (CONFIGS / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert sorted(rows) == FILES
