"""XMP, the metadata that travels inside media files: a packet from properties, and properties from a packet.

ISO 16684-1 defines the model and the XML. Only text properties are written and read here. What is read may
come from anybody, so nothing of XML's dangerous parts is taken: see `properties_of`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.sax.saxutils import escape

Name = tuple[str, str]
"""A property: its namespace, and its name within."""

MOST_BYTES = 1 << 20
"""A packet longer than this is not ours: settings take a few hundred bytes."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_META = "adobe:ns:meta/"
# What XML 1.0 has no way to write, escaped or not (its section 2.2), and halves of surrogate pairs.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def packet_of(properties: Mapping[Name, str], prefixes: Mapping[str, str]) -> bytes:
    """Properties as a packet; the same properties are the same bytes.

    Args:
        properties: what to say, in this order.
        prefixes: namespace -> the prefix it is usually written with.

    Returns:
        UTF-8, without padding, since nobody edits it in place.
    """
    spaces = sorted({space for space, _ in properties}, key=lambda space: prefixes[space])
    declared = "".join(f'\n    xmlns:{prefixes[space]}="{escape(space)}"' for space in spaces)
    lines = [
        f"   <{prefixes[space]}:{name}>{escape(_NOT_XML.sub('?', text))}</{prefixes[space]}:{name}>\n"
        for (space, name), text in properties.items()
    ]
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'  # the id that ISO 16684-1, 7.3.2 gives
        f'<x:xmpmeta xmlns:x="{_META}">\n <rdf:RDF xmlns:rdf="{_RDF}">\n'
        f'  <rdf:Description rdf:about=""{declared}>\n{"".join(lines)}'
        '  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def properties_of(packet: bytes) -> dict[Name, str]:
    """The text properties of a packet, whichever of the two ways RDF has (elements or attributes) they take.

    Safe with packets from anybody: what isn't UTF-8, is longer than `MOST_BYTES` or has any ``<!`` is not
    parsed at all. Without ``<!`` there is no DOCTYPE, hence no entities to expand and nothing to fetch; a
    packet as `packet_of` writes it, or as an editor rewrites it, has none.

    Returns:
        Nothing for a packet that cannot be read.
    """
    try:
        text = packet.decode() if len(packet) <= MOST_BYTES else ""
        if not text.strip() or "<!" in text:
            return {}
        root = ElementTree.fromstring(text.strip("\0"))
    except (UnicodeDecodeError, ElementTree.ParseError):
        return {}
    found: dict[Name, str] = {}
    for description in root.iter(f"{{{_RDF}}}Description"):
        pairs = [*description.attrib.items(), *((child.tag, child.text or "") for child in description)]
        found |= {_name(tag): value for tag, value in pairs}
    return found


def _name(tag: str) -> Name:
    """ElementTree writes a name as {namespace}name."""
    space, _, name = tag.rpartition("}")
    return space.lstrip("{"), name
