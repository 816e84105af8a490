"""Who is in a clip? A small network names rendered people across clothes, light, pose, grain and background.

No generator is ever trained against it, and it was itself trained under attack. That does not make it proof: a residual of 8/255
computed against the judge itself still misleads it (`benchmarks/judge.py`), so never optimise what it is to judge against it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.errors import UsageError
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.clips import Split
from anti_i2v.resources import find_folder

FORMAT = 1
"""Version of the folder that `save_identity_judge` writes."""

FACE = 0.5
"""Presence from which a frame counts as showing a face."""


class IdentityJudge(nn.Module):
    """An image backbone that gives each frame an embedding of the person and the probability that a face is there.

    Args:
        backbone: A timm model.
        dim: Length of an embedding.
        size: Height and width at which the backbone looks.
        width: Channels of the first of a ResNet's four stages, each further having twice as many; 0 leaves the backbone as it is.
    """

    def __init__(self, backbone: str = "resnet10t", dim: int = 128, size: int = 64, width: int = 0) -> None:
        super().__init__()
        import timm

        self.backbone, self.dim, self.size, self.width = backbone, dim, size, width
        options = {"channels": tuple(width << stage for stage in range(4))} if width else {}
        self.network = timm.create_model(backbone, pretrained=False, num_classes=dim + 1, **options)
        # Pooled features are all positive, so that all people would start out nearly alike: take their common mean away.
        self.neck = nn.BatchNorm1d(dim, affine=False)

    def config(self) -> dict[str, str | int]:
        """The constructor's arguments."""
        return {"backbone": self.backbone, "dim": self.dim, "size": self.size, "width": self.width}

    def embed(self, images: Tensor, faces: int | None = None) -> tuple[Tensor, Tensor]:
        """Unit embeddings (N, dim) and face logits (N,) of pictures (N, 3, size, size) in [0, 1], both in fp32.

        With `faces` only so many pictures from the front are embedded: others shall not count in a training batch's statistics.
        """
        out = self.network((2.0 * images - 1.0).contiguous(memory_format=torch.channels_last)).float()
        return F.normalize(self.neck(out[:faces, :-1]), dim=1), out[:, -1]

    def frames(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Each frame by itself.

        Args:
            video: (B, T, 3, H, W) in [0, 1], any H and W.

        Returns:
            Unit-norm embeddings (B, T, dim) and the presence of a face (B, T) in [0, 1]. Lower presence is more protection; an
            embedding says nothing where presence is low.

        Raises:
            UsageError: The video holds NaN or infinite values.
        """
        if not bool(torch.isfinite(video).all()):
            raise UsageError("the video holds NaN or infinite values; nobody can be recognised in it, so mend what made it")
        images = video.flatten(0, 1)
        if images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        embedding, logit = self.embed(images)
        b, t = video.shape[:2]
        return embedding.view(b, t, -1), logit.sigmoid().view(b, t)

    def forward(self, video: Tensor) -> Tensor:
        """Unit-norm embeddings (B, dim) of clips (B, T, 3, H, W) in [0, 1]: the normalised mean over the frames."""
        return F.normalize(self.frames(video)[0].mean(1), dim=1)


def save_identity_judge(judge: IdentityJudge, folder: str | Path) -> None:
    """Write `config.json` and `model.safetensors` (fp16), each complete or not at all."""
    from safetensors.torch import save_file

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    state = {n: v.cpu().half() if v.is_floating_point() else v.cpu() for n, v in judge.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=path, prefix=".writing-") as temporary:
        weights, config = Path(temporary) / "model.safetensors", Path(temporary) / "config.json"
        save_file({name: value.contiguous() for name, value in state.items()}, weights)
        config.write_text(json.dumps({"format": FORMAT, **judge.config()}, indent=2) + "\n", encoding="utf-8")
        for file in (weights, config):
            file.chmod(0o644)
            file.replace(path / file.name)


def load_identity_judge(folder: str | Path = "portrait-judge") -> IdentityJudge:
    """The trained judge of a folder, in fp32, in eval mode, frozen.

    Args:
        folder: A folder with `config.json` and `model.safetensors`, or the name of a shipped one, e.g. `portrait-judge`.

    Raises:
        UsageError: The folder or one of its files is missing, of another format version, or no identity judge.
    """
    from safetensors.torch import load_file

    path = find_folder(folder)
    config, weights = path / "config.json", path / "model.safetensors"
    for file in (config, weights):
        if not file.is_file():
            raise UsageError(f"no {file.name} in {path}; give the folder of an identity judge, e.g. portrait-judge")
    try:
        settings = dict(json.loads(config.read_text(encoding="utf-8")))
        version = settings.pop("format", None)
        if version != FORMAT:
            raise UsageError(f"{config} has format {version}; this version of anti_i2v reads format {FORMAT}; give e.g. portrait-judge")
        judge = IdentityJudge(**settings)
    except (TypeError, ValueError, RuntimeError) as error:  # a JSONDecodeError is a ValueError, an unknown backbone a RuntimeError
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{config} does not describe an identity judge: {error}; give e.g. portrait-judge") from error
    state = {name: value.float() if value.is_floating_point() else value for name, value in load_file(weights).items()}
    try:
        judge.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"{weights} does not hold the weights that {config.name} describes; give e.g. portrait-judge") from error
    return judge.eval().requires_grad_(False)


@dataclass(frozen=True)
class Gallery:
    """Reference embeddings of N people: `people` are their indices in the split, `embeddings` is (N, dim), unit norm."""

    people: list[int]
    embeddings: Tensor


def reference(judge: IdentityJudge, person: int, video: Tensor) -> Tensor:
    """The normalised mean embedding (dim,) of the frames of one person's clips (B, T, 3, H, W) that show a face.

    Raises:
        UsageError: No frame shows a face.
    """
    with torch.no_grad():
        embedding, presence = judge.frames(video)
    seen = presence >= FACE
    if not bool(seen.any()):
        best = float(presence.max())
        raise UsageError(f"no reference of person {person} shows a face (presence at most {best:.2f}, {FACE} is needed); leave it out")
    return F.normalize(embedding[seen].mean(0), dim=0)


def portrait_gallery(
    judge: IdentityJudge, split: Split, people: Sequence[int], height: int, width: int, scenes: int = 4, num_frames: int = 3
) -> Gallery:
    """References of rendered people, from other scenes than scene 0, whose first frame is the photo that is attacked.

    Args:
        judge: Who embeds.
        split: Of the rendered people.
        people: Their indices in the split.
        height: H in pixels of what is rendered.
        width: W in pixels.
        scenes: Scenes of each person, at least one: 1, 2, … `scenes`.
        num_frames: Frames of each scene, from the start to the end of its action.

    Raises:
        UsageError: There are fewer than two people, too many scenes, or no reference of a person shows a face.
    """
    from tqdm import tqdm

    if len(people) < 2:
        raise UsageError(f"a photo set with one person only ({len(people)} given): rank and strangers need two people or more")
    clips = PortraitClips(split, num_frames, height, width)
    if not 1 <= scenes < clips.each:
        raise UsageError(f"{scenes} reference scenes; the split {split} has 1 to {clips.each - 1} beside scene 0")
    parts = []
    for person in tqdm(people, desc="references", unit="person", leave=False):
        indices = [person % clips.people + scene * clips.people for scene in range(1, scenes + 1)]
        parts.append(reference(judge, person, clips.batch(indices).video))
    return Gallery(list(people), torch.stack(parts))


def similarity(embedding: Tensor, gallery: Gallery, who: Tensor) -> tuple[Tensor, Tensor]:
    """How like themselves people look, and how like others.

    Args:
        embedding: (B, dim), unit norm.
        gallery: N people.
        who: (B,) the row of each clip's person in the gallery.

    Returns:
        Cosine to the person's own reference (B,), and the mean cosine to all others' (B,), both in [-1, 1]. A lower own cosine is
        more protection; the strangers' cosine is the level at which the person is nobody in particular.
    """
    cosine = embedding @ gallery.embeddings.to(embedding).T
    own = cosine.gather(1, who[:, None]).squeeze(1)
    return own, (cosine.sum(1) - own) / (cosine.shape[1] - 1)


def rank1(embedding: Tensor, gallery: Gallery, who: Tensor) -> Tensor:
    """1 where the nearest reference is the person's own, else 0: (B,). Lower is more protection; guessing gives 1 / N."""
    cosine = embedding @ gallery.embeddings.to(embedding).T
    return (cosine.argmax(1) == who).float()


def way_to_strangers(clean_own: Tensor, own: Tensor, strangers: Tensor) -> Tensor:
    """How far a clip went from looking like the person to looking like nobody in particular.

    Args:
        clean_own: Cosine of the clean photo's clip to the person's reference, per clip or the mean of a set.
        own: The same of the protected photo's clip.
        strangers: Its mean cosine to all others.

    Returns:
        The share of the way in the same shape: 0 is as alike as the clean clip, 1 the strangers' level; it can be negative or
        exceed 1. Higher is more protection. NaN where the clean clip is no nearer to the person than to strangers.
    """
    way = clean_own - strangers
    return torch.where(way > 0, (clean_own - own) / way, torch.full_like(way, torch.nan))
