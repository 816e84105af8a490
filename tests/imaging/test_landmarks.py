"""The table of landmarks beside photos: what is written is read, several faces and none, and damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anti_i2v.errors import UsageError
from anti_i2v.imaging.landmarks import COLUMNS, face_of, read_landmarks, write_landmarks

FACE = np.array([[40.0, 30.0], [40.0, 70.0], [60.0, 50.0], [80.0, 35.0], [80.0, 65.0]])


def test_several_faces_and_none_are_kept(tmp_path: Path) -> None:
    assert read_landmarks(tmp_path) == {}
    write_landmarks(tmp_path, {"b/two.jpg": [FACE, FACE + 100.2], "a.jpg": []})
    lines = (tmp_path / "landmarks.csv").read_text(encoding="utf-8").splitlines()
    assert (
        lines[0] == "file,left_eye_x,left_eye_y,right_eye_x,right_eye_y,nose_x,nose_y,mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y"
    )
    assert lines[1:3] == ["a.jpg,,,,,,,,,,", "b/two.jpg,30.0,40.0,70.0,40.0,50.0,60.0,35.0,80.0,65.0,80.0"]
    table = read_landmarks(tmp_path)
    assert list(table) == ["a.jpg", "b/two.jpg"]
    assert table["a.jpg"] == []
    np.testing.assert_allclose(table["b/two.jpg"], [FACE, FACE + 100.2])


def test_a_face_is_three_times_as_high_as_its_mouth_is_below_its_eyes() -> None:
    assert face_of(FACE) == pytest.approx((56.0, 50.0, 120.0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,left_eye_x\n", "no column 'left_eye_y'"),
        (",".join(COLUMNS) + "\na.jpg,1,2,3,4,5,6,7,8,9,x\n", r"line 2 of .*landmarks\.csv \(a\.jpg\): .*'x'"),
        (",".join(COLUMNS) + "\na.jpg,1,2,3,4\n", r"line 2 of .*a\.jpg"),
        (",".join(COLUMNS) + "\na.jpg,1,2,3,4,5,6,7,8,9,nan\n", "not finite"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "landmarks.csv").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_landmarks(tmp_path)
