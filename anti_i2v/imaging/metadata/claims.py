"""What XMP says about pictures, films and sounds that a protected file does not hold: these properties go with them.

* Gain maps: Adobe's `hdrgm` (also of Android's Ultra HDR), Apple's `HDRGainMap` and `apdi`.
* Films of motion photos: every property whose name begins with MotionPhoto, MicroVideo or OLivePhoto, whatever its namespace, because each
  maker of phones has its own (`GCamera`, `OpCamera`, `VCamera`), and `OpCamera:VideoLength`.
* Depth maps: Google's `GDepth`, and its "dynamic depth" (`Device` and what is inside).
* Pictures and sounds in XMP itself: `xmp:Thumbnails`, `GImage`, `GAudio`, and the subpictures that Xiaomi lists.
* Google's `Container:Directory`, the list of what follows the main picture, with the length of each: nothing follows any more.
* `xmpNote:HasExtendedXMP`, which announces a second packet.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

GAIN_MAP = "the HDR layer (gain map)"
FILM = "the film of a motion photo"
DEPTH = "the depth map"
SOUND = "the sound recording"
PICTURES = "further pictures"
EXTENDED = "the second packet of XMP (extended XMP)"
PLURAL = ("pictures", "layers")

# Namespace → what all its properties are about; None: of something that is told by other properties, or by the file.
GOOGLE = "http://ns.google.com/photos/1.0/"
NAMESPACES: dict[str, str | None] = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": GAIN_MAP,
    "http://ns.apple.com/HDRGainMap/1.0/": GAIN_MAP,
    "http://ns.apple.com/pixeldatainfo/1.0/": None,
    GOOGLE + "depthmap/": DEPTH,
    GOOGLE + "image/": PICTURES,
    GOOGLE + "audio/": SOUND,
    GOOGLE + "container/": None,
    GOOGLE + "container/item/": None,
}
DYNAMIC_DEPTH = "http://ns.google.com/photos/dd/1.0/"  # and the name of a structure
PROPERTIES: dict[tuple[str, str], str | None] = {
    ("http://ns.oplus.com/photos/1.0/camera/", "VideoLength"): FILM,
    ("http://ns.xiaomi.com/photos/1.0/camera/", "XMPMeta"): None,
    ("http://ns.adobe.com/xap/1.0/", "Thumbnails"): None,
    ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP"): EXTENDED,
}
FILM_NAME = re.compile(r"V?MotionPhoto|MicroVideo|OLivePhoto")
# Any of them in a packet that cannot be read: it may hold a picture.
TRACES = re.compile(
    "|".join(map(re.escape, (*NAMESPACES, DYNAMIC_DEPTH, *(name for _, name in PROPERTIES)))).encode()
    + b"|MotionPhoto|MicroVideo|OLivePhoto"
)
SEMANTIC = re.compile(rb"\bSemantic(?:\s*=\s*[\"']|>\s*)(\w{1,40})")
SEMANTICS = {b"GainMap": GAIN_MAP, b"MotionPhoto": FILM, b"Depth": DEPTH}


def is_claim(namespace: str, name: str) -> bool:
    """Whether an XMP property is about something that a protected file does not hold."""
    listed = namespace in NAMESPACES or (namespace, name) in PROPERTIES
    return listed or namespace.startswith(DYNAMIC_DEPTH) or FILM_NAME.match(name) is not None


def notes(removed: Iterable[tuple[str, str]], extras: Container[str]) -> list[str]:
    """What to say when such properties go, but for what was said of the pictures and films themselves.

    Args:
        removed: Their namespaces and names.
        extras: What the file holds beside its main picture.
    """
    subjects: dict[str, bool] = {}
    for namespace, name in removed:
        about = NAMESPACES.get(namespace) or PROPERTIES.get((namespace, name))
        about = DEPTH if namespace.startswith(DYNAMIC_DEPTH) else FILM if FILM_NAME.match(name) else about
        if about and about not in extras:
            subjects[about] = subjects.get(about, False) or name == "Data" or EXTENDED in extras  # it is in the XMP itself
    return [left_out(about if found else f"XMP about {about}, which the file does not hold,") for about, found in subjects.items()]


def left_out(name: str) -> str:
    """That something was left out, as a clause."""
    return f"{name} {'were' if name.endswith(PLURAL) else 'was'} left out"


def semantics(packet: bytes) -> list[str | None]:
    """What follows the main picture by Google's `Container:Directory`, in its order; None for what has no name here."""
    return [SEMANTICS.get(name) for name in SEMANTIC.findall(packet) if name != b"Primary"]
