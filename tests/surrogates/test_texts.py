"""Encoded prompts on disk: the same bits again, never those of another encoder, and never a reason to stop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from anti_i2v.surrogates import texts
from anti_i2v.surrogates.texts import PromptCache, TextStore, cache_folder, fingerprint

VALUES = {"prompt_embeds": torch.arange(6.0).view(2, 3), "mask": torch.tensor([True, False])}


def test_a_stored_encoding_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    store = TextStore("encoder", tmp_path / "new")
    assert store.get("a dog runs") is None
    store.put("a dog runs", VALUES)
    encoding = store.get("a dog runs")
    assert encoding is not None
    assert encoding.keys() == VALUES.keys()
    assert all(torch.equal(encoding[name], value) and encoding[name].dtype == value.dtype for name, value in VALUES.items())
    assert [p.name for p in store.folder.iterdir()] == [store.file("a dog runs").name]  # nothing half-written stays behind


def test_another_prompt_or_encoder_has_another_file(tmp_path: Path) -> None:
    files = {TextStore(identity, tmp_path).file(prompt) for identity in ("a", "b") for prompt in ("a", "b", "a.", "")}
    assert len(files) == 8
    assert TextStore("a", tmp_path).file("secret plans").name.count("secret") == 0


def test_a_broken_file_counts_as_none_and_is_replaced(tmp_path: Path) -> None:
    store = TextStore("encoder", tmp_path)
    store.file("a").write_bytes(b"not safetensors")
    assert store.get("a") is None
    store.put("a", VALUES)
    assert store.get("a") is not None


@pytest.mark.skipif(os.name == "nt", reason="a file in place of a folder is refused otherwise there")
def test_a_cache_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = TextStore("encoder", tmp_path / "file" / "texts")
    store.put("a", VALUES)
    assert store.get("a") is None


def test_the_fingerprint_follows_content_and_not_place_or_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "END_BYTES", 16)
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        (folder / "text_encoder").mkdir(parents=True)
        (folder / "text_encoder" / "model.safetensors").write_bytes(bytes(range(100)))
        (folder / "unet").mkdir()
    one, two = folders
    parts = ("text_encoder", "tokenizer")
    os.utime(two / "text_encoder" / "model.safetensors", (0, 0))
    (two / "unet" / "config.json").write_text("{}")  # no part of the text encoder
    assert fingerprint(one, parts) == fingerprint(two, parts)
    fingerprints = {fingerprint(one, parts)}
    for content in (bytes(range(99)), bytes([1, *range(1, 100)]), bytes([*range(99), 7])):  # shorter; other first byte; other last byte
        (two / "text_encoder" / "model.safetensors").write_bytes(content)
        fingerprints.add(fingerprint(two, parts))
    (one / "tokenizer").mkdir()
    (one / "tokenizer" / "tokenizer.json").write_text("{}")
    fingerprints.add(fingerprint(one, parts))
    assert len(fingerprints) == 5


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANTI_I2V_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("ANTI_I2V_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "anti_i2v"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "anti_i2v"


def test_a_cache_reads_the_store_and_forgets_nothing(tmp_path: Path) -> None:
    store = TextStore("encoder", tmp_path)
    store.put("a", VALUES)
    cache = PromptCache(store)
    assert cache.missing(["a", "b", "b", "c"]) == ["b", "c"]
    cache.add(["b", "c"], {"prompt_embeds": torch.ones(2, 3, dtype=torch.bfloat16)})
    assert cache.missing(["c", "a", "b"]) == PromptCache(store).missing(["b"]) == []
    assert cache["b"]["prompt_embeds"].dtype == torch.float32
    assert PromptCache().missing(["a"]) == ["a"]
