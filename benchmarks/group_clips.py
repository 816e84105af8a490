"""A group photo to look at, and clips that somebody makes of each person in it: cut out of the photo, and of the protected photo.

python -m benchmarks.group_clips --out docs/views   # writes group.jpg and group.gif
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from anti_i2v import atomic
from anti_i2v.evaluation.pictures import save_gif
from anti_i2v.evaluation.runner import as_saved
from anti_i2v.imaging.tensors import resize, to_pil, to_tensor
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.groups import GroupRequest, compose
from anti_i2v.protector import Protector
from anti_i2v.surrogates import Surrogate
from benchmarks.view_photos import Subject, cut

PEOPLE, FACES = (4, 11, 19), (0.28, 0.24, 0.2)
"""People of the test split, and the heights of their faces as shares of the photo's shorter side."""
HEADINGS = ("photo", "its clip", "protected", "its clip")


@torch.no_grad()
def clips(surrogate: Surrogate, photo: Tensor, protected: Tensor, faces: Tensor, prompts: Sequence[str]) -> list[list[Tensor]]:
    """For each person what is cut out of both photos, as clips (T, 3, S, S) that stand still, and what becomes of it.

    Args:
        surrogate: The video model.
        photo: (3, H, W) in [0, 1].
        protected: The same shape.
        faces: (N, 3), centre y, centre x and height in pixels.
        prompts: One a person.
    """
    rows, nothing, text = [], torch.zeros(photo.shape[-2:]), surrogate.encode_text(list(prompts))
    for number, (y, x, tall) in enumerate(faces.tolist()):
        box = cut("shoulders", Subject(photo, (y, x, tall), len(faces), nothing, nothing), random.Random(0))
        assert box is not None
        top, left, height, width = box
        row: list[Tensor] = []
        for version in (photo, protected):
            view = resize(version[None, :, top : top + height, left : left + width], surrogate.height, surrogate.width)
            clip = surrogate.animate(view, {name: value[number : number + 1] for name, value in text.items()}, seed=number)[0]
            row += [view.expand(len(clip), -1, -1, -1), clip]
        rows.append(row)
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Compose, protect, cut, animate, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="portrait-generator", help="folder, or the name of a shipped one")
    parser.add_argument("--backend", choices=("onnx", "torch"), default="onnx")
    parser.add_argument("--surrogate", default="portrait-dit")
    parser.add_argument("--model-size", type=int, default=128, help="side of the video model's clips in pixels")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="denoising steps")
    parser.add_argument("--height", type=int, default=640, help="of the photo, in pixels")
    parser.add_argument("--out", type=Path, default=Path("docs/views"))
    options = parser.parse_args(arguments)
    people = PortraitClips("test", 1, 8, 8)
    request = GroupRequest(PEOPLE, FACES, options.height, options.height * 4 // 3, seed=2)
    (group,) = compose(people, [request])
    protector = Protector.from_pretrained(options.generator, backend=options.backend)
    protected = as_saved(to_tensor(protector.protect(to_pil(group.image), key="none"))[None])[0]
    options.out.mkdir(parents=True, exist_ok=True)
    size = options.model_size
    surrogate = Surrogate.from_pretrained(options.surrogate, ["decoded"], size, size, options.frames, options.steps)
    rows = clips(surrogate, group.image, protected, group.faces, people.batch([PEOPLE[0]]).prompts * len(PEOPLE))
    save_gif(rows, [f"person {number}" for number in PEOPLE], HEADINGS, options.out / "group.gif", limit=300_000)
    with atomic.write(options.out / "group.jpg") as part:
        both = Image.fromarray(torch.cat([group.image, protected], 2).mul(255).round().byte().permute(1, 2, 0).numpy())
        both.save(part, "JPEG", quality=90)


if __name__ == "__main__":
    main()
