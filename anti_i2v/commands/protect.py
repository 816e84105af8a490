"""`anti-i2v protect`: photos, folders and tar shards in, protected files of the same names out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from tqdm import tqdm

    from anti_i2v.commands.measure import Measured
    from anti_i2v.commands.sources import Job, Plan
    from anti_i2v.commands.worker import Failed, Protect

HELP = "protect photos, folders of photos or tar shards"
DESCRIPTION = """Protect photos with one forward pass each. Sizes, names, orientation and metadata are kept. Outputs
are lossless, so that no pixel differs from the photo by more than epsilon; JPEG photos therefore become PNG files
unless you say --format same. Existing outputs are skipped, so an interrupted run goes on where it stopped. With
--surrogate, photos are optimised one by one against a video model instead, which takes minutes each and may want a GPU."""
PER_PHOTO = ("surrogate", "method", "steps", "refine", "taps", "prompt", "height", "width", "num_frames", "seed", "device")
"""Options of per-photo methods; all are None unless they are given."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `protect`."""
    parser.add_argument("source", nargs="+", type=Path, help="a photo, a folder (searched to the bottom) or a .tar")
    parser.add_argument("--out", required=True, type=Path, help="folder of the protected files; made if need be")
    parser.add_argument("--generator", metavar="DIR", help="generator folder, or the name of one that ships")
    parser.add_argument("--epsilon", type=float, default=8.0, help="largest change of a pixel value, 0–32 (default: 8)")
    parser.add_argument(
        "--format",
        choices=("lossless", "png", "same"),
        default="lossless",
        help="lossless: JPEG and other lossy photos become PNG, the rest keeps its format (default); png: everything "
        "becomes PNG; same: JPEG stays JPEG, with its own quality tables, which adds the change of another encoding",
    )
    parser.add_argument("--overwrite", action="store_true", help="protect again what is in the output folder already")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no notes")
    group = parser.add_argument_group("optimising each photo against a video model")
    group.add_argument("--surrogate", metavar="SOURCE", help="pipeline folder, shipped name, or hub id of the video model")
    group.add_argument("--method", help="noise, photoguard, advdm, mist, sds+, sds-, i2vguard, anti-i2v or identity")
    group.add_argument("--steps", type=int, help="of the method (default: as published)")
    group.add_argument("--refine", type=int, metavar="K", help="K steps of --method (default: identity) from what the generator gives")
    group.add_argument("--taps", metavar="A,B", help="layers for anti-i2v and i2vguard, shallow first (default: as published)")
    group.add_argument("--prompt", help="what the video model is asked for (default: a person talks to the camera)")
    group.add_argument("--height", type=int, help="at which the video model sees photos (default: of a shipped one its own)")
    group.add_argument("--width", type=int, help="likewise")
    group.add_argument("--num-frames", type=int, help="length of the clips, likewise")
    group.add_argument("--seed", type=int, help="of random starts and noise (default: 0)")
    group.add_argument("--device", help="of the video model, such as cuda (default: cpu)")


def run(options: argparse.Namespace) -> int:
    """Protect everything that can be protected.

    Returns:
        0 if all is done, 1 if some inputs failed, 2 if none could be done.

    Raises:
        UsageError: Unusable arguments; nothing has been written.
    """
    from anti_i2v.budget import check_epsilon
    from anti_i2v.commands.sources import plan

    epsilon = check_epsilon(options.epsilon)
    todo = plan(options.source, options.out, options.format)
    if given := [name for name in PER_PHOTO if getattr(options, name) is not None]:
        from anti_i2v.commands.per_photo import per_photo

        protect, limits = per_photo(options, given)
    else:
        protect, limits = one_pass(options.generator)
    made = not options.out.exists()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot use --out {options.out}: {error.strerror}; choose another folder") from None

    batch = Batch(protect, epsilon, options)
    batch.run(todo)
    if made and not any(options.out.iterdir()):
        options.out.rmdir()  # nothing could be done, so nothing shall look as if; a folder of the user's stays
    return batch.report(todo, limits)


def one_pass(generator: str | None) -> tuple[Protect, str]:
    """What protects a photo in one pass, and the line on its limits."""
    from anti_i2v.protector import DEFAULT_GENERATOR, Protector
    from anti_i2v.resources import find_folder

    folder = find_folder(generator or DEFAULT_GENERATOR)
    limits = (
        f"limits: this generator was trained against {protects_against(folder)}. It does NOT protect against any production "
        "video model yet, and a determined adversary may remove a protection."
    )
    return Protector.from_pretrained(folder).eval().protect, limits


def named(failed: Failed) -> str:
    """The reason of a failure, with the input's name before it unless it says it already."""
    return failed.reason if failed.name in failed.reason else f"{failed.name}: {failed.reason}"


class Batch:
    """The work of one call and its tally."""

    def __init__(self, protect: Protect, epsilon: float, options: argparse.Namespace) -> None:
        self.protect = protect
        self.epsilon = epsilon
        self.out: Path = options.out
        self.format: str = options.format
        self.overwrite: bool = options.overwrite
        self.quiet: bool = options.quiet
        self.done: list[Measured] = []
        self.failed: list[Failed] = []
        self.skipped = 0
        self.seconds = 0.0

    def run(self, todo: Plan) -> None:
        """Do all jobs; what goes wrong with one is noted and the next begins."""
        from tqdm import tqdm

        from anti_i2v.commands.worker import Failed, reason, reuse_memory, shard_photos

        reuse_memory()
        self.failed += [Failed(str(path), f"no such file or folder: {path}; check the path") for path in todo.missing]
        jobs, total = [], 0
        for job in todo.jobs:
            if job.output.exists() and not self.overwrite:
                self.skipped += 1
                continue
            try:
                total += len(shard_photos(job.source, self.format)) if job.is_shard else 1
                jobs.append(job)
            except UsageError as error:
                self.failed.append(Failed(str(job.source), reason(error)))
        begin = time.perf_counter()
        with tqdm(total=total, unit="photo", disable=self.quiet or total < 2) as bar:
            for job in jobs:
                try:
                    self.one(job, bar)
                except Exception as error:  # whatever it is, the other photos must not wait for it
                    self.failed.append(Failed(str(job.source), reason(error)))
        self.seconds = time.perf_counter() - begin

    def one(self, job: Job, bar: tqdm[None]) -> None:
        """One photo or one shard."""
        from anti_i2v.commands.worker import Failed, protect_photo, protect_shard

        if not job.is_shard:
            try:
                self.done.append(protect_photo(self.protect, job.source, job.output, self.epsilon))
            finally:
                bar.update()
            return
        done: list[Measured] = []
        for result in protect_shard(self.protect, job.source, job.output, self.epsilon, self.format, bar.update):
            if isinstance(result, Failed):
                self.failed.append(result)
            else:
                done.append(result)
        self.done += done  # counted only now that the shard is in place

    def report(self, todo: Plan, limits: str) -> int:
        """Print what was done, what was not and what it is worth; the exit status."""
        for line in self.summary(todo) if self.done or self.skipped else ():
            print(line)
        if self.done:
            print(limits)
        sys.stdout.flush()
        if not self.failed:
            return 0
        if not self.done and not self.skipped:
            if len(self.failed) > 1:
                self.list_failures()
                raise UsageError(f"none of the {len(self.failed)} inputs could be protected; the reasons are above")
            raise UsageError(named(self.failed[0]))
        self.list_failures()
        return 1

    def list_failures(self) -> None:
        """Each input that failed, with its reason."""
        print(f"failed: {len(self.failed)}", file=sys.stderr)
        for failed in self.failed:
            print(f"  {named(failed)}", file=sys.stderr)

    def summary(self, todo: Plan) -> list[str]:
        """Lines on the photos that are done."""
        lines, n = [], len(self.done)
        if n:
            photos = "1 photo" if n == 1 else f"{n} photos"
            lines.append(f"protected {photos} into {self.out}, {self.seconds / n:.2f} seconds per photo")
            mean_psnr = sum(m.psnr for m in self.done) / n
            mean_delta = sum(m.delta_e for m in self.done) / n
            exact = [m.steps for m in self.done if not m.jpeg]
            if exact:
                lines.append(f"largest change in the re-read files: {max(exact):.4g}/255 (epsilon {self.epsilon:g})")
            jpeg = [m.steps for m in self.done if m.jpeg]
            if jpeg:
                lines.append(
                    f"largest change in the re-read JPEG files: {max(jpeg):.4g}/255; encoding adds its own change to "
                    f"epsilon {self.epsilon:g}, only lossless files keep the bound"
                )
            lines.append(f"mean PSNR {mean_psnr:.1f} dB, mean colour difference ΔE2000 {mean_delta:.2f}")
        if self.skipped:
            lines.append(f"skipped {self.skipped} that {self.out} has already; --overwrite does them again")
        return lines if self.quiet else lines + self.notes(todo)

    def notes(self, todo: Plan) -> list[str]:
        """Lines on what a user may not expect."""
        lines = []
        renamed = sum(job.output.suffix.lower() != job.source.suffix.lower() for job in todo.jobs)
        if renamed and self.format != "png":
            lines.append(f"note: {renamed} written as PNG, because JPEG would change pixels again; see --format same")
        for note, count in Counter(note for m in self.done for note in m.notes).items():
            lines.append(f"note: {note} in {count} of them")
        if todo.left_out:
            lines.append(f"note: {len(todo.left_out)} other files left alone, such as {todo.left_out[0]}")
        return lines


def protects_against(folder: Path) -> str:
    """What the generator's `config.json` says it was trained against."""
    from anti_i2v.release import against_words

    try:
        stated = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("protects_against")
    except (OSError, ValueError):
        stated = None
    return against_words(stated)
