"""Pairs of pictures of which it is known whether they show one person: a wrong normalisation or input size makes an embedder fail them."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from anti_i2v.embedders.base import Embedder
from anti_i2v.errors import UsageError
from anti_i2v.imaging.detection import FaceDetector
from anti_i2v.imaging.landmarks import read_landmarks
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.tensors import to_tensor


@torch.no_grad()
def check_pairs(embedder: Embedder, folder: Path, pairs: object, threshold: object) -> None:
    """Refuse an embedder that does not tell the people of known pairs apart.

    Args:
        embedder: To check.
        folder: With the pictures, and with `landmarks.csv` where it reads aligned faces; without one faces are detected.
        pairs: `[{"first": FILE, "second": FILE, "same": true}, …]`.
        threshold: Cosine from which two pictures show the same person.

    Raises:
        UsageError: A pair comes out wrong: the message has all measured cosines; or a picture or its face is missing.
    """
    if not isinstance(threshold, (int, float)) or not -1 <= threshold <= 1:
        raise UsageError(f"{folder / 'config.json'}: threshold is {threshold!r}; give a cosine in [-1, 1]")
    keys = {"first", "second", "same"}
    if not isinstance(pairs, list) or not all(isinstance(pair, dict) and pair.keys() == keys for pair in pairs):
        raise UsageError(f"{folder / 'config.json'}: pairs is {pairs!r}; give a list of {{first: FILE, second: FILE, same: true or false}}")
    files = dict.fromkeys(str(pair[side]) for pair in pairs for side in ("first", "second"))
    embeddings = {file: _embedding(embedder, folder, file) for file in files}
    lines, wrong = [], False
    for pair in pairs:
        cosine = float(embeddings[str(pair["first"])] @ embeddings[str(pair["second"])])
        wrong |= (cosine >= threshold) != bool(pair["same"])
        lines.append(f"{pair['first']} and {pair['second']} {cosine:.2f} ({'same person' if pair['same'] else 'different people'})")
    if wrong:
        raise UsageError(
            f"the identity embedder {embedder.name!r} does not tell its known pairs apart at a cosine of {threshold:g}: "
            f"{'; '.join(lines)}; "
            "correct size, channels, mean, std and template in its config.json"
        )


def _embedding(embedder: Embedder, folder: Path, file: str) -> Tensor:
    """(dim,) of the largest face of a picture."""
    if Path(file).name != file:
        raise UsageError(f"{folder / 'config.json'}: the picture {file!r} of a pair is not in the folder itself; put it there")
    photo: Image.Image = ImageOps.exif_transpose(read_photo(folder / file))
    landmarks = None
    if embedder.template is not None:
        table = read_landmarks(folder)
        faces = table[file] if file in table else FaceDetector()(photo)
        if not faces:
            raise UsageError(f"{folder / file} shows no face; give a pair of pictures that do, or write their landmarks into landmarks.csv")
        landmarks = torch.from_numpy(faces[0])[None]
    crop, found = embedder.crop(to_tensor(photo)[None], landmarks)
    if not bool(found):
        raise UsageError(f"the landmarks of {folder / file} are outside of the picture; correct them in landmarks.csv")
    return embedder.embed(crop)[0][0]
