"""Training of the Portraits' two video models and of their judges, by `train.py fit` like the generator.

Each stage is a LightningModule and a data module: an autoencoder, a denoiser on its latents, the identity embedders and the
action classifier. Each writes a folder below `checkpoints`.
"""
