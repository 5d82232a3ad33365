"""Models that are known to work: what they are for, under which licence, how large, and whether they are here.

Nothing here touches the network but ``fetch``. Sizes are of what ``fetch`` downloads, to about a tenth.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from kinephoto.errors import InputError

CHECKSUMS_FILE = "checksums.json"
# Weights and what is needed to load them; pickled weights and pictures stay where they are.
FETCHED = ("*.safetensors", "*.json", "*.txt")
# The same weights again, in other precisions or without averaging.
NOT_FETCHED = ("*.fp16.*", "*.bf16.*", "*.non_ema.*")
# ``sd:`` takes a pipeline's other parts and leaves these.
UNUSED_BY_SD = {"safety_checker", "feature_extractor", "image_encoder"}

State = Literal["yes", "incomplete", "no"]


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        flag: "--painter" or "--depth", which take it.
        name: as that flag takes it.
        licence: its short name, with what it forbids if that matters.
        megabytes: to download, or in the package; about.
        purpose: half a sentence.
        hub_id: "owner/name" on the Hugging Face hub; None: it comes with kinephoto.
        revision: of the hub's files; "main" is the newest.
        pipeline: whether it is a diffusers pipeline, or else a single network.
        stem: what the names of its files in the package begin with; "" for the hub's.
        gated: whether the hub asks everybody to accept the licence first.
    """

    flag: str
    name: str
    licence: str
    megabytes: int
    purpose: str
    hub_id: str | None = None
    revision: str = "main"
    pipeline: bool = True
    stem: str = ""
    gated: bool = False

    @property
    def page(self) -> str | None:
        """Where the licence is, on the hub."""
        return None if self.hub_id is None else f"https://huggingface.co/{self.hub_id}"


CATALOGUE: tuple[Model, ...] = (
    Model("--depth", "builtin", "Apache-2.0", 12, "depth at once, without a download", stem="depth"),
    Model(
        "--painter",
        "builtin",
        "Apache-2.0",
        26,
        "painting at once, without a download",
        stem="painter",
    ),
    Model(
        "--painter",
        "sd:stable-diffusion-v1-5/stable-diffusion-v1-5",
        "CreativeML OpenRAIL-M",
        4270,
        "Stable Diffusion 1.5 as an M-UNet; mirror of the deleted runwayml/stable-diffusion-v1-5",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
    Model(
        "--painter",
        "hub:stable-diffusion-v1-5/stable-diffusion-inpainting",
        "CreativeML OpenRAIL-M",
        5480,
        "Stable Diffusion 1.5 inpainting; mirror of the deleted runwayml/stable-diffusion-inpainting",
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
    ),
    Model(
        "--painter",
        "hub:diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        "CreativeML OpenRAIL++-M",
        13900,
        "SDXL inpainting, for pictures of 1024 px",
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
    ),
    Model(
        "--painter",
        "hub:black-forest-labs/FLUX.1-Fill-dev",
        "FLUX.1 [dev] Non-Commercial",
        33700,
        "FLUX fill, the largest; needs a card with some 40 GB",
        "black-forest-labs/FLUX.1-Fill-dev",
        gated=True,
    ),
    Model(
        "--depth",
        "hub:depth-anything/Depth-Anything-V2-Small-hf",
        "Apache-2.0",
        100,
        "finer depth; --depth auto takes it once it is here",
        "depth-anything/Depth-Anything-V2-Small-hf",
        pipeline=False,
    ),
)


def named(name: str) -> list[Model]:
    """The models that a flag takes by this name; two for "builtin".

    Raises:
        InputError: there is none; the message lists what there is.

    Example:
        >>> [model.flag for model in named("builtin")]
        ['--depth', '--painter']
    """
    found = [model for model in CATALOGUE if model.name == name]
    if not found:
        names = ", ".join(dict.fromkeys(model.name for model in CATALOGUE))
        raise InputError(f"There is no model {name!r} in the catalogue; there are {names}.")
    return found


def weights_folder() -> Path:
    """Where the weights that come with kinephoto lie."""
    return Path(str(resources.files("kinephoto") / "weights"))


def checksum(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def listed_checksums(folder: Path | None = None) -> dict[str, str]:
    """What ``checksums.json`` lists: names below the folder (None: the package's), to their SHA-256.

    Raises:
        InputError: there is no such file, or it is no such list.
    """
    path = (folder or weights_folder()) / CHECKSUMS_FILE
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{path} is missing or can't be read; reinstall kinephoto.") from None
    if not isinstance(listed, dict) or not all(isinstance(value, str) for value in listed.values()):
        raise InputError(f"{path} is no list of names and checksums; reinstall kinephoto.")
    return listed


def state(model: Model) -> State:
    """Whether a model is on this machine; "incomplete" if some of its files are, or are cut short.

    Checksums of what comes with kinephoto are left to ``problems``, for they take a moment.
    """
    if model.hub_id is None:
        names = _own_files(model)
        missing = [name for name in names if not (weights_folder() / name).is_file()]
        return "no" if not names else "incomplete" if missing else "yes"
    if snapshot(model) is None:
        return "no"
    return "incomplete" if problems(model) else "yes"


def snapshot(model: Model) -> Path | None:
    """The folder of a hub model's files in the Hugging Face cache; None if it isn't there."""
    from huggingface_hub import try_to_load_from_cache

    assert model.hub_id is not None
    found = try_to_load_from_cache(model.hub_id, _first_file(model), revision=model.revision)
    return Path(found).parent if isinstance(found, str) else None


def problems(model: Model) -> list[str]:
    """What is wrong with a model that is here, one clause for each file; empty if nothing is."""
    if model.hub_id is None:
        folder, listed = weights_folder(), listed_checksums()
        found = (_own_problem(folder / name, name, listed[name]) for name in _own_files(model))
        return [problem for problem in found if problem]
    cached = snapshot(model)
    if cached is None:
        return [f"{model.hub_id} is not on this machine"]
    if not model.pipeline:
        return _network_problems(cached, "")
    try:
        parts = _parts(model, json.loads((cached / "model_index.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return ["model_index.json can't be read"]
    return [problem for part in parts for problem in _part_problems(cached / part, part)]


def fetch(model: Model) -> Path:
    """Download a model into the Hugging Face cache, or what is missing of it.

    Returns:
        The folder with its files.

    Raises:
        InputError: it comes with kinephoto, or can't be downloaded; the message says what to do.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import GatedRepoError

    if model.hub_id is None:
        raise InputError(f"{model.flag} {model.name} comes with kinephoto; there is nothing to fetch.")
    allowed = list(FETCHED)
    try:
        if model.pipeline:
            # Beside its parts a repository may hold the same weights again, in one file of many gigabytes.
            index = hf_hub_download(model.hub_id, _first_file(model), revision=model.revision)
            parts = _parts(model, json.loads(Path(index).read_text(encoding="utf-8")))
            allowed = ["model_index.json"] + [f"{part}/{kind}" for part in parts for kind in FETCHED]
        place = snapshot_download(
            model.hub_id,
            revision=model.revision,
            allow_patterns=allowed,
            ignore_patterns=list(NOT_FETCHED),
        )
    except GatedRepoError:
        raise InputError(
            f"{model.hub_id} is only for those who accepted its licence: do so at {model.page}, run "
            "hf auth login, and fetch it again."
        ) from None
    except Exception as error:  # the hub, its client and the disk each raise kinds of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".: ")
        raise InputError(
            f"{model.hub_id} could not be fetched ({reason}); check the connection, or put its files into a "
            "folder and give that."
        ) from error
    return Path(place)


def _first_file(model: Model) -> str:
    """The file that is there if anything is."""
    return "model_index.json" if model.pipeline else "config.json"


def _own_files(model: Model) -> list[str]:
    return [name for name in listed_checksums() if name.startswith(model.stem)]


def _own_problem(path: Path, name: str, expected: str) -> str | None:
    if not path.is_file():
        return f"{name} is missing; reinstall kinephoto"
    if checksum(path) != expected:
        return f"{name} is not the file that belongs to this version; reinstall kinephoto"
    return _unreadable(path, name) if path.suffix == ".safetensors" else None


def _parts(model: Model, index: Any) -> list[str]:
    """Folders of a pipeline's parts, from what its model_index.json says."""
    skipped = UNUSED_BY_SD if model.name.startswith("sd:") else set()
    entries = index.items() if isinstance(index, dict) else ()
    # A part is [library, class]; one that was left out is [null, null], and options are no pairs.
    return [
        name
        for name, value in entries
        if isinstance(value, list) and len(value) == 2 and value[0] is not None and name not in skipped
    ]


def _part_problems(folder: Path, part: str) -> list[str]:
    if not folder.is_dir():
        return [f"{part} is missing"]
    # Tokenizers and schedulers have settings under other names, and no weights.
    return _network_problems(folder, f"{part}/") if (folder / "config.json").is_file() else []


def _network_problems(folder: Path, before: str) -> list[str]:
    """Weights of one network that are missing or can't be opened.

    Args:
        folder: with config.json, and safetensors, in one file or in several and an index.
        before: what to put before file names.
    """
    wanted = {path.name for path in folder.glob("*.safetensors")}
    for index in folder.glob("*.safetensors.index.json"):
        try:
            wanted |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return [f"{before}{index.name} can't be read"]
    if not wanted:
        return [f"{before}*.safetensors is missing"]
    found = (_unreadable(folder / name, f"{before}{name}") for name in sorted(wanted))
    return [problem for problem in found if problem]


def _unreadable(path: Path, name: str) -> str | None:
    """A clause if this is no whole safetensors file: its header says how long it must be."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return f"{name} is missing"
    try:
        with safe_open(path, "np") as weights:
            count = len(list(weights.keys()))
    except (SafetensorError, OSError, ValueError):
        return f"{name} is cut short or no safetensors file"
    return None if count else f"{name} is empty"
