"""What `train.py test` does: animate photos of unseen people, judge the clips, print and save a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from anti_i2v.data import PhotoBatch, PhotoDataModule
from anti_i2v.embedders import refuse_shared
from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from anti_i2v.evaluation.judging import Judges
    from anti_i2v.evaluation.runner import Trial
    from anti_i2v.training.module import ProtectionModule


class ClipReport(Callback):
    """Animates clean, protected and equally noisy versions of the test's people and reports what the judges found.

    Args:
        judge: Folder of the judge of identity, or a shipped name; None leaves its columns out.
        actions: The same of the classifier of actions.
    """

    def __init__(self, judge: Path | None, actions: Path | None) -> None:
        self.folders = judge, actions
        self.judges: Judges
        self.trials: list[Trial] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the judges; one process only, because each would report its own share of the people."""
        from anti_i2v.evaluation.judging import load_judges

        module = cast("ProtectionModule", pl_module)
        if trainer.world_size > 1:
            raise UsageError(f"test runs in one process, not {trainer.world_size}; add --trainer.devices 1")
        try:
            module.surrogate.check_animates()
        except UsageError as error:
            raise UsageError(f"test animates, and the surrogate {module.facts()['surrogate']} cannot: {error}") from None
        if self.folders[0] is not None:
            refuse_shared(self.folders[0], module.ensemble.embedder_names)
        self.judges = load_judges(*self.folders, module.surrogate.num_frames, module.prompts, module.device)
        self.trials.clear()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: PhotoBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Animate all versions of the batch from one seed."""
        from anti_i2v.evaluation.runner import run_trial

        module, image, prompts = cast("ProtectionModule", pl_module), batch["image"], batch["prompt"]
        protector, seed, identity = module.averaged_protector, module.seed + batch_idx, batch.get("identity")
        self.trials.append(run_trial(module.surrogate, protector, image, prompts, module.epsilon, seed, self.judges, identity))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print and save the report."""
        from anti_i2v.evaluation.report import markdown, summarise, trial_sheet, write_results
        from anti_i2v.evaluation.runner import with_identity

        module, trials, notes = cast("ProtectionModule", pl_module), self.trials, list(self.judges.notes)
        if self.judges.identity is not None:
            data, size = trainer.datamodule, (module.surrogate.height, module.surrogate.width)  # type: ignore[attr-defined]
            clips = (lambda people: data.test_references(people, *size)) if isinstance(data, PhotoDataModule) else None
            trials, note = with_identity(trials, self.judges.identity, clips)
            notes.append(note)
        summary = summarise([trial.measures for trial in trials])
        people = sum(len(trial.photos["clean"]) for trial in trials)
        facts = {**module.facts(), "people": people, "photo_size": trials[0].photos["clean"].shape[-1]}
        means = {name: interval["mean"] for name, interval in summary["protected"].items()}
        module.log_dict({f"test/{name}": value for name, value in means.items() if value is not None})
        module.print(markdown(summary, facts, notes))
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        for path in write_results(folder, summary, facts, trial_sheet(trials[0]), notes):
            module.print(f"wrote {path}")
        self.trials.clear()
