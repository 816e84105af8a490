"""Put the figures that the benchmarks wrote into the documents, so that nobody types a figure.

    python benchmarks/tables.py            # after a benchmark, and whenever a checkpoint changed
    python benchmarks/tables.py --check    # changes nothing; exit status 1 and the names if a document is out of date

A document holds blocks, over several lines or within one, and what stands between the two comments is replaced:

    <!-- copy: evidence/evidence | portrait-dit | Who is in the clip --><!-- end -->    a table of docs/evidence/evidence.md:
                                                                     the first one below the lines that contain these words
    <!-- value: evidence/evidence results.portrait-dit.one_pass.ssim --><!-- end -->    a value of docs/evidence/evidence.json,
                                    with its interval; then, if need be, the digits, or % for a share, or the value's unit
    <!-- table: NAME --><!-- end -->                 a function of this file, for results of which no benchmark writes a table

What has no result file yet says so. The card that `anti-i2v export` writes has no block: its section of figures becomes one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from anti_i2v.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "configs/README.md", "checkpoints/README.md", "checkpoints/*/README.md", "docs/*.md")
CARD = "checkpoints/portrait-generator/README.md"
CARD_BLOCK = "copy: evidence/evidence | portrait-dit | Who is in the clip"
BLOCK = re.compile(r"<!-- (copy|value|table): ([^\n]+?) -->(.*?)<!-- end -->", re.DOTALL)
NOT_YET = "not measured yet"

Json = dict[str, Any]
"""What a benchmark wrote; a layout that is not its own is an error by name."""


def load(root: Path, name: str) -> Json:
    """The results of `docs/NAME.json`; FileNotFoundError means that the benchmark has not been run."""
    return cast(Json, json.loads((root / "docs" / f"{name}.json").read_text(encoding="utf-8")))


def cell(value: Any, digits: int = 2, scale: float = 1.0, unit: str = "") -> str:
    """`mean [low, high]`, the mean alone where there is no interval, or a dash."""
    numbers = [value.get(name) for name in ("mean", "low", "high")] if isinstance(value, dict) else value
    # Adding 0 turns a rounded -0.0 into 0.0.
    numbers = numbers if isinstance(numbers, list) else [numbers]
    shown = [None if x is None or not math.isfinite(x) else f"{round(scale * x, digits) + 0.0:,.{digits}f}" for x in numbers]
    if shown[0] is None:
        return "–"
    return f"{shown[0]}{unit}" + ("" if None in shown[:3] or len(shown) < 3 else f" [{shown[1]}, {shown[2]}]")


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table; the first `words` columns hold words, the others figures."""
    cells = ["| " + " | ".join(line) + " |" for line in [headings, *rows]]
    return "\n".join([cells[0], "|" + " --- |" * words + " ---: |" * (len(headings) - words), *cells[1:]])


def value(root: Path, block: str) -> str:
    """One value of a result file: `FILE PATH [DIGITS | % | UNIT]`, the keys of the path with dots between them."""
    file, path, *form = block.split()
    found: Any = load(root, file)
    for key in path.split("."):
        found = found[int(key) if isinstance(found, list) else key]
    if isinstance(found, str):
        return found
    if form == ["%"]:
        return cell(found, 0, 100, "%")
    digits = [int(word) for word in form if word.isdigit()]
    return cell(found, *(digits or [0 if isinstance(found, int) else 2]), unit="".join(f" {word}" for word in form if not word.isdigit()))


def copy(root: Path, block: str) -> str:
    """A table as its benchmark wrote it: `FILE | WORDS | …`, and the settings under which it was measured."""
    name, *places = (part.strip() for part in block.split("|"))
    lines = (root / "docs" / f"{name}.md").read_text(encoding="utf-8").splitlines()
    for place in places:
        lines = lines[[place in line for line in lines].index(True) + 1 :]
    start = [line.startswith("|") for line in lines].index(True)
    length = [line.startswith("|") for line in [*lines[start:], ""]].index(False)
    return "\n".join(lines[start : start + length]) + known(load(root, name), f"docs/{name}.md")


def known(data: Json, home: str) -> str:
    """The line under a table: on what its figures depend, and where the rest stands."""
    facts = data.get("facts", data.get("settings", {}))
    said = [f"{facts['people']} people"] if "people" in facts else []
    said += [f"{len(facts['seeds'])} seeds"] if len(facts.get("seeds", ())) > 1 else []
    said += [f"epsilon {float(facts['epsilon']):g}"] if "epsilon" in facts else []
    said += [f"{facts['runs']} runs, median [least, most]"] if "runs" in facts else ["mean and 95 % interval"]
    return f"\n\n{', '.join(said)}; commit {facts.get('commit', 'not recorded')}; all settings: `{home}`."


def front(root: Path) -> str:
    """The one table of the README: what one pass does, beside noise and the optimisation of each photo."""
    methods, evidence = load(root, "methods/methods"), load(root, "evidence/evidence")
    rows = {"clean": "clean photo", "white_noise": "white noise of equal strength", "one_pass": "**one pass**"}
    rows |= {f"{name}_{methods['facts']['steps_each']}": f"{name}, {methods['facts']['steps_each']} steps" for name in ("anti-i2v", "identity")}
    found = {words: (methods["seconds"].get(name), methods["results"][name]) for name, words in rows.items()}
    found["one pass, a video model it never met"] = (evidence["seconds"]["one_pass"], evidence["results"]["portrait-unet"]["one_pass"])
    lines = [
        [words, cell(seconds, 3), cell(of["all_frames"], 1), cell(of["identity_shift"]), cell(of["rank1"], 0, 100, "%")]
        for words, (seconds, of) in found.items()
    ]
    headings = ["photo protected by", "s a photo", "clip change, 1/255", "identity shift", "rank-1 accuracy"]
    return grid(headings, lines) + known(methods, "docs/methods/methods.md")


def portraits(root: Path, name: str = "world/world") -> str:
    """How good a video model of Portraits is: its clips of clean photos against the rendered truth."""
    data = load(root, name)
    of, rows = data["measures"], []
    for kind in ("rendered", "autoencoder", "generated", "still"):
        decibel = [cell(of.get(f"{kind}_{part}_db"), 1) for part in ("first_frame", "clip")]
        shares = [cell(of.get(f"{judged}_{kind}"), 0, 100, "%") for judged in ("action_right", "rank1")]
        rows.append([{"still": "motionless, for comparison"}.get(kind, kind), *decibel, *shares])
    headings = ["clips", "first frame, PSNR in dB", "whole clip, PSNR in dB", "action recognised", "rank-1 accuracy"]
    return grid(headings, rows) + known(data, f"docs/{name}.json")


def portraits_unet(root: Path) -> str:
    """The same of the second video model."""
    return portraits(root, "world-unet/world")


def judge(root: Path) -> str:
    """How well the judge of identity knows people, also in clips that somebody made worse."""
    data = load(root, "judge/judge")
    names = {"identity_similarity": "identity similarity", "strangers": "similarity to strangers"}
    names |= {"similarity_kept": "share of the clean clip's similarity", "presence": "face seen"}
    rows = [[row, cell(of["rank1"], 0, 100, "%"), *(cell(of[name]) for name in names)] for row, of in data["rows"].items()]
    return grid(["clip", "rank-1 accuracy", *names.values()], rows) + known(data, "docs/judge/judge.json")


def taps(root: Path) -> str:
    """Short trainings against the layers that `anti-i2v layers` chose, random ones and the shallowest."""
    data = load(root, "layers/taps")
    layers = {kind: "; ".join(sorted({", ".join(found[kind]) for found in data["taps"]})) for kind in ("identified", "random", "shallowest")}
    measures = {"similarity_drop": 3, "all_frames": 1, "last_frame": 1, "photo_similarity_drop": 3}
    rows = [
        [kind, layers.get(kind, ""), *(cell(data["results"][name][kind], digits) for name, digits in measures.items())]
        for kind in (*layers, "identified - random", "identified - shallowest")
    ]
    headings = ["trained against", "layers", "clip's similarity lost", "clip change, 1/255", "last frame's change", "photo's similarity lost"]
    return grid(headings, rows, 2) + known(data, "docs/layers/taps.json")


def bandwidth(root: Path) -> str:
    """How fine the residual may be before JPEG and resizing undo it."""
    data, channels = load(root, "bandwidth/both"), ("file", "jpeg75", "half size", "half size + jpeg75")
    rows = []
    for row in data["rows"]:
        damage = [cell(row["damage"][f"protected {channel}"], 3) for channel in channels]
        rows.append([str(row["bandwidth"]), cell(row["rms"], 1), *damage, cell(row["damage"]["noise file"], 4)])
    headings = ["of 64", "residual, RMS in 1/255", "the file itself", "after JPEG", "after half size", "after both", "white noise, the file itself"]
    return grid(headings, rows) + known(data, "docs/bandwidth/both.json")


def weights(root: Path) -> str:
    """Number of weights, bytes and SHA-256 of every file of weights that ships."""
    home, rows = root / "checkpoints", []
    for path in sorted([*home.rglob("*.safetensors"), *home.rglob("*.onnx")]):
        content, numbers = path.read_bytes(), "–"
        if path.suffix == ".safetensors":
            header: Mapping[str, Json] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            numbers = f"{sum(math.prod(entry['shape']) for name, entry in header.items() if name != '__metadata__') / 1e6:.2f} M"
        said = [f"`{path.relative_to(home).as_posix()}`", numbers, f"{len(content) / 1e6:.1f} MB"]
        rows.append([*said, f"`{hashlib.sha256(content).hexdigest()}`"])
    return grid(["file", "numbers", "size", "SHA-256"], rows, words=4)


TABLES: dict[str, Callable[[Path], str]] = {f.__name__: f for f in (front, portraits, portraits_unet, judge, taps, bandwidth, weights)}


def content(root: Path, kind: str, block: str) -> str:
    """What stands in a block.

    Raises:
        UsageError: There is no such table, place or value, or its file has another layout.
    """
    if kind == "table" and block not in TABLES:
        raise UsageError(f"unknown table {block!r}; choose one of {', '.join(TABLES)}")
    try:
        return TABLES[block](root) if kind == "table" else {"copy": copy, "value": value}[kind](root, block)
    except FileNotFoundError:
        return NOT_YET
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UsageError(f"no such content for '{kind}: {block}' ({error!r}); correct it, or run its benchmark again") from error


def fill(text: str, root: Path) -> str:
    """A document with all its blocks filled."""
    if len(re.findall(r"<!-- (?:copy|value|table): ", text)) != len(BLOCK.findall(text)):
        raise UsageError("a block has no `<!-- end -->`; close it")

    def block(found: re.Match[str]) -> str:
        around = "\n\n" if found[3].startswith("\n") else ""
        return f"<!-- {found[1]}: {found[2]} -->{around}{content(root, found[1], found[2])}{around}<!-- end -->"

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
        if new == old:
            continue
        stale += 1
        print(f"{name} is out of date: run python benchmarks/tables.py" if options.check else f"filled {name}")
        if not options.check:
            part = path.with_name(f".{path.name}.part")
            part.write_text(new, encoding="utf-8")
            part.replace(path)
    return int(options.check and stale > 0)


if __name__ == "__main__":
    raise SystemExit(main())
