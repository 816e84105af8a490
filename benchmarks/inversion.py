"""The adversary who has a generator: they take its residual of the protected photo off again; part of `views`.

An estimate of the clean photo x from the protected photo y is the fixed point of x ← y − f (G(x) − x), begun at x = y: one step is
y − f (G(y) − y). With a keyed generator the adversary has not the photo's key: they try others, keep the best, or subtract the mean.
"""

from __future__ import annotations

import argparse
import inspect
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.report import Interval, Summary, summarise
from anti_i2v.evaluation.runner import as_saved
from anti_i2v.imaging.tensors import resize, to_pil, to_tensor
from anti_i2v.protector import Protector
from benchmarks.tables import cell as figure
from benchmarks.tables import grid, percent
from benchmarks.view_photos import Protect, subjects

if TYPE_CHECKING:
    from benchmarks.views import Animator

FACTORS = (0.5, 1.0, 1.5, 2.0)
STEPS = (1, 5, 20)


def invert(photo: Tensor, guesses: Sequence[Protect], factor: float, steps: Sequence[int] = STEPS) -> dict[int, Tensor]:
    """Estimates of the clean photo after some numbers of steps.

    Args:
        photo: (3, H, W) in [0, 1], the protected photo y.
        guesses: The adversary's generator, once a key that they try; their mean residual is taken off.
        factor: f.
        steps: Numbers of steps.

    Returns:
        Number → (3, H, W) in [0, 1].
    """
    estimate, estimates = photo, {}
    for step in range(1, max(steps) + 1):
        seen = to_pil(estimate)
        before = to_tensor(seen)
        residual = torch.stack([to_tensor(protect(seen)) - before for protect in guesses]).mean(0)
        estimate = (photo - factor * residual).clamp(0, 1)
        if step in steps:
            estimates[step] = estimate
    return estimates


@contextmanager
def guesses(protector: Protector, epsilon: float, keys: int) -> Iterator[list[Protect]]:
    """A generator as the adversary runs it: once, or once for each of `keys` keys that are not the photo's.

    Raises:
        UsageError: Keys are asked for, and this generator takes none.
    """
    keyed = "key" in inspect.signature(protector.protect).parameters
    if keys and not keyed:
        raise UsageError(f"--wrong-keys {keys}, but photos are protected without a key; leave it out")
    if not keys:
        yield [lambda photo: protector.protect(photo, epsilon)]
        return
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number in range(keys):
            files.append(Path(folder) / f"{number}.key")
            files[-1].write_bytes(f"the adversary's key number {number:06d}".encode())
            files[-1].chmod(0o600)
        protect: Any = protector.protect
        yield [_with_key(protect, epsilon, str(file)) for file in files]


def _with_key(protect: Any, epsilon: float, key: str) -> Protect:  # noqa: ANN401  # has a key only from some version on
    def protect_with(photo: Image.Image) -> Image.Image:
        result: Image.Image = protect(photo, epsilon, key=key)
        return result

    return protect_with


def run(options: argparse.Namespace, protector: Protector, animator: Animator) -> dict[str, Summary]:
    """Adversary → version → measures, of photos that a face fills, seen whole.

    Versions are `clean`, `protected`, and an estimate each by factor and steps; of several keys the mean residual (`mean`) and each of
    the first eight alone.
    """
    clean, protected = [], []
    for subject in subjects("1", range(options.people), options.sizes, []):
        clean.append(subject.image)
        protected.append(as_saved(to_tensor(protector.protect(to_pil(subject.image), options.epsilon))[None])[0])
    small = {name: _small(photos, animator.size) for name, photos in (("clean", clean), ("protected", protected))}
    results: dict[str, Summary] = {}
    for name in options.adversary:
        adversary = Protector.from_pretrained(name, backend=options.backend)
        versions = dict(small)
        with guesses(adversary, options.epsilon, options.wrong_keys) as tried:
            sets = {"": tried} if len(tried) == 1 else {"mean of keys, ": tried} | {f"key {i}, ": [one] for i, one in enumerate(tried[:8])}
            for words, some in sets.items():
                for factor in FACTORS:
                    label = f"inversion by {Path(name).name}, {words}factor {factor:g}"
                    made = [invert(photo, some, factor) for photo in tqdm(protected, desc=label, unit="photo", mininterval=5.0)]
                    for steps in STEPS:
                        versions[f"{words}factor {factor:g}, {steps} steps"] = _small([one[steps] for one in made], animator.size)
        results[Path(name).name] = summarise([animator.measure(list(range(options.people)), versions, f"inverted by {Path(name).name}")])
    return results


def _small(photos: Sequence[Tensor], size: int) -> Tensor:
    return torch.cat([resize(photo[None], size, size) for photo in photos])


def worst(of: Summary) -> tuple[str, Interval]:
    """The estimate with the least identity shift, and its shift."""
    shifts = {name: row["identity_shift"] for name, row in of.items() if name not in ("clean", "protected")}
    name = min(shifts, key=lambda key: shifts[key]["mean"] or 0.0)
    return name, shifts[name]


def lines(results: Mapping[str, Summary]) -> list[str]:
    """The section of `views.md`."""
    if not results:
        return []
    rows = []
    for name, of in results.items():
        rows += [[name, version, figure(row["identity_shift"]), percent(row["rank1"])] for version, row in of.items() if version != "clean"]
        rows.append([name, f"**worst: {worst(of)[0]}**", figure(worst(of)[1]), ""])
    return ["## Inversion", "", grid(["adversary", "version", "identity shift", "rank-1 accuracy"], rows, 2), ""]
