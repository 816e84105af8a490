"""The evaluator, on a tiny model with an untrained judge: what must hold for every judge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anti_i2v.embedders import IdentityEmbedder
from anti_i2v.evaluation.evaluator import CleanBatch, PhotoEvaluator, latent_gain
from anti_i2v.evaluation.identity import References, similarity
from anti_i2v.surrogates import Surrogate
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_portrait_dit


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    return Surrogate.from_pretrained(str(tiny_portrait_dit(tmp_path_factory.mktemp("video_model"))), ["blocks.1"], HEIGHT, WIDTH, FRAMES, 2)


@pytest.fixture(scope="module")
def evaluator(surrogate: Surrogate) -> PhotoEvaluator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = IdentityEmbedder(dim=8, size=32).eval()
        people = torch.nn.functional.normalize(torch.randn(3, 8), dim=1)
    return PhotoEvaluator(surrogate, judge, References([0, 1, 2], people), clip_seeds=[0, 1])


@pytest.fixture(scope="module")
def batch(evaluator: PhotoEvaluator) -> CleanBatch:
    photo = torch.randint(40, 216, (2, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1)) / 255
    text = evaluator.surrogate.encode_text(["a person nods"])
    return CleanBatch(photo, text, torch.tensor([1, 2]), evaluator.animate(photo, text, 1))


def test_an_unchanged_photo_shifts_no_identity(evaluator: PhotoEvaluator, batch: CleanBatch) -> None:
    measures = evaluator.measure(batch, batch.photo, batch.clips)
    for name in ("rms", "true_epsilon", "first_frame_change", "last_frame_change"):
        assert torch.all(measures[name] == 0), name
    assert torch.equal(measures["identity_similarity"], measures["clean_identity_similarity"])
    assert torch.all(measures["identity_shift"].nan_to_num() == 0)
    assert torch.all(measures["latent_gain"].isnan())  # nothing over nothing


def test_measures_are_means_over_the_seeds_of_the_clips(evaluator: PhotoEvaluator, batch: CleanBatch) -> None:
    photo = batch.photo.clone()
    photo[:, :, 3, 5] += 16 / 255
    clips = evaluator.animate(photo, batch.text, 1)
    measures = evaluator.measure(batch, photo, clips)
    embeddings = [evaluator.judge(clip) for clip in clips]
    assert not torch.equal(embeddings[0], embeddings[1])
    expected = torch.stack([similarity(embedding, evaluator.references, batch.who)[0] for embedding in embeddings]).mean(0)
    torch.testing.assert_close(measures["identity_similarity"], expected.detach())
    torch.testing.assert_close(measures["true_epsilon"], torch.tensor([16.0, 16.0]))
    torch.testing.assert_close(measures["rms"], torch.full((2,), 16 / (HEIGHT * WIDTH) ** 0.5))


class Mirror(torch.nn.Module):
    """As if the latents were the photo above a constant, beside an index that is no measure."""

    def condition(self, image: Tensor) -> dict[str, Tensor]:
        return {"latents": image, "twice": 2 * image, "index": torch.ones(len(image), dtype=torch.long)}


def test_latent_gain_compares_relative_changes(surrogate: Surrogate, batch: CleanBatch) -> None:
    changed = batch.photo + 4 / 255
    torch.testing.assert_close(latent_gain(Mirror(), batch.photo, changed), torch.ones(2), rtol=1e-4, atol=0)  # type: ignore[arg-type]
    z, changed_z = (surrogate.condition(photo)["latents"] for photo in (batch.photo, changed))
    relative = [(b - a).square().sum() / a.square().sum() for a, b in ((z[0], changed_z[0]), (batch.photo[0], changed[0]))]
    torch.testing.assert_close(latent_gain(surrogate, batch.photo, changed)[0], (relative[0] / relative[1]).sqrt(), rtol=1e-4, atol=0)
