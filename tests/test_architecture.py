"""The house rules that a reader relies on: imports go down, files stay short, and no file is ever unpickled.

Everything is read from the syntax trees, so that imports inside functions count as well. Only what stands under
`if TYPE_CHECKING:` is left out: it exists for the type checker and is never run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FORBIDDEN = {
    "surrogates": "spaces budget transforms",  # a frozen model knows nothing of what is done to photos
    "generators": "surrogates",  # the network that learns knows nothing of diffusion
    "objectives": "spaces budget surrogates.base surrogates.families",  # what a draw is, no model and no family
    "imaging": "torchvision",
}
"""Part → what it must not import although the layers in pyproject.toml would allow it."""

HEAVY = frozenset({"diffusers", "transformers", "lightning", "tensorboard"})
"""Packages that protecting a photo must never need, however late."""

TORCH = frozenset({"torch", "torchvision", "kornia", "timm", "safetensors"})
"""Packages that protecting a photo with onnxruntime must never need."""

LIGHT_DOORS = ("protector", "cli.protect", "resources", "__init__")
OTHER_DOORS = frozenset({"cli.layers", "bulk.per_photo", "cli.plan"})
"""Commands about video models, which the command line lists beside `protect`, and which need more once they are run."""

LONG_FILES: dict[str, str] = {
    "anti_i2v/training/module.py": "one training module: what is built when, training, judgement and checkpoints are read together",
    "benchmarks/evidence.py": "one benchmark from its command line to its files: load, protect, animate, judge, write, in that order",
    "anti_i2v/surrogates/base.py": "the contract of every family, half of it docstrings",
}
"""File of more than `MAX_LINES` lines → why it is not split. A reason that is no longer needed has to go."""

LONG_FUNCTIONS: dict[str, str] = {}
"""`file:function` of more than `MAX_FUNCTION` lines → why."""

MAX_LINES, MAX_FUNCTION = 250, 60


@cache
def sources() -> dict[str, Path]:
    """Every module of the package and train.py: `images`, `surrogates.base`, `surrogates.__init__`, … → its file."""
    package = ROOT / "anti_i2v"
    found = {".".join(p.relative_to(package).with_suffix("").parts): p for p in sorted(package.rglob("*.py"))}
    return {**found, "train": ROOT / "train.py"}


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def running(node: ast.AST, late: bool = True) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`; without `late`, only those that an import of the module runs."""
    for child in ast.iter_child_nodes(node):
        if not late and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield from (other, *running(other, late))
            continue
        yield child
        yield from running(child, late)


@cache
def imports(module: str, late: bool = True) -> frozenset[tuple[str, int]]:
    """What a module imports, with the line: modules of ours without `anti_i2v.`, others by their full name; `late`: also in functions."""
    known, found = sources(), set()
    for node in running(tree(known[module]), late):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import; write the full name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            ours = name.removeprefix("anti_i2v.") if name.startswith("anti_i2v.") else None
            if name == "anti_i2v":
                ours = "__init__"
            if ours is None:
                found.add((name, node.lineno))
                continue
            # `from anti_i2v.data import PhotoBatch` and `from anti_i2v.portraits.training import pipeline` look alike.
            parts = ours.split(".")
            tries = (".".join(parts[:n] + end) for n in range(len(parts), -1, -1) for end in ([], ["__init__"]) if parts[:n] + end)
            found.add((next((t for t in tries if t in known), ours), node.lineno))
    return frozenset(found)


def owners(module: str) -> list[str]:
    """`evaluation.runner` → itself, then its folder."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def folder(module: str) -> str | None:
    return module.split(".")[0] if "." in module else None


def inside(module: str, names: str) -> bool:
    return any(owner in names.split() for owner in owners(module))


def ours(module: str) -> list[tuple[str, int]]:
    return [(name, line) for name, line in sorted(imports(module)) if name in sources()]


def test_no_import_goes_round_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in done:
            for name, _ in ours(module):
                visit(name, (*path, module))
            done.add(module)

    for module in sources():
        visit(module, ())


@pytest.mark.parametrize("part", FORBIDDEN)
def test_parts_know_nothing_of_what_is_none_of_their_business(part: str) -> None:
    for module in (m for m in sources() if part in owners(m)):
        for name, line in imports(module):
            assert not inside(name, FORBIDDEN[part]), f"{module}:{line} imports {name}"


def never_imports(door: str, heavy: frozenset[str], closed: frozenset[str], late: bool = True) -> None:
    """Follow a module's imports but for what lies behind the `closed` doors."""
    reached, todo = set(), [door]
    while todo:
        module = todo.pop()
        reached.add(module)
        if module in closed:
            continue
        for name, line in imports(module, late):
            assert name.split(".")[0] not in heavy, f"{door} reaches {module}:{line}, which imports {name}"
            if name in sources() and name not in reached:
                todo.append(name)
        # Importing `spaces.lab` runs `spaces/__init__.py` too.
        todo += [p for p in (f"{folder(module)}.__init__",) if p in sources() and p not in reached]


@pytest.mark.parametrize("door", LIGHT_DOORS)
def test_protecting_needs_no_video_model_library(door: str) -> None:
    never_imports(door, HEAVY, OTHER_DOORS)


@pytest.mark.parametrize("door", ["protector", "inference.__init__", "bulk.run", "bulk.protectors", "spaces.__init__", "cli.protect"])
def test_what_protects_photos_can_be_imported_without_torch(door: str) -> None:
    """`tests/inference/test_load.py` and `tests/test_wheel.py` protect without torch; here it is about all that is imported on the way."""
    never_imports(door, HEAVY | TORCH, frozenset(), late=False)


def test_no_part_is_named_that_does_not_exist() -> None:
    known = {owner for module in sources() for owner in owners(module)}
    named = set(FORBIDDEN) | set(LIGHT_DOORS)
    assert named <= known


def measured() -> list[Path]:
    return [*sources().values(), *sorted((ROOT / "benchmarks").glob("*.py"))]


def test_files_are_short_or_have_a_reason() -> None:
    long = {f.relative_to(ROOT).as_posix(): len(f.read_text(encoding="utf-8").splitlines()) for f in measured()}
    assert {name: n for name, n in long.items() if n > MAX_LINES and name not in LONG_FILES} == {}
    assert [name for name in LONG_FILES if long.get(name, 0) <= MAX_LINES] == [], "these need no exception any more"


def test_functions_are_short_or_have_a_reason() -> None:
    long = {}
    for file in measured():
        for node in ast.walk(tree(file)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION:
                    long[f"{file.relative_to(ROOT).as_posix()}:{node.name}"] = lines
    assert {name: n for name, n in long.items() if name not in LONG_FUNCTIONS} == {}
    assert [name for name in LONG_FUNCTIONS if name not in long] == [], "these need no exception any more"


RUN_CODE = frozenset({"pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "dill.loads", "joblib.load", "eval", "exec"})
OURS_WITH_FROM_PRETRAINED = frozenset({"Protector", "Surrogate"})


def calls(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for child in ast.walk(node):
        if isinstance(child, ast.Call):
            yield ast.unparse(child.func), child


def is_true(call: ast.Call, keyword: str) -> bool:
    return any(k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is True for k in call.keywords)


@pytest.mark.parametrize("file", measured(), ids=lambda f: f.relative_to(ROOT).as_posix())
def test_nothing_runs_code_from_a_file(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not [word for word in ("trust_remote_code", "allow_pickle") if word in text]
    for name, call in calls(tree(file)):
        where = f"{file.name}:{call.lineno}: {name}"
        assert name not in RUN_CODE, where
        if name.endswith("torch.load"):
            assert is_true(call, "weights_only"), f"{where} without weights_only=True"
        owner, _, method = name.rpartition(".")
        if method == "from_pretrained" and owner not in OURS_WITH_FROM_PRETRAINED:
            assert is_true(call, "use_safetensors"), f"{where} without use_safetensors=True"


def test_the_rules_see_what_they_are_meant_to_see() -> None:
    code = ast.parse("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b\ndef f():\n    import c\n")
    seen = {alias.name for node in running(code) if isinstance(node, ast.Import) for alias in node.names}
    assert seen == {"b", "c"}
