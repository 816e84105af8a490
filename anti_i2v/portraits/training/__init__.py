"""Training of the embedded image-to-video world: a small Wan pipeline on rendered portraits, through the same door as the generator.

Three stages, each a LightningModule and a data module: the autoencoder, the denoiser on its latents, and the action
classifier that judges clips. They write `checkpoints/portrait-dit` and `checkpoints/portrait-actions`.
"""
