"""What is peculiar to the layout of Wan 2.2 TI2V-5B, and taps that are no layers; the rest is in `test_families`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.families.wan import WanSurrogate
from anti_i2v.surrogates.families.wan_concat import WanConcatSurrogate
from tests.surrogates.family import PROMPT, Family
from tests.tiny import tiny_portrait_dit
from tests.tiny.parts import edit_json


@pytest.mark.parametrize(("expand", "boundary", "family"), [(True, None, WanSurrogate), (False, None, WanConcatSurrogate)])
def test_the_layout_follows_from_model_index(expand: bool, boundary: float | None, family: type[Surrogate]) -> None:
    index = {"expand_timesteps": expand, "boundary_ratio": boundary, "transformer": ["diffusers", "WanTransformer3DModel"]}
    assert WanSurrogate.variant("somewhere", index) is family


def test_a_layout_that_no_wan_has_is_refused_before_loading(tmp_path: Path) -> None:
    folder = tiny_portrait_dit(tmp_path / "wan")
    edit_json(folder / "model_index.json", boundary_ratio=0.9)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()  # would fail if loaded first
    with pytest.raises(UsageError, match=r"has expand_timesteps and a boundary_ratio.*set one of them to null"):
        Surrogate.from_pretrained(str(folder), ["blocks.1"], 32, 32, 5)


def test_weights_of_this_layout_are_refused_as_wan_2_1(tmp_path: Path) -> None:
    folder = tiny_portrait_dit(tmp_path / "wan")
    edit_json(folder / "model_index.json", expand_timesteps=False)
    with pytest.raises(UsageError, match=r"reads 4 channels, not 10 \(noise, mask, photo\)"):
        Surrogate.from_pretrained(str(folder), ["blocks.1"], 32, 32, 5)


@pytest.mark.parametrize(("limit", "length"), [(20, 20), (10**30, 512)])
def test_text_is_as_long_as_the_tokenizer_allows_up_to_wans_512(family: Family, folder: Path, limit: int, length: int) -> None:
    surrogate = family.surrogate(folder)
    surrogate.pipeline.tokenizer.model_max_length = limit
    assert surrogate.encode_text([PROMPT])["prompt_embeds"].shape[:2] == (1, length)


def test_photo_is_the_photo_itself_and_needs_no_denoiser(
    surrogate: Surrogate, photos: Tensor, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the denoiser ran")

    monkeypatch.setattr(surrogate.denoiser, "forward", fail)
    photo = photos.clone().requires_grad_()
    features = surrogate.with_taps(["photo"])(photo, surrogate.encode_text([PROMPT]), draw)
    assert list(features) == ["photo"]
    assert torch.equal(features["photo"], photos)
    features["photo"].sum().backward()  # type: ignore[no-untyped-call]
    assert photo.grad is not None
    assert bool((photo.grad == 1).all())


def test_one_frozen_model_is_read_at_several_taps_at_once(surrogate: Surrogate, photos: Tensor, draw: Draw) -> None:
    text = surrogate.encode_text([PROMPT])
    other = surrogate.with_taps(["photo", "blocks.2", "decoded", "photo"])
    with torch.no_grad():
        read, features = other(photos, text, draw), surrogate(photos, text, draw)
    assert list(read) == ["photo", "decoded", "blocks.2"]  # the order of computation, whatever the order given
    assert list(features) == ["blocks.1", "blocks.2"]  # as it was made
    assert torch.equal(read["blocks.2"], features["blocks.2"])
    mine = {name: value.data_ptr() for name, value in surrogate.state_dict().items()}
    assert {name: value.data_ptr() for name, value in other.state_dict().items()} == mine  # no second copy of the weights
    assert torch.equal(other.animate(photos, text, 0, steps=1), surrogate.animate(photos, text, 0, steps=1))


def test_other_taps_are_checked_as_the_first_ones(surrogate: Surrogate) -> None:
    with pytest.raises(UsageError, match=r"no tap 'blocks\.9'"):
        surrogate.with_taps(["photo", "blocks.9"])
    with pytest.raises(UsageError, match="no taps given"):
        surrogate.with_taps([])
