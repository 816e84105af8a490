"""Fill the figures of the documents from the files that the benchmarks wrote, so that nobody types a figure.

    python benchmarks/tables.py            # after a benchmark, and whenever a checkpoint changed
    python benchmarks/tables.py --check    # changes nothing; exit status 1 and the names if a document is out of date

A document says `<!-- table: NAME -->` … `<!-- end -->`, over several lines or within one, and what stands between is replaced. What has
no result file yet says so. Card of a generator that has no such block: `anti-i2v export` wrote it, and its section of figures
becomes one. Names: `world`, `world/autoencoder`, `world/denoiser`, `world/people`, `world/actions`, the same with `unet/` after the
first slash, `judge`, `judge/line`, `attackability`, `attackability/EPSILON`, `evidence` (all surrogates), `evidence/SURROGATE`,
`evidence/SURROGATE/line`, `methods`, `methods/refine`, `ablation`, `taps`, `bandwidth`, `protect`, `size/CHECKPOINT`, `hashes`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from anti_i2v import atomic
from anti_i2v.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "configs/README.md", "checkpoints/README.md", "checkpoints/*/README.md")
CARD = "checkpoints/portrait-generator/README.md"
CARD_TABLE = "evidence/portrait-dit"
BLOCK = re.compile(r"<!-- table: (\S+) -->(.*?)<!-- end -->", re.DOTALL)
NOT_YET = "not measured yet"

Json = dict[str, Any]
"""What a benchmark wrote; a layout that is not its own is an error by name."""


def load(root: Path, name: str) -> Json:
    """The results of `docs/NAME.json`; FileNotFoundError means that the benchmark has not been run."""
    return cast(Json, json.loads((root / "docs" / f"{name}.json").read_text(encoding="utf-8")))


def cell(value: Json | Sequence[float | None] | None, digits: int = 2, scale: float = 1.0, unit: str = "") -> str:
    """`mean [low, high]`, the mean alone where there is no interval, or a dash."""
    if value is None:
        return "–"
    numbers = [value.get(name) for name in ("mean", "low", "high")] if isinstance(value, dict) else list(value)
    # Adding 0 turns a rounded -0.0 into 0.0.
    shown = [None if x is None or not math.isfinite(x) else f"{round(scale * x, digits) + 0.0:.{digits}f}" for x in numbers]
    if shown[0] is None:
        return "–"
    return f"{shown[0]}{unit}" + ("" if None in shown else f" [{shown[1]}, {shown[2]}]")


def percent(value: Json | None) -> str:
    """A share as `mean% [low, high]`."""
    return cell(value, 0, 100, "%")


FLAGS = {
    "evidence.py": ("sizes", "taps", "people", "seeds", "pgd_steps", "part", "attack", "faces", "keep", "centred"),
    "attackability.py": ("people", "gallery", "steps", "epsilons", "parts", "taps", "faces", "keep", "centred"),
    "benchmarks.methods": ("people", "seeds", "steps_each", "refine", "scratch"),
    "benchmarks.ablation": ("people", "seeds", "attack_steps", "train_steps", "train_batch"),
    "benchmarks.taps": ("people", "seeds", "train_steps"),
    "bandwidth.py": ("people", "steps"),
}
"""Benchmark → the options that its table states; what they were is in the facts of its results."""


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table; the first `words` columns hold words, the others figures."""
    lines = [headings, *rows]
    cells = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([cells[0], "|" + " --- |" * words + " ---: |" * (len(headings) - words), *cells[1:]])


def source(command: str, facts: Json, *words: str) -> str:
    """The line under a table: what its figures depend on and the command, with its options, that gives them."""
    for name in FLAGS.get(command.removeprefix("-m ").split()[0], ()):
        value = facts.get(name)
        if value not in (None, False):
            given = () if value is True else value if isinstance(value, list) else (value,)
            command += "".join((f" --{name.replace('_', '-')}", *(f" {v}" for v in given)))
    run = command if command.startswith("-m ") else f"benchmarks/{command}"
    return f"\n\n{', '.join(words)}; mean and 95 % interval; commit {facts.get('commit', 'not recorded')}; `python {run}`."


def world(root: Path, part: str) -> str:
    """How good an embedded world is: the first one, or with `unet` in front the second."""
    second = part.split("/")[0] == "unet"
    folder, part = ("world-unet", part.removeprefix("unet").removeprefix("/")) if second else ("world", part)
    data = load(root, f"{folder}/world")
    facts, of = data["facts"], data["measures"]
    if part == "autoencoder":
        return f"{cell(of['autoencoder_clip_db'], 1)} dB on test clips"
    if part == "people":
        return f"person right in {percent(of['rank1_generated'])} of clips"
    if part == "denoiser":
        return f"first frame {cell(of['generated_first_frame_db'], 1)} dB, action right in {percent(of['action_right_generated'])}"
    if part == "actions":
        return f"right on {percent(of['action_right_rendered'])} of rendered test clips"
    clips = {"autoencoder": "autoencoder, whole clips", "generated": "generated clips", "still": "motionless clips, for comparison"}
    rows = [(words, f"{cell(of[f'{name}_clip_db'], 1)} dB") for name, words in clips.items()]
    rows.insert(1, ("generated first frame", f"{cell(of['generated_first_frame_db'], 1)} dB"))
    for name, words in {"action_right": "action recognised", "rank1": f"person recognised among {facts.get('gallery')}"}.items():
        kinds = [kind for kind in ("rendered", "autoencoder", "generated") if f"{name}_{kind}" in of]
        rows += [(f"{words}, {kind} clips", percent(of[f"{name}_{kind}"])) for kind in kinds]
    known = (f"{facts['people']} people of the test split", facts.get("size", "size not recorded"), f"{facts['steps']} steps")
    command = "world.py --out docs/world" + ("-unet --world portrait-unet --size 64x64 --tap mid_block" if second else "")
    return grid(["against the rendered truth", "mean and interval"], rows) + source(command, facts, *known)


HEADINGS = {"residual_rms": "residual, RMS", "rms": "residual, RMS", "delta_e": "ΔE2000", "latent_gain": "latent gain", "ssim": "SSIM"}
HEADINGS |= {"all_frames": "clip moved, RMS", "last_frame": "last frame moved, RMS", "presence": "face seen", "face": "face seen"}
HEADINGS |= {"own": "like the person", "strangers": "like strangers", "kept": "likeness kept", "rank1": "named right"}
HEADINGS |= {"way": "way to strangers", "photo_way": "photo's own way", "share": "likeness lost, share of PGD's"}
"""Measure → how the tables call it. RMS is in 1/255, likeness in cosine."""

ROUGH = ("residual_rms", "delta_e", "all_frames", "last_frame")
"""Measures with one decimal instead of two."""

VERSIONS = {"clean": "clean photo", "white_noise": "white noise, equal RMS", "random_parameters": "random parameters, equal RMS"}
VERSIONS |= {"one_pass": "**protected, one pass**"}


def figures(of: Json, names: Sequence[str]) -> list[str]:
    """Measures by their names."""
    return [percent(of.get(n)) if n == "rank1" else cell(of.get(n), 1 if n in ROUGH else 2) for n in names]


def measured(rows: Iterable[tuple[Sequence[str], Json]], words: Sequence[str], measures: str) -> str:
    """A table of rows of words and measures, the latter by their names with spaces between them."""
    names = measures.split()
    return grid([*words, *(HEADINGS[name] for name in names)], ([*said, *figures(of, names)] for said, of in rows), len(words))


def judge(root: Path, part: str) -> str:
    """How well the judge of identity knows people."""
    data = load(root, "judge/judge")
    facts, rows = data["facts"], data["rows"]
    if part == "line":
        return f"names {percent(rows['clean']['rank1'])} of {facts['people']} test people from rendered clips"
    shown = measured((([name], of) for name, of in rows.items()), ["clip"], "rank1 own strangers kept presence")
    known = (f"{facts['people']} people of the test split", f"{facts['size']} pixels a side", "likeness in cosine")
    return shown + source("judge.py --out docs/judge", facts, *known)


def attackability(root: Path, epsilon: str) -> str:
    """What per-photo optimisation does to the clips, through which part of the surrogate."""
    data = load(root, "attackability/attackability")
    facts, rows = data["facts"], [row for row in data["rows"] if not epsilon or row["epsilon"] in (None, float(epsilon))]
    said = (["–" if row["epsilon"] is None else f"{row['epsilon']:g}", row["part"], row["version"]] for row in rows)
    lines = zip(said, (row["measures"] for row in rows), strict=True)
    shown = measured(lines, ["epsilon", "part attacked", "version"], "rms way photo_way own rank1 presence last_frame latent_gain")
    known = (f"{facts['people']} people of the test split", f"PGD of {facts['steps']} steps", "RMS in 1/255")
    return shown + source("attackability.py", facts, *known)


def evidence(root: Path, part: str) -> str:
    """What one pass of the generator does, beside noise and per-photo optimisation, on one surrogate or in short on all."""
    data = load(root, "evidence/evidence")
    name, _, form = part.partition("/")
    if name and name not in data["results"]:
        raise FileNotFoundError
    facts, last = data["facts"], list(next(iter(data["results"].values())))[-1]
    pgd, models = last.upper().replace("_", "-"), facts.get("surrogates", [])
    command = "evidence.py" + (f" --surrogates {' '.join(models)}" if models not in ([], ["portrait-dit"]) else "")
    known = [f"{facts['people']} people of the test split", f"{len(facts['seeds'])} clip seeds", f"epsilon {facts['epsilon']:g}"]
    if not name:
        chosen = ("clean", "white_noise", "one_pass", last)
        return transfer(data, {key: VERSIONS.get(key, pgd) for key in chosen}) + source(command, facts, *known)
    found, seconds, about = data["results"][name], data["seconds"], data.get("surrogates", {}).get(name, {})
    if form == "line":
        ways = {"one pass": "one_pass", "white noise": "white_noise", pgd: last}
        return "way to strangers " + ", ".join(f"{key}: {cell(found[row].get('way'))}" for key, row in ways.items())
    on = f" against {models[0]}" if about.get("pgd") == "black box" else ""
    lines = (([VERSIONS.get(key, f"{key.upper().replace('_', '-')}{on}, each photo on its own")], of) for key, of in found.items())
    shown = measured(lines, ["version"], "residual_rms delta_e all_frames ssim own way rank1 face photo_way")
    if data["share"][name]["mean"] is None:
        shown += f"\n\n{pgd}{on} takes no likeness from the clips, so one pass has no share of it"
    else:
        shown += f"\n\nOne pass takes {cell(data['share'][name])} of the likeness that {pgd}{on} takes from the clips"
        if "one_pass" in seconds and last in seconds:
            threads = f"{facts['threads']} CPU thread" + "s" * (facts["threads"] > 1)
            shown += f", in {seconds['one_pass']:.3f} s a photo instead of {seconds[last]:.0f} s on {threads}"
    if about:
        known += [f"{about['frames']} frames of {about['size']}", f"{about['generator']} for the generator, {about['pgd']} for PGD"]
    return shown + "." + source(command, facts, *known, "RMS in 1/255")


def transfer(data: Json, versions: dict[str, str]) -> str:
    """The clips of all surrogates in one table; a surrogate that a version was made against is a white box to it."""
    rows = []
    for model, found in data["results"].items():
        about, share = data.get("surrogates", {}).get(model, {}), data["share"][model]
        for version, words in versions.items():
            box = about.get({"clean": "", "white_noise": "", "one_pass": "generator"}.get(version, "pgd"), "–")
            rows.append(([model, words, box], {**found[version], "share": share if version == "one_pass" else None}))
    return measured(rows, ["video model", "version", "white or black box"], "own way rank1 face photo_way share")


def methods(root: Path, part: str) -> str:
    """Per-photo methods beside one pass, or (`refine`) the curve of refinement beside the same objective from a random start."""
    refine = part == "refine"
    data = load(root, "methods/refine/methods" if refine else "methods/methods")
    facts, results = data["facts"], data["results"]
    curve = [name for name in results if name.split("_")[0] in ("refine", "scratch")]
    rows = []
    for name in curve if refine else [name for name in results if name not in curve]:
        kind, _, steps = name.rpartition("_")
        label = VERSIONS.get(name, {"refine": f"one pass + {steps} steps", "scratch": f"{steps} steps"}.get(kind, f"{kind}, {steps} steps"))
        seconds, memory = data["seconds"].get(name), data["memory"].get(name)
        costs = ["–" if seconds is None else f"{seconds:.3f}", "–" if memory is None else f"{memory / 2**20:.0f}"]
        rows.append(([label, *costs], results[name]))
    known = [
        f"{facts['people']} people of the test split",
        f"{len(facts['seeds'])} clip seed" + "s" * (len(facts["seeds"]) > 1),
        f"epsilon {facts['epsilon']:g}",
    ]
    known += [f"against {facts['surrogate']}", f"{facts['threads']} CPU thread" + "s" * (facts["threads"] > 1)]
    shown = measured(rows, ["version", "seconds a photo", "MiB"], "residual_rms delta_e all_frames ssim own way rank1 photo_way")
    if not refine:
        return shown + source("-m benchmarks.methods --out docs/methods", facts, *known)
    longest = max(int(name.rpartition("_")[2]) for name in curve if name.startswith("scratch"))
    step, once = data["alone"][f"scratch_{longest}"], data["seconds"]["one_pass"]
    shares = (f"{cell(data['share_of_one_pass'][f'scratch_{n}'])} of what {n} steps take" for n in facts["scratch"] if n >= 100)
    shown += f"\n\nOf the likeness to the person one pass takes {', '.join(shares)}. Photo by photo it needs {once:.4f} s and a step"
    shown += f" {step:.3f} s, so {longest} steps take {longest * step / once:,.0f} times as long."
    return shown + source("-m benchmarks.methods --methods --out docs/methods/refine", facts, *known)


RUNGS = {"rgb": "diffusion loss, in RGB", "lab": "in Lab (a*, b*)", "dual": "+ DCT", "irc": "+ IRC", "ira": "+ IRA"}
RUNGS |= {"full": "+ perceptual: the whole sum"}
"""Rung of the ablation → how its table calls it; each is the one before and what is named."""


def ablation(root: Path, part: str) -> str:
    """The paper's ablation, photo by photo and in one pass beside each other."""
    data = load(root, "ablation/ablation")
    facts, results, names = data["facts"], data["results"], ("way", "rank1", "all_frames", "ssim")
    kinds = {kind: {"per-photo": "per photo", "generator": "one pass"}[kind] for kind in facts["kinds"]}
    rows = [[VERSIONS["clean"], *figures(results["clean"], names) * len(kinds)]]
    rows.append([f"white noise, RMS of the last row, {next(iter(kinds.values()))}", *figures(results["white_noise"], names) * len(kinds)])
    for rung in facts["rungs"]:
        rows.append([RUNGS[rung], *(figure for kind in kinds for figure in figures(results[f"{kind}_{rung}"], names))])
    headings = ["version", *(f"{words}: {HEADINGS[name]}" for words in kinds.values() for name in names)]
    known = [
        f"{facts['people']} people of the test split",
        f"{len(facts['seeds'])} clip seed" + "s" * (len(facts["seeds"]) > 1),
        f"epsilon {facts['epsilon']:g}",
        f"against {facts['surrogate']}",
    ]
    costs = {"per-photo": f"{facts['attack_steps']} steps per photo"}
    costs["generator"] = f"one pass after {facts['train_steps']} training steps of {facts['train_batch']} photos"
    known += [costs[kind] for kind in kinds]
    return grid(headings, rows) + source("-m benchmarks.ablation --out docs/ablation", facts, *known)


def taps(root: Path, part: str) -> str:
    """Short trainings against identified, random and the shallowest layers."""
    data = load(root, "layers/taps")
    facts, results = data["facts"], data["results"]
    named = [["identified", *sorted({", ".join(found["identified"]) for found in data["taps"]})]]
    named += [
        ["random", "; ".join(", ".join(found["random"]) for found in data["taps"])],
        ["shallowest", ", ".join(data["taps"][0]["shallowest"])],
    ]
    headings = [
        "trained against",
        "layers",
        "likeness lost by the clip",
        "clip moved, RMS",
        "last frame moved, RMS",
        "likeness lost by the photo",
    ]
    measures = {"drop": 3, "all_frames": 1, "last_frame": 1, "photo_drop": 3}
    rows = [[*words, *(cell(results[m][words[0]], digits) for m, digits in measures.items())] for words in named]
    for other in ("random", "shallowest"):
        rows.append(
            [f"identified less {other}", "", *(cell(results[m][f"identified - {other}"], digits) for m, digits in measures.items())]
        )
    known = [
        f"{facts['people']} people of the test split",
        f"{len(facts['seeds'])} seeds",
        f"{facts['train_steps']} steps of {facts['train_batch']} photos",
    ]
    return grid(headings, rows, 2) + source("-m benchmarks.taps --taps-file docs/layers/portrait-dit/taps.yaml", facts, *known)


def bandwidth(root: Path, part: str) -> str:
    """How fine the residual may be."""
    data = load(root, "bandwidth/both")
    facts, channels = data["settings"], ("file", "jpeg75", "half size", "half size + jpeg75")
    rows = []
    for row in data["rows"]:
        damage = [cell(row["damage"][f"protected {c}"], 3) for c in channels]
        rows.append([str(row["bandwidth"]), cell(row["rms"], 1), *damage, cell(row["damage"]["noise file"], 4)])
    heads = ["of 64", "residual, RMS", "the file itself", "after JPEG", "after half size", "after both", "white noise, the file itself"]
    known = (f"{facts['people']} photos", f"each optimised for {facts['steps']} steps", f"epsilon {float(facts['epsilon']):g}")
    return grid(heads, rows) + source("bandwidth.py", facts, *known, "feature damage")


def protect(root: Path, part: str) -> str:
    """What protecting a photo costs beside decoding and encoding it."""
    data = load(root, "protect/protect")
    facts, lines = data["facts"], []
    for row in data["rows"]:
        cpu, start = row["cpu"], row["fresh"]
        figures = [f"{cpu['codec']:.3f}", f"{cpu['whole'] - cpu['stages']['verify']:.3f}", cell(cpu["ratio"]), cell(cpu["ratio_verified"])]
        figures += [f"{start['cpu']:.1f}", f"{start['peak_mib']:.0f}"] if start else ["–", "–"]
        lines.append([f"{row['size'].replace('x', ' × ')} {row['format']}", row["runtime"], *figures])
    heads = ["photo", "runtime", "decode + encode, s", "protect, s", "ratio", "and verify, ratio", "fresh process, s", "its peak, MiB"]
    peers = "; ".join(f"{name} {seconds} ({where})" for name, _, seconds, where in data["peers"])
    known = f"seconds of one core, medians of {facts['runs']} pairs [least, most]; commit {facts['commit']}"
    return f"{grid(heads, lines, 2)}\n\nPublished for one pass: {peers}.\n\n{known}; `python -m benchmarks.protect --out docs/protect`."


def size(root: Path, checkpoint: str) -> str:
    """Number of weights and bytes of a checkpoint, from the headers of its files."""
    found, numbers = list((root / "checkpoints" / checkpoint).rglob("*.safetensors")), 0
    if not found:
        raise FileNotFoundError
    for path in found:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        numbers += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return f"{numbers / 1e6:.2f} M numbers in {sum(path.stat().st_size for path in found) / 1e6:.1f} MB"


def hashes(root: Path, part: str) -> str:
    """SHA-256 of every file of weights that ships."""
    home = root / "checkpoints"
    files = sorted([*home.rglob("*.safetensors"), *home.rglob("*.onnx")])
    found = {file.relative_to(home).as_posix(): hashlib.sha256(file.read_bytes()) for file in files}
    rows = ([f"`{name}`", f"`{digest.hexdigest()}`"] for name, digest in found.items())
    return grid(["weights", "SHA-256"], rows, words=2)


TABLES: dict[str, Callable[[Path, str], str]] = {
    f.__name__: f for f in (world, judge, attackability, evidence, methods, ablation, taps, bandwidth, protect, size, hashes)
}


def table(root: Path, name: str) -> str:
    """What stands in the block of a name.

    Raises:
        UsageError: There is no such table, or its file has another layout.
    """
    kind, _, part = name.partition("/")
    if kind not in TABLES:
        raise UsageError(f"no table {name!r}; give one of {', '.join(TABLES)}")
    try:
        return TABLES[kind](root, part)
    except FileNotFoundError:
        return NOT_YET
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"the file of table {name!r} has another layout ({error!r}); run its benchmark again") from error


def fill(text: str, root: Path) -> str:
    """A document with all its blocks filled."""
    if len(re.findall(r"<!-- table: ", text)) != len(BLOCK.findall(text)):
        raise UsageError("a block `<!-- table: NAME -->` has no `<!-- end -->`; close it")

    def block(found: re.Match[str]) -> str:
        around = "\n\n" if found[2].startswith("\n") else ""
        return f"<!-- table: {found[1]} -->{around}{table(root, found[1])}{around}<!-- end -->"

    return BLOCK.sub(block, text)


def with_block(card: str) -> str:
    """The card of a generator, whose section of figures is a block."""
    if BLOCK.search(card):
        return card
    return re.sub(r"(?<=^## Measured\n).*?(?=^## |\Z)", f"\n<!-- table: {CARD_TABLE} -->\n<!-- end -->\n\n", card, flags=re.M | re.S)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Fill or check the documents below `root`; exit status 0, or 1 if `--check` found one out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; name the documents that are out of date")
    options = parser.parse_args(arguments)
    stale = 0
    for path in sorted(path for pattern in DOCUMENTS for path in root.glob(pattern)):
        name, old = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        try:
            new = fill(with_block(old) if name == CARD else old, root)
        except UsageError as error:
            parser.error(f"{name}: {error}")
        if new == old:
            continue
        stale += 1
        print(f"{name} is out of date: run python benchmarks/tables.py" if options.check else f"filled {name}")
        if not options.check:
            with atomic.write(path) as part:
                part.write_text(new, encoding="utf-8")
    return int(options.check and stale > 0)


if __name__ == "__main__":
    raise SystemExit(main())
