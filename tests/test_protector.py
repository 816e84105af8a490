"""The protector as users meet it: PIL in, PIL out, within the budget; folders that load or say why not."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms
from skimage import data

from anti_i2v.errors import UsageError
from anti_i2v.generators import BackboneGenerator, Generator
from anti_i2v.generators.backbone import SpaceName
from anti_i2v.generators.half import as_in_file
from anti_i2v.imaging.cielab import Floats
from anti_i2v.imaging.tensors import to_tensor
from anti_i2v.inference.apply import protect_photo
from anti_i2v.inference.onnx import OnnxBackend
from anti_i2v.inference.torch_backend import TorchBackend
from anti_i2v.keys import PUBLIC_KEY
from anti_i2v.protector import Protector
from tests.tiny.generator import tiny_network
from tests.tiny.people import middle_face
from tests.tiny.photos import XMP, exif
from tests.tiny.profiles import DISPLAY_P3


@pytest.fixture(scope="module")
def protector() -> Protector:
    return Protector(network().eval())


def network(**settings: object) -> BackboneGenerator:
    """A small network that finds a face everywhere."""
    return tiny_network(backbone="test_resnet", chroma_size=8, cutoff=8, **settings)


def astronaut(width: int = 60, height: int = 44) -> Image.Image:
    return Image.fromarray(data.astronaut()).resize((width, height))


def trained(generator: Generator) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters that training changes: all but those that find people."""
    return [(name, value) for name, value in generator.named_parameters() if not name.startswith("salience.")]


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


LARGE = (1500, 1100)
SIZES = [(8, 8), (1, 1), (9, 300), (300, 9), (64, 64), (131, 77), (700, 400), (1, 5000), (5000, 1), (3001, 17), LARGE]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("epsilon", [2.0, 8.0, 5.5])
def test_any_size_within_the_budget(protector: Protector, size: tuple[int, int], epsilon: float) -> None:
    photo = astronaut(*size)
    protected = protector.protect(photo, epsilon)
    assert (protected.size, protected.mode) == (photo.size, photo.mode)
    assert np.abs(values(protected) - values(photo)).max() <= math.floor(epsilon)


@pytest.mark.parametrize("size", [(64, 64), (700, 400), (959, 30)])
def test_files_and_tensors_are_protected_alike(size: tuple[int, int]) -> None:
    """Strips and memory savings of `protect` change nothing up to 959 pixels a side (one step where rounding is at a tie)."""
    photo, keyed = astronaut(*size), Protector(network(keyed=True).eval())
    with torch.no_grad():
        batch = keyed(to_tensor(photo)[None], 8.0)[0].mul(255).round().permute(1, 2, 0).numpy()
    difference = np.abs(values(keyed.protect(photo, 8.0, "none")) - batch)
    assert difference.max() <= 1
    assert (difference > 0).sum() <= 3 + 1e-4 * difference.size
    assert np.abs(batch - values(photo)).max() >= 3  # it does something


class OneFace(TorchBackend):
    """Finds one person, in the middle of the photo."""

    def find(self, copy: Floats) -> Floats:
        return middle_face(copy)


def test_a_large_photo_gets_nearly_the_residual_of_every_pixel_for_itself(protector: Protector) -> None:
    """Of a window of 1467 pixels, blocks of 9 change together."""
    photo, backend = astronaut(*LARGE), OneFace(protector.generator)
    before = values(photo)
    exact = values(protect_photo(backend, photo, 8, PUBLIC_KEY, (1, 1))) - before
    residual = values(protect_photo(backend, photo, 8, PUBLIC_KEY)) - before
    assert np.corrcoef(residual.ravel(), exact.ravel())[0, 1] > 0.98
    assert residual.std() / exact.std() == pytest.approx(1, abs=0.03)
    # What a video model sees of it.
    change, expected = (
        F.interpolate(torch.from_numpy(r).float().permute(2, 0, 1)[None], (96, 128), mode="area") for r in (residual, exact)
    )
    assert np.corrcoef(change.flatten(), expected.flatten())[0, 1] > 0.99


def test_the_same_photo_gives_the_same_bytes(protector: Protector) -> None:
    for size in ((131, 77), LARGE):
        first, second = (protector.protect(astronaut(*size), 8.0).tobytes() for _ in range(2))
        assert first == second


@pytest.mark.parametrize("pixel", [0, 255])
def test_black_and_white_never_wrap_around(protector: Protector, pixel: int) -> None:
    for size in ((40, 30), (2000, 30)):
        change = values(protector.protect(Image.new("RGB", size, (pixel,) * 3), 8.0)) - pixel
        assert 1 <= np.abs(change).max() <= 8
    # Every block of a large photo holds both: the mean has room in both directions, the pixels have not.
    board = np.indices((30, 2000)).sum(0).astype(np.uint8) % 2 * 255
    change = values(protector.protect(Image.fromarray(board), 8.0)) - board
    assert 1 <= np.abs(change).max() <= 8


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "CMYK", "P"])
def test_large_photos_of_any_mode_keep_the_budget(protector: Protector, mode: str) -> None:
    photo = astronaut(1000, 40).convert(mode)
    if "A" in mode:
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    stored = photo.convert("RGB") if mode == "P" else photo
    protected = protector.protect(photo)
    assert (protected.mode, protected.size) == (stored.mode, photo.size)
    change = np.abs(values(protected) - values(stored)).reshape(40, 1000, -1)
    assert 2 <= change.max() <= 8
    if mode in ("RGBA", "LA", "CMYK"):
        assert change[..., -1].max() == 0
    assert protector.protect(photo, 0.0).tobytes() == stored.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "CMYK"])
def test_modes_stay_and_the_budget_holds_in_stored_values(protector: Protector, mode: str) -> None:
    photo = astronaut().convert(mode)
    if "A" in mode:
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    protected = protector.protect(photo)
    assert protected.mode == mode
    change = np.abs(values(protected) - values(photo)).reshape(44, 60, -1)
    assert 2 <= change.max() <= 8
    if mode in ("RGBA", "LA", "CMYK"):
        assert change[..., -1].max() == 0  # alpha, black
    difference = np.abs(values(protected.convert("RGB")) - values(photo.convert("RGB")))
    assert difference.max() <= 9  # CMYK → RGB rounds


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(60, 44), (1000, 40)])
def test_black_and_white_photos_stored_in_colours_stay_so(protector: Protector, mode: str, size: tuple[int, int]) -> None:
    grey = astronaut(*size).convert("L")
    protected = values(protector.protect(grey.convert(mode)))
    assert (protected[..., :3] == protected[..., :1]).all()
    np.testing.assert_array_equal(protected[..., 0], values(protector.protect(grey)))


def test_a_wide_gamut_photo_is_protected_as_what_it_shows_and_within_the_budget_of_its_own_values(protector: Protector) -> None:
    colours = Image.blend(astronaut(), Image.new("RGB", (60, 44), (128, 128, 128)), 0.3)
    display_p3 = ImageCms.ImageCmsProfile(io.BytesIO(DISPLAY_P3))
    photo = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), display_p3, "RGB", "RGB").apply(colours)
    photo.info = {"icc_profile": DISPLAY_P3}
    bare = photo.copy()
    bare.info = {}
    assert protector.protect(photo).info["icc_profile"] == DISPLAY_P3
    change, of_twin, of_bare = (values(protector.protect(p)) - values(p) for p in (photo, colours, bare))
    assert 2 <= np.abs(change).max() <= 8
    # But for rounding, the network saw the same picture as in sRGB.
    assert np.abs(change - of_twin).mean() < 0.5 * np.abs(of_bare - of_twin).mean()


@pytest.mark.parametrize("size", [(60, 44), (1000, 40)])
def test_sixteen_bit_grey_moves_in_whole_8_bit_steps(protector: Protector, size: tuple[int, int]) -> None:
    deep = (np.asarray(astronaut(*size).convert("L")).astype(np.uint16) * 257) ^ 0x35
    protected = protector.protect(Image.fromarray(deep))
    change = values(protected) - deep.astype(int)
    assert protected.mode == "I;16"
    assert np.abs(change).max() <= 8 * 257
    inside = (deep > 9 * 257) & (deep < 246 * 257)
    assert not (change[inside] % 257).any()
    assert change.any()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
def test_zero_epsilon_gives_the_photo_back(protector: Protector, mode: str) -> None:
    photo = astronaut().convert(mode)
    assert protector.protect(photo, 0.0).tobytes() == photo.tobytes()


def test_metadata_and_the_photo_itself_stay(protector: Protector) -> None:
    photo = astronaut()
    exif = photo.getexif()
    exif[274], exif[305] = 6, "camera"
    photo.info |= {"exif": exif.tobytes(), "icc_profile": b"profile", "dpi": (300, 300)}
    before = photo.tobytes()
    protected = protector.protect(photo)
    assert photo.tobytes() == before
    assert protected.info == photo.info
    assert dict(protected.getexif()) == dict(exif)


def test_metadata_of_the_protected_picture_holds_no_picture_of_the_clean_one(protector: Protector) -> None:
    photo, thumbnail = astronaut(), b"\xff\xd8\xff\xdb small \xff\xd9"
    packet = XMP.replace(b"<dc:format>", b'<xmp:Thumbnails xmlns:xmp="http://ns.adobe.com/xap/1.0/">QUJD</xmp:Thumbnails><dc:format>')
    photo.info |= {"exif": exif(6, thumbnail), "xmp": packet, "photoshop": {0x0404: b"caption", 0x040C: thumbnail}}
    info = protector.protect(photo).info
    assert b"small" not in info["exif"]
    assert b"QUJD" not in info["xmp"]
    assert b"Lisboa" in info["xmp"]
    assert info["photoshop"] == {0x0404: b"caption"}
    assert b"small" in photo.info["exif"]


@pytest.mark.parametrize("size", [(60, 44), (1920, 40)])
def test_a_photo_on_its_side_gets_the_protection_of_the_upright_one(protector: Protector, size: tuple[int, int]) -> None:
    upright = astronaut(*size)
    lying = upright.transpose(Image.Transpose.ROTATE_90)  # what EXIF orientation 6 turns upright
    exif = lying.getexif()
    exif[274] = 6
    lying.info["exif"] = exif.tobytes()
    protected = protector.protect(lying).transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(values(protected), values(protector.protect(upright)))


def test_tensors_keep_shape_and_pass_gradient(protector: Protector) -> None:
    image = torch.rand(2, 3, 30, 50, generator=torch.Generator().manual_seed(0))
    protected = protector(image, torch.tensor([4.0, 8.0]))
    assert protected.shape == image.shape
    assert torch.equal(protected, protected.mul(255).round() / 255)
    assert (protected - image).abs().amax((1, 2, 3)).mul(255).tolist() <= [4.001, 8.001]
    torch.testing.assert_close(protector.residual(image, 4.0), protector(image, 4.0) - image)
    protector.generator.zero_grad()
    protected.square().sum().backward()
    missing = [n for n, p in trained(protector.generator) if p.grad is None or not torch.isfinite(p.grad).all()]
    assert missing == []
    with torch.autocast("cpu", torch.bfloat16):
        halved = protector(image, 8.0)
    assert halved.dtype == torch.float32
    assert (halved - image).abs().max() * 255 <= 8.001


def test_wrong_input_is_refused_with_the_remedy(protector: Protector) -> None:
    with pytest.raises(UsageError, match=r"floats of shape \(B, 3, H, W\); got torch.uint8"):
        protector(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(UsageError, match="epsilon 33"):
        protector.protect(astronaut(), 33)
    with pytest.raises(UsageError, match="epsilon -1"):
        Protector(protector.generator, -1)  # type: ignore[arg-type]
    broken = Protector(network())
    next(broken.generator.backbone.parameters()).data.fill_(math.nan)  # type: ignore[union-attr, operator]
    with pytest.raises(UsageError, match="not finite"):
        broken.protect(astronaut())


def test_it_does_not_matter_which_backend_a_protector_was_loaded_with() -> None:
    pytest.importorskip("onnxruntime")
    photo, image = astronaut(), torch.rand(1, 3, 30, 50, generator=torch.Generator().manual_seed(0))
    onnx, network = (Protector.from_pretrained(backend=name) for name in ("onnx", "torch"))
    assert isinstance(onnx.backend, OnnxBackend)
    assert torch.equal(onnx(image), network(image))
    assert np.abs(values(onnx.protect(photo)) - values(network.protect(photo))).max() <= 1
    assert onnx.to("cpu").protect(photo).tobytes() == network.protect(photo).tobytes()


def test_an_update_of_the_generator_changes_the_protection_at_once() -> None:
    generator = network()
    protector = Protector(generator)
    before = protector.protect(astronaut())
    with torch.no_grad():
        generator.lab_head[-1].weight.neg_()  # type: ignore[union-attr, index]
    assert protector.protect(astronaut()).tobytes() != before.tobytes()
    assert generator.training


def test_a_saved_folder_loads_and_protects_alike(protector: Protector, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "mine"
    protector.save_pretrained(folder, "# card", {"seed": 7})
    protector.save_pretrained(folder, "# second", {"seed": 8})  # replaces the first
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert [p.name for p in folder.parent.iterdir()] == ["mine"]
    assert (folder / "README.md").read_text() == "# second"
    config = json.loads((folder / "config.json").read_text())
    assert (config["format"], config["class"], config["epsilon"], config["seed"]) == (2, "BackboneGenerator", 8.0, 8)
    state = torch.get_rng_state()
    loaded = Protector.from_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), state)
    assert not loaded.generator.training
    rounded = Protector(as_in_file(protector.generator, folder / "model.safetensors"), protector.epsilon)
    assert loaded.protect(astronaut()).tobytes() == rounded.protect(astronaut()).tobytes()
    steps = np.abs(np.asarray(loaded.protect(astronaut())).astype(int) - np.asarray(protector.protect(astronaut())))
    assert steps.max() <= 1


def test_the_configuration_of_a_folder_stays_with_the_protector_loaded_from_it(protector: Protector, tmp_path: Path) -> None:
    protector.save_pretrained(tmp_path / "first", "# card", {"seed": 7})
    Protector.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    for name in ("README.md", "config.json", "model.safetensors"):
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    Protector.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "third", "# other", {})
    assert (tmp_path / "third/README.md").read_text() == "# other"
    assert "seed" not in json.loads((tmp_path / "third/config.json").read_text())
    with pytest.raises(UsageError, match="give card="):
        protector.save_pretrained(tmp_path / "fourth")
    with pytest.raises(UsageError, match="revision 'v1' is for hub ids"):
        Protector.from_pretrained(tmp_path / "first", revision="v1")


def test_a_folder_with_other_things_is_never_replaced(protector: Protector, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not a generator folder"):
        protector.save_pretrained(tmp_path, "# card")
    assert (tmp_path / "diary.txt").read_text() == "mine"


def change(folder: Path, **entries: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | entries))


def test_damaged_or_foreign_folders_are_refused_with_the_remedy(protector: Protector, tmp_path: Path) -> None:
    folder = tmp_path / "g"
    protector.save_pretrained(folder, "# card")
    good = (folder / "config.json").read_text()
    for entries, message in (
        ({"format": 1}, "has format 1 and this version reads format 2; train and export it again"),
        ({"format": 3}, "has format 3 and this version reads format 2; update anti-i2v"),
        ({"class": "os.system"}, "class 'os.system'; known: BackboneGenerator"),
        ({"class": "Generator"}, "known: BackboneGenerator"),
        ({"class": ["x"]}, "known: BackboneGenerator"),
        ({"generator": {"depth": 3}}, "cannot load"),
        ({"generator": {"backbone": "nonsense"}}, "unknown backbone"),
        ({"generator": {**protector.generator.config(), "width": 24}}, "cannot load .*size mismatch"),
        ({"epsilon": 99}, "epsilon 99"),
        ({"epsilon": "much"}, "does not describe a generator"),
    ):
        change(folder, **entries)
        with pytest.raises(UsageError, match=message) as caught:
            Protector.from_pretrained(folder)
        assert "\n" not in str(caught.value)
        (folder / "config.json").write_text(good)
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UsageError, match="cannot load"):
        Protector.from_pretrained(folder)
    for name in ("model.safetensors", "config.json"):
        (folder / name).unlink()
        with pytest.raises(UsageError, match=f"no {name}"):
            Protector.from_pretrained(folder)
    (folder / "config.json").write_text("[1]")
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UsageError, match="does not describe a generator"):
        Protector.from_pretrained(folder)
    with pytest.raises(UsageError, match="no folder"):
        Protector.from_pretrained(tmp_path / "nowhere")


def test_protecting_imports_no_diffusion_and_no_trainer() -> None:
    code = """
import sys
from PIL import Image
from anti_i2v.keys import PUBLIC_KEY
from anti_i2v.protector import Protector
from tests.tiny.generator import tiny_network
photo = Image.new('RGB', (40, 30), (90, 120, 60))
Protector(tiny_network(backbone='test_resnet')).protect(photo)
print([m for m in ('diffusers', 'lightning', 'pytorch_lightning', 'transformers', 'webdataset') if m in sys.modules])
"""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("space", ["rgb", "lab", "frequency"])
def test_a_generator_of_one_space_protects_and_comes_back_from_its_folder(space: SpaceName, tmp_path: Path) -> None:
    protector = Protector(network(space=space).eval())
    image = (torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(1)) * 255).round() / 255
    protector.save_pretrained(tmp_path / "generator", card="")
    again = Protector.from_pretrained(tmp_path / "generator")
    residual = protector(image, 6.0) - image
    assert 3 / 255 < residual.abs().max() <= 6 / 255 + 1e-6
    rounded = Protector(as_in_file(protector.generator, tmp_path / "generator" / "model.safetensors"))
    assert torch.equal(again(image, 6.0), rounded(image, 6.0))
