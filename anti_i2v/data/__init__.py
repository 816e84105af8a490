"""Where training, validation and test photos come from: rendered portraits, a folder, or WebDataset shards."""

from anti_i2v.data.base import PhotoBatch, PhotoSource
from anti_i2v.data.module import PhotoDataModule
from anti_i2v.data.photos import FolderPhotos, PortraitPhotos
from anti_i2v.data.shards import ShardPhotos

__all__ = ["FolderPhotos", "PhotoBatch", "PhotoDataModule", "PhotoSource", "PortraitPhotos", "ShardPhotos"]
