"""`anti-i2v app`: a page on this computer that protects photos, for people who do not like command lines."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import tempfile
import time
from typing import TYPE_CHECKING

from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from anti_i2v.app.storage import Storage

HELP = "open a local page that protects photos"
DESCRIPTION = """Open a page in the browser that protects photos by one pass, as `anti-i2v protect` does. It can be reached from
this computer only and asks the network for nothing. Photos lie in a temporary folder, which is removed when the page is closed,
and at the latest when this command is stopped (Ctrl-C)."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `app`."""
    parser.add_argument("--generator", metavar="DIR", help="generator folder, or the name of one that ships")
    parser.add_argument("--port", type=int, help="of the page (default: the first free one from 7860)")
    parser.add_argument("--no-browser", action="store_true", help="only say where the page is")


def run(options: argparse.Namespace) -> int:
    """Serve the page until this command is stopped.

    Returns:
        0.

    Raises:
        UsageError: No Gradio, no such generator, or a port that cannot be used.
    """
    if options.port is not None and not 1 <= options.port <= 65535:
        raise UsageError(f"--port {options.port} is none; give one from 1024 to 65535")
    if importlib.util.find_spec("gradio") is None:
        raise UsageError("the page needs Gradio; run pip install 'anti-i2v[web]'")
    from anti_i2v.app.storage import Storage

    for name in ("SIGTERM", "SIGHUP"):  # nothing shall be left when the terminal is closed, either
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    storage = Storage()
    try:
        _serve(options, storage)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever is in a hurry presses it twice
    finally:
        tempfile.tempdir = None
        storage.remove()
    print(f"stopped; please remove {storage.root}" if storage.root.exists() else "stopped; nothing of your photos is left")
    return 0


def _serve(options: argparse.Namespace, storage: Storage) -> None:
    """Load, then serve until an interrupt."""
    print("loading, which takes some seconds", flush=True)
    # Read when they are imported. What Gradio puts aside goes into the folder that is removed; nobody reports to anybody.
    os.environ |= {"GRADIO_TEMP_DIR": str(storage.root), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime since 1.29
    tempfile.tempdir = str(storage.root)
    from anti_i2v.bulk.backends import one_pass
    from anti_i2v.bulk.photo import reuse_memory
    from anti_i2v.cli.options import STRENGTHS

    way = one_pass(options.generator)  # before Gradio, which takes much longer
    from anti_i2v.app.page import build
    from anti_i2v.app.serve import serve
    from anti_i2v.app.work import limit_pixels

    reuse_memory()
    limit_pixels()
    with serve(build(way, storage, STRENGTHS), options.port, not options.no_browser) as address:
        print(f"{address} – stop with Ctrl-C\n{way.limits}", flush=True)
        while True:
            time.sleep(3600)
