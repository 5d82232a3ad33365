"""A run over all pairs of a folder of scenes: results are kept pair by pair, so that a killed run goes on.

``OUT/pairs`` holds a JSON file for each pair, whole or not at all, and ``OUT/pictures`` what each method made of it.
A pair's file says which run it belongs to (protocol, scene, depth, weights, seeds); of another run it is measured anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.measure.report import plain, weights_hashes
from kinephoto.measure.scenes import Scene, read_scene, scene_folders
from kinephoto.measure.stlpips import Network
from kinephoto.measure.view_case import ViewPair
from kinephoto.measure.view_protocol import ViewProtocol, pairs_of
from kinephoto.measure.views import Edges, PairResult, Tools, ViewFailure, measure_scene
from kinephoto.painter.catalogue import checksum


@dataclass(frozen=True)
class ViewRun:
    """What is measured, and how; everything in it can be sent to another process.

    Attributes:
        scenes: folder of posed scenes.
        protocol: which pairs, at what size and scale.
        clips: names of the scenes to take; all when empty.
        depth: ``builtin``, ``truth``, ``hub:ID``, a folder or a file of weights.
        methods: names, as ``methods.view_methods`` knows them.
        edges: what is done to depth edges.
        seeds: of methods that draw something.
        lpips: by network, ``alex`` or ``vgg``, files of torchvision's weights: LPIPS as well, and DISTS with ``vgg``.
        device: where networks run; None is the processor.
        offline: never touch the network.
        out: folder that keeps results and pictures, or None.
    """

    scenes: Path
    protocol: ViewProtocol
    clips: tuple[str, ...] = ()
    depth: str = "builtin"
    methods: tuple[str, ...] = ("copy", "w-nearest", "builtin")
    edges: Edges = "film"
    seeds: tuple[int, ...] = (0,)
    lpips: Mapping[Network, Path] = field(default_factory=dict)
    device: str | None = None
    offline: bool = False
    out: Path | None = None

    def fingerprint(self, scene: str) -> str:
        """Of all that decides the numbers of a scene's pairs but the methods' names, with the content of files."""
        told = [self._same_for_all, _listing(self.scenes / scene)]
        return _short(told)

    @cached_property
    def _same_for_all(self) -> str:
        """The part of the fingerprint that no scene changes; weights are read for it once a run."""
        told = {
            "protocol": self.protocol.model_dump(mode="json"),
            "depth": [self.depth, _content(Path(self.depth))],
            "edges": self.edges,
            "seeds": list(self.seeds),
            "lpips": {name: _content(path) for name, path in self.lpips.items()},
            "weights": weights_hashes(),
        }
        return json.dumps(told, sort_keys=True)


@dataclass(frozen=True, eq=False)
class ViewPlan:
    """What a run will measure.

    Attributes:
        pairs: by scene.
        broken: scenes that can't be read, and listed pairs whose scene is not there.
    """

    pairs: Mapping[str, Sequence[ViewPair]]
    broken: Sequence[ViewFailure]

    @property
    def count(self) -> int:
        """Of pairs."""
        return sum(map(len, self.pairs.values()))


def plan_views(run: ViewRun) -> ViewPlan:
    """Read all scenes' cameras and say which pairs there are.

    Raises:
        InputError: no scene, a clip that isn't there, or no pair in any of them.
    """
    scenes: dict[str, Scene] = {}
    broken = []
    for folder in scene_folders(run.scenes, run.clips):
        try:
            scenes[folder.name] = read_scene(folder)
        except InputError as error:
            broken.append(ViewFailure(folder.name, None, None, str(error)))
    found: dict[str, list[ViewPair]] = {}
    for pair in pairs_of(run.protocol, scenes):
        if pair.scene in scenes:
            found.setdefault(pair.scene, []).append(pair)
        elif not any(failure.scene == pair.scene for failure in broken):
            broken.append(ViewFailure(pair.scene, pair, None, f"{run.scenes} has no scene {pair.scene}."))
    if not found:
        why = f"; the first of {len(broken)} that can't be used: {broken[0].why}" if broken else "."
        raise InputError(f"{run.scenes} has no pair of the protocol {run.protocol.name}{why}")
    return ViewPlan(found, broken)


def tools_of(run: ViewRun) -> Tools:
    """Load all that a run measures with.

    Raises:
        InputError: a method, a network or weights that can't be had.
    """
    from kinephoto.measure.methods.view_methods import view_methods_named
    from kinephoto.measure.stlpips import StLpips
    from kinephoto.measure.view_depth import estimated_depth

    distances: dict[str, Any] = {f"st_lpips_{name}": StLpips(name, run.device) for name in ("alex", "vgg")}
    if run.lpips:
        from kinephoto.measure.dists import Dists
        from kinephoto.measure.lpips import Lpips

        distances |= {f"lpips_{name}": Lpips(name, path, run.device) for name, path in run.lpips.items()}
        if "vgg" in run.lpips:
            distances["dists"] = Dists(run.lpips["vgg"], run.device)
    return Tools(
        run.protocol,
        estimated_depth(run.depth, run.device, run.offline),
        view_methods_named(run.methods, device=run.device, offline=run.offline),
        distances,
        run.edges,
        run.seeds,
        measured=run.depth == "truth",
    )


def run_views(run: ViewRun, plan: ViewPlan, workers: int = 1) -> Iterator[dict[str, Any] | ViewFailure]:
    """Measure what is not there yet.

    Args:
        run: what and how.
        plan: from ``plan_views``.
        workers: processes, each with its share of the cores; a scene is one's whole.

    Yields:
        For each pair its record (``record_of``), or why there is none; in one process in the plan's order.

    Raises:
        InputError: what is measured with can't be loaded.
    """
    todo = {}
    for scene, pairs in plan.pairs.items():
        left = []
        for pair in pairs:
            kept = kept_record(run, pair)
            if kept is None:
                left.append(pair)
            else:
                yield kept
        if left:
            todo[scene] = left
    if not todo:
        return
    if workers <= 1 or len(todo) == 1:
        tools = tools_of(run)
        for scene, left in todo.items():
            yield from _measured(run, tools, scene, left)
        return
    threads = max(1, torch.get_num_threads() // workers)
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(run, threads)
    ) as pool:
        jobs = [pool.submit(_in_worker, scene, left) for scene, left in todo.items()]
        try:
            for job in as_completed(jobs):
                yield from job.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_worker: tuple[ViewRun, Tools] | None = None


def _start_worker(run: ViewRun, threads: int) -> None:
    global _worker
    torch.set_num_threads(threads)
    _worker = (run, tools_of(run))


def _in_worker(scene: str, pairs: Sequence[ViewPair]) -> list[dict[str, Any] | ViewFailure]:
    assert _worker is not None
    return list(_measured(*_worker, scene, pairs))


def _measured(
    run: ViewRun, tools: Tools, scene: str, pairs: Sequence[ViewPair]
) -> Iterator[dict[str, Any] | ViewFailure]:
    for found in measure_scene(tools, read_scene(run.scenes / scene), pairs):
        if isinstance(found, ViewFailure):
            yield found
            continue
        yield keep(run, found)


def record_of(run: ViewRun, found: PairResult) -> dict[str, Any]:
    """A pair's result as JSON has it; NaN is null."""
    return plain(
        {
            "run": run.fingerprint(found.pair.scene),
            "pair": asdict(found.pair),
            "distance": found.distance,
            "hole_share": found.hole_share,
            "methods": {name: dict(values) for name, values in found.values.items()},
            "folders": {name: folder_mark(name) for name in found.values},
            "failures": dict(found.failures),
        }
    )


def keep(run: ViewRun, found: PairResult) -> dict[str, Any]:
    """Write a pair's pictures, then its record; returns the record."""
    from kinephoto.studio.files import whole

    record = record_of(run, found)
    if run.out is None:
        return record
    for name, picture in found.pictures.items():
        _write(picture, picture_file(run.out, found.pair, name))
    target = record_file(run.out, found.pair)
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole(target) as beside:
        beside.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return record


def kept_record(run: ViewRun, pair: ViewPair) -> dict[str, Any] | None:
    """A pair's record of this very run that has all methods, or None."""
    if run.out is None:
        return None
    try:
        record: dict[str, Any] = json.loads(record_file(run.out, pair).read_text(encoding="utf-8"))
        same = record["run"] == run.fingerprint(pair.scene)
        done = {name: values for name, values in record["methods"].items() if _is_fresh(record, name)}
        done |= record["failures"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not same or not all(method in done for method in run.methods):
        return None
    return record | {
        "methods": {name: record["methods"][name] for name in run.methods if name in record["methods"]}
    }


def folder_mark(method: str) -> str | None:
    """Of what lies in the folder that a method's name speaks of; None without one.

    Such names are ``predictions:FOLDER``, ``builtin:FOLDER+steps=8`` and ``world:builtin:FOLDER``.
    """
    from kinephoto.measure.methods.film_modes import MODES
    from kinephoto.measure.methods.painter_names import parted

    mode, _, painter = method.partition(":")
    if mode in MODES:
        method = painter
    kind, _, place = method.partition(":")
    folder = Path(place if kind == "predictions" else parted(place)[0])
    return _listing(folder) if place and folder.is_dir() else None


def _listing(folder: Path) -> str:
    """Of the names, sizes and times of all files in a folder: pictures are too many to be read each time."""
    told = [
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in _files(folder)
    ]
    return _short(told)


def _content(place: Path) -> str | None:
    """Of every byte of a file, or of all files in a folder, with their names; None where there is neither."""
    if not place.exists():
        return None
    files = [place] if place.is_file() else _files(place)
    return _short([(path.relative_to(place).as_posix(), checksum(path)) for path in files])


def _short(told: list[Any]) -> str:
    """Sixteen digits that stand for all of it."""
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _is_fresh(record: Mapping[str, Any], method: str) -> bool:
    return record["folders"].get(method) == folder_mark(method)


def pair_name(pair: ViewPair) -> str:
    """A pair's name as a file's."""
    return f"{pair.scene}_{pair.source:03d}_{pair.target:03d}"


def record_file(out: Path, pair: ViewPair) -> Path:
    """Where a pair's record is kept."""
    return out / "pairs" / f"{pair_name(pair)}.json"


def picture_file(out: Path, pair: ViewPair, name: str) -> Path:
    """Where one of a pair's pictures is kept."""
    plain_name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    return out / "pictures" / pair_name(pair) / f"{plain_name}.png"


def _write(picture: Tensor, target: Path) -> None:
    from kinephoto.studio.pictures import write_picture

    target.parent.mkdir(parents=True, exist_ok=True)
    write_picture(picture, target)
