"""Which views are compared, at what size and scale: protocols are data, JSON files in ``protocols/``.

A protocol names its pairs by a rule (so many frames on from the first, or from every frame) or by a list, a CSV
file with the columns scene, source, target, name.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kinephoto.errors import InputError
from kinephoto.measure.scenes import Scene
from kinephoto.measure.view_case import ViewPair

PROTOCOLS = resources.files("kinephoto.measure") / "protocols"

ScaleMode = Literal["affine", "scale", "best-of-20", "none"]
"""How disparity gets the scene's scale; ``kinephoto.measure.view_scale`` has them."""


class ViewProtocol(BaseModel):
    """A way to compare new views.

    Attributes:
        name: as in the command line and the report.
        title: one sentence.
        kinds: scenes of these kinds are taken (what stands before the first dash of a folder's name); all
            scenes where none has such a kind.
        sources: the first picture of a scene, or every one.
        targets: by the name they get in the tables, so many frames after the source.
        pairs: an explicit list instead of ``sources`` and ``targets``.
        size: (height, width) to which pictures are squashed, or None: as they are.
        border_crop: share of height and width left out along each border.
        scale: how disparity gets the scene's scale.
        published: key of the paper's rows to set beside ours, in ``published.json``.
        differences: what differs from the protocol of those rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str = ""
    kinds: tuple[str, ...] = ()
    sources: Literal["first", "every"] = "first"
    targets: dict[str, int] = {}
    pairs: tuple[ViewPair, ...] | None = None
    size: tuple[int, int] | None = None
    border_crop: float = Field(default=0.0, ge=0, lt=0.5)
    scale: ScaleMode = "affine"
    published: str | None = None
    differences: str = ""

    @model_validator(mode="after")
    def _has_pairs(self) -> ViewProtocol:
        if bool(self.targets) == (self.pairs is not None):
            raise ValueError("a protocol has targets or pairs, one of both")
        if any(offset == 0 for offset in self.targets.values()):
            raise ValueError("a target is another frame than its source")
        return self


def known_protocols() -> list[str]:
    """Names of the protocols that come with the package."""
    names = (Path(str(file)).name for file in PROTOCOLS.iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def read_protocol(source: str | Path) -> ViewProtocol:
    """A protocol that comes with the package, by name, or a JSON file of one, or a CSV file of pairs.

    Raises:
        InputError: there is none, or it is malformed.
    """
    bundled = PROTOCOLS / f"{source}.json"
    path = Path(source)
    try:
        text = (bundled if bundled.is_file() else path).read_text(encoding="utf-8")
        if not bundled.is_file() and path.suffix.lower() == ".csv":
            return ViewProtocol(name=path.stem, title=f"The pairs of {path.name}.", pairs=_pairs(text, path))
        return ViewProtocol.model_validate(json.loads(text))
    except (OSError, UnicodeDecodeError):
        raise InputError(
            f"{source} is no protocol; there are {', '.join(known_protocols())}, and files: .json with a protocol, "
            ".csv with pairs."
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(f"{source} is not JSON ({error}).") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{source} is no protocol: {where + ': ' if where else ''}{first['msg']}.") from None


def _pairs(text: str, path: Path) -> tuple[ViewPair, ...]:
    try:
        rows = csv.DictReader(text.splitlines(), strict=True)
        pairs = tuple(
            ViewPair(row["scene"], int(row["source"]), int(row["target"]), row["name"]) for row in rows
        )
    except (KeyError, TypeError, ValueError, csv.Error):
        raise InputError(f"{path} must have the columns scene, source, target, name.") from None
    if not pairs:
        raise InputError(f"{path} holds no pair.")
    return pairs


def pairs_of(protocol: ViewProtocol, scenes: Mapping[str, Scene]) -> list[ViewPair]:
    """The protocol's pairs in these scenes, by scene, source and target.

    A list's pairs are all there, whether their scene is or not: what is missing must be counted.
    """
    if protocol.pairs is not None:
        return list(protocol.pairs)
    chosen = [scene for scene in scenes.values() if scene.kind in protocol.kinds]
    return [
        pair
        for scene in chosen or scenes.values()
        for pair in _by_rule(protocol.sources, protocol.targets, scene)
    ]


def _by_rule(sources: str, targets: Mapping[str, int], scene: Scene) -> list[ViewPair]:
    """Pairs of one scene: by frame, so that lost pictures shift nothing."""
    places = {frame: place for place, frame in enumerate(scene.frames)}
    first: Sequence[int] = [min(places)] if sources == "first" else sorted(places)
    return [
        ViewPair(scene.name, places[frame], places[frame + offset], name)
        for frame in first
        for name, offset in targets.items()
        if frame + offset in places
    ]
