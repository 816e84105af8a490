"""Threads that share forward passes: what each photo gets, how few passes there are, and what becomes of a pass that fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from torch import nn

from anti_i2v.inference.batching import BatchingProtector
from anti_i2v.protector import Protector
from tests.tiny.generator import smooth

PHOTOS = [smooth(seed, 60 + seed, 500 + 80 * seed) for seed in range(8)]


@pytest.fixture(scope="module")
def shipped() -> Protector:
    return Protector.from_pretrained()


def in_threads(protect: Callable[[Image.Image], Image.Image]) -> list[Image.Image]:
    with ThreadPoolExecutor(len(PHOTOS)) as pool:
        return list(pool.map(protect, PHOTOS))


def test_a_photo_gets_the_same_bytes_whoever_asks_beside_it(shipped: Protector) -> None:
    batching = BatchingProtector(shipped, 5)
    alone = [batching.protect(photo).tobytes() for photo in PHOTOS]
    for _ in range(3):
        assert [photo.tobytes() for photo in in_threads(batching.protect)] == alone
    again = BatchingProtector(shipped, 5)
    assert [again.protect(photo, 8.0).tobytes() for photo in reversed(PHOTOS)] == alone[::-1]


def test_it_is_what_the_protector_gives_at_the_epsilon_of_each_photo(shipped: Protector) -> None:
    batching = BatchingProtector(shipped)
    found = in_threads(lambda photo: batching.protect(photo, 1 + photo.height % 7))
    for photo, protected in zip(PHOTOS, found, strict=True):
        expected = np.asarray(shipped.protect(photo, 1 + photo.height % 7), dtype=int)
        apart = np.abs(np.asarray(protected, dtype=int) - expected)
        assert apart.max() <= 1
        assert (apart > 0).sum() <= 3 + 1e-3 * apart.size  # where rounding is at a tie
        assert np.abs(np.asarray(protected, dtype=int) - np.asarray(photo, dtype=int)).max() == 1 + photo.height % 7


def test_who_waits_while_a_pass_runs_shares_the_next(shipped: Protector) -> None:
    batching, sizes = BatchingProtector(shipped, len(PHOTOS)), []

    def slow(module: nn.Module, given: tuple[object, ...]) -> None:
        sizes.append(given[0].shape[0])  # type: ignore[attr-defined]
        while len(sizes) == 1 and batching._waiting.qsize() < len(PHOTOS) - 1:
            time.sleep(0.01)

    with batching.generator.register_forward_pre_hook(slow):
        in_threads(batching.protect)
    assert sizes == [len(PHOTOS)] * 2


def test_a_pass_that_fails_is_told_to_all_who_waited_and_the_next_one_runs(shipped: Protector) -> None:
    batching = BatchingProtector(shipped)

    def full(*_: object) -> None:
        raise MemoryError("no memory on the device")

    with batching.generator.register_forward_pre_hook(full), pytest.raises(MemoryError, match="no memory on the device"):
        in_threads(batching.protect)
    assert len(in_threads(batching.protect)) == len(PHOTOS)
