"""`anti-i2v app`: a page on this computer that protects photos, for people who do not like command lines."""

from __future__ import annotations

import argparse
import importlib.util

from anti_i2v.cli.options import KEY
from anti_i2v.errors import UsageError

HELP = "open a local page that protects photos"
DESCRIPTION = """Open a page in the browser that protects photos by one pass, as `anti-i2v protect` does. It can be reached from
this computer only and asks the network for nothing. Photos lie in a temporary folder, which is removed when the page is closed,
and at the latest when this command is stopped (Ctrl-C). Your secret key stays, as with `anti-i2v protect`."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `app`."""
    parser.add_argument("--generator", metavar="DIR", help="generator folder, or the name of one that ships")
    parser.add_argument("--key", metavar="FILE", help=KEY)
    parser.add_argument("--port", type=int, help="of the page (default: the first free one from 7860)")
    parser.add_argument("--no-browser", action="store_true", help="only say where the page is")


def run(options: argparse.Namespace) -> int:
    """Serve the page until this command is stopped.

    Returns:
        0.

    Raises:
        UsageError: No Gradio, no such generator or key, or a port that cannot be used.
    """
    if options.port is not None and not 1 <= options.port <= 65535:
        raise UsageError(f"--port is {options.port}; give a whole number from 1024 to 65535")
    if importlib.util.find_spec("gradio") is None:
        raise UsageError("the page needs Gradio; run pip install 'anti-i2v[web]'")
    from anti_i2v.app.run import run as serve

    left = serve(options.generator, options.port, not options.no_browser, options.key)
    print(f"stopped; please remove {left}" if left else "stopped; nothing of your photos is left")
    return 0
