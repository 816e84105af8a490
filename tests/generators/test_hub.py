"""Generator folders on the hub: the real client against a hub on this machine, and against none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anti_i2v.errors import UsageError
from anti_i2v.generators import Generator
from anti_i2v.generators.hub import FILES, hub_id, open_folder, push, with_metadata
from anti_i2v.protector import Protector
from tests.tiny.generator import tiny_generator
from tests.tiny.hub import TinyHub, commit, serving

ROOT = Path(__file__).resolve().parents[2]
CONFIG = json.dumps({"format": 2, "class": "BackboneGenerator", "generator": {}, "epsilon": 8.0, "seed": 7}).encode()
OURS = {
    "config.json": CONFIG,
    "model.safetensors": b"numbers",
    "model.onnx": b"a network",
    "salience.onnx": b"another",
    "README.md": b"# card\n",
}
OTHERS = {"pytorch_model.bin": b"a pickle", "modeling.py": b"print('code')", "nested/config.json": b"{}", ".gitattributes": b""}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TinyHub]:
    new = {**OURS, **OTHERS}
    files = {"lab/gen": {"main": new, "v1": {**OURS, "README.md": b"# first\n"}}, "lab/bert": {"main": {"config.json": b'{"layers": 12}'}}}
    files |= {"lab/empty": {"main": {"model.safetensors": b"numbers"}}, "lab/shy": {"main": new}}
    monkeypatch.chdir(tmp_path)
    with serving(TinyHub(files, gated={"lab/shy"}), monkeypatch, str(tmp_path / "cache")) as running:
        yield running


def test_a_hub_id_has_one_slash_and_no_folder_of_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert hub_id("owner/name") == ("owner/name", None)
    assert hub_id("owner/na.me-2@refs/pr/1") == ("owner/na.me-2", "refs/pr/1")
    assert [hub_id(s) for s in ("name", "a/b/c", "./name", "../name", "~/name", "/name", "owner/", "a/b c", "name@v1", "")] == [None] * 10
    assert hub_id(Path("owner/name")) is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner/name").mkdir(parents=True)
    assert hub_id("owner/name") is None
    assert hub_id("owner/name@v1") == ("owner/name", "v1")


def test_only_the_four_files_come_and_only_once(hub: TinyHub) -> None:
    folder = open_folder("lab/gen")
    assert {p.name: p.read_bytes() for p in folder.path.iterdir()} == OURS
    assert (folder.name, folder.epsilon, folder.entries["seed"], folder.card) == ("lab/gen", 8.0, 7, "# card\n")
    assert sorted(hub.paths()) == sorted(FILES)
    hub.asked.clear()
    assert open_folder("lab/gen", "main") == folder
    assert hub.paths() == []


@pytest.mark.parametrize("revision", ["v1", commit({**OURS, "README.md": b"# first\n"})])
def test_a_revision_is_a_tag_or_commit_in_either_notation(hub: TinyHub, revision: str) -> None:
    folder = open_folder("lab/gen", revision=revision)
    assert folder.card == "# first\n"
    assert open_folder(f"lab/gen@{revision}") == folder
    assert open_folder(f"lab/gen@{revision}", revision) == folder
    with pytest.raises(UsageError, match="names one revision and revision='main' another"):
        open_folder(f"lab/gen@{revision}", "main")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("lab/none", "no folder 'lab/none', and the hub shows no such repository; .* log in with `hf auth login`"),
        ("lab/gen@v2", "lab/gen on the hub has no revision 'v2'; name a branch, tag or commit"),
        ("lab/shy", "lab/shy on the hub is gated; accept its conditions at http://127.0.0.1:[0-9]*/lab/shy"),
        ("lab/bert", "lab/bert on the hub is no generator of anti-i2v: .* does not describe a generator"),
        ("lab/empty", "lab/empty on the hub is no generator of anti-i2v: no config.json in"),
        ("lab/a--b", "lab/a--b: .*; check the name"),
    ],
)
def test_a_failed_download_is_reported_in_one_line(hub: TinyHub, source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_folder(source)
    assert "\n" not in str(caught.value)
    assert set(hub.paths()) <= {"config.json"}  # no weights of something else


def test_without_a_network_what_was_fetched_is_there_still(hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder("lab/gen")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert open_folder("lab/gen") == folder
    with pytest.raises(
        UsageError, match=r"no folder 'lab/new' here or in the hub's cache, and HF_HUB_OFFLINE .*; unset it, or give a local"
    ):
        open_folder("lab/new")
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE switches the hub off; unset it"):
        push(folder, "me/gen", token="good")
    assert hub.asked == []


def test_without_the_hub_s_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match="no folder 'lab/gen'; if it is a hub id, pip install huggingface_hub"):
        open_folder("lab/gen")


def test_a_hub_out_of_reach_is_named(hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = "http://127.0.0.1:9"  # the port that discards everything, and where nobody listens
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", nobody)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", nobody + "/{repo_id}/resolve/{revision}/{filename}")
    with pytest.raises(
        UsageError, match=r"cannot reach http://127\.0\.0\.1:9/lab/gen, and it is not in the local cache; check the network"
    ):
        open_folder("lab/gen")


def test_local_folders_need_neither_the_network_nor_its_library(tmp_path: Path) -> None:
    tiny_generator(tmp_path / "owner/name")
    code = """
import sys
from pathlib import Path
from anti_i2v.errors import UsageError
from anti_i2v.generators.hub import open_folder
opened = open_folder('owner/name')
assert (opened.path, opened.name, len(opened.fingerprint)) == (Path('owner/name'), 'name', 16)
assert open_folder('portrait-generator').class_name == 'BackboneGenerator'
wrongs = {'owner/name': 'v1', 'portrait-generator': 'v1', 'no-such-name': None, 'a/b/c': None, Path('owner/no'): None}
for wrong, revision in wrongs.items():
    try:
        open_folder(wrong, revision)
        raise SystemExit(f'{wrong} was found')
    except UsageError as error:
        print(error)
print([m for m in ('huggingface_hub', 'torch') if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100
    )
    *said, modules = done.stdout.splitlines() or [done.stderr]
    assert modules == "[]", done.stderr
    assert said[0] == "revision 'v1' is for hub ids, and 'owner/name' is a folder; leave the revision out"
    assert [line.split(";")[0] for line in said[2:]] == [f"no folder '{name}'" for name in ("no-such-name", "a/b/c", "owner/no")]


def test_a_folder_is_sent_with_the_metadata_that_the_hub_files_it_by(hub: TinyHub, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in {**OURS, "diary.txt": b"mine"}.items():
        (folder / name).write_bytes(content)
    assert push(folder, "me/gen", private=True, token="good") == f"{hub.address}/me/gen/commit/1"
    ((repository, made, files),) = hub.sent
    assert repository == "me/gen"
    assert made.get("visibility") == "private" or made.get("private") is True
    assert {**files, "README.md": b""} == {**OURS, "README.md": b""}
    assert files["README.md"].decode() == with_metadata("# card\n")
    assert (folder / "README.md").read_text() == "# card\n"
    with pytest.raises(UsageError, match=r"refused access to me/gen: .*; log in with `hf auth login`"):
        push(folder, "me/gen", token="bad")


def test_metadata_are_those_of_the_card_or_ours() -> None:
    from huggingface_hub import ModelCard

    card = with_metadata("# mine\n\n---\n\nmore\n\n---\n")
    read = ModelCard(card)
    assert (read.data.license, read.data.library_name, read.data.pipeline_tag) == ("apache-2.0", "anti-i2v", "image-to-image")
    assert read.text.strip() == "# mine\n\n---\n\nmore\n\n---"
    assert with_metadata(card) == card
    own = "---\nlicense: mit\n---\n# mine\n"
    assert with_metadata(own) == own
    assert with_metadata("---\n").startswith("---\nlicense")  # a rule, and no metadata


def test_a_protector_comes_from_the_hub_and_goes_back_with_its_card(hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(generator: Generator, folder: Path) -> None:
        """The real one takes half a minute, and has its own test."""
        (folder / "model.onnx").write_bytes(type(generator).__name__.encode())
        (folder / "salience.onnx").write_bytes(b"SalienceNetwork")

    monkeypatch.setattr("anti_i2v.generators.onnx.export_onnx", export)
    here = {p.name: p.read_bytes() for p in tiny_generator(tmp_path / "tiny").iterdir()}
    hub.files["lab/tiny"] = {"v1": here}
    protector = Protector.from_pretrained("lab/tiny", revision="v1")
    with pytest.raises(UsageError, match="no revision 'main'"):
        Protector.from_pretrained("lab/tiny", "main")
    protector.push_to_hub("me/tiny", token="good")
    ((repository, _, sent),) = hub.sent
    assert (repository, sorted(sent)) == ("me/tiny", sorted(FILES))
    assert sent["model.safetensors"] == here["model.safetensors"]
    assert json.loads(sent["config.json"]) == json.loads(here["config.json"])  # also what it protects against
    assert sent["README.md"].decode() == with_metadata(here["README.md"].decode())
    assert sent["model.onnx"] == b"BackboneGenerator"
