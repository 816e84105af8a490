"""From a surrogate's name to the four files of a study: load, score every layer, choose, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.pictures import label_sheet
from anti_i2v.evaluation.report import write_texts
from anti_i2v.imaging.writing import save_photo
from anti_i2v.probing.blocks import Kind, every_block, kind_of
from anti_i2v.probing.choice import Choice, as_yaml, choose
from anti_i2v.probing.photos import PhotoBatches
from anti_i2v.probing.plot import check_matplotlib, plot
from anti_i2v.probing.study import Study, steps_near, study
from anti_i2v.probing.table import as_csv
from anti_i2v.resources import commit
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.loading import read_index
from anti_i2v.surrogates.pipeline import PipelineSurrogate
from anti_i2v.surrogates.registry import find_family


@dataclass(frozen=True)
class StudyRequest:
    """The options of `anti-i2v layers`.

    Attributes:
        surrogate: Pipeline folder, shipped name, or hub id.
        out: Folder of the results; made if need be.
        height: Of the photos, in pixels.
        width: Likewise.
        num_frames: Length of the clips.
        count: Layers to choose.
        attacked: On how many photos small changes are tried.
        taps: Layers to score, in the order of computation; None: every block.
        steps: Indices of a schedule of 20; None: those nearest to 1, 2/3 and 1/3 of noise.
        dtype: Of the denoiser.
        checkpointing: Compute layers again for gradients.
        device: Such as `cuda`.
        seed: Of noise.
        quiet: No progress bars.

    Raises:
        UsageError: A value out of its range.
    """

    surrogate: str
    out: Path
    height: int
    width: int
    num_frames: int
    count: int
    attacked: int
    taps: Sequence[str] | None = None
    steps: Sequence[int] | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    device: str = "cpu"
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        for name in ("height", "width", "num_frames", "count"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} is {getattr(self, name)}; give at least 1")
        if self.attacked < 0:
            raise UsageError(f"--attacked is {self.attacked}; give 0 for none, or a number of photos")


def run_study(request: StudyRequest, photos: PhotoBatches) -> list[str]:
    """Score the layers of a surrogate, choose some, and write table, pictures and choice.

    Returns:
        What was chosen and written, in lines for people.

    Raises:
        UsageError: The surrogate cannot be loaded, the request does not fit it, or the folder cannot be written to.
    """
    check_matplotlib()  # now, and not after the work
    kind, denoiser = kind_of(request.surrogate)
    family = find_family(request.surrogate, read_index(request.surrogate)[1])
    surrogate = _load(request, request.taps or every_block(denoiser, family.block_lists), photos.prompts)
    steps = steps_near(surrogate.sigmas) if request.steps is None else request.steps
    if not request.count < len(surrogate.taps):
        raise UsageError(f"--count {request.count} of {len(surrogate.taps)} layers; choose fewer, because one is left as the shallow one")
    try:
        request.out.mkdir(parents=True, exist_ok=True)  # now, and not after the work
    except OSError as error:
        raise UsageError(f"cannot use --out {request.out}: {error.strerror}; choose another folder") from None
    attack_count = min(request.attacked, len(photos))
    with tqdm(total=len(steps) * (photos.count + attack_count), unit="photo", disable=request.quiet) as bar:
        result = study(surrogate, photos, steps, request.seed, request.attacked, advance=bar.update)
    choice = choose(result.rows, request.count)
    facts: dict[str, object] = {
        "photos": f"{result.photos} {photos.description}",
        "size": f"{request.num_frames} frames of {request.height}x{request.width}",
        "steps": ", ".join(f"{step} (noise {surrogate.sigmas[step]:.2f})" for step in sorted({row.step for row in result.rows})),
        "attacked": attack_count,
        "seed": request.seed,
        "commit": commit() or "unknown",
    }
    return write_study(request.out, kind, result, choice, facts)


def _load(request: StudyRequest, taps: Sequence[str], prompts: Sequence[str]) -> PipelineSurrogate:
    """The surrogate on its device, without what makes clips."""
    if request.quiet:
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
    surrogate = Surrogate.from_pretrained(
        request.surrogate,
        taps,
        request.height,
        request.width,
        request.num_frames,
        prompts=prompts,
        dtype=request.dtype,
        checkpointing=request.checkpointing,
    )
    assert isinstance(surrogate, PipelineSurrogate)  # an autoencoder alone has no index, and was refused when that was read
    surrogate.keep_features_only()
    try:
        return surrogate.to(torch.device(request.device))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {request.device}: {str(error).splitlines()[0]}; give cpu, or a device that is here") from None


def write_study(out: Path, kind: Kind, result: Study, choice: Choice, facts: dict[str, object]) -> list[str]:
    """Write `layers.csv`, `taps.yaml`, `layers.png` and `pca.png`, each complete or not at all; lines that say so.

    Args:
        out: An existing folder.
        kind: The surrogate.
        result: Of the study.
        choice: Of layers.
        facts: What the figures depend on.
    """
    texts = {"layers.csv": as_csv(result.rows, {"surrogate": str(kind), **facts}), "taps.yaml": as_yaml(choice, kind, facts)}
    pictures = {
        "layers.png": plot(result.rows, choice.scores, [choice.shallow, *choice.deep]),
        "pca.png": label_sheet(*_pca(result, choice), 56),
    }
    write_texts(out, texts)
    for name, picture in pictures.items():
        save_photo(picture, out / name, like=picture)
    best = ", ".join(f"{layer} ({choice.scores[layer]:.3g})" for layer in choice.deep)
    return [
        f"deep: {best}; shallow: {choice.shallow} ({choice.scores[choice.shallow]:.3g})",
        f"by {choice.rule}",
        *(f"wrote {out / name}" for name in (*texts, *pictures)),
    ]


def _pca(result: Study, choice: Choice) -> tuple[list[list[Tensor]], list[str], list[str]]:
    """Rows, names and headings of pca.png: a layer a row; for each step the photos' latent frame 0, then their last one."""
    steps = sorted({row.step for row in result.rows})
    frames = sorted({0, next(iter(result.pictures.values())).shape[2] - 1})
    people = range(len(result.examples))
    grids = [[photo for _ in steps for _ in frames for photo in result.examples]]
    headings = [f"step {step}, frame {frame}" if person == 0 else "" for step in steps for frame in frames for person in people]
    for layer in choice.scores:
        grids.append([result.pictures[layer, step][person, :, frame] for step in steps for frame in frames for person in people])
    labels = {choice.shallow: "\nshallow", **dict.fromkeys(choice.deep, "\ndeep")}
    return grids, ["photo", *(layer + labels.get(layer, "") for layer in choice.scores)], headings
