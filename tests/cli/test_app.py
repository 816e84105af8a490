"""What `anti-i2v app` says when it cannot begin."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anti_i2v.__main__ import main


def test_without_gradio_the_message_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["app", "--no-browser"]) == 2
    assert "pip install 'anti-i2v[web]'" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "-1", "70000"])
def test_an_invalid_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "--no-browser", f"--port={port}"]) == 2
    assert f"--port is {port}" in capsys.readouterr().err


def test_the_command_line_does_not_load_what_only_the_page_needs() -> None:
    code = "import sys; from anti_i2v.cli import parser; parser(); sys.exit('gradio' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_key_that_cannot_be_used_is_named_before_the_page_opens(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs anti-i2v[web]")
    (tmp_path / "empty").touch()
    command = [sys.executable, "-m", "anti_i2v", "app", "--no-browser", "--key", str(tmp_path / "empty")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 2
    assert "it is empty, and a key has 16 to 4096" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]  # nothing of the page is left
