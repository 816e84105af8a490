"""Identity embedders: networks that tell people apart, as objectives to train against or as judges, never both."""

from anti_i2v.embedders.base import Embedder
from anti_i2v.embedders.embedder import IdentityEmbedder
from anti_i2v.embedders.folder import OBJECTIVE_EMBEDDERS, Role, load_backbone, load_embedder, refuse_shared, save_embedder

__all__ = [
    "OBJECTIVE_EMBEDDERS",
    "Embedder",
    "IdentityEmbedder",
    "Role",
    "load_backbone",
    "load_embedder",
    "refuse_shared",
    "save_embedder",
]
