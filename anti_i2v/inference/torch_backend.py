"""The backend that training and GPUs use: a generator's network in torch."""

from __future__ import annotations

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from anti_i2v import generators
from anti_i2v.errors import UsageError
from anti_i2v.generators.base import Generator
from anti_i2v.generators.folder import REMEDY, WEIGHTS, GeneratorFolder
from anti_i2v.imaging.cielab import Floats


class TorchBackend:
    """Runs a generator in torch, on the device where its weights are, in evaluation mode.

    Args:
        generator: The network; it may be training.
    """

    takes_key = False

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    @property
    def working_size(self) -> int:
        return self.generator.working_size

    def propose(self, photo: Floats, epsilon: np.float32, key: Floats | None = None) -> dict[str, Floats]:
        return {name: values[0] for name, values in self.propose_batch(photo[None], np.array([epsilon])).items()}

    @torch.no_grad()
    def propose_batch(self, photos: Floats, epsilon: Floats) -> dict[str, Floats]:
        """`propose` for (B, 3, S, S) photos and (B,) epsilons, the same for each photo whatever else the machine does."""
        device, training, threads = next(self.generator.parameters()).device, self.generator.training, torch.get_num_threads()
        self.generator.eval()
        torch.set_num_threads(1)  # several would divide the sums of a convolution between them, by how many there are
        try:
            parameters: dict[str, Tensor] = self.generator(torch.from_numpy(photos).to(device), torch.from_numpy(epsilon).to(device))
            return {name: values.float().cpu().numpy() for name, values in parameters.items()}
        finally:
            torch.set_num_threads(threads)
            self.generator.train(training)


def load_generator(folder: GeneratorFolder) -> Generator:
    """The network of a generator folder on the CPU, in evaluation mode. Nothing is unpickled.

    Raises:
        UsageError: `model.safetensors` is missing, damaged or of another network, or the class is unknown.
    """
    weights = folder.path / WEIGHTS
    if not weights.is_file():
        raise UsageError(f"no {weights.name} in {folder.path}; {REMEDY}")
    known = [name for name in generators.__all__ if name != "Generator"]
    if folder.class_name not in known:
        raise UsageError(f"{folder.path} asks for the generator class {folder.class_name!r}; known: {', '.join(known)}")
    try:
        # The random weights are overwritten at once; drawing them must not disturb the caller's seed.
        with torch.random.fork_rng(devices=[]):
            generator: Generator = getattr(generators, folder.class_name)(**folder.arguments)
        generator.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"cannot load {weights}: {reason}; {REMEDY}") from None
    return generator.eval()
