"""Serving the page from load to the removal of all photos."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

from anti_i2v.app.storage import Storage


def run(generator: str | None, port: int | None, browser: bool, key: str | None = None) -> Path | None:
    """Serve the page until an interrupt, with the arguments of `bulk.loading.one_pass` and `app.server.serve`.

    Returns:
        The temporary folder if it could not be removed; None if nothing of the photos is left.

    Raises:
        UsageError: No such generator or key, or a port that cannot be used.
    """
    for name in ("SIGTERM", "SIGHUP"):  # nothing shall be left when the terminal is closed, either
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    storage = Storage()
    try:
        _serve(storage, generator, port, browser, key)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the removal
    finally:
        tempfile.tempdir = None
        storage.remove()
    return storage.root if storage.root.exists() else None


def _serve(storage: Storage, generator: str | None, port: int | None, browser: bool, key: str | None) -> None:
    """Load, then serve until an interrupt."""
    print("loading, which takes some seconds", flush=True)
    # Libraries read these when they are imported. Gradio's own files go into the folder that is removed; nothing is reported to anybody.
    os.environ |= {"GRADIO_TEMP_DIR": str(storage.root), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime since 1.29
    tempfile.tempdir = str(storage.root)
    from anti_i2v.bulk.loading import one_pass

    protector = one_pass(generator, key=key)  # before Gradio, which takes much longer
    from anti_i2v.app.page import build
    from anti_i2v.app.server import serve
    from anti_i2v.app.uploads import limit_pixels

    limit_pixels()
    with serve(build(protector, storage), port, browser) as address:
        print(f"{address} – stop with Ctrl-C\n{protector.limits}", flush=True)
        while True:
            time.sleep(3600)
