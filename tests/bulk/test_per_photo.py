"""`anti-i2v protect --method` and `--refine` as people use them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anti_i2v.__main__ import main
from anti_i2v.attacks import named_method
from anti_i2v.attacks.photo import colours
from anti_i2v.imaging.metrics import rms255
from anti_i2v.imaging.reading import read_photo
from anti_i2v.portraits import PortraitClips
from anti_i2v.surrogates import Surrogate
from anti_i2v.training.feature_loss import feature_loss
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_portrait_dit
from tests.tiny.unet import FRAMES as UNET_FRAMES
from tests.tiny.unet import tiny_portrait_unet

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]
EPSILON = 4
SIZES = ("--height", HEIGHT, "--width", WIDTH, "--num-frames", FRAMES)
CPU = torch.device("cpu")


def smooth(seed: int, height: int = 40, width: int = 56) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(60, 200, (4, 5, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def video_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_portrait_dit(tmp_path_factory.mktemp("video_model"))


@pytest.fixture
def protect() -> Run:
    """Run `protect`; returns the exit status."""

    def run(*arguments: object) -> int:
        return main(["protect", *map(str, arguments), "--epsilon", str(EPSILON), "--quiet"])

    return run


def difference(a: Path, b: Path) -> int:
    one, other = (np.asarray(read_photo(p).convert("RGB"), dtype=int) for p in (a, b))
    return int(np.abs(one - other).max())


def test_photos_are_optimised_one_by_one_and_written_as_one_pass_writes_them(
    protect: Run, video_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    smooth(0).save(photos / "a.png", dpi=(200, 200))
    smooth(1).save(photos / "b.jpg", quality=90)
    smooth(2).convert("L").save(photos / "c.tif")
    turned = Image.Exif()
    turned[274] = 6
    smooth(3).save(photos / "d.png", exif=turned)
    asked = ("--method", "photoguard", "--steps", 2, "--surrogate", video_model, "--format", "lossless", *SIZES)
    assert protect(photos, "--out", tmp_path / "out", *asked) == 0
    said = capsys.readouterr().out
    assert "protected 4 photos" in said
    assert f"optimised against {video_model} alone" in said
    assert "does NOT protect against any production video model" in said
    for source, name, mode in (("a.png", "a.png", "RGB"), ("b.jpg", "b.png", "RGB"), ("c.tif", "c.tif", "L"), ("d.png", "d.png", "RGB")):
        assert 0 < difference(photos / source, tmp_path / "out" / name) <= EPSILON
        assert read_photo(tmp_path / "out" / name).mode == mode
    assert read_photo(tmp_path / "out/a.png").info["dpi"] == pytest.approx((200, 200), abs=0.1)
    assert read_photo(tmp_path / "out/d.png").getexif()[274] == 6

    assert protect(photos / "a.png", "--out", tmp_path / "again", *asked) == 0  # alone and as one of four
    assert (tmp_path / "again/a.png").read_bytes() == (tmp_path / "out/a.png").read_bytes()
    assert protect(photos / "a.png", "--out", tmp_path / "other", *asked, "--seed", 1) == 0
    assert difference(tmp_path / "other/a.png", tmp_path / "out/a.png") > 0


def test_refine_begins_with_the_generators_output_bit_for_bit_and_lowers_the_objective(
    protect: Run, video_model: Path, generator: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    smooth(0).save(photos / "a.png")
    smooth(1).convert("LA").save(photos / "b.png")
    assert protect(photos, "--out", tmp_path / "pass", "--generator", generator, "--no-mark") == 0
    for steps in (0, 4):
        asked = ("--refine", steps, "--method", "photoguard", "--surrogate", video_model, "--generator", generator, "--no-mark", *SIZES)
        assert protect(photos, "--out", tmp_path / f"{steps}", *asked) == 0
    for name in ("a.png", "b.png"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "pass" / name).read_bytes()
        assert 0 < difference(photos / name, tmp_path / "4" / name) <= EPSILON

    surrogate = Surrogate.from_pretrained(str(video_model), ["photo"], HEIGHT, WIDTH, FRAMES)
    method = named_method("photoguard", surrogate)
    clean, *versions = (colours(read_photo(tmp_path / folder / "a.png"), CPU) for folder in ("photos", "0", "4"))
    draw, text = surrogate.draw(1, torch.Generator().manual_seed(0)), surrogate.encode_text([""])
    with torch.no_grad():
        before, after = (
            float(feature_loss(surrogate.with_taps(method.taps), method.objective, clean, one, text, draw)[0]) for one in versions
        )
    assert after < before


def test_a_shipped_video_model_has_its_own_size_and_identity_is_what_refines(protect: Run, tmp_path: Path) -> None:
    image = Image.fromarray((255 * PortraitClips("test", 1, 150, 130)[0].video[0]).round().byte().permute(1, 2, 0).numpy())
    image.save(tmp_path / "a.png")
    for steps in (0, 3):
        assert (
            protect(tmp_path / "a.png", "--out", tmp_path / f"{steps}", "--refine", steps, "--surrogate", "portrait-dit", "--no-mark") == 0
        )
    assert protect(tmp_path / "a.png", "--out", tmp_path / "pass", "--no-mark", "--runtime", "torch") == 0
    assert (tmp_path / "0/a.png").read_bytes() == (tmp_path / "pass/a.png").read_bytes()
    assert difference(tmp_path / "a.png", tmp_path / "3/a.png") <= EPSILON

    surrogate = Surrogate.from_pretrained("portrait-dit", ["photo"])
    method, draw = named_method("identity", surrogate), surrogate.draw(1, torch.Generator().manual_seed(0))
    clean, *versions = (colours(read_photo(tmp_path / name), CPU) for name in ("a.png", "0/a.png", "3/a.png"))
    with torch.no_grad():
        before, after = (
            float(feature_loss(surrogate.with_taps(method.taps), method.objective, clean, one, {}, draw)[0]) for one in versions
        )
    assert after < before - 0.05


def test_an_autoencoder_alone_serves_every_method_that_reads_what_it_decodes(protect: Run, tmp_path: Path) -> None:
    smooth(0).save(tmp_path / "a.png")
    options = ["--steps", 1, "--surrogate", "photo-dc", "--height", 32, "--width", 32, "--no-mark"]
    for method in ("identity", "photoguard"):
        assert protect(tmp_path / "a.png", "--out", tmp_path / method, "--method", method, *options) == 0
        assert 0 < difference(tmp_path / "a.png", tmp_path / method / "a.png") <= EPSILON


def test_noise_has_the_strength_of_one_pass(protect: Run, generator: Path, tmp_path: Path, capsys: Capture) -> None:
    smooth(0).save(tmp_path / "a.png")
    assert protect(tmp_path / "a.png", "--out", tmp_path / "pass", "--generator", generator) == 0
    assert protect(tmp_path / "a.png", "--out", tmp_path / "noise", "--generator", generator, "--method", "noise") == 0
    assert "noise as strong as a protection protects nothing" in capsys.readouterr().out
    clean, one, other = (colours(read_photo(tmp_path / name), CPU) for name in ("a.png", "pass/a.png", "noise/a.png"))
    assert float(rms255(other - clean)) == pytest.approx(float(rms255(one - clean)), rel=0.05)
    assert abs(float(torch.cosine_similarity((one - clean).flatten(), (other - clean).flatten(), dim=0))) < 0.1


def test_only_a_photo_smaller_than_a_patch_fails_and_the_message_states_the_size(
    protect: Run, video_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    smooth(0, 15, 40).save(tmp_path / "small.png")
    smooth(0, 16, 16).save(tmp_path / "enough.png")
    asked = ("--out", tmp_path / "out", "--method", "photoguard", "--steps", 1, "--surrogate", video_model, *SIZES)
    assert protect(tmp_path / "small.png", *asked) == 2
    said = capsys.readouterr().err
    assert "15 × 40, less than one patch of the surrogate; it needs at least 16 × 16" in said
    assert "small.png: " in said
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()  # the user's own folder stays
    assert protect(tmp_path / "small.png", *asked) == 2
    assert (tmp_path / "out").is_dir()
    assert protect(tmp_path / "small.png", tmp_path / "enough.png", *asked) == 1
    assert "small.png" in capsys.readouterr().err


def test_patches_of_other_families(tmp_path: Path) -> None:
    unet = Surrogate.from_pretrained(str(tiny_portrait_unet(tmp_path)), ["photo"], 32, 32, UNET_FRAMES, 4)
    assert unet.cell == (2, 2)  # its autoencoder halves once, and a U-Net has no patches
    assert Surrogate.from_pretrained("portrait-dit", ["photo"]).cell == (32, 32)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--method", "magic", "--surrogate", "portrait-dit"],
            "no method 'magic'; --method takes noise, photoguard, advdm, mist, sds+, sds-",
        ),
        (["--method", "advdm"], "--method optimises against a video model; name one with --surrogate"),
        (["--refine", "3"], "--refine optimises against a video model; name one with --surrogate"),
        (["--surrogate", "portrait-dit"], "--surrogate does nothing alone"),
        (["--num-frames", "5"], "--num-frames does nothing alone"),
        (["--method", "advdm", "--surrogate", "portrait-dit", "--steps", "-1"], "--steps is -1; give 0 or more"),
        (["--refine", "-2", "--surrogate", "portrait-dit"], "--refine is -2; give 0 or more"),
        (["--refine", "2", "--surrogate", "portrait-dit", "--steps", "3"], "leave out --steps 3"),
        (["--method", "advdm", "--surrogate", "portrait-dit", "--generator", "portrait-generator"], "begins at random"),
        (["--method", "noise", "--surrogate", "portrait-dit"], "noise asks no video model; leave out --surrogate"),
        (["--method", "advdm", "--surrogate", "MODEL"], "say --height, --width and, unless it is an autoencoder alone, --num-frames"),
        (["--method", "advdm", "--surrogate", "MODEL", *map(str, SIZES), "--taps", "blocks.1"], "advdm chooses no layers"),
        (["--method", "i2vguard", "--surrogate", "MODEL", *map(str, SIZES), "--taps", "blocks.9"], "no tap 'blocks.9'"),
        (["--method", "anti-i2v", "--surrogate", "MODEL", *map(str, SIZES), "--taps", "blocks.1,blocks.0"], "name the shallow one first"),
        (["--method", "advdm", "--surrogate", "portrait-dit", "--seed", str(2**63)], "--seed is 9223372036854775808; give a whole number"),
        (["--method", "advdm", "--surrogate", "MODEL", *map(str, SIZES), "--device", "abacus"], "--device abacus"),
        (["--method", "advdm", "--surrogate", "nowhere", *map(str, SIZES)], "nowhere"),
    ],
)
def test_unusable_options_are_one_line_and_status_2(
    protect: Run, video_model: Path, tmp_path: Path, capsys: Capture, arguments: list[str], expected: str
) -> None:
    smooth(0).save(tmp_path / "a.png")
    given = [str(video_model) if word == "MODEL" else word for word in arguments]
    assert protect(tmp_path / "a.png", "--out", tmp_path / "out", *given) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
