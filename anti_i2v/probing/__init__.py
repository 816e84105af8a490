"""Which layers of a surrogate carry what a video is made from: scores of every block, and a choice. See `study.study`."""

from anti_i2v.probing.choice import Choice, choose, read_choice, read_taps
from anti_i2v.probing.study import Study, study
from anti_i2v.probing.sums import Photos

__all__ = ["Choice", "Photos", "Study", "choose", "read_choice", "read_taps", "study"]
