"""How much moves in a clip: dense optical flow, and the dynamic degree that comes from it.

Protection may end a fake video by freezing it; the distance from the clean clip alone does not
distinguish a frozen clip from a wild one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.imaging.tensors import resize

GREY = (0.299, 0.587, 0.114)
NOISE = 2 / 255
"""Slopes of brightness a pixel below this are taken for noise: there the flow stays what the coarser scale says."""
LARGEST, SMALLEST = 64, 16
"""Shorter side in pixels of the finest and, at least, of the coarsest scale."""


def dynamic_degree(video: Tensor) -> Tensor:
    """Amount of motion: mean of the largest 5 % of optical flow, averaged over pairs of neighbouring frames.

    The measure of VBench (Huang et al., CVPR 2024, arXiv 2311.17982, "dynamic degree"), which takes the flow from RAFT and
    then asks whether it exceeds a threshold; here the amount itself is kept, and the flow is that of `optical_flow`, which
    overrates fast people where they uncover the wall: compare clips with it, and do not read it as a speed. More is
    neither better nor worse; 0 is a frozen clip.

    Args:
        video: (B, T, 3, H, W) in [0, 1].

    Returns:
        (B,) float32, from 0 up, in % of the shorter side of the picture per frame; 0 for a single frame.
    """
    batch, frames = video.shape[:2]
    if frames < 2:
        return video.new_zeros(batch)
    grey = torch.einsum("btchw,c->bthw", video.float(), torch.tensor(GREY, device=video.device))
    shrink = min(1.0, LARGEST / min(grey.shape[-2:]))
    grey = resize(grey, round(shrink * grey.shape[-2]), round(shrink * grey.shape[-1]))
    flow: Tensor = optical_flow(grey[:, :-1].flatten(0, 1), grey[:, 1:].flatten(0, 1))
    speed = flow.norm(dim=1).flatten(1)
    fastest: Tensor = speed.topk(max(1, speed.shape[1] // 20), dim=1).values.mean(1)
    return 100 * fastest.view(batch, frames - 1).mean(1) / min(grey.shape[-2:])


@torch.no_grad()
def optical_flow(first: Tensor, second: Tensor, window: int = 9, iterations: int = 2) -> Tensor:
    """Where each pixel of one picture went in the next, by Lucas and Kanade's method from coarse to fine.

    Lucas and Kanade, IJCAI 1981; iterated and dense as by Le Besnerais and Champagnat, ICIP 2005. RAFT would need a
    download, and the packages that hold a classical flow are none that this project requires.

    Args:
        first: (N, H, W) grey in [0, 1].
        second: Same shape.
        window: Side of the neighbourhood that moves as one, in pixels of every scale.
        iterations: Rounds at each scale.

    Returns:
        (N, 2, H, W) float32, pixels right and pixels down.
    """
    from kornia.filters import median_blur

    pictures = torch.stack([first, second], 1).float()
    height, width = pictures.shape[-2:]
    levels = [0]
    while min(height, width) >> (levels[-1] + 1) >= SMALLEST:
        levels.append(levels[-1] + 1)
    flow = pictures.new_zeros(len(pictures), 2, height >> levels[-1], width >> levels[-1])
    for level in reversed(levels):
        size = (height >> level, width >> level)
        scale = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]]).view(1, 2, 1, 1)
        flow = scale * F.interpolate(flow, size, mode="bilinear", align_corners=False)
        here, there = resize(pictures, *size).unbind(1)
        for _ in range(iterations):
            flow = flow + _step(here, _warp(there, flow), window)
        flow = median_blur(flow, 3)  # a wrong vector among right ones would be the fastest of all (Wedel et al. 2009)
    return flow


def _step(here: Tensor, there: Tensor, window: int) -> Tensor:
    """The move that explains the difference of two pictures (N, H, W) best in each neighbourhood, (N, 2, H, W)."""
    down, right = torch.gradient((here + there) / 2, dim=(-2, -1))
    change = here - there
    terms = torch.stack([right * right, right * down, down * down, right * change, down * change], 1)
    xx, xy, yy, xt, yt = F.avg_pool2d(terms, window, 1, window // 2, count_include_pad=False).unbind(1)
    xx, yy = xx + NOISE**2, yy + NOISE**2
    move = torch.stack([yy * xt - xy * yt, xx * yt - xy * xt], 1) / (xx * yy - xy * xy)[:, None]
    return move.clamp(-1, 1)  # further away the linear model says nothing


def _warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Fetch each pixel of (N, H, W) from where the flow (N, 2, H, W) points."""
    height, width = picture.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij")
    where = torch.stack([(2 * (x + flow[:, 0]) + 1) / width - 1, (2 * (y + flow[:, 1]) + 1) / height - 1], -1)
    return F.grid_sample(picture[:, None], where, padding_mode="border", align_corners=False)[:, 0]
