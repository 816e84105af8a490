"""A group photo and its clips, from command line to pictures."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from benchmarks import group_clips
from tests.tiny import HEIGHT
from tests.tiny.generator import tiny_generator


def test_a_group_photo_and_clips_of_each_person_are_drawn(wan: Path, tmp_path: Path) -> None:
    generator = tiny_generator(tmp_path / "generator")
    words = f"--backend torch --model-size {HEIGHT} --frames 5 --steps 2 --height 240".split()
    group_clips.main([*words, "--surrogate", str(wan), "--generator", str(generator), "--out", str(tmp_path / "out")])
    with Image.open(tmp_path / "out" / "group.gif") as film:
        assert film.n_frames == 5
    with Image.open(tmp_path / "out" / "group.jpg") as both:
        assert both.size == (2 * 320, 240)
        clean, protected = (both.crop((left, 0, left + 320, 240)) for left in (0, 320))
    assert clean.tobytes() != protected.tobytes()
