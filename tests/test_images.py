"""Reading, writing and the straight-through operations."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from anti_i2v.errors import UsageError
from anti_i2v.images import read_photo, resize, round_to_8bit, save_photo, to_pil, to_tensor, unit
from anti_i2v.metadata import without_thumbnail

NOISE = np.random.default_rng(0).integers(0, 256, (12, 17, 4), dtype=np.uint8)


def picture(mode: str) -> Image.Image:
    """Noise of size 17 × 12 in any mode."""
    rgb = Image.fromarray(NOISE[..., :3])
    if mode == "I;16":
        return Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    if mode == "LA":
        return Image.merge("LA", (Image.fromarray(NOISE[..., 0]), Image.fromarray(NOISE[..., 3])))
    return Image.fromarray(NOISE) if mode == "RGBA" else rgb.convert(mode)


def exif(thumbnail: bytes = b"") -> bytes:
    """EXIF with orientation 6 and a date, and a thumbnail directory if asked."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "ACME"
    tags[0x8769] = {0x9003: "2020:01:01 00:00:00"}
    data = bytearray(tags.tobytes())
    if thumbnail:
        order = "<" if data[6:8] == b"II" else ">"
        (first,) = struct.unpack_from(f"{order}I", data, 10)
        (count,) = struct.unpack_from(f"{order}H", data, 6 + first)
        second = len(data) - 6
        struct.pack_into(f"{order}I", data, 6 + first + 2 + 12 * count, second)
        start = second + 2 + 2 * 12 + 4
        data += struct.pack(f"{order}H", 2)
        data += struct.pack(f"{order}HHII", 0x0201, 4, 1, start) + struct.pack(f"{order}HHII", 0x0202, 4, 1, len(thumbnail))
        data += struct.pack(f"{order}I", 0) + thumbnail
    return bytes(data)


def test_unit_clamps_exactly_and_passes_gradient_everywhere() -> None:
    x = torch.tensor([-0.5, 0.0, 0.3, 1.0, 1e6], requires_grad=True)
    y = unit(x)
    assert y.tolist() == [0.0, 0.0, pytest.approx(0.3), 1.0, 1.0]
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.tolist() == [1.0] * 5


def test_rounding_lands_on_the_grid_of_8_bit_files_and_passes_gradient() -> None:
    levels = torch.arange(256)
    grid = to_tensor(Image.fromarray(levels.to(torch.uint8).view(1, 256).numpy()))[0, 0]
    x = (grid + 0.4 / 255).requires_grad_()
    y = round_to_8bit(x)
    assert torch.equal(y, grid)
    assert torch.autograd.grad(y.sum(), x)[0].eq(1).all()


def test_resize_is_the_identity_at_the_same_size_and_a_box_mean_over_constant_blocks() -> None:
    image = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    assert resize(image, 6, 8) is image
    flat = torch.full((1, 3, 9, 7), 0.25)
    torch.testing.assert_close(resize(flat, 4, 5), torch.full((1, 3, 4, 5), 0.25))


def test_tensor_and_picture_are_exact_inverses_on_8_bit() -> None:
    image = picture("RGB")
    assert np.array_equal(np.asarray(to_pil(to_tensor(image))), np.asarray(image))


def test_16_bit_grey_keeps_its_depth_as_a_tensor() -> None:
    x = to_tensor(Image.fromarray(np.array([[0, 1, 65535]], dtype=np.uint16)))
    torch.testing.assert_close(x[:, 0], torch.tensor([0.0, 1 / 65535, 1.0]).expand(3, 3))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "I;16", "P", "1"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_png_and_tiff_are_lossless_in_every_mode_they_hold(tmp_path: Path, mode: str, suffix: str) -> None:
    image = picture(mode)
    save_photo(image, tmp_path / f"a{suffix}", image)
    again = read_photo(tmp_path / f"a{suffix}")
    assert again.mode == mode
    assert np.array_equal(np.asarray(again), np.asarray(image))
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize(("suffix", "mode"), [(".webp", "RGB"), (".webp", "RGBA"), (".bmp", "RGB"), (".bmp", "L")])
def test_webp_and_bmp_are_lossless_too(tmp_path: Path, suffix: str, mode: str) -> None:
    image = picture(mode)
    save_photo(image, tmp_path / f"a{suffix}", image)
    assert np.array_equal(np.asarray(read_photo(tmp_path / f"a{suffix}")), np.asarray(image))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_orientation_profile_and_xmp_of_a_jpeg_survive(tmp_path: Path, suffix: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture("RGB").save(tmp_path / "a.jpg", exif=exif(), icc_profile=profile, xmp=b"<x:xmpmeta/>", dpi=(300, 300))
    photo = read_photo(tmp_path / "a.jpg")
    save_photo(to_pil(to_tensor(photo)), tmp_path / f"b{suffix}", photo)
    again = read_photo(tmp_path / f"b{suffix}")
    assert again.size == (17, 12)  # stored layout; viewers turn it by the tag
    assert again.getexif()[0x0112] == 6
    assert again.getexif().get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
    assert again.info["icc_profile"] == profile
    assert again.info["xmp"] == b"<x:xmpmeta/>"


def test_tiff_keeps_its_description_and_exif_directory(tmp_path: Path) -> None:
    picture("RGB").save(tmp_path / "a.tif", exif=exif(), compression="raw")
    photo = read_photo(tmp_path / "a.tif")
    assert photo.size == (12, 17)  # Pillow applies TIFF's orientation itself
    save_photo(to_pil(to_tensor(photo)), tmp_path / "b.tif", photo)
    again = read_photo(tmp_path / "b.tif")
    assert np.array_equal(np.asarray(again), np.asarray(photo))
    assert again.getexif()[0x010F] == "ACME"
    assert again.getexif().get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"


def test_png_texts_survive(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("Author", "Zoë")
    picture("L").save(tmp_path / "a.png", pnginfo=texts)
    photo = read_photo(tmp_path / "a.png")
    save_photo(photo.point(lambda v: v), tmp_path / "b.png", photo)
    assert read_photo(tmp_path / "b.png").info["Author"] == "Zoë"


def test_the_thumbnail_of_the_unprotected_photo_does_not_survive_and_the_rest_of_exif_does(tmp_path: Path) -> None:
    secret = b"\xff\xd8 the clean face \xff\xd9"
    data = exif(secret)
    assert secret in data
    picture("RGB").save(tmp_path / "a.jpg", exif=data)
    photo = read_photo(tmp_path / "a.jpg")
    save_photo(to_pil(to_tensor(photo)), tmp_path / "b.png", photo)
    written = (tmp_path / "b.png").read_bytes()
    assert b"the clean face" not in written
    assert read_photo(tmp_path / "b.png").getexif()[0x010F] == "ACME"
    kept = without_thumbnail(data)
    assert len(kept) == len(data)
    assert without_thumbnail(b"Exif\0\0II*\0") == b"Exif\0\0II*\0"  # malformed: as it was


def test_a_print_profile_is_not_put_on_an_rgb_picture(tmp_path: Path) -> None:
    photo = picture("RGB")
    photo.info["icc_profile"] = bytes(16) + b"CMYK" + bytes(108)
    save_photo(photo, tmp_path / "a.png", photo)
    assert "icc_profile" not in read_photo(tmp_path / "a.png").info


def test_jpeg_uses_the_tables_of_its_source_without_subsampling(tmp_path: Path) -> None:
    picture("RGB").save(tmp_path / "a.jpg", quality=37)
    photo = read_photo(tmp_path / "a.jpg")
    save_photo(to_pil(to_tensor(photo)), tmp_path / "b.jpg", photo)
    with Image.open(tmp_path / "a.jpg") as a, Image.open(tmp_path / "b.jpg") as b:
        assert a.quantization == b.quantization  # type: ignore[attr-defined]
        assert [layer[1:3] for layer in b.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(UsageError, match="cannot write"):
        save_photo(picture("CMYK"), tmp_path / "a.png", picture("RGB"))
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_text_truncated_and_animated_files_are_refused_with_their_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.png.*no such file"):
        read_photo(tmp_path / "none.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(UsageError, match=r"text\.jpg.*not a picture"):
        read_photo(tmp_path / "text.jpg")
    for format in ("PNG", "JPEG", "WEBP", "TIFF", "BMP"):
        whole = io.BytesIO()
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, format)
        cut = tmp_path / f"cut.{format.lower()}"
        cut.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        with pytest.raises(UsageError, match=r"cannot read .*cut"):
            read_photo(cut)
    frames = [picture("RGB"), picture("RGB").transpose(Image.Transpose.ROTATE_180)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(UsageError, match=r"film\.gif: 2 frames"):
        read_photo(tmp_path / "film.gif")


def test_a_phone_photo_with_a_second_picture_behind_it_is_one_photo(tmp_path: Path) -> None:
    first, second = picture("RGB"), picture("L").convert("RGB")
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    photo = read_photo(tmp_path / "a.jpg")
    assert (photo.format, photo.size) == ("MPO", (17, 12))


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture("RGB").save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 204 pixels: more than twice the limit
    with pytest.raises(UsageError, match=r"a\.png: more than .* scale it down"):
        read_photo(tmp_path / "a.png")


def test_16_bit_colour_is_marked_as_reduced(tmp_path: Path) -> None:
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = b"\0" + struct.pack(">3H", 65535, 32768, 0)
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    photo = read_photo(tmp_path / "a.png")
    assert photo.mode == "RGB"
    assert photo.getpixel((0, 0)) == (255, 128, 0)
    assert photo.info["reduced_from_bits"] == 16
