"""What is left of the protection of one of several people in a photo, seen as an adversary sees it: cut out, scaled, animated.

    python -m benchmarks.views --out docs/views
    python -m benchmarks.views --generator checkpoints/other --quick --out /tmp/views

Photos show one to six rendered people (`anti_i2v.portraits.groups`), of whom the adversary wants the first. A cell is the height of that
face as a share of the photo's shorter side; sizes, aspects, backgrounds and the number of people vary over its photos. Each photo is
protected as users protect it, written as an 8-bit PNG and read again; views (`view_photos.cut`) of the clean photo, of the protected one
and of noise that is as strong in the same place are scaled to the video model's size and animated from the same noise.
Figures are averaged over seeds for each person first; intervals are over people. `--quick` is 16 people, one seed and fewer denoising
steps: to be compared with other quick runs only. With `--adversary` the subtraction of a generator's residual is tried too (`inversion`).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from anti_i2v.evaluation.identity import References, load_identity_judge
from anti_i2v.evaluation.judging import identity_measures, read_identity
from anti_i2v.evaluation.report import Interval, Summary, interval, summarise, write_texts
from anti_i2v.imaging.metrics import mean_interval
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.references import portrait_references
from anti_i2v.protector import Protector
from anti_i2v.resources import commit
from anti_i2v.surrogates import Surrogate
from benchmarks import inversion
from benchmarks.tables import cell as figure
from benchmarks.tables import grid, percent
from benchmarks.view_photos import CELLS, REGIONS, SIZES, VIEWS, Cell, make, pictures

QUICK_SIZES = ["512x512", "1024x768", "768x1024", "1080x1920"]

QUICK = {"people": 16, "seeds": [0], "steps": 8, "sizes": QUICK_SIZES, "wrong_keys": 12, "inversion_steps": [1, 5], "animate": 1}
"""What `--quick` sets where nothing else is given."""

NOTES = (
    "identity shift and rank-1 are of the clip that is made of the view, beside the clip of the same view of the clean photo",
    "noise has the RMS of the residual in the same place, and is animated in the view `square` only",
    "ΔE2000 is of the re-read file at full size; true epsilon is its largest change, in 1/255",
)


class Animator:
    """A video model and a judge of its clips, and the people that it compares them with."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.people, self.seeds, self.batch, self.size = options.people, options.seeds, options.batch, options.model_size
        self.surrogate = Surrogate.from_pretrained(options.surrogate, ["decoded"], self.size, self.size, options.frames, options.steps)
        self.prompts = PortraitClips("test", 1, 8, 8).batch(range(self.people)).prompts
        self.text = self.surrogate.encode_text(self.prompts)
        self.judge = load_identity_judge(options.judge)
        self.references: References = portrait_references(self.judge, "test", range(self.people), self.size, self.size)
        self.seconds, self.clips = 0.0, 0

    @torch.no_grad()
    def measure(self, rows: list[int], versions: Mapping[str, Tensor], label: str) -> dict[str, dict[str, Tensor]]:
        """Version → measure of `identity_measures` → (B,), averaged over the seeds.

        Args:
            rows: The person of each photo.
            versions: (B, 3, S, S) in [0, 1] each; `clean` among them.
            label: Of the progress bar.
        """
        parts: list[dict[str, dict[str, Tensor]]] = []
        with tqdm(total=len(rows) * len(self.seeds) * len(versions), desc=label, unit="clip", mininterval=5.0) as progress:
            for first in range(0, len(rows), self.batch):
                who = torch.tensor(rows[first : first + self.batch])
                text = {name: value[who] for name, value in self.text.items()}
                seeds = []
                for seed in self.seeds:
                    readings, begin = {}, time.process_time()
                    for name, photos in versions.items():
                        photo = photos[first : first + self.batch]
                        clip = self.surrogate.animate(photo, text, seed * 1_000_003 + first)
                        readings[name] = read_identity(self.judge, clip, photo)
                        progress.update(len(photo))
                    self.seconds, self.clips = self.seconds + time.process_time() - begin, self.clips + len(who) * len(versions)
                    seeds.append(identity_measures(readings, self.references, who))
                parts.append({v: {m: torch.stack([s[v][m] for s in seeds]).nanmean(0) for m in seeds[0][v]} for v in versions})
        return {v: {m: torch.cat([part[v][m] for part in parts]) for m in parts[0][v]} for v in versions}


def judge_cell(animator: Animator, cell: Cell, label: str) -> dict[str, Summary]:
    """View → version → measure with its interval."""
    results = {}
    for view in VIEWS:
        rows, versions = cell.views.get(view, ([], {}))
        if not rows:
            continue
        kept = {name: photo for name, photo in versions.items() if name != "noise" or view == "square"}
        results[view] = summarise([animator.measure(rows, kept, f"{label}, {view}")])
    return results


def worst(views: Mapping[str, Summary]) -> tuple[str, Interval]:
    """The view with the least identity shift."""
    shifts = {view: of["protected"]["identity_shift"] for view, of in views.items()}
    name = min(shifts, key=lambda view: math.inf if shifts[view]["mean"] is None else float(shifts[view]["mean"] or 0.0))
    return name, shifts[name]


def table(results: Mapping[str, dict[str, Summary]]) -> str:
    """Identity shift and rank-1 of every cell and view."""
    rows = []
    for cell, views in results.items():
        for view, of in views.items():
            row = [cell, view, figure(of["protected"]["identity_shift"]), figure(of.get("noise", {}).get("identity_shift"))]
            rows.append([*row, *(percent(of[v]["rank1"]) for v in ("clean", "protected")), figure(of["clean"]["identity_similarity"])])
    headings = ["face", "view", "identity shift", "noise", "rank-1 of the clean photo", "rank-1 accuracy", "similarity of the clean photo"]
    return grid(headings, rows, 2)


def visibility_table(visible: Mapping[str, dict[str, Interval]]) -> str:
    """How visible the residual is in every cell."""
    rows = []
    for cell, of in visible.items():
        row = [cell, percent(of["covered"]), figure(of["residual_rms"], 1), figure(of["true_epsilon"], 0), figure(of["delta_e_all"])]
        rows.append([*row, *(f"{figure(of[f'delta_e_{r}'])}; {figure(of[f'delta_e_{r}_95'])}" for r in REGIONS)])
    headings = ["face", "people cover", "RMS, 1/255", "true epsilon", "ΔE2000", *(f"{region}: mean; 95th percentile" for region in REGIONS)]
    return grid(headings, rows)


def write(options: argparse.Namespace, data: dict[str, object], results: dict[str, dict[str, Summary]]) -> None:
    """Write `views.json` and `views.md`; after each cell, so that a long run leaves what it has."""
    visible: dict[str, dict[str, Interval]] = data["visibility"]  # type: ignore[assignment]
    lines = ["# Views", "", *[f"* {name}: {value}" for name, value in data["facts"].items()], ""]  # type: ignore[attr-defined]
    lines += ["## Worst view of each cell", "", grid(["face", "view", "identity shift"], [[c, n, figure(s)] for c, (n, s) in
              ((cell, worst(views)) for cell, views in results.items())], 2), ""]  # fmt: skip
    lines += ["## Identity", "", table(results), "", "## Visibility", "", visibility_table(visible), ""]
    lines += inversion.lines(data.get("inversion", {}))  # type: ignore[arg-type]
    lines += [f"{note[0].upper()}{note[1:]}." for note in NOTES]
    data |= {"results": results, "worst": {c: dict(zip(("view", "identity_shift"), worst(v), strict=True)) for c, v in results.items()}}
    write_texts(options.out, {"views.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n", "views.md": "\n".join(lines) + "\n"})


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="portrait-generator", help="folder, or the name of a shipped one")
    parser.add_argument("--backend", choices=("onnx", "torch"), default="onnx")
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the clips' noise")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), help="height of the face by the shorter side")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="HEIGHTxWIDTH", help="of the photos")
    parser.add_argument("--surrogate", default="portrait-dit")
    parser.add_argument("--model-size", type=int, default=128, help="side of the video model's clips in pixels")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="denoising steps")
    parser.add_argument("--judge", default="portrait-judge")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--quick", action="store_true", help=", ".join(f"--{name} {value}" for name, value in QUICK.items()))
    parser.add_argument("--plain", action="store_true", help="rendered backgrounds only, no pictures of scikit-image")
    parser.add_argument("--adversary", nargs="*", default=[], help="generators whose residual an adversary subtracts; in the first cell")
    parser.add_argument("--wrong-keys", type=int, default=100, help="of keyed adversaries: how many keys they try")
    parser.add_argument("--inversion-steps", type=int, nargs="+", default=list(inversion.STEPS), help="that an adversary tries")
    parser.add_argument("--animate", type=int, default=3, help="of each adversary's estimates: how many of the worst")
    parser.add_argument("--out", type=Path, default=Path("docs/views"))
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**QUICK)  # what is given in words counts all the same
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Compose, protect, animate, judge; write `views.json` and `views.md`, and print the latter."""
    options = parse(arguments)
    protector = Protector.from_pretrained(options.generator, backend=options.backend)
    behind = [] if options.plain else pictures()
    animator = Animator(options)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items() if name != "out"}
    facts: dict[str, object] = {"commit": commit() or "unknown", **settings, "pictures": len(behind)}
    data: dict[str, object] = {"facts": facts, "notes": NOTES, "visibility": {}, "photos": {}}
    results: dict[str, dict[str, Summary]] = {}

    def protect(photo: Image.Image) -> Image.Image:
        return protector.protect(photo, options.epsilon, key="none")  # the same photos whoever measures

    for name in options.cells:
        made = make(name, range(options.people), options.sizes, behind, protect, animator.size)
        data["visibility"] |= {name: {m: interval(mean_interval(v[~v.isnan()])) for m, v in made.visibility.items()}}  # type: ignore[operator]
        data["photos"] |= {name: {"people": made.people, "sizes": made.sizes}}  # type: ignore[operator]
        results[name] = judge_cell(animator, made, f"face {name}")
        facts["cpu_seconds_a_clip"] = round(animator.seconds / animator.clips, 3)
        write(options, data, results)
    if options.adversary:
        data["inversion"] = inversion.run(options, protector, animator)
        write(options, data, results)
    print((options.out / "views.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
