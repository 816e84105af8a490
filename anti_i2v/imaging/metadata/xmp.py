"""XMP packets, edited where they lie: all other bytes stay as they are.

A packet may be hostile XML. It is read by expat with every document type refused, so that no entity is ever expanded, without
recursion, and in UTF-8 only, which is what image files hold (XMP specification, part 3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from xml.parsers import expat

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
MAX_SIZE = 2**22  # bytes; no honest packet is larger
MAX_DEPTH = 100
ESCAPES = str.maketrans({"&": "&amp;", ">": "&gt;", "<": "&lt;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
EMPTY = (
    f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    f'<rdf:RDF xmlns:rdf="{RDF}">\n</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
).encode()

NAME = re.compile(rb"<[^\s/>]+")
ATTRIBUTE = re.compile(rb"\s+(?:([^\s=:/>]+):)?([^\s=/>]+)\s*=\s*(?:\"[^\"]*\"|'[^']*')")
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML 1.0 cannot hold

Predicate = Callable[[str, str], bool]
"""Whether a property, by its namespace and its name, is to be removed."""


class UnreadableError(ValueError):
    """Not a packet that can be edited; it may be left as it is."""


@dataclass(frozen=True)
class Description:
    """Properties of one namespace to add, as plain texts."""

    prefix: str
    namespace: str
    values: Mapping[str, str]


class _Reader:
    """One walk through a packet: where unwanted properties lie, where new ones go, and the texts of all."""

    def __init__(self, packet: bytes, unwanted: Predicate) -> None:
        self.packet, self.unwanted = packet, unwanted
        self.values: dict[tuple[str, str], str] = {}
        self.cuts: list[tuple[int, int]] = []
        self.rdf: tuple[int, int, int] | None = None  # start and end of the opening tag, start of the closing one
        self.about = ""
        self.open: list[tuple[int, int, str]] = []  # start and end of the opening tag, what it refers to
        self.prefixes: dict[str, list[str]] = {}
        self.text = ""
        parser = self.parser = expat.ParserCreate("utf-8", " ")
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartNamespaceDeclHandler = lambda prefix, uri: self.prefixes.setdefault(prefix or "", []).append(uri or "")
        parser.EndNamespaceDeclHandler = lambda prefix: self.prefixes[prefix or ""].pop()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        if len(packet) > MAX_SIZE:
            raise UnreadableError("too long")
        try:
            parser.Parse(packet, True)
        except (expat.ExpatError, ValueError) as error:
            raise UnreadableError(str(error)) from None

    def _refuse(self, *_: object) -> None:
        raise UnreadableError("it declares a document type")

    def _start(self, name: str, attributes: list[str]) -> None:
        start = self.parser.CurrentByteIndex
        tag = NAME.match(self.packet, start)
        if tag is None or len(self.open) >= MAX_DEPTH:
            raise UnreadableError("too deep")
        attribute_values = dict(zip(attributes[::2], attributes[1::2], strict=True))
        self.text = ""
        self.about = self.about or attribute_values.get(f"{RDF} about", "")
        for key, value in attribute_values.items():
            self.values.setdefault(_parts(key), value)
        cuts, at = [], tag.end()
        while match := ATTRIBUTE.match(self.packet, at):
            at = match.end()
            uris = self.prefixes.get(match[1].decode()) if match[1] else None
            if uris and self.unwanted(uris[-1], match[2].decode()):
                cuts.append(match.span())
        left = len(attribute_values) - len(cuts) - (f"{RDF} about" in attribute_values)
        # Blanks at most lie before the end. No pattern takes in the whole tag: it would try every blank as the beginning of an attribute.
        end = self.packet.index(b">", at) + 1
        self.open.append((start, end, attribute_values.get(f"{RDF} resource", "")))
        if cuts and not left and name == f"{RDF} Description" and self.packet[end - 2] == ord("/"):
            cuts = [(start, end + (self.packet[end : end + 1] == b"\n"))]  # nothing is left to describe
        self.cuts += cuts

    def _characters(self, text: str) -> None:
        self.text += text

    def _end(self, name: str) -> None:
        start, opened, resource = self.open.pop()
        closing = self.parser.CurrentByteIndex
        end = opened if self.packet[opened - 2] == ord("/") else self.packet.index(b">", closing) + 1
        if name == f"{RDF} RDF":
            self.rdf = self.rdf or (start, opened, closing)
        self.values.setdefault(_parts(name), self.text.strip() or resource)
        self.text = ""
        if self.unwanted(*_parts(name)):
            self.cuts.append((start, end))


def _parts(name: str) -> tuple[str, str]:
    namespace, _, local = name.rpartition(" ")
    return namespace, local


def read_properties(packet: bytes) -> dict[tuple[str, str], str]:
    """Namespace and name → text, of every attribute and element, the first of each.

    Raises:
        UnreadableError: Not well-formed XML in UTF-8, or it declares a document type.
    """
    return _Reader(_without_zeros(packet), lambda namespace, name: False).values


def edit(packet: bytes | None, unwanted: Predicate, added: Sequence[Description] = ()) -> bytes:
    """A packet without some properties and with others; all other bytes stay.

    Args:
        packet: None for a new one.
        unwanted: What goes, wherever it stands; old values of what is added have to be named by it too.
        added: What comes, each as a description of its own, at the end.

    Raises:
        UnreadableError: Not well-formed XML in UTF-8, with a document type, or something is to be added and there is no `rdf:RDF`.
    """
    old = EMPTY if packet is None else _without_zeros(packet)
    reader = _Reader(old, unwanted)
    new = b"".join(_encode(description, reader.about) for description in added)
    edits = [(start, end, b"") for start, end in reader.cuts]
    if new:
        if reader.rdf is None:
            raise UnreadableError("no rdf:RDF in it")
        start, end, closing = reader.rdf
        if old[end - 2 : end] == b"/>":
            name = NAME.match(old, start)
            assert name is not None  # expat found a tag there
            edits.append((end - 2, end, b">\n" + new + b"</" + name[0][1:] + b">"))
        else:
            edits.append((closing, closing, new))
    done, at = [], 0
    for start, end, text in sorted(edits):
        if start >= at:  # what lies within something that is gone is gone with it
            done += [old[at:start], text]
            at = end
    return b"".join([*done, old[at:]])


def _without_zeros(packet: bytes) -> bytes:
    return packet.rstrip(b"\0")  # some writers end it like a string of C


def quote(value: str) -> str:
    """A value as an XML attribute, as `xml.sax.saxutils.quoteattr` has it, which imports an HTTP client."""
    escaped = value.translate(ESCAPES)
    if '"' not in escaped:
        return f'"{escaped}"'
    return '"' + escaped.replace('"', "&quot;") + '"' if "'" in escaped else f"'{escaped}'"


def _encode(description: Description, about: str) -> bytes:
    clean = {name: quote(FORBIDDEN.sub("?", value)) for name, value in description.values.items()}
    attributes = "".join(f" {description.prefix}:{name}={value}" for name, value in clean.items())
    namespaces = f'xmlns:rdf="{RDF}" xmlns:{description.prefix}="{description.namespace}"'
    return f"<rdf:Description {namespaces} rdf:about={quote(about)}{attributes}/>\n".encode()


def strip_padding(packet: bytes) -> bytes:
    """A packet without the room that writers leave at its end for later editing."""
    end = packet.rfind(b"<?xpacket end")
    return packet if end < 0 else packet[:end].rstrip() + b"\n" + packet[end:].rstrip()
