"""The embedded world's data: procedural people in front of backgrounds, doing what a prompt says."""

from anti_i2v.portraits.actions import ACTIONS, Action
from anti_i2v.portraits.clips import Clip, ClipBatch, PortraitClips

__all__ = ["ACTIONS", "Action", "Clip", "ClipBatch", "PortraitClips"]
