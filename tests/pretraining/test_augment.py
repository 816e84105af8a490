"""What the judge of identity must see through."""

from __future__ import annotations

import torch

from anti_i2v.portraits import PortraitClips
from anti_i2v.pretraining.augment import beside, cut_out, faceless, shuffle, smooth, worsen


def test_worsened_pictures_keep_shape_and_range_repeat_with_the_seed_and_differ() -> None:
    images = PortraitClips("train", num_frames=1, height=32, width=32).batch(range(8)).video[:, 0]
    once, again = (worsen(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once, again)
    assert once.shape == images.shape
    assert once.min() >= 0
    assert once.max() <= 1
    changed = (once - images).flatten(1).abs().mean(1)
    assert (changed > 0.005).all()
    assert changed.std() > 0


def test_smooth_fields_keep_their_mean_and_lose_fine_stripes() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(32).expand(1, 3, 64, 64)
    torch.testing.assert_close(smooth(stripes), torch.full((1, 3, 64, 64), 0.5))


def test_shuffled_patches_are_the_same_pixels_elsewhere() -> None:
    images = torch.rand(2, 3, 32, 32)
    mixed = shuffle(images, torch.Generator().manual_seed(0))
    assert not torch.equal(mixed, images)
    torch.testing.assert_close(mixed.flatten(1).sort(1).values, images.flatten(1).sort(1).values)
    whole = {tuple(patch.flatten().tolist()) for patch in images[0].unfold(1, 4, 4).unfold(2, 4, 4).permute(1, 2, 0, 3, 4).flatten(0, 1)}
    assert tuple(mixed[0, :, :4, :4].flatten().tolist()) in whole


def test_cut_out_fills_one_rectangle() -> None:
    images = torch.full((4, 3, 40, 40), 2.0)
    cut = cut_out(images, torch.Generator().manual_seed(0), share=1.0)
    share = (cut[:, 0] != 2.0).float().mean((1, 2))
    assert (share > 0).all()
    assert (share <= 0.17).all()
    for picture in cut:
        assert len(picture.flatten(1).unique(dim=1).T) == 2


def test_pieces_beside_a_face_show_none_of_it() -> None:
    images = torch.zeros(6, 3, 32, 32)
    face = torch.zeros(6, 1, 32, 32)
    face[:, :, :, :16] = 1.0
    images[:, 0] = face[:, 0]  # the face is red
    pieces = beside(images, face, torch.full_like(images, 0.5), torch.Generator().manual_seed(0))
    assert pieces[:, 0].mean((1, 2)).max() <= 0.5
    assert (pieces[:, 0].amax((1, 2)) < 0.6).all()


def test_every_kind_of_faceless_picture_changes_the_colour_at_the_face() -> None:
    batch = PortraitClips("train", num_frames=1, height=32, width=32).batch(range(10))
    images, face = batch.video[:, 0], batch.face_mask[:, 0]
    faceless_images = faceless(images, face, torch.Generator().manual_seed(0))
    assert faceless_images.shape == images.shape
    assert faceless_images.min() >= 0
    assert faceless_images.max() <= 1
    covered = slice(None, None, 5)  # the first way of five: the head stays, its face is painted over
    inside = (face[covered] > 0.99).float()
    before, after = (((x - smooth(x)).square()[covered] * inside).sum() for x in (images, faceless_images))
    assert after < 0.5 * before
    outside = (face[covered] == 0) & (torch.nn.functional.max_pool2d(face[covered], 5, 1, 2) == 0)
    assert torch.equal((faceless_images - images)[covered] * outside, torch.zeros_like(images[covered]))
