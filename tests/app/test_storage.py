"""The temporary files of the page, and their removal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anti_i2v.app.storage import Storage


@pytest.fixture
def storage() -> Iterator[Storage]:
    made = Storage()
    yield made
    made.remove()


def upload(storage: Storage, name: str) -> Path:
    """As Gradio does: a folder by the hash of the file."""
    path = storage.root / "0a1b" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"photo")
    return path


def test_the_storage_folder_is_readable_by_its_owner_only(storage: Storage) -> None:
    assert storage.root.stat().st_mode & 0o077 == 0


def test_a_closed_page_leaves_nothing(storage: Storage) -> None:
    (storage.new_folder("page") / "a.jpg").write_bytes(b"protected")
    storage.add_uploads("page", [upload(storage, "a.jpg")])
    storage.close("page")
    assert list(storage.root.iterdir()) == []
    storage.close("page")


def test_what_another_page_has_uploaded_too_stays_for_it(storage: Storage) -> None:
    path = upload(storage, "a.jpg")
    storage.add_uploads("one", [path])
    storage.add_uploads("other", [path])
    storage.close("one")
    assert path.exists()
    storage.close("other")
    assert not path.exists()


def test_new_results_replace_the_earlier_ones(storage: Storage) -> None:
    earlier = storage.new_folder("page")
    (earlier / "a.jpg").write_bytes(b"protected")
    later = storage.new_folder("page")
    assert not earlier.exists()
    with storage.writing(later) as is_open:
        assert is_open
    storage.close("page")
    with storage.writing(later) as is_open:
        assert not is_open


def test_a_session_name_cannot_point_outside_the_storage(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    folder = storage.new_folder(str(tmp_path / "mine"))
    assert folder.parent == storage.root
    storage.close(str(tmp_path / "mine"))
    storage.close(str(tmp_path / "mine"))
    assert (tmp_path / "mine").is_dir()
