"""Threads that share forward passes: what each photo gets, how few passes there are, and what a failed pass does."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from torch import nn

from anti_i2v.generators import Generator
from anti_i2v.imaging.cielab import Floats
from anti_i2v.inference.apply import protect_photo
from anti_i2v.inference.batching import BatchingBackend
from anti_i2v.inference.torch_backend import TorchBackend
from anti_i2v.keys import PUBLIC_KEY
from tests.tiny.generator import smooth, tiny_network
from tests.tiny.people import middle_face

PHOTOS = [smooth(seed, 60 + seed, 100 + 20 * seed) for seed in range(8)]


class OneFace(BatchingBackend):
    """Finds one person in each photo."""

    def find(self, copy: Floats) -> Floats:
        return middle_face(copy)


@pytest.fixture(scope="module")
def network() -> Generator:
    return tiny_network(keyed=True)


def in_threads(backend: BatchingBackend, epsilon: Callable[[Image.Image], float] = lambda photo: 8) -> list[Image.Image]:
    with ThreadPoolExecutor(len(PHOTOS)) as pool:
        return list(pool.map(lambda photo: protect_photo(backend, photo, epsilon(photo), PUBLIC_KEY), PHOTOS))


def test_the_bytes_of_a_photo_do_not_depend_on_its_batch(network: Generator) -> None:
    batching = BatchingBackend(network, 5)
    alone = [protect_photo(batching, photo, 8, PUBLIC_KEY).tobytes() for photo in PHOTOS]
    for _ in range(3):
        assert [photo.tobytes() for photo in in_threads(batching)] == alone
    again = BatchingBackend(network, 5)
    assert [protect_photo(again, photo, 8, PUBLIC_KEY).tobytes() for photo in reversed(PHOTOS)] == alone[::-1]


def test_it_is_what_the_torch_backend_gives_at_the_epsilon_of_each_photo(network: Generator) -> None:
    batching = BatchingBackend(network)
    found = in_threads(batching, lambda photo: 1 + photo.height % 7)
    for photo, protected in zip(PHOTOS, found, strict=True):
        expected = np.asarray(protect_photo(TorchBackend(network), photo, 1 + photo.height % 7, PUBLIC_KEY), dtype=int)
        apart = np.abs(np.asarray(protected, dtype=int) - expected)
        assert apart.max() <= 1
        assert (apart > 0).sum() <= 3 + 1e-3 * apart.size  # where rounding is at a tie
        assert np.abs(np.asarray(protected, dtype=int) - np.asarray(photo, dtype=int)).max() == 1 + photo.height % 7


def test_photos_that_wait_during_a_pass_share_the_next(network: Generator) -> None:
    batching, sizes = OneFace(network, len(PHOTOS)), []

    def slow(module: nn.Module, given: tuple[object, ...]) -> None:
        sizes.append(given[0].shape[0])  # type: ignore[attr-defined]
        while len(sizes) == 1 and batching._waiting.qsize() < len(PHOTOS) - 1:
            time.sleep(0.01)

    with batching.generator.register_forward_pre_hook(slow):
        in_threads(batching)
    assert sizes == [len(PHOTOS)] * 2


def test_a_pass_that_fails_is_raised_by_all_that_waited_and_the_next_one_runs(network: Generator) -> None:
    batching = BatchingBackend(network)

    def full(*_: object) -> None:
        raise MemoryError("no memory on the device")

    with batching.generator.register_forward_pre_hook(full), pytest.raises(MemoryError, match="no memory on the device"):
        in_threads(batching)
    assert len(in_threads(batching)) == len(PHOTOS)
