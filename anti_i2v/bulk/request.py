"""What a user asks of one call of `protect`: one frozen object on the whole way from the command line, or the page, to the saved file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path

from anti_i2v.budget import check_epsilon
from anti_i2v.errors import UsageError
from anti_i2v.imaging.metadata.options import WriteOptions
from anti_i2v.imaging.metadata.statements import Mark

STRENGTHS = {"subtle": 4.0, "standard": 8.0, "strong": 16.0}
"""Name → epsilon."""
FORMATS = ("same", "lossless", "png")
STANDARD = Path("-")
"""Standard input as a source, standard output as `out`."""


@dataclass(frozen=True)
class MethodRequest:
    """A per-photo attack and the video model it optimises against; None: the default, which depends on the others.

    Attributes:
        surrogate: Pipeline folder, shipped name, or hub id of the video model.
        method: Name of the attack.
        steps: Of the attack.
        refine: Steps of an attack that begins at what the generator gives.
        taps: Layers, shallow first, with commas between them.
        prompt: What the video model is asked for.
        height: At which it sees photos, in pixels.
        width: Likewise.
        num_frames: Length of its clips.
        seed: Of random starts and noise.

    Raises:
        UsageError: A value out of its range, or two that exclude each other.
    """

    surrogate: str | None = None
    method: str | None = None
    steps: int | None = None
    refine: int | None = None
    taps: str | None = None
    prompt: str | None = None
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "refine"):
            if (value := getattr(self, name)) is not None and value < 0:
                raise UsageError(f"--{name} is {value}; give 0 or more")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed is {self.seed}; give a whole number from 0 to {2**63 - 1}")
        given = self.given()
        if given and self.method is None and self.refine is None:
            raise UsageError(f"{given[0]} does nothing alone; add --method to optimise each photo, or --refine K to improve one pass")
        if self.method == "noise":
            if others := [option for option in given if option not in ("--method", "--seed")]:
                raise UsageError(f"--method noise asks no video model; leave out {', '.join(others)}")
        elif given and self.surrogate is None:
            option = "--method" if self.refine is None else "--refine"
            raise UsageError(f"{option} optimises against a video model; name one with --surrogate, such as portrait-dit")
        if self.refine is not None and self.steps is not None:
            raise UsageError(f"--refine {self.refine} says how many steps; leave out --steps {self.steps}")

    def given(self) -> list[str]:
        """The options that the user gave, as they are spelled."""
        return [f"--{field.name.replace('_', '-')}" for field in fields(self) if getattr(self, field.name) is not None]


@dataclass(frozen=True)
class Request:
    """All that is asked of one call.

    Attributes:
        sources: Photos, shards, folders and patterns such as `*.jpg`; `STANDARD` alone for standard input.
        out: Folder of the outputs; `STANDARD` for standard output; None: photos are replaced, in place.
        format: One of `FORMATS`.
        epsilon: Budget in 1/255 steps; None: that of the protector.
        max_delta_e: Largest mean ΔE2000 that the residual may have; a photo that exceeds it gets a smaller epsilon. None: any.
        quality: Of lossy files, 1–100; None: the photo's own tables in JPEG, 95 elsewhere.
        strip_gps: Leave out what tells where a photo was taken.
        no_ai_training: State in each file that AI must not be trained on it.
        mark: State in each file that it is protected, and how.
        force: Protect photos that bear such a statement once more.
        overwrite: Do again what an earlier call did.
        dry_run: Write nothing; the results say what would be done.
        report: Where to write what became of each photo, as JSON.
        quiet: Show no progress.
        generator: Folder, the name of one that ships, or a hub id; the default one if None.
        runtime: `auto`, `onnx` or `torch`.
        device: For torch; its name for a GPU, or None for the CPU.
        key: File of the secret that makes photos' keys, `none` for a public one, or None for the user's own; see `keys.load_secret`.
        method: A per-photo attack; None: the generator's one pass.
        workers: How many processes, threads or actors; None: as many as pay.
        engine: `pool` or `ray`.
        ray_address: Of a Ray cluster that runs; None starts one.

    Raises:
        UsageError: A value out of its range, or two that exclude each other.
    """

    sources: tuple[Path, ...]
    out: Path | None
    format: str = "same"
    epsilon: float | None = None
    max_delta_e: float | None = None
    quality: int | None = None
    strip_gps: bool = False
    no_ai_training: bool = False
    mark: bool = True
    force: bool = False
    overwrite: bool = False
    dry_run: bool = False
    report: Path | None = None
    quiet: bool = False
    generator: str | None = None
    runtime: str = "auto"
    device: str | None = None
    key: str | None = None
    method: MethodRequest | None = None
    workers: int | None = None
    engine: str = "pool"
    ray_address: str | None = None

    def __post_init__(self) -> None:
        self._check_files()
        self._check_engine()
        if self.method is not None:
            self._check_method(self.method)

    def write_options(self, mark: Mark | None) -> WriteOptions:
        """How files are written; `mark` is left out where the user wants none."""
        return WriteOptions(self.format, self.quality, self.strip_gps, self.no_ai_training, mark if self.mark else None)

    def _check_files(self) -> None:
        if self.epsilon is not None and check_epsilon(self.epsilon) < 1:
            raise UsageError(f"--epsilon {self.epsilon:g} leaves no whole 8-bit step, so nothing would be protected; give 1 or more")
        if self.max_delta_e is not None and not 0 < self.max_delta_e < 100:
            raise UsageError(f"--max-delta-e is {self.max_delta_e}; give a colour difference above 0 and below 100; 2 can hardly be seen")
        if self.key == "":
            raise UsageError("--key is empty; give a file, or none")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"--quality is {self.quality}; give a whole number from 1 to 100")
        if self.out is None and self.format != "same":
            raise UsageError(f"--in-place keeps names and so formats; leave out --format {self.format}")
        if self.quality is not None and self.format != "same":
            raise UsageError(f"--quality {self.quality} is for lossy files, not for --format {self.format}; leave out one of them")
        if STANDARD in (self.out, *self.sources):
            if len(self.sources) != 1 or self.out != STANDARD:
                raise UsageError("- stands for one photo: `anti-i2v protect - --out -`, or one file and --out -")
            if self.dry_run or self.report:
                raise UsageError("--dry-run and --report are for files and folders; leave them out with --out -")

    def _check_engine(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers is {self.workers}; give 1 or more")
        if self.ray_address is not None and self.engine != "ray":
            raise UsageError(f"--ray-address {self.ray_address} is for --engine ray; add that")
        if self.engine == "ray" and find_spec("ray") is None:
            raise UsageError("--engine ray needs Ray, which is not installed; pip install 'anti-i2v[bulk]'")

    def _check_method(self, method: MethodRequest) -> None:
        several = self.workers is not None and self.workers > 1
        if several or self.engine == "ray":
            option = f"--workers {self.workers}" if several else "--engine ray"
            raise UsageError(f"{option} is for a generator's one pass; a video model optimises one photo at a time, so leave it out")
        if self.runtime != "auto":
            raise UsageError(f"a video model needs torch; leave out --runtime {self.runtime}")
        if method.refine is None and self.key is not None:
            raise UsageError(f"--key {self.key} is for a generator, and --method alone runs none; leave it out, or add --refine K")
        if method.method == "noise" and self.device is not None:
            raise UsageError("--method noise asks no video model; leave out --device")
        if method.method != "noise" and method.refine is None and self.generator is not None:
            raise UsageError(f"--method alone begins at random, without --generator {self.generator}; add --refine K to begin there")
