"""Photos through a surrogate at chosen noise levels, every layer scored; sums are kept, features of a batch at most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.probing.grid import as_map, coarse, project, projection, split
from anti_i2v.probing.pca import colours
from anti_i2v.probing.sensitivity import gains
from anti_i2v.probing.sums import DIMS, LayerSums, Photos
from anti_i2v.surrogates import Draw
from anti_i2v.surrogates.pipeline import PipelineSurrogate


@dataclass(frozen=True)
class Row:
    """The figures of one layer at one step, by column (see `table.COLUMNS`)."""

    layer: str
    step: int
    sigma: float
    figures: dict[str, float]


@dataclass
class Study:
    """The result of a study.

    Attributes:
        rows: Layer by layer in the order of computation, step by step.
        photos: How many went in.
        examples: The photos of the pictures, (n, 3, H, W).
        pictures: (layer, step) → (n, 3, frames, h, w) in [0, 1], see `pca.colours`; frame 0 and the later frames apart.
    """

    rows: list[Row] = field(default_factory=list)
    photos: int = 0
    examples: Tensor = field(default_factory=lambda: torch.empty(0))
    pictures: dict[tuple[str, int], Tensor] = field(default_factory=dict)


def steps_near(sigmas: Sequence[float], shares: Sequence[float] = (1.0, 2 / 3, 1 / 3)) -> list[int]:
    """Steps of a schedule whose shares of noise are nearest to some, without repetitions."""
    return sorted({min(range(len(sigmas)), key=lambda step: abs(sigmas[step] - share)) for share in shares})


def draw_at(surrogate: PipelineSurrogate, batch: int, step: int, generator: torch.Generator) -> Draw:
    """A draw of noise at a chosen step."""
    draw = surrogate.draw(batch, generator)
    return replace(draw, step=step, timestep=surrogate.timesteps[step].to(surrogate.device), sigma=surrogate.sigmas[step])


@torch.no_grad()
def study(
    surrogate: PipelineSurrogate,
    batches: Iterable[Photos],
    steps: Sequence[int],
    seed: int = 0,
    attack_count: int = 8,
    examples: int = 3,
    advance: Callable[[int], object] = lambda photos: None,
) -> Study:
    """Score every tap of a surrogate.

    Args:
        surrogate: With the layers as its taps, in the order of computation.
        batches: Gone through once a step, so no iterator.
        steps: Indices of its schedule.
        seed: Of noise and projections.
        attack_count: How many photos, the first of each of the first batches, the sensitivity is measured on.
        examples: How many of those become pictures.
        advance: Called after each piece of work with the number of photos that went through.

    Raises:
        UsageError: No photos, a step that the schedule lacks, or a tap whose output is no picture.
    """
    wrong = [step for step in steps if not 0 <= step < len(surrogate.sigmas)]
    if wrong or not steps:
        raise UsageError(f"steps {list(steps)}: the schedule has the steps 0 … {len(surrogate.sigmas) - 1}; choose among them")
    result, rows = Study(), {}
    for step in steps:
        sums = {tap: LayerSums(seed) for tap in surrogate.taps}  # one projection for all layers of one width: they are compared
        firsts: list[Photos] = []
        result.photos = 0
        for number, photos in enumerate(batches):
            _count(surrogate, photos, sums, draw_at(surrogate, len(photos.image), step, _generator(seed, step, number)))
            if len(firsts) < max(attack_count, examples):
                firsts.append(Photos(photos.image[:1], photos.prompts[:1]))
            result.photos += len(photos.image)
            advance(len(photos.image))
        if not result.photos:
            raise UsageError("no photos to study; give at least one")
        if examples:
            result.examples = torch.cat([photo.image for photo in firsts[:examples]])
            pictures = _pictures(surrogate, firsts[:examples], step, seed)
            result.pictures |= {(tap, step): picture for tap, picture in pictures.items()}
        sensitivity = _sensitivity(surrogate, firsts[:attack_count], step, seed, advance)
        for tap in surrogate.taps:
            rows[tap, step] = Row(tap, step, surrogate.sigmas[step], {**sums[tap].figures(), **sensitivity.get(tap, {})})
    result.rows = [rows[tap, step] for tap in surrogate.taps for step in steps]
    return result


def _generator(*numbers: int) -> torch.Generator:
    """Random numbers of their own for every place of the study."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % 2**57
    return torch.Generator().manual_seed(seed)


def _maps(surrogate: PipelineSurrogate, photos: Photos, draw: Draw) -> dict[str, Tensor]:
    text = surrogate.encode_text(photos.prompts)
    features = surrogate(photos.image.to(surrogate.device), text, draw)
    return {tap: as_map(features.pop(tap), draw.frames, surrogate.height, surrogate.width, tap) for tap in surrogate.taps}


def _count(surrogate: PipelineSurrogate, photos: Photos, sums: dict[str, LayerSums], draw: Draw) -> None:
    maps = _maps(surrogate, photos, draw)
    grid = min((value.shape[-2:] for value in maps.values()), key=math.prod)
    for tap, layer in sums.items():
        layer.add(coarse(maps.pop(tap), *grid), photos)


def _join(photos: Sequence[Photos]) -> Photos:
    return Photos(torch.cat([photo.image for photo in photos]), [prompt for photo in photos for prompt in photo.prompts])


def _pictures(surrogate: PipelineSurrogate, photos: Sequence[Photos], step: int, seed: int) -> dict[str, Tensor]:
    """Tap → colours (n, 3, frames, h, w); photo by photo, as large as a batch of one needs."""
    by_tap: dict[str, list[Tensor]] = {tap: [] for tap in surrogate.taps}
    for number, photo in enumerate(photos):
        for tap, maps in _maps(surrogate, photo, draw_at(surrogate, 1, step, _generator(seed, step, number, 1))).items():
            by_tap[tap].append(project(maps, projection(maps.shape[1], DIMS, seed)).cpu())
    return {tap: torch.cat([colours(part) for part in split(torch.cat(maps)).values()], 2) for tap, maps in by_tap.items()}


def _sensitivity(
    surrogate: PipelineSurrogate, photos: Sequence[Photos], step: int, seed: int, advance: Callable[[int], object], batch: int = 4
) -> dict[str, dict[str, float]]:
    """Tap → column → mean over the photos."""
    by_tap: dict[str, dict[str, list[Tensor]]] = {}
    for start in range(0, len(photos), batch):
        some = _join(photos[start : start + batch])
        random = _generator(seed, step, start, 2)
        draw = draw_at(surrogate, len(some.image), step, random)
        image, text = some.image.to(surrogate.device), surrogate.encode_text(some.prompts)
        if type(surrogate).encode_clip is not PipelineSurrogate.encode_clip:
            # As at inference, where the latents of a later step come from the denoiser: the photo reaches it by the model only.
            draw = surrogate.with_reference(draw, image)
        for tap, values in gains(surrogate, image, text, draw, random).items():
            for name, value in values.items():
                by_tap.setdefault(tap, {}).setdefault(name, []).append(value)
        advance(len(some.image))
    return {tap: {name: float(torch.cat(values).mean()) for name, values in columns.items()} for tap, columns in by_tap.items()}
