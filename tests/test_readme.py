"""What the documents tell people to type exists: files, links, commands, options, dotted names; and the Python block runs."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from anti_i2v.cli import parser
from anti_i2v.training.cli import main as train

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md") if path.name != "LOG.md")
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "configs/README.md", "data/README.md", *PAGES]
DOCUMENTS += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "checkpoints").rglob("README.md"))
LOG = "docs/LOG.md"
"""Its commands must parse; its entries keep the file names of their day."""
FOLDERS = "anti_i2v|benchmarks|checkpoints|configs|data|docs|notebooks|tests"
PLACEHOLDERS = {"PHOTOS", "SHARDS", "OTHER_SHARDS", "DIR", "RUN", "FIRST", "FILE", "PHOTO", "FOLDER"}
"""Words in commands that stand for the reader's own files."""


@cache
def text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str = "") -> list[str]:
    """Code blocks of one language; those without a language are for the shell."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text(document), re.MULTILINE | re.DOTALL)
    return [block for name, block in fenced if name == language]


def commands(start: str) -> list[tuple[str, ...]]:
    """Every command of the code blocks and of inline code that begins with `start`, without it, comments cut off."""
    commands_of = []
    for document in (*DOCUMENTS, LOG):
        lines = [line for block in blocks(document) for line in block.splitlines()]
        lines += re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text(document))
        for line in lines:
            for part in re.split(r"&&| [<>] ", line):
                words = shlex.split(part.strip(), comments=True) if part.strip().startswith(start) else []
                if words[: len(start.split())] == start.split():
                    commands_of.append(tuple(words[len(start.split()) :]))
    return sorted(set(commands_of))


def code_blocks(words: tuple[str, ...]) -> str:
    return " ".join(words)


def test_the_front_page_is_short() -> None:
    """It is read in thirty seconds, and in a terminal; everything else has a page in docs/."""
    assert len(text("README.md").encode()) <= 9_000
    assert [line for line in text("README.md").splitlines() if len(line) > 120] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document: str) -> None:
    home = (ROOT / document).parent
    paths = set(re.findall(rf"(?<![\w/.])((?:{FOLDERS})/[\w./-]*\w)(?=[`\s)\],:;.#]|$)", text(document)))
    examples = {"data/photos", "data/shards"}
    missing = [name for name in sorted(paths - examples) if not (ROOT / name).exists()]
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text(document)) if "://" not in link]
    missing += [link for link in links if link and not (home / link).exists()]
    assert missing == []


def names(module: Path) -> set[str]:
    """What a module defines, imports or mentions: some names are loaded late."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.Name, ast.Attribute)):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def exists(dotted: str) -> bool:
    """Whether a dotted name is a room, a module, or something that its module mentions."""
    place = ROOT
    parts = dotted.split(".")
    for number, part in enumerate(parts):
        if (place / part).is_dir():
            place /= part
        else:
            module = place / f"{part}.py"
            rest = parts[number + 1 :] if module.is_file() else parts[number:]
            return set(rest) <= names(module if module.is_file() else place / "__init__.py")
    return True


def test_dotted_names_are_looked_up() -> None:
    assert exists("anti_i2v.budget")
    assert exists("anti_i2v.objectives.IdentityObjective")
    assert not exists("anti_i2v.budgets")
    assert not exists("anti_i2v.objectives.IdentityObjectives")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_dotted_names_exist(document: str) -> None:
    dotted = sorted(set(re.findall(r"\banti_i2v(?!\.yaml)(?:\.[A-Za-z_]\w*)+", text(document))))
    assert [name for name in dotted if not exists(name)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_blocks_import_what_exists(document: str) -> None:
    for block in blocks(document, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("anti_i2v"):
                assert [alias.name for alias in node.names if not exists(f"{node.module}.{alias.name}")] == []


def test_the_two_first_commands_are_there_word_by_word() -> None:
    lines = [line for block in blocks("README.md") for line in block.splitlines()]
    assert 'pip install -e ".[train]" && python train.py fit' in lines
    assert 'pip install -e ".[test]" && pytest' in lines


@pytest.mark.parametrize("words", commands("anti-i2v"), ids=code_blocks)
def test_protection_commands_parse(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [word for word in words if word not in ("[...]", "…")]
    if len(arguments) > 1:
        assert callable(parser().parse_args(arguments).run)
    elif arguments:  # only mentioned: it has a --help
        with pytest.raises(SystemExit) as ended:
            parser().parse_args([*arguments, "--help"])
        assert ended.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("words", [words for words in commands("python train.py") if "|" not in words], ids=code_blocks)
def test_training_commands_parse(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--print_config` everything is parsed and nothing is built."""
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("last.ckpt", "best.ckpt"):
        (run / "checkpoints" / name).touch()
    config = ROOT / "configs" / "default.yaml"
    arguments = []
    for word in words:
        if word in ("RUN/config.yaml", "FILE"):
            word = str(config)
        elif word.split("/")[0] in PLACEHOLDERS:
            word = word.replace("RUN", str(run)) if word.startswith("RUN") else str(tmp_path)
        arguments.append(word)
    monkeypatch.chdir(ROOT)  # where the README's reader stands
    with pytest.raises(SystemExit) as ended:
        train([*arguments, "--print_config"] if "--print_config" not in arguments else arguments)
    assert ended.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("program", sorted({words[words[0] == "-m"] for words in commands("python")}))
def test_programs_that_python_runs_exist(program: str) -> None:
    assert (ROOT / program).is_file() if program.endswith(".py") else exists(program)


def test_every_command_has_its_place_in_the_readme() -> None:
    listed = re.search(r"\n  COMMAND\n(.*?)\n\n", parser().format_help(), re.DOTALL)
    assert listed is not None
    names = re.findall(r"^    (\w+)", listed[1], re.MULTILINE)
    assert names
    assert [name for name in names if f"anti-i2v {name}" not in text("README.md")] == []


@pytest.mark.slow
def test_the_python_block_runs_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks("README.md", "python")
    check = "assert protected.size == (640, 480) and protected.mode == 'RGB'\nassert batch.shape == (4, 3, 480, 720)\n"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, "-c", block + check], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
