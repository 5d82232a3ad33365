"""What was generated says so: who made it, how, and how much of it is invented, inside the file itself.

Always as XMP where the file has a place for that (mp4, mov, gif, webp, png, jpg) and as tags in Matroska
(webm, mkv); signed as well where asked for (`kinephoto.studio.content_credentials`). What is written
depends on the film alone (no date, no random name), so the same seed still gives the same bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from kinephoto.errors import InputError
from kinephoto.studio.containers import put_xmp, replace_text, xmp_in
from kinephoto.studio.xmp import Name, packet_of, properties_of

if TYPE_CHECKING:
    from torch import Tensor

    from kinephoto.scene.world import World
    from kinephoto.studio.content_credentials import Signer, Verdict

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
COMPOSITE = SOURCE_TYPES + "compositeWithTrainedAlgorithmicMedia"
"""A camera's picture with parts that a trained algorithm made: a film, a widened photo."""

DATA = SOURCE_TYPES + "dataDrivenMedia"
"""A picture of data: the mask of what was invented, a depth map, a sheet with depth and holes."""

NOBODY = "none"
"""Who painted where nothing was."""

COMMENT = "Made with kinephoto from one photo; parts of what it shows are invented."

IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
XMP = "http://ns.adobe.com/xap/1.0/"
OURS = "urn:kinephoto:provenance:1#"
_PREFIXES = {IPTC: "Iptc4xmpExt", XMP: "xmp", OURS: "kinephoto"}

# Matroska's own names are in capitals.
TAGGED = ("webm", "matroska")
"""FFmpeg's names of the containers that have tags only."""

SOURCE_TAG, OUR_TAG = "DIGITALSOURCETYPE", "KINEPHOTO"
_MOST_PROMPT = 1000  # letters; a JPEG has room for 64 KiB
_ROOM = 64  # characters kept free in the tag for the shares, which are known only after the last frame


@dataclass(frozen=True)
class Provenance:
    """How a film or picture came to be.

    Attributes:
        software: its name and version, such as "kinephoto 0.1.0".
        painter: who painted what came into view.
        depth: where the depth came from.
        seed: with which it was painted; on a sheet of several scenes the first one's, the settings' "candidates"
            telling how many follow.
        settings: what else was asked for; see `public_settings`.
        invented_share: of all pixels, in [0, 1], four decimals; None if not known. On a sheet of several scenes, of
            each of them: they are painted around the same object.
        invented_most: of the frame that has most.
        source_type: one of IPTC's digital source types.
    """

    software: str
    painter: str
    depth: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    invented_share: float | None = None
    invented_most: float | None = None
    source_type: str = COMPOSITE

    def with_shares(self, shares: list[float]) -> Provenance:
        """The same, knowing how much of each frame was invented."""
        if not shares:
            return self
        mean = round(sum(shares) / len(shares), 4)
        return replace(self, invented_share=mean, invented_most=round(max(shares), 4))

    def as_json(self) -> str:
        """In plain ASCII, always the same for the same content."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Provenance | None:
        """What ``as_json`` wrote; None for anything else, since files come from anybody."""
        try:
            return cls.from_values(json.loads(text))
        except (ValueError, RecursionError):
            return None

    @classmethod
    def from_values(cls, values: Any) -> Provenance | None:
        """From a mapping with our names, each of its kind; None for anything else."""
        if not isinstance(values, Mapping):
            return None
        kept = {one.name: values[one.name] for one in fields(cls) if values.get(one.name) is not None}
        words = all(isinstance(kept.get(name), str) for name in ("software", "painter", "depth"))
        numbers = all(
            isinstance(kept.get(name, 0), int | float) for name in ("invented_share", "invented_most")
        )
        whole_seed = isinstance(kept.get("seed"), int)
        kinds = isinstance(kept.get("settings", {}), dict) and isinstance(kept.get("source_type", ""), str)
        return cls(**kept) if words and numbers and whole_seed and kinds else None


@dataclass(frozen=True)
class Found:
    """What a file says of itself.

    Attributes:
        provenance: ours, or None.
        places: where it stands: "XMP", "tags", "Content Credentials".
        verdict: on its Content Credentials; None if it has none, or they were not looked for.
        looked: whether they were looked for, which takes the extra ``provenance``.
    """

    provenance: Provenance | None
    places: tuple[str, ...]
    verdict: Verdict | None
    looked: bool


def software() -> str:
    """The name and version that files are signed with."""
    from importlib.metadata import version

    return f"kinephoto {version('kinephoto')}"


def provenance_of(world: World, settings: BaseModel | None = None) -> Provenance:
    """How a film of this world came to be; how much is invented is not known yet.

    Args:
        world: as painted; one that nobody has painted holds nothing that a trained algorithm made up.
        settings: what was asked for; without, the world's own path and amount.
    """
    trajectory = world.trajectory
    own = {"path": trajectory.path.name, "amount": round(trajectory.rig.amount, 6)}
    return Provenance(
        software(),
        world.painter,
        world.depth_name,
        world.seed,
        public_settings(settings) if settings is not None else own,
        source_type=DATA if world.painter == NOBODY else COMPOSITE,
    )


def provenance_of_picture(
    painter: str, seed: int, invented: Tensor, settings: BaseModel | None = None
) -> Provenance:
    """How a painted picture came to be, such as a photo continued beyond its borders.

    Args:
        painter: who painted.
        seed: with which.
        invented: [H, W], the share of each pixel that was made up; bool will do.
        settings: what was asked for.
    """
    asked = public_settings(settings) if settings is not None else {}
    return Provenance(software(), painter, "none", seed, asked).with_shares([float(invented.float().mean())])


def public_settings(settings: BaseModel) -> dict[str, Any]:
    """Settings as others may read them.

    Names of folders are left out, since they tell of the user's machine, and so is what only says how to
    compute, such as threads: it doesn't change what is shown.
    """
    public = {}
    for name, info in type(settings).model_fields.items():
        extra = info.json_schema_extra
        if isinstance(extra, dict) and extra.get("panel") == "Machine":
            continue
        value = getattr(settings, name)
        value = value.name if isinstance(value, Path) else value
        if isinstance(value, str):
            value = value[:_MOST_PROMPT] if name == "prompt" else without_folders(value)
        public[name] = value
    return public


def without_folders(text: str) -> str:
    """A path's last name; "sd:" and "hub:" stay, and so do names on the hub, which are public.

    Example:
        >>> without_folders("sd:/anna/models/beach"), without_folders("hub:owner/name")
        ('sd:beach', 'hub:owner/name')
    """
    kind, place = re.fullmatch(r"((?:sd:|hub:)?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    on_hub = kind and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", place) and not Path(place).exists()
    return text if on_hub else kind + re.split(r"[/\\]", place.rstrip("/\\"))[-1]


def xmp_of(provenance: Provenance) -> bytes:
    """The XMP packet: IPTC's properties for everybody, and ours with the rest as JSON."""
    said: dict[Name, str] = {
        (IPTC, "DigitalSourceType"): provenance.source_type,
        **_about_the_algorithm(provenance),
        (XMP, "CreatorTool"): provenance.software,
        (OURS, "Painter"): provenance.painter,
        (OURS, "DepthSource"): provenance.depth,
        (OURS, "Seed"): str(provenance.seed),
        (OURS, "Settings"): json.dumps(dict(provenance.settings), sort_keys=True),
    }
    for label, share in _shares(provenance):
        said[(OURS, label)] = f"{share:.4f}"
    return packet_of(said, _PREFIXES)


def provenance_in(packet: bytes) -> Provenance | None:
    """What `xmp_of` wrote, also after an editor has rewritten the packet; None for other packets."""
    if OURS.encode() not in packet:
        return None
    said = properties_of(packet)
    values: dict[str, Any] = {
        "software": said.get((XMP, "CreatorTool")),
        "painter": said.get((OURS, "Painter")),
        "depth": said.get((OURS, "DepthSource")),
        "source_type": said.get((IPTC, "DigitalSourceType")),
    }
    try:
        values["seed"] = int(said.get((OURS, "Seed"), ""))
        values["settings"] = json.loads(said.get((OURS, "Settings"), "{}"))
        for name, label in (("invented_share", "InventedShare"), ("invented_most", "InventedMost")):
            values[name] = float(said[(OURS, label)]) if (OURS, label) in said else None
    except (ValueError, RecursionError):
        return None
    return Provenance.from_values(values)


def tags_of(provenance: Provenance) -> dict[str, str]:
    """Tags for Matroska, to be written before the first frame; `complete` puts in what was unknown then."""
    text = provenance.as_json()
    return {SOURCE_TAG: provenance.source_type, OUR_TAG: text.ljust(len(text) + _ROOM)}


def complete(
    path: Path, before: Provenance, shares: list[float], signer: Signer | None = None, title: str = ""
) -> None:
    """Write into a finished file how it came to be, while it still has its temporary name.

    Args:
        path: the file, or a folder of PNG pictures.
        before: what was known when the file was begun, and went into its tags.
        shares: how much of each frame was invented, in [0, 1].
        signer: signs it, if given.
        title: the name that the file is about to get.

    Raises:
        InputError: the signer's certificate or key is refused.
    """
    after = before.with_shares(shares)
    packet = xmp_of(after)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if not put_xmp(file, packet):
            replace_text(file, tags_of(before)[OUR_TAG], after.as_json())
        if signer is not None:
            from kinephoto.studio.content_credentials import sign

            sign(file, signer, after, title or file.name)


def read_provenance(path: str | Path, trust: str | Path | None = None) -> Found:
    """What a file says of itself.

    Args:
        path: a video or picture, of ours or not.
        trust: a PEM file with certificates whose signatures are to be trusted.

    Raises:
        InputError: the file cannot be read, or is neither a video nor a picture.
    """
    from kinephoto.studio.content_credentials import is_installed, verdict_on

    place = Path(path)
    try:
        if place.is_dir():
            raise InputError(_about_folder(place))
        packet = xmp_in(place)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    known = {
        "XMP": provenance_in(packet) if packet else None,
        "tags": Provenance.from_json(_tags_in(place).get(OUR_TAG, "")),
    }
    looked = is_installed()
    if trust is not None and not looked:
        verdict_on(place, trust)  # says what is missing
    verdict = verdict_on(place, trust) if looked else None
    if verdict is not None:
        known["Content Credentials"] = Provenance.from_values(verdict.assertion)
    places = tuple(name for name, found in known.items() if found is not None)
    return Found(known[places[0]] if places else None, places, verdict, looked)


def _about_folder(place: Path) -> str:
    from kinephoto.studio.formats import is_frame_name

    frames = sorted(filter(is_frame_name, os.listdir(place)))
    if not frames:
        return f"{place} is a folder; name a video or picture in it."
    return f"{place} is a folder; name one of the frames in it, such as {place / frames[0]}."


def _about_the_algorithm(provenance: Provenance) -> dict[Name, str]:
    """What IPTC's Photo Metadata Standard 2025.1 has for generated pictures."""
    if provenance.source_type != COMPOSITE:
        return {}
    name, _, version = provenance.software.partition(" ")
    said = {
        (IPTC, "AISystemUsed"): f"{name}, painter {provenance.painter}",
        (IPTC, "AISystemVersionUsed"): version,
    }
    prompt = provenance.settings.get("prompt")
    return said | ({(IPTC, "AIPromptInformation"): str(prompt)} if prompt else {})


def _shares(provenance: Provenance) -> list[tuple[str, float]]:
    named = (("InventedShare", provenance.invented_share), ("InventedMost", provenance.invented_most))
    return [(label, share) for label, share in named if share is not None]


def _tags_in(path: Path) -> dict[str, str]:
    """A container's tags, in capitals; this also finds out whether the file is a picture or video at all.

    Raises:
        InputError: it is neither.
    """
    import av

    from kinephoto.scene.picture_file import is_picture

    try:
        # A playlist or the like could make FFmpeg open other things than this file.
        only_files = {"protocol_whitelist": "file"}
        # A name such as a:b.mp4 would be one of a protocol "a"; a whole path isn't.
        with av.open(os.path.abspath(path), metadata_errors="replace", options=only_files) as container:
            # FFmpeg believes a name such as text.jpg; then it finds no width. Nor does it in some that are
            # pictures, such as animated WebP.
            if any(stream.width for stream in container.streams.video):
                return {name.upper(): text for name, text in container.metadata.items()}
        with path.open("rb") as file:
            if is_picture(file):
                return {}
    except (av.error.FFmpegError, OSError):
        pass
    raise InputError(f"{path} is neither a video nor a picture that kinephoto can read.")
