"""Photo → protected photo: generator, perturbation spaces and budget in one object, for training and for users alike.

A protector that is loaded with onnx protects photos without torch. What is done to tensors needs torch, and loads it on first use.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from anti_i2v.atomic import write_folder
from anti_i2v.budget import check_epsilon, fit_to_budget, per_photo
from anti_i2v.errors import UsageError, needs_train
from anti_i2v.generators.folder import DEFAULT_GENERATOR, FORMAT, WEIGHTS, GeneratorFolder
from anti_i2v.generators.hub import open_folder, push
from anti_i2v.inference import Backend, load_backend, protect_photo
from anti_i2v.keys import load_secret

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from anti_i2v.generators.base import Generator
    from anti_i2v.inference.batches import Windows
    from anti_i2v.inference.windows import Window

__all__ = ["DEFAULT_GENERATOR", "Protector"]


class Protector:
    """Protects photos in one forward pass.

    Args:
        generator: The network; it may be training, and what it learns is seen at once. Tensors pass through it in the mode that it is in,
            photos in evaluation mode. None: that of `folder`, loaded when it is needed.
        epsilon: Budget when a call gives none, in 1/255 steps.
        folder: Where the generator came from.
        backend: What runs the generator for photos; by default the network itself, in torch.

    Raises:
        UsageError: Epsilon outside 0–32.
    """

    def __init__(
        self, generator: Generator | None, epsilon: float = 8.0, *, folder: GeneratorFolder | None = None, backend: Backend | None = None
    ) -> None:
        self.epsilon = check_epsilon(epsilon)
        self.folder = folder
        self._generator, self._backend = generator, backend

    @property
    def generator(self) -> Generator:
        """The network in torch; that of a protector loaded with onnx is loaded now, and what it learns does not reach `protect`.

        Raises:
            UsageError: torch is not installed, or the weights cannot be used.
        """
        if self._generator is None:
            with needs_train("protecting tensors"):
                from anti_i2v.inference.torch_backend import load_generator
            self._generator = load_generator(cast(GeneratorFolder, self.folder))
        return self._generator

    @property
    def backend(self) -> Backend:
        """What runs the generator for photos."""
        if self._backend is None:
            from anti_i2v.inference.torch_backend import TorchBackend

            self._backend = TorchBackend(self.generator)
        return self._backend

    def to(self, device: str | torch.device) -> Protector:
        """Move the network to a device, where from now on torch runs it, also for photos. Returns this protector."""
        self.generator.to(device)
        self._backend = None
        return self

    def find(self, image: Tensor) -> list[list[Window]]:
        """The windows around the faces of each photo of a batch (B, 3, H, W) in [0, 1], in pixels."""
        from anti_i2v.inference.batches import find_people

        return find_people(self.generator.salience, image)

    def propose(self, image: Tensor, windows: Windows, epsilon: Tensor, key: Tensor) -> dict[str, Tensor]:
        """The generator's parameters for the N windows of a batch: see `Generator.forward`; epsilon is (B,), the key (B, 32)."""
        from anti_i2v.inference.batches import cut, photo_of

        photo = photo_of(windows, image.device)
        parameters: dict[str, Tensor] = self.generator(cut(image.float(), windows, self.generator.working_size), epsilon[photo], key[photo])
        return parameters

    def __call__(
        self, image: Tensor, epsilon: float | Tensor | None = None, key: Tensor | None = None, windows: Windows | None = None
    ) -> Tensor:
        """Protect a batch, differentiably.

        Args:
            image: (B, 3, H, W) in [0, 1], sRGB, any size.
            epsilon: Budget in 1/255 steps, one or (B,); the protector's own by default.
            key: (B, 32) about standard normal; by default, each photo's under the public secret (`--key none`).
            windows: For each photo where its faces are; by default they are found.

        Returns:
            Same shape, float32, on the 8-bit grid; see `fit_to_budget` for what is guaranteed.

        Raises:
            UsageError: Not such a batch, epsilon outside 0–32, or torch is not installed.
        """
        self.generator  # noqa: B018  # says what to install where torch is missing
        if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
            raise UsageError(f"photos must be floats of shape (B, 3, H, W); got {image.dtype} {tuple(image.shape)}")
        from anti_i2v.inference.batches import lay, public_keys

        budget = per_photo(self.epsilon if epsilon is None else epsilon, image)
        windows = self.find(image) if windows is None else windows
        if not any(windows):  # nobody is in these photos
            return fit_to_budget(image, image.new_zeros(image.shape, dtype=image.dtype), budget)
        parameters = self.propose(image, windows, budget, public_keys(image) if key is None else key)
        return fit_to_budget(image, lay(image, windows, parameters, budget), budget)

    def residual(self, image: Tensor, epsilon: float | Tensor | None = None, key: Tensor | None = None) -> Tensor:
        """Protected − photo, within the budget; arguments as `__call__`. Returns (B, 3, H, W), [0, 1] units."""
        return self(image, epsilon, key) - image

    def protect(self, photo: Image.Image, epsilon: float | None = None, key: str | Path | None = None) -> Image.Image:
        """Protect one photo: PIL in, PIL out, with the same size, mode, orientation and metadata.

        It changes where people are, and nowhere else. The budget holds in the values that the file stores. Where people are large, blocks
        of pixels are seen as their mean and change together; see `blocks`. Modes:

        * RGB, L: as they are; grey stays grey, also where it is stored as RGB (the mean residual over the channels). Alpha
          (RGBA, LA) is untouched.
        * CMYK: C, M and Y change by at most epsilon and K not at all, so RGB changes by no more.
        * I;16 (16-bit grey): whole 8-bit steps of 257 are added; the low byte stays where nothing clips.
        * P becomes RGB (RGBA with transparency), 1 becomes L, colour-keyed RGB and L become RGBA and LA: the palette
          or key cannot hold a protected photo. Other modes become RGB if Pillow converts them.

        Args:
            photo: Any size from 1 × 1; its colours are seen by its ICC profile, or as sRGB without one.
            epsilon: Budget in 1/255 steps; the protector's own by default. 0 gives the photo back.
            key: A file with your secret, `none` for the public one, or None for your own in your configuration folder; see `keys`.

        Returns:
            A new picture; `photo` is unchanged.

        Raises:
            UsageError: Epsilon outside 0–32, a mode without a defined range, a key that cannot be used, or a generator whose values are not
                finite.
        """
        return protect_photo(self.backend, photo, self.epsilon if epsilon is None else epsilon, load_secret(key))

    @staticmethod
    def from_pretrained(source: str | Path = DEFAULT_GENERATOR, revision: str | None = None, backend: str = "auto") -> Protector:
        """Load a generator folder: a path, the name of one that ships, or a hub id. Nothing is unpickled.

        Args:
            source: See `hub.open_folder`; only a hub id (`owner/name`, `owner/name@revision`) makes it use the network.
            revision: Branch, tag or commit of a hub id.
            backend: What runs the generator for photos; see `inference.load_backend`. Tensors always need torch.

        Raises:
            UsageError: No such folder, what it holds is missing, foreign or damaged, or the backend is not installed.
        """
        folder = open_folder(source, revision)
        loaded = load_backend(folder, backend)
        return Protector(getattr(loaded, "generator", None), folder.epsilon, folder=folder, backend=loaded)

    def save_pretrained(self, folder: str | Path, card: str | None = None, extra: Mapping[str, object] | None = None) -> None:
        """Write a generator folder; it appears complete or not at all. Weights are rounded to half precision, and run in fp32 when loaded.

        Args:
            folder: Where; an older generator folder there is replaced.
            card: README.md: surrogates, objectives, budget, metrics with seeds and commit, limits. By default that of the folder
                which this was loaded from.
            extra: More entries for config.json, plain types; by default those of that folder.

        Raises:
            UsageError: Something other than a generator folder is there, it cannot be written, or there is no card.
        """
        generator, origin = self.generator, self.folder
        from safetensors.torch import save

        from anti_i2v.generators.half import as_stored

        card = origin.card if card is None and origin is not None else card
        extra = origin.entries if extra is None and origin is not None else extra or {}
        if card is None:
            raise UsageError("this protector was loaded from no folder with a card; give card=, the text of its README.md")
        own = {"format": FORMAT, "class": type(generator).__name__, "generator": generator.config(), "epsilon": self.epsilon}
        weights = {key: as_stored(value) for key, value in generator.state_dict().items()}
        with write_folder(folder) as part:
            (part / "config.json").write_text(json.dumps({**extra, **own}, indent=2) + "\n", "utf-8")
            (part / WEIGHTS).write_bytes(save(weights))  # `save_file` would make it readable for its owner only
            (part / "README.md").write_text(card, "utf-8")

    def push_to_hub(
        self, repo_id: str, card: str | None = None, *, private: bool | None = None, token: str | None = None, branch: str | None = None
    ) -> str:
        """Send this protector to the Hugging Face hub as a generator folder with `model.onnx`; returns the commit's address.

        Arguments are those of `hub.push`, and the card as in `save_pretrained`, with the hub's metadata before it if it has none.

        Raises:
            UsageError: There is no card, anti-i2v[train] is not installed, or the hub did not take it.
        """
        generator = copy.deepcopy(self.generator).cpu()
        from anti_i2v.generators.onnx import export_onnx

        with tempfile.TemporaryDirectory() as part:
            folder = Path(part) / "generator"
            self.save_pretrained(folder, card)
            export_onnx(generator, folder)
            return push(folder, repo_id, private=private, token=token, branch=branch)
