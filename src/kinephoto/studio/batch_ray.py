"""A batch on a Ray cluster: the same worker as on this machine, as actors of Ray Data."""

from __future__ import annotations

import json
import logging
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from kinephoto.errors import InputError
from kinephoto.studio.batch_plan import Plan
from kinephoto.studio.batch_storage import is_url
from kinephoto.studio.batch_worker import FAILED, BatchWorker

LOCAL, AUTO = "local", "auto"
ROWS_AT_ONCE = 5000
"""Rows are given to Ray Data in portions, so that the driver's memory doesn't grow with their number."""

_REACHED_WITHIN_S = 5.0
_ROUNDS, _RETRIES = 2, 1
_LOST = (
    "The worker of this photo was lost twice, most likely for want of memory; a smaller --size needs less."
)


class RayWorker:
    """`BatchWorker` as Ray Data calls it: a column of rows in, a column of results out, both as JSON."""

    def __init__(self, plan: Plan) -> None:
        self._worker = BatchWorker(plan)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"result": [json.dumps(self._worker(json.loads(str(row)))) for row in batch["row"]]}


def on_ray(
    rows: Iterator[Mapping[str, Any]],
    plan: Plan,
    address: str,
    *,
    workers: int | None = None,
    gpus_per_worker: float = 0.0,
) -> Iterator[dict[str, Any]]:
    """What the workers say of each row, as they finish.

    Args:
        rows: as `BatchWorker` takes them.
        plan: for every worker; each computes on one processor, if nothing else is said.
        address: of a running cluster, "auto" for the one that this machine belongs to, or "local" to start one.
        workers: actors; None lets Ray take as many as there is room for.
        gpus_per_worker: share of a GPU for each, such as 0.25.

    Raises:
        InputError: Ray isn't installed, or nothing answers at the address.
    """
    ray = connected(address)
    # Workers may live in other folders, if not on other machines.
    threads = plan.settings.get("threads") or plan.threads or 1
    plan = replace(plan, threads=threads, target=_absolute(plan.target))
    most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A photo whose worker is lost again and again takes nothing else with it.
    context.max_errored_blocks = -1
    while portion := list(islice(rows, ROWS_AT_ONCE)):
        waiting = {row["output"]: row for row in portion}
        # With a node go all the photos that it had. They are done by the others then, in a second round.
        for _ in range(_ROUNDS):
            for result in _results(ray, list(waiting.values()), plan, workers, most, gpus_per_worker):
                row = waiting.pop(result["output"])
                yield result | {"path": row["path"]}
            if not waiting:
                break
        for row in waiting.values():
            yield {"output": row["output"], "path": row["path"], "status": FAILED, "error": _LOST}


def connected(address: str) -> Any:
    """The module ``ray``, connected.

    Raises:
        InputError: see ``on_ray``.
    """
    check_answers(address)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("--ray needs Ray: pip install 'kinephoto[cluster]'") from None
    if ray.is_initialized():
        return ray
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == LOCAL:
        ray.init(include_dashboard=False, **quiet)
        return ray
    try:
        ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"There is no Ray cluster at {address}: {said}.") from None
    return ray


def _results(
    ray: Any,
    portion: list[Mapping[str, Any]],
    plan: Plan,
    workers: int | None,
    most: int,
    gpus_per_worker: float,
) -> Iterator[dict[str, Any]]:
    texts = [{"row": json.dumps({**row, "path": _absolute(row["path"])})} for row in portion]
    source = ray.data.from_items(texts, override_num_blocks=len(texts))  # what is lost is one photo
    with warnings.catch_warnings():
        # Ray will give the two last ones other names, from 2.64 on; until then there are only these.
        warnings.simplefilter("ignore")
        data = source.map_batches(
            RayWorker,
            fn_constructor_args=(plan,),
            batch_size=1,
            num_cpus=plan.threads,
            num_gpus=gpus_per_worker or None,
            compute=ray.data.ActorPoolStrategy(min_size=workers or 1, max_size=workers or most),
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )
    for found in data.iter_rows():
        yield json.loads(found["result"])


def _absolute(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)


def check_answers(address: str) -> None:
    """Ray itself waits for minutes; whether anybody listens is known at once.

    Raises:
        InputError: nobody does, or it is no address.
    """
    if address in (LOCAL, AUTO):
        return
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--ray is {address}; it must be {LOCAL}, {AUTO} or HOST:PORT, such as head:6379.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_WITHIN_S).close()
    except OSError as error:
        raise InputError(f"There is no Ray cluster at {address}: {error.strerror or error}.") from None
