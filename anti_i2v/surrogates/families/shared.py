"""What several families need: checks of sizes, the photo as the first latent frame, schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from diffusers import SchedulerMixin


def check_size(name: str, height: int, width: int, rows: int, columns: int | None = None) -> None:
    """Refuse a height or width that is no positive multiple of `rows` or `columns`; by default they are equal.

    Raises:
        UsageError: The pipeline `name` would refuse the size, or round it.
    """
    columns = rows if columns is None else columns
    if height < rows or width < columns or height % rows or width % columns:
        raise UsageError(f"height × width is {height} × {width}; this {name} needs multiples of {rows} × {columns}")


def check_length(name: str, num_frames: int, multiple: int, least: int = 1) -> None:
    """Refuse a number of frames that is not 1 + a multiple of `multiple`, or below `least`.

    Raises:
        UsageError: The pipeline `name` would refuse the length, or round it.
    """
    if num_frames < least or (num_frames - 1) % multiple:
        first = max(least, multiple + 1)
        lengths = f"1 + a multiple of {multiple}: {first}, {first + multiple}, …" if multiple > 1 else f"at least {least}"
        raise UsageError(f"num_frames is {num_frames}; this {name} needs {lengths}")


def photo_first(photo: Tensor, latents: Tensor, dim: int = 2) -> Tensor:
    """Latents of a clip with the photo's `(B, channels, 1, h, w)` in place of the first frame; `dim` is that of the frames."""
    return torch.cat([photo, latents.narrow(dim, 1, latents.shape[dim] - 1)], dim=dim)


def photo_and_mask(photo: Tensor, latents: Tensor) -> Tensor:
    """Further channels for latents `(B, channels, frames, h, w)`: the photo's with zeros behind its frame, and 1 where it stands."""
    mask = torch.zeros_like(latents[:, :1])
    mask[:, :, 0] = 1
    return torch.cat([photo_first(photo, torch.zeros_like(latents)), mask], dim=1)


def frames_of_photos(value: Tensor, batch: int, frames: int) -> Tensor:
    """The output of a U-Net's layer, photo by photo.

    Returns:
        `(B, channels, frames, h, w)`; of a layer that reads tokens h = 1, of one inside temporal attention `(B, tokens, channels)`.
    """
    if len(value) == batch * frames and value.ndim in (3, 4):
        split = value.reshape(batch, frames, *value.shape[1:])
        return split.transpose(1, 2) if value.ndim == 4 else split.permute(0, 3, 1, 2).unsqueeze(3)
    return value if len(value) == batch else value.reshape(batch, -1, value.shape[-1])


def even_sigmas(steps: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Equal steps of a flow's own time from 1, without 0, before the scheduler's shift."""
    return np.linspace(1.0, 0.0, steps + 1)[:-1]


def shares_of_alphas(scheduler: SchedulerMixin) -> Tensor:
    """Noise of standard deviation s = √((1 − ᾱ)/ᾱ) on the latents has the share s / (1 + s), also where ᾱ is 0."""
    alphas = scheduler.alphas_cumprod[scheduler.timesteps.cpu()]
    shares: Tensor = (1 - alphas).sqrt() / (alphas.sqrt() + (1 - alphas).sqrt())
    return shares
