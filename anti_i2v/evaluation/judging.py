"""The judges of clips: who is in them, whether a face is there at all, and what the person does.

The first judge is an identity embedder in the role of a judge, the second `actions.ActionClassifier`. Those that ship know rendered people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from anti_i2v.embedders import Embedder
from anti_i2v.errors import UsageError
from anti_i2v.evaluation.actions import ActionClassifier, load_action_classifier
from anti_i2v.evaluation.identity import FACE, References, embed_references, load_identity_judge, rank1, similarity

IDENTITY = {
    "action": "action shown",
    "identity_similarity": "identity similarity",
    "strangers_similarity": "similarity to strangers",
    "similarity_drop": "similarity drop",
    "identity_shift": "identity shift",
    "rank1": "rank-1 accuracy",
    "face": "frames with a face",
    "consistency": "frame to frame, cosine",
    "photo_identity_similarity": "photo's identity similarity",
    "photo_similarity_drop": "photo's similarity drop",
    "photo_identity_shift": "photo's identity shift",
}
"""Name of each measure of the judges → heading. `identity_shift` and `photo_identity_shift` are of a set of people, all others of each."""


PeopleClips = Callable[[Sequence[int]], Iterable[Tensor] | None]
"""Identities → for each person clips (scenes, T, 3, H, W) in [0, 1] from other scenes; see `data.base.PhotoSource.references`."""


@dataclass(frozen=True)
class Reading:
    """What the judge of identity saw of one version of B photos.

    Attributes:
        clip: (B, dim) embeddings of the clips, unit norm.
        photo: (B, dim) embeddings of the photos themselves, as clips of one frame.
        face: (B,) share of the clip's frames that show a face, in [0, 1]; lower is more protection.
        photo_face: (B,) 1 where the photo shows a face, else 0.
        consistency: (B,) mean cosine of the embeddings of neighbouring frames, in [-1, 1], 1 is steady; the "subject
            consistency" of VBench (arXiv 2311.17982) with this judge in place of DINO. NaN for a single frame.
    """

    clip: Tensor
    photo: Tensor
    face: Tensor
    photo_face: Tensor
    consistency: Tensor


@dataclass
class Judges:
    """The judges that can be used here; `notes` say which are left out and why."""

    identity: Embedder | None = None
    actions: ActionClassifier | None = None
    notes: list[str] = field(default_factory=list)


def load_judges(identity: Path | None, actions: Path | None, num_frames: int, prompts: Sequence[str], device: torch.device) -> Judges:
    """Load the judges that are asked for and that can judge such clips.

    Args:
        identity: Folder of an identity judge or the name of a shipped one; None leaves it out.
        actions: The same of a classifier of actions.
        num_frames: Length of the clips.
        prompts: Every prompt that clips are made from.
        device: Where the clips will be.

    Raises:
        UsageError: A folder is asked for that is missing or no such judge.
    """
    judges = Judges()
    if identity is None:
        judges.notes.append("no judge of identity: give --model.judge portrait-judge to see whether the person is still recognised")
    else:
        judges.identity = load_identity_judge(identity).to(device)
        if judges.identity.template is not None:
            raise UsageError(
                f"the judge {judges.identity.name!r} reads aligned faces, and clips have no landmarks; compare pictures with "
                "anti_i2v.evaluation.faces.face_similarity, or give portrait-judge"
            )
    if actions is None:
        return judges
    classifier = load_action_classifier(actions)
    unknown = sorted(set(prompts) - set(classifier.class_of))
    if classifier.num_frames != num_frames:
        judges.notes.append(f"actions are not judged: the classifier reads {classifier.num_frames} frames, clips have {num_frames}")
    elif unknown or not prompts:
        judges.notes.append(f"actions are not judged: the classifier does not know what {(unknown or ['no prompt'])[0]!r} asks for")
    else:
        judges.actions = classifier.to(device)
    return judges


@torch.no_grad()
def read_identity(judge: Embedder, clip: Tensor, photo: Tensor) -> Reading:
    """Let the judge look at clips (B, T, 3, H, W) and at the photos they were made from, (B, 3, H, W), all in [0, 1]."""
    embedding, presence = judge.embed_frames(clip)
    photo_embedding, photo_presence = judge.embed_frames(photo[:, None])
    return Reading(
        clip=torch.nn.functional.normalize(embedding.mean(1), dim=1),  # as judge(clip) does, without looking twice
        photo=photo_embedding[:, 0],
        face=(presence >= FACE).float().mean(1),
        photo_face=(photo_presence[:, 0] >= FACE).float(),
        consistency=(embedding[:, 1:] * embedding[:, :-1]).sum(-1).mean(1),
    )


def identity_measures(readings: Mapping[str, Reading], references: References, who: Tensor) -> dict[str, dict[str, Tensor]]:
    """Compare what the judge saw with the references of the people.

    Args:
        readings: Version → reading of B photos; `clean` must be among them.
        references: References.
        who: (B,) row of each person in the references.

    Returns:
        Version → measure → (B,):

        * `identity_similarity`, `strangers_similarity`: cosine of the clip to its person's reference, and the mean to all
          others', in [-1, 1]; see `identity.similarity`. Lower `identity_similarity` is more protection.
        * `similarity_drop`: `identity_similarity` of the clean photo's clip minus that of this one, in [-2, 2]; higher is
          more protection.
        * `rank1`: 1 where the nearest reference is the person's own, else 0; lower is more protection.
        * `face`, `consistency`: see `Reading`.
        * `photo_identity_similarity`, `photo_strangers_similarity`, `photo_similarity_drop`: the same for the photo itself,
          against the clean photo. This is the control of validity: a person is still in a protected photo, so a change here only
          means that the residual fools the judge, and of the clip's figures only what exceeds it counts. Nearer to 0 is better.
    """
    measures = {}
    clean_own, _ = similarity(readings["clean"].clip, references, who)
    photo_clean, _ = similarity(readings["clean"].photo, references, who)
    for version, reading in readings.items():
        own, strangers = similarity(reading.clip, references, who)
        photo_own, photo_strangers = similarity(reading.photo, references, who)
        measures[version] = {
            "identity_similarity": own,
            "strangers_similarity": strangers,
            "similarity_drop": clean_own - own,
            "rank1": rank1(reading.clip, references, who),
            "face": reading.face,
            "consistency": reading.consistency,
            "photo_identity_similarity": photo_own,
            "photo_strangers_similarity": photo_strangers,
            "photo_similarity_drop": photo_clean - photo_own,
        }
    return measures


def find_references(
    judge: Embedder, clean: Reading, identity: Tensor | None, people_clips: PeopleClips | None
) -> tuple[References, Tensor, str]:
    """References for the people of a test set, the row of each photo in them, and in words what they are.

    Args:
        judge: The embedder.
        clean: What the judge saw of all N clean photos.
        identity: (N,) who is in the photos; None where that is not known.
        people_clips: Gives clips of people in other scenes. Where there are none, or it is not known who is in the photos, the clean
            photo itself is the reference, and the other photos stand for strangers.

    Raises:
        UsageError: There is one person only, or no reference of a person shows a face.
    """
    if identity is not None and people_clips is not None:
        people = sorted(set(identity.tolist()))
        clips = people_clips(people)
        if clips is not None:
            rows = torch.tensor([people.index(person) for person in identity.tolist()], device=identity.device)
            words = "the same person in other clothes, light and poses; strangers are the other people of the test"
            return embed_references(judge, people, clips), rows, words
    rows = torch.arange(len(clean.photo), device=clean.photo.device)
    if len(rows) < 2:
        raise UsageError(f"a set of {len(rows)} photo has no strangers: identity similarity needs two photos or more, of different people")
    faces = int(clean.photo_face.sum())
    words = f"the clean photo itself, strangers are the other photos; the judge sees a face in {faces} of {len(rows)} clean photos"
    return References(rows.tolist(), clean.photo), rows, words
