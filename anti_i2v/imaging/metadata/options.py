"""How a photo file is written: one small object on the whole way from the request to the encoder."""

from __future__ import annotations

from dataclasses import dataclass

from anti_i2v.imaging.metadata.statements import Mark


@dataclass(frozen=True)
class WriteOptions:
    """How a photo is written, and what is written beside its own metadata.

    Attributes:
        format: `same` lets a WebP that was lossy stay so; all other formats are as their suffix says.
        quality: Of lossy formats, 1–100; None: the photo's tables in JPEG, 95 elsewhere.
        strip_gps: Remove what `metadata.location` lists.
        no_ai_training: State that AI must not be trained on the photo, see `statements.no_training_statement`.
        mark: State how the photo was protected.
    """

    format: str = "lossless"
    quality: int | None = None
    strip_gps: bool = False
    no_ai_training: bool = False
    mark: Mark | None = None
