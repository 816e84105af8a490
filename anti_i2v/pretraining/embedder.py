"""A network that tells people apart, trained on pictures of people made worse and on residuals computed against itself.

Two views of a person are frames of two scenes, or two parts of one photo. The loss is InfoNCE over all views of a batch (SimCLR's, arXiv
2002.05709, with people in place of pictures). Adversarial training is "free" (arXiv 1904.12843): a batch is trained on several times,
and each time the same backward pass that trains the weights also moves a residual on the views against them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.embedders import IdentityEmbedder, Role, save_embedder
from anti_i2v.evaluation.identity import References, rank1, reference, similarity
from anti_i2v.evaluation.judge_attack import attack_judge
from anti_i2v.pretraining.augment import faceless, smooth, worsen
from anti_i2v.pretraining.stage import Stage
from anti_i2v.training.schedule import share_of_run

MIN_FACE = 0.02
"""Share of a frame that a face covers at least, to count as seen."""


def contrast(embedding: Tensor, temperature: Tensor) -> Tensor:
    """InfoNCE of unit embeddings (2 B, dim), row i and row i + B being the same person, at a scalar temperature: a scalar."""
    n, device = len(embedding), embedding.device
    logits = (embedding @ embedding.T / temperature).masked_fill(torch.eye(n, dtype=torch.bool, device=device), -torch.inf)
    return F.cross_entropy(logits, torch.arange(n, device=device).roll(n // 2))


class IdentityEmbedderModule(Stage):
    """Trains an identity embedder and writes its folder after every validation and at the end.

    Args:
        folder: Folder to write: `config.json` and `model.safetensors` (fp16).
        role: What the network is for; it is refused for the other.
        backbone: A timm model.
        dim: Length of an embedding.
        size: Height and width at which the backbone looks.
        width: Channels of the backbone's first stage, or 0 for its own.
        template: What faces are aligned to where landmarks are known, see `IdentityEmbedder`; the views of training are as they are.
        lr: Highest learning rate of Muon. In one run each of 150 steps without attack, 4e-3 recognised 51 of 100 validation people,
            1e-2 74 and 2.5e-2 76, when people still differed by hair length and beard.
        warmup: Steps to reach it.
        temperature: Of the contrastive loss, at the start: it is learned.
        presence_weight: Of the loss of the face's presence, beside 1 of the contrastive one.
        epsilon: Bound of the residuals in 1/255 steps; each view draws its own below it. It rises over the first half of the run.
        attacked: Share of the views that get a residual.
        worsened: Share of the views that are made worse. It rises over the first fifth of the run.
        replays: Steps in a row on the same views, over which the residual moves.
        seed: Of the augmentation.
    """

    def __init__(
        self,
        folder: str,
        role: Role,
        backbone: str = "resnet10t",
        dim: int = 128,
        size: int = 64,
        width: int = 32,
        lr: float = 2e-2,
        warmup: int = 20,
        temperature: float = 0.2,
        presence_weight: float = 0.3,
        epsilon: float = 8.0,
        attacked: float = 0.6,
        worsened: float = 0.9,
        replays: int = 3,
        seed: int = 0,
        template: str | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.role, self.shape = Path(folder), role, (backbone, dim, size, width, template)
        self.lr, self.warmup, self.presence_weight = lr, warmup, presence_weight
        self.epsilon, self.attacked, self.worsened, self.replays, self.seed = epsilon, attacked, worsened, replays, seed
        self.log_temperature = torch.nn.Parameter(torch.tensor(temperature).log())
        self.network: IdentityEmbedder | None = None
        self.images: Tensor | None = None

    def configure_model(self) -> None:
        """Build the network once; channels last is what its convolutions run fastest in."""
        if self.network is None:
            self.network = IdentityEmbedder(*self.shape).to(memory_format=torch.channels_last)
            self.network.template = None  # for whoever loads it: views are aligned, or not, as they come

    def on_train_start(self) -> None:
        """A resumed run begins with new views."""
        super().on_train_start()
        self.images = None

    def renew(self, batch: dict[str, Tensor]) -> None:
        """Take new views, worsened, and a random start of their residuals."""
        pairs, others = batch["pairs"], batch["others"]
        mirrored = (torch.rand(len(pairs), 1, 1, 1, 1, generator=self.random) < 0.5).to(pairs.device)
        pairs = torch.where(mirrored, pairs.flip(-1), pairs)  # both views: a mirrored face is another person's
        without_face = faceless(others[:, :3], others[:, 3:], self.random)
        views = torch.cat([pairs[:, 0, :3], pairs[:, 1, :3], without_face])
        share = share_of_run(self.trainer, self.trainer.global_step)
        draw = torch.rand(4, len(views), 1, 1, 1, generator=self.random).to(views)
        self.images = torch.where(draw[3] < self.worsened * min(1.0, 5.0 * share), worsen(views, self.random), views)
        self.bound = min(1.0, 2.0 * share) * self.epsilon / 255.0 * draw[0] * (draw[1] < self.attacked)
        self.smooth = draw[2] < 0.3
        start = 2.0 * torch.rand(views.shape, generator=self.random).to(views) - 1.0
        self.residual = self.bound * torch.where(self.smooth, smooth(start).sign(), start)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The contrastive loss of the views and the presence of their faces, against those of faceless pictures."""
        assert self.network is not None
        if batch_idx % self.replays == 0 or self.images is None:
            self.renew(batch)
        assert self.images is not None
        self.residual = self.residual.detach().requires_grad_()
        people = 2 * len(batch["pairs"])
        embedding, logit = self.network.embed((self.images + self.residual).clamp(0, 1), people)
        temperature = self.log_temperature.exp().clamp(0.05, 1.0)
        loss = contrast(embedding, temperature)
        target = (torch.arange(len(logit), device=logit.device) < people).float()
        presence = F.binary_cross_entropy_with_logits(logit, target)
        self.log_dict({"train/contrast": loss, "train/presence": presence, "train/temperature": temperature}, prog_bar=True)
        return loss + self.presence_weight * presence

    def on_after_backward(self) -> None:
        """Move the residual against the weights, by the gradient that the step made anyway."""
        gradient = self.residual.grad
        assert gradient is not None
        step = torch.where(self.smooth, smooth(gradient), gradient).sign() * self.bound * 0.8
        self.residual = (self.residual.detach() + step).clamp(-self.bound, self.bound)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Recognise scene 0 of each person by the other scenes: clean, with white noise and attacked, epsilon 8."""
        assert self.network is not None
        scenes = batch["scenes"]
        clips, who = scenes[:, 0, :, :3], torch.arange(len(scenes), device=scenes.device)
        references = References(who.tolist(), torch.stack([reference(self.network, i, s[1:, :, :3]) for i, s in enumerate(scenes)]))
        random = torch.Generator().manual_seed(batch_idx)
        noise = torch.empty_like(clips).uniform_(-1, 1, generator=random) * (8.0 / 255.0)
        for name, video in (("clean", clips), ("noise", clips + noise), ("attack", attack_judge(self.network, clips, 8.0, 10, random))):
            embedding = self.network(video.clamp(0, 1))
            own, strangers = similarity(embedding, references, who)
            values = {"rank1": rank1(embedding, references, who), "identity_similarity": own, "strangers_similarity": strangers}
            self.log_dict({f"val/{key}_{name}": value.mean() for key, value in values.items()}, prog_bar=True, batch_size=len(clips))
        _, presence = self.network.embed_frames(clips)
        right = (presence >= 0.5) == (scenes[:, 0, :, 3].mean((2, 3)) >= MIN_FACE)
        self.log("val/presence_right", right.float().mean(), prog_bar=True, batch_size=len(clips))

    def write(self) -> None:
        assert self.network is not None
        save_embedder(self.network, self.folder, self.role)
