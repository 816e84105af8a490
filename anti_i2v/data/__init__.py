"""Where training, validation and test photos come from: a folder, WebDataset shards, or any `PhotoSource` that a config names."""

from anti_i2v.data.base import PhotoBatch, PhotoSource
from anti_i2v.data.faces import FacePhotos
from anti_i2v.data.mixed import MixedPhotos
from anti_i2v.data.module import PhotoDataModule
from anti_i2v.data.photos import FolderPhotos
from anti_i2v.data.shards import ShardPhotos

__all__ = ["FacePhotos", "FolderPhotos", "MixedPhotos", "PhotoBatch", "PhotoDataModule", "PhotoSource", "ShardPhotos"]
