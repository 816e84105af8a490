"""The quickstart is stored clean, and runs from top to bottom with what ships."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert outputs(notebook) == []
    assert NOTEBOOK.stat().st_size < 16_000


@pytest.mark.slow
def test_runs_and_finds_a_larger_clip_change_than_noise_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the kernel is a process of its own
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    # No folders of installed kernels: what is left is the one of this interpreter.
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[], ensure_native_kernel=True))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # Nothing depends on the folder it runs in.
    NotebookClient(notebook, km=kernel, timeout=400, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    printed = "".join(output.text for output in outputs(notebook) if output.output_type == "stream" and output.name == "stdout")
    assert len(pictures) == 2
    assert float(re.search(r"largest change (\d+)", printed)[1]) <= 8  # type: ignore[index]
    change = {name: float(value) for name, value in re.findall(r"^(\w+) +clip change, .* ([\d.]+)$", printed, re.MULTILINE)}
    assert change["protected"] > change["noise"] > 0
    assert list(tmp_path.iterdir()) == []
