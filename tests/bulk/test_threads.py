"""Jobs in threads: the files of one thread, nothing incomplete when they are stopped, and who takes them."""

from __future__ import annotations

import tarfile
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from anti_i2v.bulk.engines import Engine, choose_engine, run_in_threads, run_in_turn
from anti_i2v.bulk.loading import OnePass, on_gpu
from anti_i2v.bulk.plan import plan_jobs
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import Result
from anti_i2v.bulk.run import run_jobs
from anti_i2v.inference.batching import BatchingBackend
from anti_i2v.keys import PUBLIC_KEY
from tests.tiny.generator import files, smooth, tiny_network


@pytest.fixture(scope="module")
def protector() -> PhotoProtector:
    backend = BatchingBackend(tiny_network(keyed=True), 4)
    return PhotoProtector(OnePass(backend, PUBLIC_KEY).protect, "", "batches", shared=True)


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """A folder with a damaged photo, and two shards."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(8):
        smooth(i, 40 + i, 56).save(folder / f"{i}.png")
    (folder / "bad.png").write_bytes(b"none")
    for name in ("00", "01"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for i in range(3):
                tar.add(folder / f"{i}.png", f"{name}/{i}.png")
    return [folder, tmp_path / "00.tar", tmp_path / "01.tar"]


def done_by(engine: Engine, sources: list[Path], out: Path) -> tuple[list[Result], dict[str, bytes]]:
    done: list[Result] = []
    run_jobs(plan_jobs(sources, out, "lossless").jobs, Request((), out, quiet=True), done, lambda jobs: engine)
    return done, files(out)


def test_several_threads_give_the_files_and_the_report_of_one(protector: PhotoProtector, sources: list[Path], tmp_path: Path) -> None:
    one, several = (
        done_by(engine, sources, tmp_path / name)
        for name, engine in (("1", partial(run_in_turn, protector)), ("4", partial(run_in_threads, protector, 4)))
    )
    assert one[1] == several[1]
    assert len(several[1]) == 10
    assert [(o.source, o.status, o.measurement) for o in one[0]] == [(o.source, o.status, o.measurement) for o in several[0]]
    assert [o.status for o in several[0]].count("failed") == 1


def test_each_photo_is_reported_by_the_thread_that_protects_it(protector: PhotoProtector, sources: list[Path], tmp_path: Path) -> None:
    ticks: list[threading.Thread] = []
    jobs = plan_jobs(sources, tmp_path / "out", "lossless").jobs
    done = dict(run_in_threads(protector, 3, jobs, Request((), tmp_path), lambda: ticks.append(threading.current_thread())))
    assert sorted(done) == list(range(len(jobs)))
    assert ticks == [threading.main_thread()] * 15
    assert dict(run_in_threads(protector, 3, [], Request((), tmp_path), lambda: None)) == {}


def test_an_interrupt_leaves_no_incomplete_file_and_no_thread(protector: PhotoProtector, sources: list[Path], tmp_path: Path) -> None:
    asked, go = threading.Semaphore(0), threading.Event()

    def wait_and_protect(photo: Image.Image, epsilon: float) -> Image.Image:
        asked.release()
        assert go.wait(30)
        return protector.protect(photo, epsilon)

    out, before = tmp_path / "out", threading.active_count()
    jobs, waiting = plan_jobs(sources[1:], out, "lossless").jobs, replace(protector, protect=wait_and_protect)
    running = run_in_threads(waiting, 2, jobs, Request((), out), lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    threading.Thread(target=lambda: [asked.acquire(timeout=30) for _ in range(2)] and go.set()).start()
    with pytest.raises(KeyboardInterrupt):
        next(running)
    assert threading.active_count() <= before + 1
    assert [path for path in out.rglob("*") if path.suffix != ".tar"] == []
    assert len(list(out.iterdir())) < 2


def test_threads_are_for_what_several_may_share(protector: PhotoProtector) -> None:
    assert [on_gpu(device) for device in (None, "cpu", "cpu:0", "cuda", "cuda:1", "mps")] == [False, False, False, True, True, True]
    for workers, shared, expected in (
        (None, True, run_in_threads),
        (3, True, run_in_threads),
        (1, True, run_in_turn),
        (None, False, run_in_turn),
    ):
        engine = choose_engine(Request((), Path("out"), workers=workers), replace(protector, shared=shared), [])
        assert engine.func is expected  # type: ignore[attr-defined]
        assert workers != 3 or engine.args[1] == 3  # type: ignore[attr-defined]
