"""Training a generator against frozen surrogates: the LightningModule, its callbacks, transforms, schedule and command line."""
