"""The adversary of the identity judge: what a residual computed against the judge itself can do, as a control of its robustness."""

from __future__ import annotations

import torch
from torch import Tensor

from anti_i2v.embedders import Embedder


def attack_judge(judge: Embedder, video: Tensor, epsilon: float, steps: int, random: torch.Generator) -> Tensor:
    """Clips with the residual that makes the judge itself see another person: the hardest test of the judge, not a protection.

    Projected gradient descent (arXiv 1706.06083) on the cosine to the clean clip's embedding, from a random start.

    Args:
        judge: The embedder that is attacked.
        video: (B, T, 3, H, W) in [0, 1].
        epsilon: Bound of the residual in 1/255 steps.
        steps: Gradient steps, each of a quarter of the bound.
        random: Source of the start, on the CPU.

    Returns:
        The same shape and range.
    """
    bound = epsilon / 255.0
    with torch.inference_mode(False), torch.enable_grad():
        clean = video.detach().clone()
        aim = judge(clean).detach()
        residual = bound * (2.0 * torch.rand(clean.shape, generator=random).to(clean) - 1.0)
        for _ in range(steps):
            residual = residual.detach().requires_grad_()
            cosine = (judge((clean + residual).clamp(0, 1)) * aim).sum()
            (gradient,) = torch.autograd.grad(cosine, residual)
            residual = (residual - 0.25 * bound * gradient.sign()).clamp(-bound, bound)
        return (clean + residual.detach()).clamp(0, 1)
