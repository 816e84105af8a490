"""Photos through tiny surrogates: what is kept, what is measured, and that it repeats."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.probing import Photos, study
from anti_i2v.probing.blocks import every_block
from anti_i2v.probing.sensitivity import STRENGTH, attack_step, gains
from anti_i2v.probing.study import draw_at, steps_near
from anti_i2v.probing.table import COLUMNS
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.memory.peak import LivePeak
from tests.tiny import FRAMES, tiny_portrait_dit
from tests.tiny.unet import FRAMES as UNET_FRAMES
from tests.tiny.unet import tiny_portrait_unet

SIZE = 32
PROMPT = "a dog runs"


class People:
    """Random people: a colour of their own in a disc, before noise; each in two scenes."""

    def __init__(self, number: int, known: bool = True) -> None:
        self.number, self.known = number, known

    def __iter__(self) -> Iterator[Photos]:
        line = torch.linspace(-1, 1, SIZE)
        for person in range(self.number):
            random = torch.Generator().manual_seed(person)
            place = torch.rand(2, 2, generator=random) - 0.5
            masks = ((line - place[:, :1]).square()[:, :, None] + (line - place[:, 1:]).square()[:, None] < 0.3).float().unsqueeze(1)
            image = masks * torch.rand(3, 1, 1, generator=random) + (1 - masks) * torch.rand(2, 3, SIZE, SIZE, generator=random)
            truth = (masks, masks, torch.full((2,), person)) if self.known else ()
            yield Photos(image, [PROMPT] * 2, *truth)


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    folder = tiny_portrait_dit(tmp_path_factory.mktemp("video_model"))
    model = Surrogate.from_pretrained(str(folder), ["blocks.0"], SIZE, SIZE, FRAMES, 6, [PROMPT])
    return model.with_taps(every_block(model.denoiser, model.block_lists))


def test_every_layer_and_step_has_its_figures(surrogate: Surrogate) -> None:
    result = study(surrogate, People(4), [0, 3], attack_count=1, examples=2)
    assert [(row.layer, row.step) for row in result.rows] == [(f"blocks.{i}", step) for i in range(4) for step in (0, 3)]
    assert (result.photos, result.examples.shape) == (8, (2, 3, SIZE, SIZE))
    measures = {f"{name}_{part}" for part in ("first", "later") for name in COLUMNS}
    for row in result.rows:
        assert row.figures.keys() == measures | {"noise_answer", "attack_answer"}
        assert all(map(math.isfinite, row.figures.values()))
        assert row.figures["attack_first"] > row.figures["noise_first"] > 0
        assert row.sigma == surrogate.sigmas[row.step]
    picture = result.pictures["blocks.3", 0]
    assert picture.shape == (2, 3, 3, 2, 2)  # 3 latent frames of 2 × 2 tokens
    assert float(picture.min()) >= 0
    assert float(picture.max()) <= 1
    again = study(surrogate, People(4), [0, 3], attack_count=1, examples=2)
    assert [row.figures for row in again.rows] == [row.figures for row in result.rows]
    assert study(surrogate, People(2), [0], seed=1, attack_count=0, examples=0).rows[0].figures != result.rows[0].figures


def test_without_masks_and_identities_only_the_other_figures_are_defined(surrogate: Surrogate) -> None:
    figures = study(surrogate, People(3, known=False), [0], attack_count=1).rows[0].figures
    assert {name for name, value in figures.items() if math.isnan(value)} == {
        f"{n}_{p}" for n in ("subject", "person") for p in ("first", "later")
    }


def test_small_changes_and_pictures_can_be_left_out(surrogate: Surrogate) -> None:
    result = study(surrogate, People(2), [0], attack_count=0, examples=0)
    assert not any(name.startswith(("attack", "noise")) for row in result.rows for name in row.figures)
    assert result.pictures == {}


def test_memory_does_not_grow_with_the_number_of_photos(surrogate: Surrogate) -> None:
    def peak(people: int) -> int:
        with LivePeak([*surrogate.denoiser.parameters(), *surrogate.vae.parameters()]) as live:
            study(surrogate, People(people), [0], attack_count=0, examples=0)
        return live.peak

    assert peak(8) <= 1.02 * peak(4)  # each half of the people needs two before all sums are there


def test_a_unets_blocks_are_all_of_down_middle_and_up(tmp_path: Path) -> None:
    model = Surrogate.from_pretrained(str(tiny_portrait_unet(tmp_path)), ["mid_block"], SIZE, SIZE, UNET_FRAMES, 4)
    blocks = every_block(model.denoiser, model.block_lists)
    assert blocks == ["down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1"]
    result = study(model.with_taps(blocks), People(2), [1], attack_count=1)
    assert all(row.figures["attack_later"] > 0 for row in result.rows)
    assert result.pictures["down_blocks.0", 1].shape[2] == UNET_FRAMES


def test_the_attack_stays_within_its_step_and_moves_its_own_layer(surrogate: Surrogate) -> None:
    image = torch.tensor([0.0, 0.5, 1.0])
    assert torch.allclose(attack_step(image, torch.tensor([-3.0, 0.1, 2.0])), torch.tensor([0.0, 0.5 + 2 / 255, 1.0]))
    assert STRENGTH == 2 / 255
    photo = next(iter(People(1)))
    random = torch.Generator().manual_seed(0)
    result = gains(surrogate, photo.image, surrogate.encode_text(photo.prompts), draw_at(surrogate, 2, 0, random), random)
    assert set(result) == set(surrogate.taps)
    assert len({tuple(values["noise_answer"].tolist()) for values in result.values()}) == 1  # one noise, whatever the layer
    assert len({tuple(values["attack_answer"].tolist()) for values in result.values()}) > 1  # an attack of its own for each


def test_steps_are_named_by_their_noise() -> None:
    assert steps_near([1.0, 0.9, 0.7, 0.5, 0.31, 0.1]) == [0, 2, 4]
    assert steps_near([0.95]) == [0]


def test_a_step_beyond_the_schedule_and_no_photos_are_refused(surrogate: Surrogate) -> None:
    with pytest.raises(UsageError, match=r"steps \[0, 6\].* 0 … 5"):
        study(surrogate, People(1), [0, 6])
    with pytest.raises(UsageError, match="no photos"):
        study(surrogate, People(0), [0])
