"""The options of `anti-i2v protect`, group by group."""

from __future__ import annotations

import argparse
from pathlib import Path

KEY = (
    "file of the secret that makes the protection of each photo one that others cannot compute, 16 to 4096 random bytes; or none: a public "
    "one, so that anybody gets the same result (default: your own, in your configuration folder, made at first use)"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """All of them."""
    _which(parser)
    _how_strong(parser.add_argument_group("how strong"))
    _what_files_say(parser.add_argument_group("the files"))
    _many(parser.add_argument_group("many photos", "Each photo or shard is done by one worker, and each worker loads the generator."))
    _per_photo(parser.add_argument_group("optimising each photo against a video model"))


def _path(text: str) -> Path:
    if not text:  # a variable of the shell that was never set must not mean the folder one is in
        raise argparse.ArgumentTypeError("a path is empty")
    return Path(text)


Group = argparse._ArgumentGroup  # argparse has no public name for it


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="+", type=_path, help="photo, folder with its subfolders, pattern, .tar, or - for standard input")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=_path, help="folder of the protected files, created if needed; - writes one photo to standard output")
    where.add_argument("--in-place", action="store_true", help="replace photos; each is kept beside its successor as NAME_unprotected")
    parser.add_argument("--overwrite", action="store_true", help="protect again what an earlier call has done")
    parser.add_argument("--dry-run", action="store_true", help="say which file would become which, and do nothing")
    parser.add_argument("--report", type=_path, metavar="FILE", help="write what became of each photo, with its measures, as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress and no notes")


def _how_strong(group: Group) -> None:
    much = group.add_mutually_exclusive_group()
    much.add_argument("--epsilon", type=float, help="largest change of a pixel value, 1–32 (default: the generator's own, 8)")
    much.add_argument("--strength", choices=("subtle", "standard", "strong"), help="epsilon by name: subtle is 4, standard 8, strong 16")
    group.add_argument(
        "--max-delta-e", type=float, metavar="X", help="lower epsilon where the mean ΔE2000 would exceed X (a lossy encoding adds its own)"
    )
    group.add_argument("--generator", metavar="DIR", help="generator folder, name of one that ships, or hub id (owner/name[@revision])")
    group.add_argument(
        "--runtime",
        choices=("auto", "torch", "onnx"),
        default="auto",
        help="what runs the generator: onnx starts fast and needs no torch, torch runs on GPUs (default: onnx where onnxruntime is "
        "installed and the generator has a model.onnx)",
    )
    group.add_argument("--key", metavar="FILE", help=KEY)
    group.add_argument("--device", help="of the generator (with --runtime torch) or of the video model, such as cuda (default: cpu)")


def _what_files_say(group: Group) -> None:
    group.add_argument(
        "--format",
        choices=("same", "lossless", "png"),
        default="same",
        help="same: JPEG stays JPEG, with its own quality tables, which adds the change of another encoding (default); lossless: JPEG "
        "and other lossy photos become PNG, the rest keeps its format, and epsilon holds exactly; png: everything becomes PNG",
    )
    group.add_argument("--quality", type=int, help="of lossy files, 1–100 (default: the photo's own for JPEG, 95 for the rest)")
    group.add_argument("--strip-gps", action="store_true", help="leave out what tells where a photo was taken")
    group.add_argument("--no-ai-training", action="store_true", help="state in each file that nobody may train AI on it (IPTC/PLUS)")
    group.add_argument("--no-mark", action="store_true", help="leave out the mark (XMP) by which a second run knows a protected file")
    group.add_argument("--force", action="store_true", help="protect photos that bear this mark once more")


def _many(group: Group) -> None:
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes, each with its own photos and shards (default: up to 4, for 16 photos or more); threads, if --device is a GPU",
    )
    group.add_argument(
        "--engine",
        choices=("pool", "ray"),
        default="pool",
        help="pool: processes of this machine (default); ray: Ray Data, for shards and several machines, which all must see "
        "sources, outputs, generator and key under the same paths (pip install 'anti-i2v[bulk]')",
    )
    group.add_argument("--ray-address", metavar="ADDRESS", help="a running Ray cluster, such as auto (default: a new one on this machine)")


def _per_photo(group: Group) -> None:
    group.add_argument("--surrogate", metavar="SOURCE", help="pipeline folder, shipped name, or hub id of the video model")
    group.add_argument("--method", help="noise, photoguard, advdm, mist, sds+, sds-, i2vguard, anti-i2v or identity")
    group.add_argument("--steps", type=int, help="of the method (default: as published)")
    group.add_argument("--refine", type=int, metavar="K", help="K steps of --method (default: identity) from the generator's result")
    group.add_argument("--taps", metavar="A,B", help="layers for anti-i2v and i2vguard, the shallow one first (default: as published)")
    group.add_argument("--prompt", help="what the video model is asked for (default: a person talks to the camera)")
    group.add_argument("--height", type=int, help="of photos as the video model sees them, in pixels (default: a shipped model's own)")
    group.add_argument("--width", type=int, help="the same")
    group.add_argument("--num-frames", type=int, help="length of the clips (default: a shipped model's own)")
    group.add_argument("--seed", type=int, help="of random starts and noise (default: 0)")
