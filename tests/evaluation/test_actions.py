"""The judge of actions as users load it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.actions import ActionClassifier, load_action_classifier


def tiny() -> ActionClassifier:
    torch.manual_seed(0)
    return ActionClassifier(
        {"nod": ["a person nods"], "talk": ["a person talks", "the person talks"]}, num_frames=3, backbone="mobilenetv3_small_050", size=32
    ).eval()


def write(folder: Path, model: ActionClassifier) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(model.config()), encoding="utf-8")
    save_file(dict(model.state_dict()), folder / "model.safetensors")
    return folder


def test_the_action_does_not_depend_on_colour() -> None:
    model, grey = tiny(), torch.rand(2, 3, 1, 32, 32) * 0.5 + 0.2
    tint = torch.tensor([0.1, 0.0, -0.1 * 0.299 / 0.114]).view(3, 1, 1)  # same luma: 0.299 r + 0.587 g + 0.114 b
    torch.testing.assert_close(model(grey + tint), model(grey.expand(-1, -1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


def test_clips_of_other_sizes_are_scaled_and_of_other_lengths_refused() -> None:
    model = tiny()
    assert model(torch.rand(1, 3, 3, 48, 64)).shape == (1, 2)
    with pytest.raises(UsageError, match="5 frames"):
        model(torch.rand(1, 5, 3, 32, 32))


def test_a_clip_shows_its_action_if_the_prompt_asks_for_what_is_recognised() -> None:
    model, clips = tiny(), torch.rand(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    action = int(model(clips).argmax())
    shows = {prompt: float(model.shows(clips, [prompt])) for prompts in model.actions.values() for prompt in prompts}
    assert shows == {"a person nods": action == 0, "a person talks": action == 1, "the person talks": action == 1}


def test_loads_what_was_saved_frozen(tmp_path: Path) -> None:
    model = tiny()
    loaded = load_action_classifier(write(tmp_path / "judge", model))
    video = torch.rand(1, 3, 3, 32, 32)
    assert torch.equal(loaded(video), model(video))
    assert not any(p.requires_grad for p in loaded.parameters())


def test_a_folder_that_is_no_classifier_is_refused_by_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "judge", tiny())
    (folder / "config.json").write_text('{"format": 1}', encoding="utf-8")
    with pytest.raises(UsageError, match="does not describe an action classifier"):
        load_action_classifier(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"no model\.safetensors"):
        load_action_classifier(folder)
