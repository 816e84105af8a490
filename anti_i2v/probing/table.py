"""The table of a study: a row for each layer and step."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from anti_i2v.probing.study import Row

COLUMNS = {
    "subject": "linear probe for the share of a place that the person covers, over what the place alone tells, on unseen people: R^2",
    "person": "share of the variance of the features, averaged over the face, that is the person's and not the scene's: ICC(1)",
    "coherence": "mean cosine of neighbouring places less that of all others; needs no truth",
    "top3": "share of variance along the first three principal components; needs no truth",
    "rank": "effective rank of the features, of at most 64 dimensions; needs no truth",
    "noise": "relative change of the layer by relative change of the photo, white noise of 2/255 RMS",
    "attack": "the same for one signed gradient step of 2/255 against this very layer",
}
"""Measure → what it is; each has a column for latent frame 0 (`_first`) and one for all that follow (`_later`)."""

ANSWER = {
    "noise_answer": "relative change of the denoiser's answer, all frames, by relative change of the photo: the noise, whatever the layer",
    "attack_answer": "the same for the attack on this layer: what follows from moving it",
}
NAMES = [f"{name}_{part}" for part in ("first", "later") for name in COLUMNS] + list(ANSWER)


def as_csv(rows: Sequence[Row], facts: dict[str, object]) -> str:
    """The table as text; the lines before the header, which begin with #, say what it is about. Empty: not known."""
    text = io.StringIO()
    for name, value in facts.items():
        text.write(f"# {name}: {value}\n")
    text.write("# sigma: share of noise at the step; _first: latent frame 0, _later: all that follow\n")
    for name, words in {**COLUMNS, **ANSWER}.items():
        text.write(f"# {name}: {words}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["layer", "step", "sigma", *NAMES])
    for row in rows:
        values = [row.figures.get(name, math.nan) for name in NAMES]
        writer.writerow([row.layer, row.step, f"{row.sigma:.4f}", *("" if math.isnan(v) else f"{v:.5g}" for v in values)])
    return text.getvalue()
