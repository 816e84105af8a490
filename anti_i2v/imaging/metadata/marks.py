"""What a protected photo says about itself, in XMP: that it is protected, and that nobody may train on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

from anti_i2v.imaging.metadata.xmp import Description, UnreadableError, values

NAMESPACE = "urn:anti-i2v:protection:1.0/"
PLUS = "http://ns.useplus.org/ldf/xmp/1.0/"
VOCABULARY = "http://ns.useplus.org/ldf/vocab/DMI-"
PROHIBITED = VOCABULARY + "PROHIBITED-AIMLTRAINING"
# Statements that a photo may bear already and that forbid as much or more, or name conditions of their own; they stay.
AS_STRICT = {
    VOCABULARY + "PROHIBITED" + rest
    for rest in ("", "-AIMLTRAINING", "-EXCEPTSEARCHENGINEINDEXING", "-SEECONSTRAINT", "-SEEEMBEDDEDRIGHTSEXPR", "-SEELINKEDRIGHTSEXPR")
}


@dataclass(frozen=True)
class Mark:
    """How a photo was protected.

    Attributes:
        generator: Its name, or the method's.
        epsilon: Budget in 1/255 steps.
        weights: Hash of the generator's weights, in letters and digits.
        version: Of anti-i2v.
    """

    generator: str
    epsilon: float
    weights: str = ""
    version: str = ""

    def description(self) -> Description:
        """The mark as properties of its own namespace."""
        texts = {"Generator": self.generator, "Epsilon": f"{self.epsilon:g}", "Weights": self.weights, "Version": self.version}
        return Description("antii2v", NAMESPACE, {name: text for name, text in texts.items() if text})


def packet(image: Image.Image) -> bytes | None:
    """The XMP packet that a picture was read with."""
    held = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return held.encode("utf-8", "replace") if isinstance(held, str) else held if isinstance(held, bytes) else None


def protected_mark(image: Image.Image) -> Mark | None:
    """The mark of a photo that was protected before; None if there is none, or nobody can read it."""
    held = packet(image)
    if not held or NAMESPACE.encode() not in held:
        return None
    try:
        texts = {name: text for (namespace, name), text in values(held).items() if namespace == NAMESPACE}
        mark = Mark(texts["Generator"], float(texts["Epsilon"]), texts.get("Weights", ""), texts.get("Version", ""))
    except (UnreadableError, KeyError, ValueError):
        return None
    return mark if math.isfinite(mark.epsilon) else None


def no_training(held: bytes | None) -> Description | None:
    """The statement that AI and machine learning must not be trained on a photo; None if it says so already.

    The property "Data Mining" with the PLUS Coalition's vocabulary, as the IPTC Photo Metadata Standard 2023.1 adopted it
    (https://iptc.org/news/exclude-images-from-generative-ai-iptc-photo-metadata-standard-2023-1/).

    Raises:
        UnreadableError: `held` is no packet that can be read.
    """
    if held and values(held).get((PLUS, "DataMining")) in AS_STRICT:
        return None
    return Description("plus", PLUS, {"DataMining": PROHIBITED})
