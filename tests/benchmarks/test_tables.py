"""Figures in documents come from result files, and the documents of this repository are up to date."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from benchmarks.tables import CARD, CARD_BLOCK, ROOT, cell, fill, main

START = "# Title\n\n<!-- {name} -->\nstale 99\n<!-- end -->\n\nEnd.\n"


def interval(mean: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"mean": mean, "low": low, "high": high}


def write(root: Path, name: str, data: object) -> None:
    file = root / "docs" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")


def test_the_documents_of_this_repository_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_a_figure_is_shown_with_its_interval_or_not_at_all() -> None:
    assert cell(interval(0.123, 0.1, 0.2)) == "0.12 [0.10, 0.20]"
    assert cell(interval(0.123)) == cell(0.123) == "0.12"
    assert cell([-0.001, -0.004, 0.5], 1) == "0.0 [0.0, 0.5]"
    assert cell(interval(0.75, 0.5, 1.0), 0, 100, "%") == "75% [50, 100]"
    assert cell(interval(float("nan"), 0.0, 1.0)) == cell(interval(None)) == cell(None) == "–"


def test_blocks_are_filled_checked_and_filled_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(START.format(name="table: judge") + "Now <!-- value: judge/judge rows.clean.rank1 % -->?<!-- end -->.\n")
    assert main([], tmp_path) == 0
    assert "not measured yet\n\n<!-- end -->" in readme.read_text()
    assert "Now <!-- value: judge/judge rows.clean.rank1 % -->not measured yet<!-- end -->." in readme.read_text()
    assert main(["--check"], tmp_path) == 0

    of = dict.fromkeys(("rank1", "identity_similarity", "strangers_similarity", "similarity_share", "presence"), interval(0.9, 0.8, 1.0))
    write(tmp_path, "judge/judge.json", {"facts": {"people": 100, "commit": "abc"}, "rows": {"clean": of, "JPEG, quality 50": of}})
    before = readme.read_text()
    assert main(["--check"], tmp_path) == 1
    assert "README.md is out of date" in capsys.readouterr().out
    assert readme.read_text() == before

    assert main([], tmp_path) == 0
    text = readme.read_text()
    assert "| JPEG, quality 50 | 90% [80, 100] | 0.90 [0.80, 1.00] |" in text
    assert "Now <!-- value: judge/judge rows.clean.rank1 % -->90% [80, 100]<!-- end -->." in text
    assert "100 people, mean and 95 % interval; commit abc; all settings: `docs/judge/judge.json`." in text
    assert text.startswith("# Title\n\n")
    assert main(["--check"], tmp_path) == 0
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_table_is_copied_as_its_benchmark_wrote_it(tmp_path: Path) -> None:
    written = "# Evidence\n\n| a | b |\n| --- | ---: |\n| x | 1 |\n\n## second\n\n**Who**\n\n| c |\n| ---: |\n| 2 |\n| 3 |\n"
    write(tmp_path, "evidence/evidence.md", written)
    write(tmp_path, "evidence/evidence.json", {"facts": {"people": 64, "seeds": [0, 1, 2], "epsilon": 8.0, "commit": "abc"}})
    first = fill(START.format(name="copy: evidence/evidence | # Evidence"), tmp_path)
    assert "-->\n\n| a | b |\n| --- | ---: |\n| x | 1 |\n\n64 people, 3 seeds, epsilon 8, mean" in first
    second = fill(START.format(name="copy: evidence/evidence | ## second | Who"), tmp_path)
    assert "-->\n\n| c |\n| ---: |\n| 2 |\n| 3 |\n\n64 people" in second
    assert "stale" not in first + second
    chosen = fill(START.format(name="copy: evidence/evidence | # Evidence | columns: b; a"), tmp_path)
    assert "-->\n\n| b | a |\n| ---: | --- |\n| 1 | x |\n\n64 people" in chosen


def test_values_have_the_requested_number_of_digits(tmp_path: Path) -> None:
    write(tmp_path, "a/b.json", {"x": [{"y": 1234.5}], "z": interval(0.5, 0.25, 0.75), "n": 64, "word": "PGD"})

    def value(block: str) -> str:
        return re.sub(r"<!-- .*? -->", "", fill(f"<!-- value: a/b {block} --><!-- end -->", tmp_path))

    assert value("x.0.y 1") == "1,234.5"
    assert value("z") == "0.50 [0.25, 0.75]"
    assert value("z %") == "50% [25, 75]"
    assert value("z 3") == "0.500 [0.250, 0.750]"
    assert value("n") == "64"
    assert value("word") == "PGD"


def test_the_table_of_the_front_page_is_small() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.split("<!-- table: front -->")[1].split("<!-- end -->")[0].splitlines() if line.startswith("|")]
    assert len(rows) - 2 <= 10
    assert {line.count("|") - 1 for line in rows} == {3}
    assert all(re.search(r"\d", line) for line in rows[2:])


def test_hashes_and_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"a": "b"}, "w": {"dtype": "F16", "shape": [1000, 250], "data_offsets": [0, 500_000]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(500_000)
    (tmp_path / "checkpoints" / "mine").mkdir(parents=True)
    (tmp_path / "checkpoints" / "mine" / "model.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    assert f"| `mine/model.safetensors` | `{digest}` |" in fill(START.format(name="table: hashes"), tmp_path)
    assert fill("<!-- table: size mine --><!-- end -->", tmp_path) == "<!-- table: size mine -->0.25 M numbers in 0.5 MB<!-- end -->"
    assert "not measured yet" in fill("<!-- table: size other --><!-- end -->", tmp_path)


def test_an_exported_card_gets_its_block(tmp_path: Path) -> None:
    card = tmp_path / CARD
    card.parent.mkdir(parents=True)
    card.write_text("# portrait-generator\n\n## Measured\n\nChange of generated videos: typed.\n\n## Limits\n\n* Many.\n")
    assert main(["--check"], tmp_path) == 1
    assert main([], tmp_path) == 0
    text = card.read_text()
    block = f"<!-- {CARD_BLOCK} -->\n\nnot measured yet\n\n<!-- end -->"
    assert f"## Measured\n\n{block}\n\n## Limits\n\n* Many.\n" in text
    assert "typed" not in text
    assert main(["--check"], tmp_path) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: nothing -->\n<!-- end -->\n", "unknown table 'nothing'; choose one of front"),
        ("<!-- table: judge -->\nno end\n", "no `<!-- end -->`"),
        ("<!-- table: judge -->\nno end\n<!-- table: judge --><!-- end -->\n", "no `<!-- end -->`"),
        ("<!-- table: judge --><!-- end -->\n", "run its benchmark again"),
        ("<!-- value: judge/judge facts.nothing --><!-- end -->\n", "no content for"),
        ("<!-- copy: judge/judge | nothing --><!-- end -->\n", "no content for"),
    ],
)
def test_mistakes_are_named(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "judge/judge.json", {"facts": {}})
    write(tmp_path, "judge/judge.md", "# Judge\n")
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main([], tmp_path)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == text
