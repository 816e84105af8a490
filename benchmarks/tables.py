"""Copies the figures that the benchmarks wrote into the documents, so that no figure is typed by hand.

    python benchmarks/tables.py            # after a benchmark, and whenever a checkpoint changed
    python benchmarks/tables.py --check    # changes nothing; exit status 1 and the names if a document is out of date

Documents hold blocks, over several lines or within one, and the text between their two comments is replaced:

    <!-- copy: evidence/evidence | ## portrait-dit | Who is in --><!-- end -->    from docs/evidence/evidence.md, the first table
                                                                                  below the lines that contain these words;
                                                                                  `| columns: HEADING; …` chooses some columns
    <!-- value: judge/judge rows.clean.rank1 % --><!-- end -->    from docs/judge/judge.json, one value with its interval;
                                                                  then the number of digits, or % for a share
    <!-- table: judge --><!-- end -->                             a function of this file, where no benchmark writes Markdown,
                                                                  after its name, if need be, what of
What has no result file yet says so. The card that `anti-i2v export` writes has no block: its section of figures becomes one.
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
DOCUMENTS = ("README.md", "configs/README.md", "checkpoints/README.md", "checkpoints/*/README.md", "docs/*.md")
CARD = "checkpoints/portrait-generator/README.md"
CARD_BLOCK = (
    "copy: evidence/evidence | ## portrait-dit | Who is in the clip | columns: version; identity similarity; identity shift; rank-1"
)
BLOCK = re.compile(r"<!-- (copy|value|table): ([^\n]+?) -->(.*?)<!-- end -->", re.DOTALL)
NOT_YET = "not measured yet"

Json = dict[str, Any]
"""What a benchmark wrote; a layout that is not its own is an error by name."""


def load(root: Path, name: str) -> Json:
    """The results of `docs/NAME.json`; FileNotFoundError means that the benchmark has not been run."""
    return cast(Json, json.loads((root / "docs" / f"{name}.json").read_text(encoding="utf-8")))


def cell(value: Json | Sequence[float | None] | float | None, digits: int = 2, scale: float = 1.0, unit: str = "") -> str:
    """`mean [low, high]`, the mean alone where there is no interval, or a dash."""
    if value is None or isinstance(value, (int, float)):
        value = [value, None, None]
    numbers = [value.get(name) for name in ("mean", "low", "high")] if isinstance(value, dict) else value
    # Adding 0 turns a rounded -0.0 into 0.0.
    mean, low, high = (None if x is None or not math.isfinite(x) else f"{round(scale * x, digits) + 0.0:,.{digits}f}" for x in numbers)
    return "–" if mean is None else f"{mean}{unit}" + ("" if None in (low, high) else f" [{low}, {high}]")


def percent(value: Json | None) -> str:
    """A share as `mean% [low, high]`."""
    return cell(value, 0, 100, "%")


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table; the first `words` columns hold words, the others figures."""
    cells = ["| " + " | ".join(line) + " |" for line in [headings, *rows]]
    return "\n".join([cells[0], "|" + " --- |" * words + " ---: |" * (len(headings) - words), *cells[1:]])


def source(data: Json, file: str) -> str:
    """The line under a table: on what its figures depend, and where the rest stands."""
    facts = data.get("facts") or data.get("settings") or {}
    parts = [f"{facts['people']} people"] if "people" in facts else []
    parts += [f"{len(facts['seeds'])} seeds"] if len(facts.get("seeds", ())) > 1 else []
    parts += [f"epsilon {float(facts['epsilon']):g}"] if "epsilon" in facts else []
    parts += [f"medians of {facts['runs']} runs [least, most]" if "runs" in facts else "mean and 95 % interval"]
    return f"\n\n{', '.join(parts)}; commit {facts.get('commit', 'not recorded')}; all settings: `docs/{file}`."


def value(root: Path, block: str) -> str:
    """One value of a result file: `FILE PATH [DIGITS | %]`, the keys of the path with dots between them."""
    file, path, *form = block.split()
    entry: Any = load(root, file)
    for key in path.split("."):
        entry = entry[int(key) if isinstance(entry, list) else key]
    if form == ["%"]:
        return percent(entry)
    digits = int(form[0]) if form else 2 - 2 * isinstance(entry, int)
    return entry if isinstance(entry, str) else cell(entry, digits)


def copy(root: Path, block: str) -> str:
    """A table as its benchmark wrote it: `FILE | WORDS | … [| columns: HEADING; …]`, of headings the beginnings."""
    block, _, columns = block.partition(" | columns:")
    name, *places = (part.strip() for part in block.split("|"))
    lines = (root / "docs" / f"{name}.md").read_text(encoding="utf-8").splitlines()
    for place in places:
        lines = lines[[place in line for line in lines].index(True) + 1 :]
    lines = lines[[line.startswith("|") for line in lines].index(True) :]
    rows = [line.strip("|").split("|") for line in lines[: [line.startswith("|") for line in [*lines, ""]].index(False)]]
    headings = [heading.strip() for heading in rows[0]]
    numbers = (
        [[h.startswith(word.strip()) for h in headings].index(True) for word in columns.split(";")] if columns else range(len(headings))
    )
    table = "\n".join("|" + "|".join(row[number] for number in numbers) + "|" for row in rows)
    return table + source(load(root, name), f"{name}.md")


def size(root: Path, checkpoint: str) -> str:
    """Number of weights and bytes of a folder in `checkpoints`, from the headers of its files."""
    files, numbers = list((root / "checkpoints" / checkpoint).rglob("*.safetensors")), 0
    if not files:
        raise FileNotFoundError
    for path in files:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        numbers += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return f"{numbers / 1e6:.2f} M numbers in {sum(path.stat().st_size for path in files) / 1e6:.1f} MB"


def front(root: Path, _: str) -> str:
    """The one table of the README: what one pass does, beside noise, the optimisation of each photo, and what adversaries reach."""
    evidence, views, remover = (load(root, name) for name in ("evidence/evidence", "views/views", "remover/remover"))
    of = evidence["results"]["portrait-dit"]
    names = {"clean photo": "clean", "with white noise of equal strength": "white_noise", "**protected by one pass**": "one_pass"}
    rows = {words: of[name] for words, name in (names | {"identity, 100 steps on this photo": "pgd_100"}).items()}
    if "portrait-unet" in evidence["results"]:
        rows["one pass, a video model it never met"] = evidence["results"]["portrait-unet"]["one_pass"]
    worst = {face: views["results"][face][of["view"]]["protected"] for face, of in views["worst"].items()}
    rows["one pass, a face fills the photo, worst cut"] = worst.pop("1")
    rows[f"one pass, face {', '.join(worst)} of the shorter side, worst of them and cut"] = min(
        worst.values(), key=lambda row: row["identity_shift"]["mean"]
    )
    undone = {}
    for name, inverted in views.get("inversion", {}).items():
        tried = [values for words, values in inverted["results"].items() if words not in ("clean", "protected")]
        undone[name] = min(tried, key=lambda values: values["identity_shift"]["mean"])
    order = sorted(undone, key=lambda name: (name != views["facts"]["generator"], undone[name]["identity_shift"]["mean"]))
    for name in order[:2]:  # the generator itself, and the most helpful of the others
        rows[f"one pass, undone with {name}, best try of each photo"] = undone[name]
    rows["one pass, undone by a network trained for that"] = remover["results"]["removed"]
    table = [[words, cell(row["identity_shift"]), percent(row["rank1"])] for words, row in rows.items()]
    return (
        grid(["photo", "identity shift", "rank-1 accuracy"], table)
        + source(evidence, "evidence/evidence.md")
        + source(views, "views/views.md")
        + source(remover, "remover/remover.md")
    )


def curve(root: Path, _: str) -> str:
    """How the effect and what is seen of it grow with epsilon, for one pass, 100 steps and noise."""
    runs = {name: load(root, name) for name in ("evidence/epsilon_4/evidence", "evidence/evidence", "evidence/epsilon_16/evidence")}
    names = {"white noise": "white_noise", "one pass": "one_pass", "PGD-100": "pgd_100"}
    table = []
    for words, name in names.items():
        for run in runs.values():
            row = run["results"]["portrait-dit"][name]
            table.append([words, f"{run['facts']['epsilon']:g}", cell(row["delta_e"]), cell(row["identity_shift"])])
    return grid(["photo", "epsilon", "ΔE2000", "identity shift"], table) + "".join(source(run, f"{name}.md") for name, run in runs.items())


def portraits(root: Path, model: str) -> str:
    """How good a video model of Portraits is: its clips of clean photos against the rendered truth."""
    data, rows = load(root, f"portraits/{model}/portraits"), []
    of = data["measures"]
    for kind in ("rendered", "autoencoder", "generated", "still"):
        figures = [cell(of.get(f"{kind}_{part}_db"), 1) for part in ("first_frame", "clip")]
        figures += [percent(of.get(f"{name}_{kind}")) for name in ("action_right", "rank1")]
        rows.append(["motionless, for comparison" if kind == "still" else kind, *figures])
    headings = ["clips", "first frame, PSNR in dB", "whole clip, PSNR in dB", "action recognised", "rank-1 accuracy"]
    return grid(headings, rows) + source(data, f"portraits/{model}/portraits.json")


def judge(root: Path, _: str) -> str:
    """How well the identity judge recognises people, also in clips that were made worse."""
    data, names = load(root, "judge/judge"), {"identity_similarity": "identity similarity"}
    names |= {"strangers_similarity": "similarity to strangers", "similarity_share": "share of the clean clip's", "presence": "face seen"}
    rows = [[row, percent(of["rank1"]), *(cell(of[name]) for name in names)] for row, of in data["rows"].items()]
    return grid(["clip", "rank-1 accuracy", *names.values()], rows) + source(data, "judge/judge.json")


def taps(root: Path, _: str) -> str:
    """Short trainings against the layers that `anti-i2v layers` chose, random ones and the shallowest."""
    data, kinds = load(root, "layers/taps"), ("identified", "random", "shallowest")
    layers = {kind: "; ".join(sorted({", ".join(choice[kind]) for choice in data["taps"]})) for kind in kinds}
    measures = {"similarity_drop": 3, "clip_change": 1, "last_frame_change": 1, "photo_similarity_drop": 3}
    rows = []
    for kind in (*kinds, "identified - random", "identified - shallowest"):
        rows.append([kind, layers.get(kind, ""), *(cell(data["results"][name][kind], digits) for name, digits in measures.items())])
    headings = ["trained against", "layers", "similarity drop", "clip change, 1/255", "last frame change, 1/255", "photo's similarity drop"]
    return grid(headings, rows, 2) + source(data, "layers/taps.json")


def bandwidth(root: Path, _: str) -> str:
    """How fine the residual may be before JPEG and resizing undo it: feature damage."""
    data, rows = load(root, "bandwidth/both"), []
    channels = {"file": "the file itself", "jpeg75": "after JPEG", "half size": "after half size", "half size + jpeg75": "after both"}
    for row in data["rows"]:
        damage = [cell(row["damage"][f"protected {channel}"], 3) for channel in channels]
        rows.append([str(row["bandwidth"]), cell(row["rms"], 1), *damage, cell(row["damage"]["noise file"], 4)])
    return grid(["of 64", "residual, RMS in 1/255", *channels.values(), "white noise"], rows) + source(data, "bandwidth/both.json")


def hashes(root: Path, _: str) -> str:
    """SHA-256 of every file of weights that ships."""
    home = root / "checkpoints"
    files = sorted([*home.rglob("*.safetensors"), *home.rglob("*.onnx")])
    rows = [[f"`{path.relative_to(home).as_posix()}`", f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`"] for path in files]
    return grid(["weights", "SHA-256"], rows, words=2)


TABLES: dict[str, Callable[[Path, str], str]] = {f.__name__: f for f in (front, curve, portraits, judge, taps, bandwidth, size, hashes)}


def content(root: Path, kind: str, block: str) -> str:
    """The content of a block.

    Raises:
        UsageError: There is no such table, place or value, or its file has another layout.
    """
    name, _, argument = (kind, "", block) if kind != "table" else block.partition(" ")
    function = {"copy": copy, "value": value, **TABLES}.get(name)
    if function is None:
        raise UsageError(f"unknown table {name!r}; choose one of {', '.join(TABLES)}")
    try:
        return function(root, argument)
    except FileNotFoundError:
        return NOT_YET
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UsageError(f"no content for '{kind}: {block}' ({error!r}); correct the block, or run its benchmark again") from error


def fill(text: str, root: Path) -> str:
    """A document with all its blocks filled."""
    if len(re.findall(r"<!-- (?:copy|value|table): ", text)) != len(BLOCK.findall(text)):
        raise UsageError("a block has no `<!-- end -->`; close it")

    def block(match: re.Match[str]) -> str:
        around = "\n\n" if match[3].startswith("\n") else ""
        return f"<!-- {match[1]}: {match[2]} -->{around}{content(root, match[1], match[2])}{around}<!-- end -->"

    return BLOCK.sub(block, text)


def with_block(card: str) -> str:
    """The card of a generator, whose section of figures is a block."""
    if BLOCK.search(card):
        return card
    return re.sub(r"(?<=^## Measured\n).*?(?=^## |\Z)", f"\n<!-- {CARD_BLOCK} -->\n<!-- end -->\n\n", card, flags=re.M | re.S)


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
        if new != old and options.check:
            stale += 1
            print(f"{name} is out of date: run python benchmarks/tables.py")
        elif new != old:
            with atomic.write(path) as part:
                part.write_text(new, encoding="utf-8")
            print(f"filled {name}")
    return int(stale > 0)


if __name__ == "__main__":
    raise SystemExit(main())
