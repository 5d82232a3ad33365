"""Results with what is needed to read them later: when, which commit, which machine, which versions."""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from kinephoto.machine import usable_cores
from kinephoto.painter.catalogue import checksum

PACKAGES = (
    "kinephoto",
    "torch",
    "numpy",
    "numba",
    "scipy",
    "pillow",
    "opencv-python-headless",
    "transformers",
)


def circumstances() -> dict[str, Any]:
    """Date, commit, machine and versions, ready for JSON."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "machine": {"cpu": _cpu_name(), "cores": usable_cores(), "system": platform.system()},
        "versions": {"python": platform.python_version()} | _versions(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def half_interval(values: np.ndarray) -> float:
    """Half the width of the 95 % interval of a mean, by Student's t; NaN of a single value."""
    from scipy.stats import t

    if len(values) < 2:
        return math.nan
    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def weights_hashes() -> dict[str, str]:
    """SHA-256 of each file of weights that comes with the package."""
    folder = resources.files("kinephoto") / "weights"
    files = sorted(Path(str(folder)).rglob("*.safetensors"))
    return {str(file.relative_to(str(folder))): checksum(file) for file in files}


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write ``results`` and the circumstances as JSON; whole or not at all; NaN and infinity become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    text = json.dumps(plain(circumstances() | dict(results)), indent=1, ensure_ascii=False, allow_nan=False)
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(path)


def plain(value: Any) -> Any:
    """The same with tuples as lists and without numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]], digits: int = 3) -> str:
    """A Markdown table; floats with ``digits`` places, a dash where there is no number."""

    def cell(value: Any) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "–"
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)
