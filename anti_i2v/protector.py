"""Photo → protected photo: generator, perturbation spaces and budget in one module, for training and for users alike.

Nothing here imports diffusers, transformers or lightning: protecting a photo must start fast on a laptop.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anti_i2v import blocks, generators, planes
from anti_i2v.budget import check_epsilon, fit_to_budget, per_photo, whole_steps
from anti_i2v.errors import UsageError
from anti_i2v.generators.base import Generator, make_spaces
from anti_i2v.images import resize
from anti_i2v.resources import find_folder
from anti_i2v.spaces import Space

DEFAULT_GENERATOR = "portrait-generator"
FORMAT = 1
# Pixels done at once when a photo is protected: the conversions need some twenty copies, best within the cache.
STRIP = 2**17


class Protector(nn.Module):
    """Protects photos in one forward pass.

    Args:
        generator: The network; it may be training.
        epsilon: Budget when a call gives none, in 1/255 steps.

    Raises:
        UsageError: Epsilon outside 0–32.
    """

    def __init__(self, generator: Generator, epsilon: float = 8.0) -> None:
        super().__init__()
        self.generator = generator
        self.epsilon = check_epsilon(epsilon)
        self.spaces = nn.ModuleDict(make_spaces())

    def propose(self, image: Tensor, epsilon: Tensor) -> dict[str, Tensor]:
        """What the generator says about photos of any size: (B, 3, H, W) in [0, 1] and (B,) → its parameters."""
        size = self.generator.working_size
        parameters: dict[str, Tensor] = self.generator(resize(image.float(), size, size), epsilon)
        return parameters

    def express(self, image: Tensor, parameters: Mapping[str, Tensor], epsilon: Tensor, top: int = 0, height: int | None = None) -> Tensor:
        """The sum of the spaces' residuals, before the budget; arguments and result as `Space.residual`."""
        total = torch.zeros_like(image, dtype=torch.float32)
        for name, values in parameters.items():
            space = self.spaces.get_submodule(name)
            total = total + cast(Space, space).residual(image, values, epsilon, top, height)
        return total

    def forward(self, image: Tensor, epsilon: float | Tensor | None = None) -> Tensor:
        """Protect a batch, differentiably.

        Args:
            image: (B, 3, H, W) in [0, 1], sRGB, any size.
            epsilon: Budget in 1/255 steps, one or (B,); the protector's own by default.

        Returns:
            Same shape, float32, on the 8-bit grid; see `fit_to_budget` for what is guaranteed.

        Raises:
            UsageError: Not such a batch, or epsilon outside 0–32.
        """
        if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
            raise UsageError(f"photos must be floats of shape (B, 3, H, W); got {image.dtype} {tuple(image.shape)}")
        budget = per_photo(self.epsilon if epsilon is None else epsilon, image)
        return fit_to_budget(image, self.express(image, self.propose(image, budget), budget), budget)

    def residual(self, image: Tensor, epsilon: float | Tensor | None = None) -> Tensor:
        """Protected − photo, within the budget; arguments as `forward`. Returns (B, 3, H, W), [0, 1] units."""
        protected: Tensor = self(image, epsilon)
        return protected - image

    @torch.no_grad()
    def protect(self, photo: Image.Image, epsilon: float | None = None) -> Image.Image:
        """Protect one photo: PIL in, PIL out, with the same size, mode, orientation and metadata.

        The budget holds in the values that the file stores. Of a side of 960 pixels or more, blocks of pixels are seen as their
        mean and move together; see `blocks`. Modes:

        * RGB, L: as they are; grey stays grey (the mean residual over the channels). Alpha (RGBA, LA) is untouched.
        * CMYK: C, M and Y move by at most epsilon and K not at all, so RGB moves by no more.
        * I;16 (16-bit grey): whole 8-bit steps of 257 are added; the low byte stays where nothing clips.
        * P becomes RGB (RGBA with transparency), 1 becomes L, colour-keyed RGB and L become RGBA and LA: the palette
          or key cannot hold a protected photo. Other modes become RGB if Pillow converts them.

        Args:
            photo: Any size from 1 × 1; colours are taken as sRGB whatever the ICC profile says.
            epsilon: Budget in 1/255 steps; the protector's own by default. 0 gives the photo back.

        Returns:
            A new picture; `photo` is unchanged.

        Raises:
            UsageError: Epsilon outside 0–32, a mode without a defined range, or a generator that yields no numbers.
        """
        strength = check_epsilon(self.epsilon if epsilon is None else epsilon)
        split = planes.split(photo, blocks.factor(photo.size))
        # The pixels of a phone's photo often lie on their side; the generator learned from upright people.
        return split.join(split.as_stored(self.steps(split.upright(split.colour), split.upright(split.stored), strength)))

    @torch.no_grad()
    def steps(self, colour: planes.Pixels, stored: planes.Pixels, epsilon: float) -> blocks.Steps:
        """What the bytes of a photo move by.

        Args:
            colour: (H, W, 3) sRGB, the right way up.
            stored: (H, W, 3) or (H, W, 1), what the file holds of it; one plane takes the mean residual over the channels.
            epsilon: Budget in 1/255 steps.

        Returns:
            Shape of `stored`, whole numbers from −⌊ε⌋ to ⌊ε⌋.
        """
        device = next(self.parameters()).device
        view, target = torch.from_numpy(colour), torch.from_numpy(stored)
        budget = per_photo(epsilon, view[None]).to(device)
        parameters = self._propose_for(view, budget)
        height, width = view.shape[:2]
        steps = torch.empty(target.shape, dtype=torch.int8)
        rows = max(1, STRIP // width)
        for top in range(0, height, rows):
            strip = slice(top, top + rows)
            residual = self.express(_batch(view[strip], device), parameters, budget, top, height)
            if target.shape[2] == 1:
                residual = residual.mean(1, keepdim=True)
            steps[strip] = whole_steps(target[strip].to(device).permute(2, 0, 1)[None], residual, budget)[0].permute(1, 2, 0)
        return steps.numpy()

    def _propose_for(self, view: Tensor, epsilon: Tensor) -> dict[str, Tensor]:
        """`propose` in evaluation mode for one (H, W, 3) picture of bytes, checked to be numbers."""
        size = self.generator.working_size
        # Channel by channel: a photo of 12 megapixels takes 144 MB as floats.
        small = torch.cat([resize(_batch(view[..., c : c + 1], epsilon.device), size, size) for c in range(3)], dim=1)
        training = self.training
        self.eval()
        try:
            parameters = self.propose(small, epsilon)
        finally:
            self.train(training)
        if not all(bool(torch.isfinite(values).all()) for values in parameters.values()):
            raise UsageError("the generator yields values that are not finite; its weights are damaged, get them again")
        return parameters

    @staticmethod
    def from_pretrained(source: str | Path = DEFAULT_GENERATOR) -> Protector:
        """Load a generator folder: a path, or the name of one that ships. Nothing is unpickled.

        Raises:
            UsageError: No such folder, or its config.json or model.safetensors is missing, foreign or damaged.
        """
        folder = find_folder(source)
        remedy = "give a folder that `anti-i2v export` wrote"
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise UsageError(f"no {name} in {folder}; {remedy}")
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            found, name = config["format"], config["class"]
            arguments, epsilon = dict(config["generator"]), float(config["epsilon"])
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{folder / 'config.json'} does not describe a generator ({error}); {remedy}") from None
        if found != FORMAT:
            raise UsageError(f"{folder} has format {found!r} and this version reads {FORMAT}; update anti-i2v")
        if name not in generators.__all__ or name == "Generator":
            known = ", ".join(n for n in generators.__all__ if n != "Generator")
            raise UsageError(f"{folder} asks for the generator class {name!r}; known: {known}")
        try:
            # The random weights are overwritten at once; drawing them must not disturb the caller's seed.
            with torch.random.fork_rng(devices=[]):
                generator: Generator = getattr(generators, name)(**arguments)
            generator.load_state_dict(load_file(folder / "model.safetensors"))
        except (SafetensorError, RuntimeError, TypeError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"cannot load {folder / 'model.safetensors'}: {reason}; {remedy}") from None
        return Protector(generator, epsilon).eval()

    def save_pretrained(self, folder: str | Path, card: str, extra: Mapping[str, object] | None = None) -> None:
        """Write a generator folder; it appears complete or not at all.

        Args:
            folder: Where; an older generator folder there is replaced.
            card: README.md: surrogates, objectives, budget, metrics with seeds and commit, limits.
            extra: More entries for config.json, plain types.

        Raises:
            UsageError: Something other than a generator folder is there, or it cannot be written.
        """
        target = Path(folder).expanduser().absolute()
        if target.exists() and not (target / "config.json").is_file() and (target.is_file() or any(target.iterdir())):
            raise UsageError(f"{target} exists and is not a generator folder; choose another or remove it")
        own = {
            "format": FORMAT,
            "class": type(self.generator).__name__,
            "generator": self.generator.config(),
            "epsilon": self.epsilon,
        }
        weights = {key: value.detach().cpu().contiguous() for key, value in self.generator.state_dict().items()}
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        except OSError as error:
            raise UsageError(f"cannot write {target}: {error.strerror}; choose another folder") from None
        try:
            part.chmod(0o755)  # mkdtemp keeps others out
            (part / "config.json").write_text(json.dumps({**(extra or {}), **own}, indent=2) + "\n", "utf-8")
            save_file(weights, part / "model.safetensors")
            (part / "README.md").write_text(card, "utf-8")
            _replace(part, target)
        except OSError as error:
            raise UsageError(f"cannot write {target}: {error.strerror}; choose another folder") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _batch(pixels: Tensor, device: torch.device) -> Tensor:
    """(H, W, C) bytes → (1, C, H, W) float32 in [0, 1]."""
    return pixels.to(device).permute(2, 0, 1)[None].float().contiguous().div_(255)


def _replace(new: Path, target: Path) -> None:
    """Put the folder `new` at `target`; a folder that is there steps aside first, since no rename replaces a full one."""
    old = new.with_suffix(".old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
