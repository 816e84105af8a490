"""Five landmarks of each face of a folder of photos, in a table beside them: found once, read at every run.

`landmarks.csv` has a row for each face: the columns `file` (relative to the folder, with `/`) and `…_x`, `…_y` of `POINTS`, in pixels of
the upright photo. A photo with several faces has several rows, the largest face first; one without a face has a single row
without numbers, which says that it was looked at.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anti_i2v import atomic
from anti_i2v.errors import UsageError

LANDMARKS = "landmarks.csv"
"""The table's name."""

POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
"""Left and right are those of the picture. Eyes are their middles, the nose its tip."""

COLUMNS = ("file", *(f"{point}_{axis}" for point in POINTS for axis in "xy"))

Faces = list[NDArray[np.float64]]
"""The landmarks of the faces of a photo, each (5, 2): y, x in pixels from the top left corner."""


def read_landmarks(folder: Path) -> dict[str, Faces]:
    """File → its faces, from the table of a folder; an empty mapping where there is no table.

    Raises:
        UsageError: It lacks columns, or a row holds something other than numbers.
    """
    path = folder / LANDMARKS
    if not path.is_file():
        return {}
    table: dict[str, Faces] = {}
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(f"{path} has no column {missing[0]!r}; it needs {', '.join(COLUMNS)}; remove it to detect faces again")
            for number, row in enumerate(reader, start=2):
                faces = table.setdefault(row["file"], [])
                if any(row[column] for column in COLUMNS[1:]):
                    faces.append(_points(row, path, number))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}; mend it, or remove it to detect faces again") from error
    return table


def _points(row: Mapping[str, str | None], path: Path, number: int) -> NDArray[np.float64]:
    try:
        points = np.array([[float(row[f"{point}_{axis}"] or "") for axis in "yx"] for point in POINTS])
    except (TypeError, ValueError) as error:
        raise UsageError(f"line {number} of {path} ({row['file']}): {error}; mend or remove it") from error
    if not np.isfinite(points).all():
        raise UsageError(f"line {number} of {path} ({row['file']}) has a value that is not finite; mend or remove it")
    return points


def write_landmarks(folder: Path, table: Mapping[str, Sequence[NDArray[np.float64]]]) -> None:
    """Write the table of a folder, complete or not at all, by name of the file.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        with atomic.write(folder / LANDMARKS) as part, part.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(COLUMNS)
            for file in sorted(table):
                for points in table[file]:
                    writer.writerow([file, *(f"{value:.1f}" for y, x in points for value in (x, y))])
                if not table[file]:
                    writer.writerow([file, *[""] * (len(COLUMNS) - 1)])
    except OSError as error:
        raise UsageError(f"cannot write {folder / LANDMARKS}: {error.strerror}; the landmarks are kept beside the photos") from error


def face_of(points: NDArray[np.float64]) -> tuple[float, float, float]:
    """Centre y, centre x and height of the face of landmarks (5, 2), in pixels.

    A face is three times as high as its mouth is below its eyes, and its centre two fifths of the way from there to there.
    """
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    y, x = eyes + 0.4 * (mouth - eyes)
    return float(y), float(x), 3.0 * float(np.linalg.norm(mouth - eyes))
