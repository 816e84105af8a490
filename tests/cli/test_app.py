"""What `anti-i2v app` says when it cannot begin."""

from __future__ import annotations

import importlib.util
import sys

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
    import subprocess

    code = "import sys; from anti_i2v.cli import parser; parser(); sys.exit('gradio' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
