"""Photo → protected photo: generator, perturbation spaces and budget in one module, for training and for users alike.

Nothing here imports diffusers, transformers or lightning: protecting a photo must start fast on a laptop.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from anti_i2v import generators
from anti_i2v.atomic import write_folder
from anti_i2v.budget import check_epsilon, fit_to_budget, per_photo, whole_steps
from anti_i2v.errors import UsageError
from anti_i2v.generators.base import Generator, make_spaces
from anti_i2v.generators.folder import DEFAULT_GENERATOR, FORMAT, REMEDY, describe
from anti_i2v.generators.hub import push, resolve
from anti_i2v.imaging.tensors import from_bytes, resize
from anti_i2v.inference import blocks, planes
from anti_i2v.spaces import Space

__all__ = ["DEFAULT_GENERATOR", "Protector"]

# Pixels done at once when a photo is protected: the conversions need some twenty copies, best within the cache; a GPU waits for calls.
STRIP, GPU_STRIP = 2**17, 2**20


class Protector(nn.Module):
    """Protects photos in one forward pass.

    Args:
        generator: The network; it may be training.
        epsilon: Budget when a call gives none, in 1/255 steps.

    Raises:
        UsageError: Epsilon outside 0–32.
    """

    # Of the folder that it was loaded from.
    card: str | None = None
    entries: Mapping[str, object] = MappingProxyType({})

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

        * RGB, L: as they are; grey stays grey, also where it is stored as RGB (the mean residual over the channels). Alpha
          (RGBA, LA) is untouched.
        * CMYK: C, M and Y move by at most epsilon and K not at all, so RGB moves by no more.
        * I;16 (16-bit grey): whole 8-bit steps of 257 are added; the low byte stays where nothing clips.
        * P becomes RGB (RGBA with transparency), 1 becomes L, colour-keyed RGB and L become RGBA and LA: the palette
          or key cannot hold a protected photo. Other modes become RGB if Pillow converts them.

        Args:
            photo: Any size from 1 × 1; its colours are seen by its ICC profile, or as sRGB without one.
            epsilon: Budget in 1/255 steps; the protector's own by default. 0 gives the photo back.

        Returns:
            A new picture; `photo` is unchanged.

        Raises:
            UsageError: Epsilon outside 0–32, a mode without a defined range, or a generator that yields no numbers.
        """
        strength = check_epsilon(self.epsilon if epsilon is None else epsilon)
        return planes.protected(photo, lambda colour, stored: self.steps(colour, stored, strength))

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
        rows = max(1, (STRIP if device.type == "cpu" else GPU_STRIP) // width)
        for top in range(0, height, rows):
            strip = slice(top, top + rows)
            residual = self.express(from_bytes(view[strip], device), parameters, budget, top, height)
            if target.shape[2] == 1:
                residual = residual.mean(1, keepdim=True)
            steps[strip] = whole_steps(target[strip].to(device).permute(2, 0, 1)[None], residual, budget)[0].permute(1, 2, 0)
        return steps.numpy()

    def _propose_for(self, view: Tensor, epsilon: Tensor) -> dict[str, Tensor]:
        """`consider` for one (H, W, 3) picture of bytes, checked to be numbers."""
        size = self.generator.working_size
        # Channel by channel: a photo of 12 megapixels takes 144 MB as floats.
        small = torch.cat([resize(from_bytes(view[..., c : c + 1], epsilon.device), size, size) for c in range(3)], dim=1)
        parameters = self.consider(small, epsilon)
        if not all(bool(torch.isfinite(values).all()) for values in parameters.values()):
            raise UsageError("the generator yields values that are not finite; its weights are damaged, get them again")
        return parameters

    def consider(self, image: Tensor, epsilon: Tensor) -> dict[str, Tensor]:
        """`propose` in evaluation mode, for photos that get the same whatever else the machine does."""
        training, threads = self.training, torch.get_num_threads()
        self.eval()
        torch.set_num_threads(1)  # several would divide the sums of a convolution between them, by how many there are
        try:
            return self.propose(image, epsilon)
        finally:
            torch.set_num_threads(threads)
            self.train(training)

    @staticmethod
    def from_pretrained(source: str | Path = DEFAULT_GENERATOR, revision: str | None = None) -> Protector:
        """Load a generator folder: a path, the name of one that ships, or a hub id. Nothing is unpickled.

        Args:
            source: See `hub.resolve`; only a hub id (`owner/name`, `owner/name@revision`) makes it use the network.
            revision: Branch, tag or commit of a hub id.

        Raises:
            UsageError: No such folder, or its config.json or model.safetensors is missing, foreign or damaged.
        """
        folder = resolve(source, revision)
        described, weights = describe(folder), folder / "model.safetensors"
        if not weights.is_file():
            raise UsageError(f"no {weights.name} in {folder}; {REMEDY}")
        if described.name not in generators.__all__ or described.name == "Generator":
            known = ", ".join(n for n in generators.__all__ if n != "Generator")
            raise UsageError(f"{folder} asks for the generator class {described.name!r}; known: {known}")
        try:
            # The random weights are overwritten at once; drawing them must not disturb the caller's seed.
            with torch.random.fork_rng(devices=[]):
                generator: Generator = getattr(generators, described.name)(**described.arguments)
            generator.load_state_dict(load_file(weights))
        except (SafetensorError, RuntimeError, TypeError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"cannot load {weights}: {reason}; {REMEDY}") from None
        protector = Protector(generator, described.epsilon).eval()
        protector.card, protector.entries = _told(folder)
        return protector

    def save_pretrained(self, folder: str | Path, card: str | None = None, extra: Mapping[str, object] | None = None) -> None:
        """Write a generator folder; it appears complete or not at all.

        Args:
            folder: Where; an older generator folder there is replaced.
            card: README.md: surrogates, objectives, budget, metrics with seeds and commit, limits. By default that of the folder
                which this was loaded from.
            extra: More entries for config.json, plain types; by default those of that folder.

        Raises:
            UsageError: Something other than a generator folder is there, it cannot be written, or there is no card.
        """
        card, extra = self.card if card is None else card, self.entries if extra is None else extra
        if card is None:
            raise UsageError("this protector was loaded from no folder with a card; give card=, the text of its README.md")
        own = {"format": FORMAT, "class": type(self.generator).__name__, "generator": self.generator.config(), "epsilon": self.epsilon}
        weights = {key: value.detach().cpu().contiguous() for key, value in self.generator.state_dict().items()}
        with write_folder(folder) as part:
            (part / "config.json").write_text(json.dumps({**extra, **own}, indent=2) + "\n", "utf-8")
            (part / "model.safetensors").write_bytes(save(weights))  # `save_file` would let nobody else read it
            (part / "README.md").write_text(card, "utf-8")

    def push_to_hub(
        self, repo_id: str, card: str | None = None, *, private: bool | None = None, token: str | None = None, branch: str | None = None
    ) -> str:
        """Send this protector to the Hugging Face hub as a generator folder with `model.onnx`; returns the commit's address.

        Arguments are those of `hub.push`, and the card as in `save_pretrained`, with the hub's metadata before it if it has none.

        Raises:
            UsageError: There is no card, anti-i2v[onnx] is not installed, or the hub did not take it.
        """
        from anti_i2v.generators.onnx import export_onnx

        with tempfile.TemporaryDirectory() as part:
            folder = Path(part) / "generator"
            self.save_pretrained(folder, card)
            export_onnx(copy.deepcopy(self.generator).cpu(), folder)
            return push(folder, repo_id, private=private, token=token, branch=branch)


def _told(folder: Path) -> tuple[str | None, dict[str, object]]:
    """The card of a generator folder, if it has one, and its configuration, which is known to be fine."""
    card = folder / "README.md"
    return card.read_text("utf-8", "replace") if card.is_file() else None, json.loads((folder / "config.json").read_text("utf-8"))
