"""The house rules that a reader relies on: files and functions stay short, and no file is ever unpickled.

Which room may import which is checked by import-linter, by the contracts in pyproject.toml.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LONG_FILES: dict[str, str] = {
    "anti_i2v/training/module.py": "one training module: what is built when, training, judgement and checkpoints are read together",
    "benchmarks/autoencoders.py": "one benchmark from its command line to its files: protect, decode, judge, write, in that order",
    "benchmarks/evidence.py": "one benchmark from its command line to its files: load, protect, animate, judge, write, in that order",
    "benchmarks/inversion.py": "what an adversary with a generator tries, how it is ranked, animated and reported",
    "benchmarks/tables.py": "one small function for each kind of table in the documents",
    "anti_i2v/surrogates/base.py": "the contract of every family, half of it docstrings",
}
"""File of more than `MAX_LINES` lines → why it is not split. A reason that is no longer needed has to go."""

MAX_LINES, MAX_FUNCTION = 250, 60


def sources() -> list[Path]:
    return [*sorted((ROOT / "anti_i2v").rglob("*.py")), ROOT / "train.py", *sorted((ROOT / "benchmarks").glob("*.py"))]


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def test_files_are_short_or_have_a_reason() -> None:
    long = {f.relative_to(ROOT).as_posix(): len(f.read_text(encoding="utf-8").splitlines()) for f in sources()}
    assert {name: n for name, n in long.items() if n > MAX_LINES and name not in LONG_FILES} == {}
    assert [name for name in LONG_FILES if long.get(name, 0) <= MAX_LINES] == [], "these need no exception any more"


def test_functions_are_short() -> None:
    long = {}
    for file in sources():
        for node in ast.walk(tree(file)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION:
                    long[f"{file.relative_to(ROOT).as_posix()}:{node.name}"] = lines
    assert long == {}


UNPICKLERS = frozenset({"pickle", "dill", "joblib", "marshal", "shelve"})
RUN_CODE = frozenset({f"{name}.{load}" for name in UNPICKLERS for load in ("load", "loads", "Unpickler", "open")} | {"eval", "exec"})
OURS_WITH_FROM_PRETRAINED = frozenset({"OnnxProtector", "Protector", "Surrogate"})


def runs_code_from_a_file(file: Path, code: ast.Module) -> list[str]:
    """Lines that may run what stands in a file they read."""
    lines = []
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom) and (
            node.module in UNPICKLERS or (node.module == "torch" and "load" in {n.name for n in node.names})
        ):
            lines.append(f"{file}:{node.lineno}: write `import {node.module}`, so that what is called can be seen")
        elif isinstance(node, ast.Call):
            name, yes = (
                ast.unparse(node.func),
                {k.arg for k in node.keywords if isinstance(k.value, ast.Constant) and k.value.value is True},
            )
            owner, _, method = name.rpartition(".")
            if name in RUN_CODE or yes & {"trust_remote_code", "allow_pickle"}:
                lines.append(f"{file}:{node.lineno}: {name} may run code")
            elif name == "torch.load" and "weights_only" not in yes:
                lines.append(f"{file}:{node.lineno}: torch.load without weights_only=True")
            elif method == "from_pretrained" and owner not in OURS_WITH_FROM_PRETRAINED and "use_safetensors" not in yes:
                lines.append(f"{file}:{node.lineno}: {name} without use_safetensors=True")
    return lines


def test_nothing_runs_code_from_a_file() -> None:
    assert [line for file in sources() for line in runs_code_from_a_file(file, tree(file))] == []


@pytest.mark.parametrize(
    "code",
    [
        "pickle.load(file)",
        "from pickle import loads",
        "from torch import load",
        "torch.load(path, weights_only=False)",
        "AutoModel.from_pretrained(path)",
        "Model.from_pretrained(path, use_safetensors=True, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_the_rule_sees_what_would_run_code(code: str) -> None:
    assert runs_code_from_a_file(ROOT, ast.parse(code)) != []
