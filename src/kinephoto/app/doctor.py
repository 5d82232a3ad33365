"""What is installed, what there is to compute on, and what will be slow here and why."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from kinephoto.machine import usable_cores
from kinephoto.studio.estimate import COMPILING_S, renderer_is_compiled
from kinephoto.wording import in_words

PACKAGES = (
    *("torch", "numpy", "scipy", "numba", "opencv-python-headless", "pillow", "pillow-heif", "av"),
    *("diffusers", "transformers", "safetensors", "huggingface-hub", "typer", "rich", "pydantic"),
)
EXTRAS = {
    "app": ("gradio",),
    "train": ("accelerate", "tensorboard", "webdataset"),
    "eval": ("torchmetrics", "scikit-image", "matplotlib", "pandas"),
    "export": ("trimesh",),
    "provenance": ("c2pa-python", "cryptography"),
    "cluster": ("ray",),
}
FEW_CORES = 4
LITTLE_MEMORY_BYTES = 4 * 2**30


def report() -> tuple[list[str], bool]:
    """Lines for people, and whether everything that is needed is there."""
    missing = [name for name in PACKAGES if _version(name) is None]
    lines = [
        f"kinephoto {_version('kinephoto') or 'not installed as a package'}, Python {platform.python_version()}"
    ]
    lines += [f"{platform.system()} {platform.machine()}", ""]
    lines += ["Packages: " + ", ".join(f"{name} {_version(name) or 'MISSING'}" for name in PACKAGES), ""]
    lines += [_extra(name, parts) for name, parts in EXTRAS.items()]
    lines += ["", "Devices:", *_devices(), "", "Weights:", *_weights(), "", "Here:", *_advice()]
    if missing:
        lines += ["", f"Missing: {', '.join(missing)}; pip install kinephoto brings them."]
    return lines, not missing


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _extra(name: str, parts: tuple[str, ...]) -> str:
    absent = [part for part in parts if _version(part) is None]
    state = f"not here (pip install 'kinephoto[{name}]')" if absent else "here"
    return f"Extra {name}: {state}"


def _devices() -> list[str]:
    import torch

    lines = [f"  processor: {usable_cores()} cores, {_memory()}"]
    for index in range(torch.cuda.device_count()):
        lines.append(f"  cuda:{index}: {torch.cuda.get_device_name(index)} (--device cuda)")
    if not torch.cuda.is_available():
        lines.append("  no CUDA device, and none is needed")
    return lines


def _weights() -> list[str]:
    from kinephoto.painter.builtin import builtin_folder
    from kinephoto.scene.depth_networks import best_cached
    from kinephoto.scene.depthnet import builtin_weights

    path = builtin_weights()
    lines = []
    if path.is_file():
        lines.append(f"  depth, built in: {path.stat().st_size / 1e6:.1f} MB, card {path.with_suffix('.md')}")
    else:
        lines.append("  depth, built in: MISSING; reinstall kinephoto")
    cached = best_cached()
    lines.append(f"  depth, in the Hugging Face cache: {cached or 'none'}")
    lines.append(f"  --depth auto takes: {'hub:' + cached if cached else 'builtin'}")
    folder = builtin_folder()
    files = list(folder.rglob("*.safetensors"))
    if files:
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        lines.append(f"  painter, built in: {megabytes:.1f} MB, card {folder.with_name(folder.name + '.md')}")
    else:
        lines.append("  painter, built in: MISSING; reinstall kinephoto")
    return lines


def _advice() -> list[str]:
    lines = []
    if usable_cores() < FEW_CORES:
        lines.append(
            f"  {usable_cores()} cores: large videos take a while; --size 512 is four times as fast as --size 1080."
        )
    available = _available_memory()
    if available is not None and available < LITTLE_MEMORY_BYTES:
        lines.append(f"  {available / 2**30:.1f} GiB of memory free: stay below --size 2160.")
    if not renderer_is_compiled():
        lines.append(
            f"  the first video takes {in_words(COMPILING_S)} longer: the renderer is compiled, once."
        )
    return lines or ["  nothing will be unusually slow."]


def _memory() -> str:
    available = _available_memory()
    return "memory unknown" if available is None else f"{available / 2**30:.1f} GiB of memory free"


def _available_memory() -> int | None:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
