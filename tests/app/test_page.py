"""`anti-i2v app` as people use it, in a browser and by its API: files of the command line, no network, nothing left."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from PIL import Image

from anti_i2v.__main__ import main
from tests.tiny.photos import exif, smooth

pytest.importorskip("gradio", reason="needs anti-i2v[web]")
pytestmark = pytest.mark.slow

WIDTHS = (1280, 390)
JPEG, PNG = "Zoë (1)!.jpg", "b.png"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
# `python -m anti_i2v`, which tells of every host that Python asks for.
WATCHED = """
import runpy, sys
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        print("asks for", arguments[0], file=sys.stderr, flush=True)
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        print("asks for", arguments[1][0], file=sys.stderr, flush=True)
sys.addaudithook(watch)
runpy.run_module("anti_i2v", run_name="__main__", alter_sys=True)
"""


def hears_ctrl_c() -> None:
    """What runs in the background of a shell script inherits a deaf ear."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Server:
    """A running `anti-i2v app`, with a folder of its own for all that it puts aside."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.errors = folder / "errors.txt"
        self.said: list[str] = []
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WATCHED, "app", "--no-browser"],
                env={**os.environ, "TMPDIR": str(self.temporary)},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                preexec_fn=hears_ctrl_c,
            )
        threading.Thread(target=self._listen, daemon=True).start()
        self.address = self._until(r"(http://127\.0\.0\.1:\d+/) ", 180)

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(line)

    def _until(self, pattern: str, seconds: float) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(pattern, "".join(self.said)):
                return found[1]
            time.sleep(0.1)
        self.process.kill()
        raise AssertionError("".join(self.said) + self.errors.read_text())

    def files(self) -> list[Path]:
        """All that lies there now."""
        return [Path(folder) / name for folder, _, names in os.walk(self.temporary) for name in names]  # folders may vanish meanwhile

    def left(self, seconds: float = 30) -> list[Path]:
        """What is not gone before long."""
        end = time.monotonic() + seconds
        while self.files() and time.monotonic() < end:
            time.sleep(0.1)
        return self.files()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("app"))
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A phone's photo that lies on its side, one with alpha, and one that is damaged."""
    folder = tmp_path_factory.mktemp("photos")
    smooth("RGB", (320, 240)).save(folder / JPEG, quality=85, exif=exif(6))
    smooth("RGBA", (200, 300)).save(folder / PNG)
    (folder / "broken.jpg").write_bytes((folder / JPEG).read_bytes()[:2000])
    return [folder / JPEG, folder / "broken.jpg", folder / PNG]


def by_command(photos: list[Path], out: Path, *options: str) -> dict[str, bytes]:
    assert main(["protect", *map(str, photos), "--out", str(out), "--quiet", *options]) == 1
    return {path.name: path.read_bytes() for path in out.iterdir()}


def in_zip(path: str | io.BytesIO) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_programs_get_the_files_of_the_command_line(server: Server, photos: list[Path], tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(server.address, download_files=str(tmp_path / "got"), verbose=False, analytics_enabled=False)
    result = client.predict([handle_file(str(path)) for path in photos], 4, "lossless", True, True, api_name="/protect")
    (archive,) = (value["value"] for value in result if isinstance(value, dict) and str(value.get("value")).endswith(".zip"))
    expected = by_command(photos, tmp_path / "out", "--format", "lossless", "--epsilon", "4", "--strip-gps", "--no-ai-training")
    # This client, unlike browsers, leaves out what some file systems refuse.
    assert in_zip(archive) == {name.replace("!", ""): data for name, data in expected.items()}
    client.close()
    assert server.left() == []  # the server sees within 15 seconds that nobody listens any more


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_person_gets_the_files_of_the_command_line(server: Server, photos: list[Path], tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs anti-i2v[test]")
    expected = by_command(photos, tmp_path / "out")
    asked: set[str] = set()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.set_default_timeout(90_000)
            page.on("request", lambda request: asked.add(request.url))
            page.goto(server.address)
            assert "does NOT protect against any production" in page.inner_text(".limits")
            page.set_input_files("#photos input[type=file]", photos)
            page.locator("#photos tr.file").nth(2).wait_for()
            page.click("#protect")
            page.wait_for_selector("#download-all")
            assert "2 photos are protected." in page.inner_text("#message")
            assert "broken.jpg" in page.inner_text("#message .rejected")
            assert page.inner_text("#name") == JPEG
            assert "240 × 320 pixels, as before; still JPEG" in page.inner_text("#description")
            assert downloaded(page, "#download", tmp_path) == (JPEG, expected[JPEG])
            page.click("#choice .grid-container button >> nth=1")
            page.get_by_text("200 × 300 pixels").wait_for()
            assert downloaded(page, "#download", tmp_path) == (PNG, expected[PNG])
            _, archive = downloaded(page, "#download-all", tmp_path)
            assert in_zip(io.BytesIO(archive)) == expected
            page.wait_for_function("document.querySelectorAll('#slider img').length == 2")
            page.screenshot(path=tmp_path / f"{width}.png", full_page=True)
            with Image.open(tmp_path / f"{width}.png") as picture:
                assert picture.width == width  # nothing is beyond the edge
            assert server.files()
            page.close()
            assert server.left() == []
        browser.close()
    assert {url.split("/")[2] for url in asked if not url.startswith(("data:", "blob:"))} == {server.address.split("/")[2]}


def downloaded(page: Any, button: str, folder: Path) -> tuple[str, bytes]:
    """Name and content of what a click saves."""
    with page.expect_download() as download:
        page.click(button)
    download.value.save_as(folder / "saved")
    return download.value.suggested_filename, (folder / "saved").read_bytes()


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_only_what_was_uploaded_is_read(server: Server, photos: list[Path], meta: dict[str, Any]) -> None:
    call = f"{server.address}gradio_api/call/protect"
    body = json.dumps({"data": [[{"path": str(photos[0]), **meta}], 8, "same", False, False]}).encode()
    with urlopen(Request(call, body, {"Content-Type": "application/json"})) as answer:
        event = json.load(answer)["event_id"]
    with urlopen(f"{call}/{event}") as answer:
        assert answer.readline() == b"event: error\n"


def test_responses_forbid_caching(server: Server) -> None:
    with urlopen(server.address) as answer:
        assert answer.headers["Cache-Control"] == "no-store"


def test_the_server_leaves_no_files_and_contacts_no_host(server: Server) -> None:
    """Comes last: stops the server."""
    (folder,) = server.temporary.glob("anti-i2v-app-*")
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0, server.errors.read_text()
    assert not folder.exists()
    hosts = set(re.findall(r"asks for (\S+)", server.errors.read_text()))
    assert hosts <= {"127.0.0.1", "localhost", "None"}
    assert "/anti_i2v/" not in server.errors.read_text(), "a traceback through our code"
