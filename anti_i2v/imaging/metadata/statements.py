"""The two statements that a protected photo may carry, in XMP: that it is protected, and that nobody may train AI on it."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from anti_i2v.imaging.metadata.xmp import Description, UnreadableError, read_properties

NAMESPACE = "urn:anti-i2v:protection:1.0/"
HEAD, TAIL, LENGTH = 2**20, 2**18, 2**12  # bytes of a file that are searched for a mark, and of a mark
SOURCE = re.compile(rb":Source(?:\s*=\s*[\"']|>)([0-9a-f]{32})[\"'<]")
PLUS = "http://ns.useplus.org/ldf/xmp/1.0/"
VOCABULARY = "http://ns.useplus.org/ldf/vocab/DMI-"
PROHIBITED = VOCABULARY + "PROHIBITED-AIMLTRAINING"
# Statements that a photo may bear already and that forbid as much or more, or name conditions of their own; they stay.
EQUALLY_STRICT = {
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
        source: Digest of the file that it was made of; see `keys.source_digest`.
    """

    generator: str
    epsilon: float
    weights: str = ""
    version: str = ""
    source: str = ""

    def description(self) -> Description:
        """The mark as properties of its own namespace."""
        texts = {"Generator": self.generator, "Epsilon": f"{self.epsilon:g}", "Weights": self.weights, "Version": self.version}
        texts["Source"] = self.source
        return Description("antii2v", NAMESPACE, {name: text for name, text in texts.items() if text})


def xmp_packet(image: Image.Image) -> bytes | None:
    """The XMP packet that a picture was read with."""
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return packet.encode("utf-8", "replace") if isinstance(packet, str) else packet if isinstance(packet, bytes) else None


def read_mark(image: Image.Image) -> Mark | None:
    """The mark of a photo that was protected before; None if there is none, or it cannot be read."""
    packet = xmp_packet(image)
    if not packet or NAMESPACE.encode() not in packet:
        return None
    try:
        texts = {name: text for (namespace, name), text in read_properties(packet).items() if namespace == NAMESPACE}
        more = (texts.get(name, "") for name in ("Weights", "Version", "Source"))
        mark = Mark(texts["Generator"], float(texts["Epsilon"]), *more)
    except (UnreadableError, KeyError, ValueError):
        return None
    return mark if math.isfinite(mark.epsilon) else None


def find_source(file: BinaryIO) -> str:
    """The digest of its source in the mark of a file; empty if there is none. Nothing is decoded, and at most 1.3 MB are read.

    XMP lies in the head of a JPEG and a PNG and at the end of the others, in plain letters.
    """
    for at in (0, max(HEAD, file.seek(0, io.SEEK_END) - TAIL)):
        file.seek(at)
        content = file.read(HEAD)
        begin = content.find(NAMESPACE.encode())
        if begin >= 0 and (match := SOURCE.search(content, begin, begin + LENGTH)):
            return match[1].decode()
    return ""


def no_training_statement(packet: bytes | None) -> Description | None:
    """The statement that AI and machine learning must not be trained on a photo; None if it says so already.

    The property "Data Mining" with the PLUS Coalition's vocabulary, as the IPTC Photo Metadata Standard 2023.1 adopted it
    (https://iptc.org/news/exclude-images-from-generative-ai-iptc-photo-metadata-standard-2023-1/).

    Raises:
        UnreadableError: It is no packet that can be read.
    """
    if packet and read_properties(packet).get((PLUS, "DataMining")) in EQUALLY_STRICT:
        return None
    return Description("plus", PLUS, {"DataMining": PROHIBITED})
