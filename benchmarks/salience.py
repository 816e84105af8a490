"""The salience network: which faces it finds, of which size, how exactly, and what it takes for faces.

    python -m benchmarks.salience --out docs/salience                        # rendered test people, scikit-image's pictures
    python -m benchmarks.salience --real-faces FOLDER --pictures FOLDER      # also real portraits, the last 50 of the folder

A face counts as found if a window's centre lies within half its height and the window is half to twice as large as it should be. Real
portraits are shown whole, cut to the face, and pasted over drawn backgrounds at several sizes; they were not trained on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from anti_i2v.generators.salience import SHIPPED, SalienceNetwork, load_salience
from anti_i2v.imaging.tensors import to_tensor
from anti_i2v.portraits.backgrounds import draw_behind
from anti_i2v.portraits.clips import PortraitClips
from anti_i2v.portraits.groups import GroupRequest, compose
from anti_i2v.portraits.scene import sample_scenes
from anti_i2v.portraits.training.places import FacePhoto, paste, read_pictures, real_portraits, to_bytes
from anti_i2v.portraits.training.salience import look, match
from anti_i2v.resources import commit

SHARES = (0.95, 0.5, 0.25, 0.125, 0.032)
"""Height of a face over the photo's shorter side; the last is 96 of 3000 pixels."""

WITHOUT_PEOPLE = ("coffee", "chelsea", "rocket")
"""Pictures of scikit-image."""


@dataclass
class Row:
    """What was found in some photos: faces there and found, windows without a face, errors of each found face."""

    photos: int = 0
    faces: int = 0
    found: int = 0
    false: int = 0
    place: list[float] = field(default_factory=list)
    size: list[float] = field(default_factory=list)
    strength: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float | None]:
        """Recall, false windows a photo, median and 95 % of the errors (of a face height; as a factor), least strength of 95 %."""
        errors: dict[str, float | None] = {}
        for name, values in (("place", self.place), ("size", [2**v for v in self.size])):
            for share in (50, 95):
                errors[f"{name}_error_{share}"] = float(np.percentile(values, share)) if values else None
        return {
            "photos": self.photos,
            "faces": self.faces,
            "recall": self.found / self.faces if self.faces else None,
            "false_windows": self.false / self.photos,
            "strength_5": float(np.percentile(self.strength, 5)) if self.strength else None,
            **errors,
        }


def count(network: SalienceNetwork, photos: Iterable[FacePhoto]) -> Row:
    """Look at photos."""
    row = Row()
    for photo in photos:
        found, alone = match(look(network, photo.image.float() / 255), photo.faces)
        row.photos, row.faces, row.found, row.false = (
            row.photos + 1,
            row.faces + len(photo.faces),
            row.found + len(found),
            row.false + alone,
        )
        row.place += [f[0] for f in found]
        row.size += [abs(f[1]) for f in found]
        row.strength += [f[2] for f in found]
    return row


def rendered(share: float, photos: int) -> Iterable[FacePhoto]:
    """Groups of one to three test people whose faces have this height; portraits by themselves where it is large."""
    clips = PortraitClips("test", 1)
    short = 384 if share > 0.1 else 768
    for i in range(photos):
        people = [3 * i + j for j in range(1 + i % 3 if share <= 0.25 else 1)]
        size = ((short, short * 4 // 3), (short * 4 // 3, short), (short, short * 16 // 9))[i % 3]
        photo = compose(clips, [GroupRequest(people, [share] * len(people), *size, seed=i)])[0]
        yield FacePhoto(to_bytes(photo.image), photo.faces)


def empty(photos: int) -> Iterable[FacePhoto]:
    """Drawn backgrounds."""
    for i in range(photos):
        image = draw_behind(sample_scenes([900_000_000 + i]), 384, 512, torch.Generator().manual_seed(i))
        yield FacePhoto(to_bytes(image), torch.zeros(0, 3))


def tight(portrait: FacePhoto) -> FacePhoto:
    """A portrait cut to a square little larger than its face."""
    y, x, size = portrait.faces[0].tolist()
    height, width = portrait.image.shape[-2:]
    side = round(min(1.15 * size, height, width))
    top, left = (min(max(0, round(c - side / 2)), whole - side) for c, whole in ((y, height), (x, width)))
    return FacePhoto(portrait.image[:, top : top + side, left : left + side], portrait.faces - torch.tensor([[top, left, 0.0]]))


def pasted(portraits: Sequence[FacePhoto], share: float) -> Iterable[FacePhoto]:
    """Each portrait over a drawn background of 384 × 512 pixels; those whose face the frame would cut are moved inside."""
    for i, portrait in enumerate(portraits):
        random = torch.Generator().manual_seed(i)
        behind = draw_behind(sample_scenes([800_000_000 + i]), 384, 512, random)
        while True:
            photo = paste([portrait], [share * 384], behind, random)
            y, x, size = photo.faces[0].tolist()
            if size / 2 <= y <= 384 - size / 2 and size / 2 <= x <= 512 - size / 2:
                break
        yield photo


def skimage_photo(name: str) -> Tensor:
    """(3, H, W) uint8."""
    from PIL import Image
    from skimage import data

    return to_bytes(to_tensor(Image.fromarray(getattr(data, name)())))


def of_nobody(images: Sequence[Tensor]) -> list[FacePhoto]:
    """Pictures as they are, and at a half and a quarter of their size."""
    none = torch.zeros(0, 3)
    small = [F.interpolate(i[None].float(), scale_factor=s, mode="bilinear", antialias=True)[0] for i in images for s in (0.5, 0.25)]
    return [FacePhoto(image, none) for image in [*images, *(i.round().to(torch.uint8) for i in small)]]


def rows_of(photos: int, real_faces: Path | None, pictures: Path | None) -> Iterator[tuple[str, Iterable[FacePhoto]]]:
    """Name of each row and its photos, made when they are looked at."""
    yield "scikit-image's " + ", ".join(WITHOUT_PEOPLE), of_nobody([skimage_photo(name) for name in WITHOUT_PEOPLE])
    # By eye: eyes at y 102, x 202 and 246, mouth at y 145.
    yield "scikit-image's astronaut", [FacePhoto(skimage_photo("astronaut"), torch.tensor([[119.0, 224.0, 129.0]]))]
    if pictures is not None:
        yield "other pictures without people", of_nobody(read_pictures(pictures))
    yield "drawn backgrounds, nobody", empty(photos)
    for share in SHARES:
        yield f"rendered people, face {share:g} of the shorter side", rendered(share, photos)
    if real_faces is not None:
        portraits = real_portraits(real_faces)[-50:]
        yield "real portraits, whole", portraits
        yield "real portraits, cut to the face", map(tight, portraits)
        for share in SHARES[1:]:
            yield f"real portraits pasted, face {share:g} of the shorter side", pasted(portraits, share)


def measure(network: SalienceNetwork, photos: int, real_faces: Path | None, pictures: Path | None) -> dict[str, dict[str, float | None]]:
    """Name of each row → its figures; each is printed as soon as it is known."""
    rows = {}
    for name, some in tqdm(rows_of(photos, real_faces, pictures), unit="row"):
        rows[name] = count(network, some).summary()
        tqdm.write(table({name: rows[name]}).splitlines()[-1])
    return rows


def table(rows: dict[str, dict[str, float | None]]) -> str:
    """The same as Markdown."""
    heads = (
        "photos",
        "faces",
        "recall",
        "false_windows",
        "strength_5",
        "place_error_50",
        "place_error_95",
        "size_error_50",
        "size_error_95",
    )
    words = (
        "photos",
        "faces",
        "recall",
        "false windows a photo",
        "strength, 5 %",
        "place error, median",
        "95 %",
        "size factor, median",
        "95 %",
    )
    lines = ["| what | " + " | ".join(words) + " |", "|---|" + "---:|" * len(words)]
    for name, row in rows.items():
        cells = ["–" if (value := row[head]) is None else f"{value:.0f}" if head in heads[:2] else f"{value:.3f}" for head in heads]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, write `salience.json` and `salience.md`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", default=SHIPPED, help="folder or name of the salience network")
    parser.add_argument("--photos", type=int, default=60, help="rendered photos of each size")
    parser.add_argument("--real-faces", type=Path, help="folder of portraits with landmarks.csv; the last 50 are looked at")
    parser.add_argument("--pictures", type=Path, help="folder of more pictures without people")
    parser.add_argument("--out", type=Path, help="folder for the files; without it they are not written")
    options = parser.parse_args()
    rows = measure(load_salience(options.network), options.photos, options.real_faces, options.pictures)
    print(table(rows))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "salience.json").write_text(json.dumps({"commit": commit(), "rows": rows}, indent=2) + "\n", encoding="utf-8")
        (options.out / "salience.md").write_text(table(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
