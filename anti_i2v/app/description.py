"""What the page says about protected photos, for people without a technical background; as HTML in which no file name becomes markup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from anti_i2v.imaging.measure import Measurement

# Mean ΔE2000 below which a phrase holds. One is about what can be told apart at all, and from two on a glance is enough
# (Schuessler, "Delta E 101": 1–2 by close observation, 2–10 at a glance).
VISIBILITY = (
    (0.5, "Not at all", "even side by side, the two pictures look the same."),
    (1.0, "Hardly", "most people see no difference, even side by side."),
    (2.0, "A little", "visible if you compare the two pictures closely."),
    (5.0, "Yes, if you look for it", "plain areas such as walls, sky or skin show faint patches of colour."),
    (math.inf, "Clearly", "there are patches of colour. Choose a lower strength if that is too much."),
)
JUDGE = "Drag the handle in the picture to judge for yourself."
COPIES = "The pictures on this page are smaller copies to look at; the download is the protected file itself."


@dataclass(frozen=True)
class FileFacts:
    """What people know a picture file by: its format (`JPEG`), pixels across and down as it is shown, and size in bytes."""

    format: str
    size: tuple[int, int]
    bytes: int


def visibility(delta_e: float) -> tuple[str, str]:
    """How visible a mean colour difference (ΔE2000) is: in a word or two, and in a sentence."""
    return next((short, long) for limit, short, long in VISIBILITY if delta_e < limit)


def file_size(count: int) -> str:
    """Bytes as file managers show them: `812 kB`, `3.4 MB`."""
    if count < 10**6:
        return f"{max(1, round(count / 1000))} kB"
    return f"{count / 10**6:.1f} MB"


def describe(measurement: Measurement, before: FileFacts, after: FileFacts) -> str:
    """What people want to know about one protected file, the most wanted first, and the figures in small print."""
    return table(facts(measurement, before, after), figures(measurement))


def facts(measurement: Measurement, before: FileFacts, after: FileFacts) -> list[tuple[str, str]]:
    """Titles and sentences about one protected file."""
    short, long = visibility(measurement.delta_e)
    return [
        ("Can it be seen?", f"{short}: {long} {JUDGE}"),
        ("What changed?", _change(measurement, after.format)),
        ("The file", _file(before, after)),
        *(("Please note", f"{note[:1].upper()}{note[1:]}.") for note in measurement.notes),
    ]


def figures(measurement: Measurement) -> str:
    """The measures, for those who know them."""
    psnr = f"{measurement.psnr:.1f} dB" if math.isfinite(measurement.psnr) else "infinite"
    return f"For those who know them: mean ΔE2000 {measurement.delta_e:.2f}, PSNR {psnr}, epsilon {measurement.epsilon:g}/255. {COPIES}"


def _change(measurement: Measurement, format: str) -> str:
    largest = f"The largest change of a colour value is {math.ceil(measurement.steps)} out of 255"
    if not measurement.lossy:
        return f"{largest}."
    share = min(1.0, max(0.0, measurement.survived))
    return f"{largest}; saving as {format} is part of it. {share:.0%} of the protection is in the file."


def _file(before: FileFacts, after: FileFacts) -> str:
    pixels = f"{after.size[0]} × {after.size[1]} pixels, as before"
    format = f"still {after.format}" if before.format == after.format else f"{before.format} became {after.format}"
    return f"{pixels}; {format}; {file_size(after.bytes)} (was {file_size(before.bytes)})."


def summary(done: int, failed: Sequence[tuple[str, str]]) -> str:
    """What became of all photos: how many are protected, and name and reason of each that is not."""
    photos = "1 photo is protected." if done == 1 else f"{done} photos are protected."
    html = f'<p class="message">{photos if done else "No photo was protected."}</p>'
    if failed:
        one = len(failed) == 1
        head = ("1 photo was not:" if one else f"{len(failed)} photos were not:") if done else "The reason:" if one else "The reasons:"
        rows = "".join(f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in failed)
        html += f'<div class="rejected"><p>{head}</p><ul>{rows}</ul></div>'
    return html


def table(rows: Sequence[tuple[str, str]], small: str) -> str:
    """Titles and sentences, and a line in small print."""
    items = "".join(f"<dt>{escape(title)}</dt><dd>{escape(text)}</dd>" for title, text in rows)
    return f'<dl class="facts">{items}</dl><p class="small">{escape(small)}</p>'
