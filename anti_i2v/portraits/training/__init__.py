"""Training of the Portraits' two video models and of their judges, by `train.py fit` like the generator.

Three stages, each a LightningModule and a data module: the autoencoder, the denoiser on its latents, and the action
classifier that judges clips. They write `checkpoints/portrait-dit` and `checkpoints/portrait-actions`.
"""
