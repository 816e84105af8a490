"""Tiny sizes of every stage in the training of the shipped networks, and one way to train them."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

VAE = {"base_dim": 8, "z_dim": 4, "dim_mult": (1, 1, 1), "num_res_blocks": 1}
DENOISER = {"heads": 2, "head_dim": 16, "layers": 2, "ffn_dim": 32, "text_dim": 16}
BANK = {"num_frames": 5, "size": 32, "capacity": 8, "start": 4, "validation_clips": 4}


def fit(module: LightningModule, data: LightningDataModule, steps: int, folder: Path, resume: Path | None = None) -> Trainer:
    """Train for a few steps with one validation, on the CPU; the last checkpoint is `folder/last.ckpt`."""
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, data, ckpt_path=resume)
    trainer.save_checkpoint(folder / "last.ckpt")
    return trainer
