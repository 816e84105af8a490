"""The backend that training and GPUs use: a generator's network in torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

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

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    @property
    def working_size(self) -> int:
        return self.generator.working_size

    def find(self, copy: Floats) -> Floats:
        with self._alone() as device:
            found: Floats = self.generator.salience(torch.from_numpy(copy[None]).to(device))[0].float().cpu().numpy()
        return found

    def propose(self, window: Floats, epsilon: np.float32, key: Floats) -> dict[str, Floats]:
        return {name: values[0] for name, values in self.propose_batch(window[None], np.array([epsilon]), key[None]).items()}

    def propose_batch(self, windows: Floats, epsilon: Floats, keys: Floats) -> dict[str, Floats]:
        """`propose` for (N, 3, S, S) windows, (N,) epsilons and (N, 32) keys, the same for each whatever else the machine does."""
        with self._alone() as device:
            inputs = (torch.from_numpy(values).to(device) for values in (windows, epsilon, keys))
            return {name: values.float().cpu().numpy() for name, values in self.generator(*inputs).items()}

    @contextmanager
    def _alone(self) -> Iterator[torch.device]:
        """In evaluation mode and in one thread: several would divide the sums of a convolution between them, by how many there are."""
        training, threads = self.generator.training, torch.get_num_threads()
        self.generator.eval()
        torch.set_num_threads(1)
        try:
            with torch.no_grad():
                yield next(self.generator.parameters()).device
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
            generator: Generator = getattr(generators, folder.class_name)(**folder.arguments, salience=None)
        generator.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"cannot load {weights}: {reason}; {REMEDY}") from None
    return generator.eval()
