"""Autoencoders without the pipelines that they belong to: classes, sources, loading.

Nothing here knows what a surrogate is; `anti_i2v.surrogates.autoencoder` makes one of an autoencoder.
"""
