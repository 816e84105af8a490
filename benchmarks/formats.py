"""What lossy formats leave of the protection: of its change of the pixels, and of what it does to the video model's picture of a person.

    python -m benchmarks.formats --out docs/formats

Photos show a rendered person whose face is large or small (`view_photos.subjects`). Each is written in a format with its own quality, as a
camera or an editor would, read, protected, and written again as `--format same` does: a JPEG with its own quantisation tables and the
size of its colours, WebP and AVIF at quality 95. The file that is read again is compared with what was given to the encoder:

* change kept: the factor by which the residual is to be scaled to be nearest to what is in the file, and their correlation; the codec's own
  change, which any encoding adds, lowers the latter only;
* loss of likeness kept: how much less the video model's autoencoder shows the person (`inversion.Likeness`), as a share of the loss
  that the protected photo has before it is written. 1 means that writing the file costs the protection nothing;
* identity shift of the clip, from the protected photo as it is given to the encoder and from the file.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image, features
from torch import Tensor
from tqdm import tqdm

from anti_i2v.evaluation.report import Interval, interval, ratio_interval, summarise, write_texts
from anti_i2v.imaging.metadata.options import WriteOptions
from anti_i2v.imaging.metrics import mean_interval
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.tensors import resize, to_pil, to_tensor
from anti_i2v.imaging.writing import AVIF_SPEED, SUFFIXES, encode_photo
from anti_i2v.protector import Protector
from anti_i2v.resources import commit
from benchmarks.inversion import Likeness
from benchmarks.tables import cell, grid
from benchmarks.view_photos import Subject, cut, subjects
from benchmarks.views import Animator

FACES = {"large": ("1/2", "1024x1024"), "small": ("1/8", "768x768")}
"""Name → cell of `view_photos` and size of the photos: faces of 512 and 96 pixels."""

SUBSAMPLING = {"4:2:0": 2, "4:2:2": 1, "4:4:4": 0}


@dataclass(frozen=True)
class Source:
    """How a photo was encoded before it came to us: Pillow's format, and its quality and subsampling."""

    format: str
    quality: int
    colours: str

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.format} {self.quality}, {self.colours}"

    def encode(self, photo: Image.Image) -> Image.Image:
        """The photo as it is read from such a file."""
        options: dict[str, dict[str, object]] = {"JPEG": {"subsampling": SUBSAMPLING[self.colours]}}
        options["AVIF"] = {"subsampling": self.colours, "speed": AVIF_SPEED}
        return read(photo, self.format, quality=self.quality, **options.get(self.format, {}))


SOURCES = [Source("JPEG", quality, colours) for quality in (75, 85, 95) for colours in ("4:2:0", "4:4:4")]
SOURCES += [Source("WEBP", 90, "4:2:0"), Source("AVIF", 90, "4:2:0")]


@dataclass(frozen=True)
class Row:
    """One face and source: measures over people, and the mean size of the source's and of the written file, in bytes."""

    face: str
    source: str
    kept: Interval
    correlation: Interval
    likeness_kept: Interval
    shift_before: Interval
    shift_after: Interval
    bytes_before: float
    bytes_after: float


@dataclass(frozen=True)
class Written:
    """A photo, what protecting made of it, and the file of that read again, as (3, H, W) in [0, 1]; sizes of the files in bytes."""

    photo: Tensor
    protected: Tensor
    file: Tensor
    sizes: tuple[int, int]

    def change(self) -> tuple[float, float]:
        """Share of the residual that is in the file, and the correlation of both."""
        residual, written = (self.protected - self.photo).flatten().double(), (self.file - self.photo).flatten().double()
        energy, other = float(residual.square().sum()), float(written.square().sum())
        product = float(residual @ written)
        return (product / energy, product / (energy * other) ** 0.5) if energy and other else (1.0, 1.0)


def read(photo: Image.Image, format: str, **options: object) -> Image.Image:
    """Through a file of Pillow's; `info["bytes"]` says how large it was."""
    file = io.BytesIO()
    photo.save(file, format, **options)
    again = read_photo(file, format)
    again.info["bytes"] = len(file.getvalue())
    return again


def write(protector: Protector, source: Source, photo: Image.Image, epsilon: float) -> Written:
    """Encode, read, protect, and write as `--format same` does."""
    before, file = source.encode(photo), io.BytesIO()
    protected = protector.protect(before, epsilon, key="none")  # the same photos whoever measures
    encode_photo(protected, file, SUFFIXES[source.format], before, WriteOptions("same"))
    versions = [to_tensor(image.convert("RGB")) for image in (before, protected, read_photo(file, source.name))]
    return Written(versions[0], versions[1], versions[2], (int(before.info["bytes"]), len(file.getvalue())))


def view(photo: Tensor, subject: Subject, size: int) -> Tensor:
    """What the adversary cuts out: (3, H, W) → (1, 3, S, S)."""
    box = cut("square", subject, random.Random(0))
    assert box is not None
    top, left, height, width = box
    return resize(photo[None, :, top : top + height, left : left + width], size, size)


def measure(protector: Protector, animator: Animator, face: str, people: Sequence[Subject], epsilon: float) -> Iterator[Row]:
    """One row for each source that the installed Pillow can write."""
    for source in SOURCES:
        if source.format != "JPEG" and not features.check(source.format.lower()):
            continue
        photos = tqdm(people, desc=f"{face} face, {source.name}", unit="photo", mininterval=5.0)
        written = [write(protector, source, to_pil(subject.image), epsilon) for subject in photos]
        views = [
            torch.cat([view(version, subject, animator.size) for version, subject in zip(versions, people, strict=True)])
            for versions in zip(*((one.photo, one.protected, one.file) for one in written), strict=True)
        ]
        like = Likeness(animator.surrogate, views[0])
        before, after = 1 - like(views[1]), 1 - like(views[2])
        kept, correlation = torch.tensor([one.change() for one in written]).T
        sizes = torch.tensor([one.sizes for one in written]).double().mean(0).tolist()
        shares = [interval(values) for values in (mean_interval(kept), mean_interval(correlation), ratio_interval(after, before))]
        versions = dict(zip(("clean", "protected", "file"), views, strict=True))
        clips = summarise([animator.measure([*range(len(people))], versions, f"{face} face, {source.name}, clips")])
        shifts = [clips[version]["identity_shift"] for version in ("protected", "file")]
        yield Row(face, source.name, shares[0], shares[1], shares[2], shifts[0], shifts[1], *sizes)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    headings = ["face", "file", "change kept", "correlation", "loss of likeness kept", "identity shift before writing", "of the file"]
    cells = [[row.kept, row.correlation, row.likeness_kept, row.shift_before, row.shift_after] for row in rows]
    sizes = [cell(row.bytes_after / row.bytes_before) for row in rows]
    table = [[row.face, row.source, *map(cell, of), size] for row, of, size in zip(rows, cells, sizes, strict=True)]
    return grid([*headings, "file size after / before"], table, 2)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="portrait-generator", help="folder, or the name of a shipped one")
    parser.add_argument("--backend", choices=("onnx", "torch"), default="onnx")
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the clips' noise")
    parser.add_argument("--faces", nargs="+", choices=FACES, default=list(FACES))
    parser.add_argument("--sizes", nargs="+", metavar="HEIGHTxWIDTH", help="of the photos, in place of each face's own")
    parser.add_argument("--surrogate", default="portrait-dit")
    parser.add_argument("--model-size", type=int, default=128, help="side of the video model's picture in pixels")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="denoising steps")
    parser.add_argument("--judge", default="portrait-judge")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/formats"))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, write `formats.json` and `formats.md`, and print the latter."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    protector = Protector.from_pretrained(options.generator, backend=options.backend)
    animator = Animator(options)
    rows: list[Row] = []
    for face in options.faces:
        share, size = FACES[face]
        people = list(subjects(share, range(options.people), options.sizes or [size], []))
        rows += measure(protector, animator, face, people, options.epsilon)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items() if name != "out"}
    facts = {"commit": commit() or "unknown", **settings}
    text = "\n".join(
        ["# Formats", "", *[f"* {name}: {value}" for name, value in facts.items()], "", "## What is kept", "", table(rows), ""]
    )
    data = {"facts": facts, "rows": [asdict(row) for row in rows]}
    write_texts(options.out, {"formats.json": json.dumps(data, indent=1) + "\n", "formats.md": text})
    print(text)


if __name__ == "__main__":
    main()
