"""The synthetic benchmark: rendered people in front of backgrounds, doing what a prompt says, and the training of its models and judges."""

from anti_i2v.portraits.actions import ACTIONS, Action
from anti_i2v.portraits.clips import Clip, ClipBatch, PortraitClips
from anti_i2v.portraits.photos import GroupPhotos, PortraitPhotos

__all__ = ["ACTIONS", "Action", "Clip", "ClipBatch", "GroupPhotos", "PortraitClips", "PortraitPhotos"]
