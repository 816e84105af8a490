"""Per-photo methods by name, each in a file of its own, all in the same loop and within the same true budget.

`METHODS[name](surrogate)` is the method against a surrogate; those of `LAYER_METHODS` take other layers of its denoiser as second argument.
"""

from collections.abc import Callable, Mapping

from anti_i2v.attacks.advdm import advdm
from anti_i2v.attacks.anti_i2v import anti_i2v
from anti_i2v.attacks.base import Method
from anti_i2v.attacks.i2vguard import i2vguard
from anti_i2v.attacks.identity import identity
from anti_i2v.attacks.mist import mist
from anti_i2v.attacks.photoguard import photoguard
from anti_i2v.attacks.sds import sds_down, sds_up
from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate

LAYER_METHODS: Mapping[str, Callable[[Surrogate, tuple[str, ...]], Method]] = {"i2vguard": i2vguard, "anti-i2v": anti_i2v}

METHODS: Mapping[str, Callable[[Surrogate], Method]] = {
    "photoguard": photoguard,
    "advdm": advdm,
    "mist": mist,
    "sds+": sds_up,
    "sds-": sds_down,
    "i2vguard": i2vguard,
    "anti-i2v": anti_i2v,
    "identity": identity,
}

NAMES = ("noise", *METHODS)
"""All methods; `noise` is `white_noise` of the RMS of something else, and no descent."""

__all__ = ["LAYER_METHODS", "METHODS", "NAMES", "Method", "named_method"]


def named_method(name: str, surrogate: Surrogate, taps: tuple[str, ...] = ()) -> Method:
    """A method by name.

    Args:
        name: One of `METHODS`.
        surrogate: What is attacked; its own taps are left as they are.
        taps: Layers of the denoiser instead of the method's own.

    Raises:
        UsageError: No such method, or taps for one that chooses no layers, or unknown ones.
    """
    if name not in METHODS:
        raise UsageError(f"no method {name!r}; there are {', '.join(NAMES)}")
    if taps and name not in LAYER_METHODS:
        raise UsageError(f"{name} chooses no layers, so taps {', '.join(taps)} have no place; leave them out")
    return LAYER_METHODS[name](surrogate, taps) if taps else METHODS[name](surrogate)
