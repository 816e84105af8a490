"""What lossy formats leave of the protection: the two shares by hand, files as they are written, and from command line to file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from anti_i2v.imaging.tensors import to_pil
from anti_i2v.protector import Protector
from benchmarks import formats
from benchmarks.formats import Source, Written, write
from benchmarks.tables import fill
from tests.tiny import HEIGHT
from tests.tiny.generator import smooth, tiny_generator, tiny_network


def test_the_share_of_the_change_and_its_correlation() -> None:
    photo, residual = torch.full((3, 4, 4), 0.5), torch.zeros(3, 4, 4)
    residual[:, :2], other = 0.02, torch.zeros(3, 4, 4)
    other[:, 2:] = 0.01  # the codec's own change, elsewhere
    kept, correlation = Written(photo, photo + residual, photo + residual / 2 + other, (1, 1)).change()
    assert kept == pytest.approx(0.5, rel=1e-4)
    assert correlation == pytest.approx(0.5**0.5, rel=1e-4)  # half of what is in the file is the residual
    assert Written(photo, photo, photo, (1, 1)).change() == (1, 1)


@pytest.mark.parametrize("colours", ["4:2:0", "4:4:4"])
def test_a_photo_is_written_as_it_was_before(colours: str) -> None:
    source, protector = Source("JPEG", 85, colours), Protector(tiny_network().eval())
    written = write(protector, source, smooth(0, 64, 64), 8.0)
    assert 0 < 255 * (written.protected - written.photo).abs().max() <= 8.01
    assert (written.file != written.protected).any()
    assert source.encode(to_pil(written.photo)).layer[0][1:3] == ((2, 2) if colours == "4:2:0" else (1, 1))  # type: ignore[attr-defined]
    assert written.sizes[1] == pytest.approx(written.sizes[0], rel=0.6)


def test_formats_are_measured_and_written(
    wan: Path, judges: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "SOURCES", [Source("JPEG", 85, "4:2:0"), Source("WEBP", 90, "4:2:0")])
    generator = tiny_generator(tmp_path / "generator")
    words = f"--backend torch --people 2 --faces large --sizes 192x192 --model-size {HEIGHT} --threads {torch.get_num_threads()}".split()
    out = tmp_path / "docs" / "formats"
    words += ["--frames", "5", "--steps", "2", *judges[:2]]
    formats.main([*words, "--surrogate", str(wan), "--generator", str(generator), "--out", str(out)])
    data = json.loads((out / "formats.json").read_text(encoding="utf-8"))
    assert [row["source"] for row in data["rows"]] == ["JPEG 85, 4:2:0", "WEBP 90, 4:2:0"]
    for row in data["rows"]:
        assert 0.5 < row["kept"]["mean"] < 1.1
        assert 0.5 < row["correlation"]["mean"] <= 1
        assert row["bytes_after"] > 0
        assert row["shift_before"].keys() == row["shift_after"].keys() == {"mean", "low", "high"}  # unset here: too few
    assert capsys.readouterr().out.rstrip() == (out / "formats.md").read_text(encoding="utf-8").rstrip()
    assert "| large | JPEG 85, 4:2:0 |" in fill("<!-- copy: formats/formats | What is kept --><!-- end -->", tmp_path)
