"""Autoencoders without the pipelines that they belong to: most of what protects a photo goes through them. See `surrogate`."""
