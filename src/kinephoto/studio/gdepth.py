"""A photo that carries its depth map in its XMP, as Android's camera wrote it and others read it (GDepth).

(developers.google.com/depthmap-metadata; XMP specification part 3, "Extended XMP in JPEG".) The map is longer
than one segment of a JPEG, so it lies in pieces; `kinephoto.scene.embedded` reads it back.
"""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from kinephoto.errors import InputError
from kinephoto.scene.values import Disparity, Photo
from kinephoto.studio.files import check_suffix, whole
from kinephoto.studio.pictures import JPEG, exif_of, to_uint8

GDEPTH_SUFFIXES = (".jpg", ".jpeg")
GDEPTH = "http://ns.google.com/photos/1.0/depthmap/"

FARTHEST = 1000.0
"""Far / near at most: GDepth has no word for infinity."""

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_LONGEST_SEGMENT = 65533  # its length takes two bytes and counts itself


def write_gdepth(photo: Photo, disparity: Disparity, target: str | Path) -> Path:
    """Write the photo as a JPEG with its depth inside.

    The map is an 8-bit PNG, which every reader of GDepth takes, black at the nearest: ``RangeInverse``, with
    equal steps of 1/z between ``Near`` and ``Far``. Metres are named only where the depth is metric.

    Args:
        photo: its focal length is kept, in EXIF, where the photo knew it.
        disparity: near is large; its shape is the photo's.
        target: a file that ends in .jpg or .jpeg; appears whole or not at all.

    Raises:
        InputError: another suffix, a map of another size, or a place that cannot be written to.
    """
    from PIL import Image

    check_suffix(target, GDEPTH_SUFFIXES, "photo with depth")
    if tuple(disparity.values.shape) != tuple(photo.camera.hw):
        raise InputError(f"The depth map is {tuple(disparity.values.shape)}, the photo {photo.camera.hw}.")
    with whole(target) as part:
        # Pillow writes ``extra`` as it is, before the picture's own tables.
        extra = b"".join(_app1(body) for body in _segments(disparity))
        Image.fromarray(to_uint8(photo.rgb)).save(
            part, format="JPEG", exif=exif_of(photo), extra=extra, **JPEG
        )
    return Path(target)


def _segments(disparity: Disparity) -> list[bytes]:
    """The standard packet, then the pieces of the extended one."""
    near, far, png = _encoded(disparity)
    data = base64.b64encode(png).decode()
    extended = _packet(f'xmlns:GDepth="{GDEPTH}" GDepth:Data="{data}"')
    guid = hashlib.md5(extended, usedforsecurity=False).hexdigest().upper()
    told = {
        "GDepth:Format": "RangeInverse",
        "GDepth:Near": f"{near:.6g}",
        "GDepth:Far": f"{far:.6g}",
        "GDepth:Mime": "image/png",
        "GDepth:MeasureType": "OpticalAxis",
        "GDepth:Software": "kinephoto",
        "xmpNote:HasExtendedXMP": guid,
    }
    if disparity.metric:
        told["GDepth:Units"] = "m"
    spaces = f'xmlns:GDepth="{GDEPTH}" xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
    words = " ".join(f"{name}={quoteattr(value)}" for name, value in told.items())
    head = _EXTENSION + guid.encode() + len(extended).to_bytes(4, "big")
    room = _LONGEST_SEGMENT - len(head) - 4
    pieces = [
        head + start.to_bytes(4, "big") + extended[start : start + room]
        for start in range(0, len(extended), room)
    ]
    return [_XMP + _packet(f"{spaces} {words}"), *pieces]


def _encoded(disparity: Disparity) -> tuple[float, float, bytes]:
    """Distances of the nearest and the farthest, and the map as PNG: 0 nearest, 255 farthest."""
    from PIL import Image

    values = disparity.numpy().astype(np.float64)
    high = float(values.max())
    if high <= 0:
        values, high = np.ones_like(values), 1.0
    low = max(float(values.min()), high / FARTHEST)
    if low >= high:
        low = high / 2  # a plane; near and far must differ
    share = ((high - values) / (high - low)).clip(0, 1)
    file = io.BytesIO()
    Image.fromarray(np.rint(share * 255).astype(np.uint8)).save(file, "PNG")
    return 1 / high, 1 / low, file.getvalue()


def _packet(attributes: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {attributes}/></rdf:RDF></x:xmpmeta>'
    ).encode()


def _app1(body: bytes) -> bytes:
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
