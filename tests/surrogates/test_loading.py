"""What is refused before a weight is read: Portraits models of another version, pipelines of no use, code in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.loading import PORTRAITS_VERSION, load_pipeline, read_index, split_revision
from tests.tiny import FRAMES, tiny_portrait_dit


def _folder(path: Path, version: object) -> Path:
    (path / "model_index.json").write_text(json.dumps({"_class_name": "WanImageToVideoPipeline"}))
    (path / "world.json").write_text(version if isinstance(version, str) else json.dumps(version))
    return path


def test_a_portraits_model_of_another_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"version {PORTRAITS_VERSION + 1}, this anti_i2v knows version {PORTRAITS_VERSION}"):
        read_index(str(_folder(tmp_path, {"version": PORTRAITS_VERSION + 1})))


def test_a_portraits_model_of_this_version_is_read(tmp_path: Path) -> None:
    location, index = read_index(str(_folder(tmp_path, {"version": PORTRAITS_VERSION})))
    assert (location, index["_class_name"]) == (str(tmp_path), "WanImageToVideoPipeline")


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_version_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"world\.json names no version"):
        read_index(str(_folder(tmp_path, text)))


@pytest.mark.parametrize("name", ["WanPipeline", "HunyuanVideoPipeline", "CogVideoXPipeline"])
def test_a_pipeline_from_text_to_video_is_refused_because_it_takes_no_photo(tmp_path: Path, name: str) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(UsageError, match=f"is a {name}, which takes no photo; supported pipelines: "):
        Surrogate.from_pretrained(str(tmp_path), ["blocks.0"])


def test_code_in_a_pipeline_folder_is_never_run(tmp_path: Path) -> None:
    folder = tiny_portrait_dit(tmp_path / "video_model")
    ran = tmp_path / "ran"
    for place in (folder / "transformer" / "own_model.py", folder / "own_model.py"):
        place.write_text(f"open({str(ran)!r}, 'w').close()\nclass WanTransformer3DModel: pass\n")
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = ["own_model", "WanTransformer3DModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match="cannot load the pipeline"):
        Surrogate.from_pretrained(str(folder), ["blocks.0"], 32, 32, FRAMES)
    assert not ran.exists()


def test_blocks_that_a_checkpoint_does_not_have_are_not_made_up(tmp_path: Path) -> None:
    folder = tiny_portrait_dit(tmp_path / "video_model")
    with pytest.raises(UsageError, match=r"no tap 'blocks\.99'.*blocks\.0 … blocks\.3"):
        Surrogate.from_pretrained(str(folder), ["blocks.99"], 32, 32, FRAMES, features_only=True)
    assert len(load_pipeline(str(folder), num_blocks={"transformer": {"num_layers": 99}}).transformer.blocks) == 4


def test_a_revision_follows_a_hub_id_and_is_no_part_of_a_folder(tmp_path: Path) -> None:
    assert split_revision("owner/name@v1.0") == ("owner/name", {"revision": "v1.0"})
    assert split_revision("owner/name") == ("owner/name", {})
    (tmp_path / "my@folder").mkdir()
    assert split_revision(str(tmp_path / "my@folder")) == (str(tmp_path / "my@folder"), {})
    with pytest.raises(UsageError, match="no folder 'nobody/nothing@abc', and the hub did not give it"):
        read_index("nobody/nothing@abc")
