"""A batch with its photos and outputs in S3, served by moto on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.studio.batch import Machine, Tally, run
from kinephoto.studio.batch_plan import Plan, plan_of
from kinephoto.studio.batch_storage import ANSWER_WITHIN_S
from kinephoto.studio.outpaint_settings import OutAnimateSettings

pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

pytestmark = [
    pytest.mark.scale,
    pytest.mark.filterwarnings("default"),  # moto's own
]
KEYS = {"key": "testing", "secret": "testing"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server with an empty bucket."""
    import boto3

    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id=KEYS["key"],
        aws_secret_access_key=KEYS["secret"],
    )
    client.create_bucket(Bucket="films")
    yield address
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bucket, as whoever calls kinephoto has it: all is said by the environment."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["secret"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3fs.S3FileSystem()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    values = np.full((48, 64), 20, np.uint8)
    values[12:40, 20:48] = 255
    Image.fromarray(values).save(tmp_path / "near.png")
    chosen = OutAnimateSettings(depth=str(tmp_path / "near.png"), painter="opencv:telea")
    return plan_of("depth", "s3://films/out", chosen)


def last(tallies: Iterator[Tally]) -> Tally:
    *_, tally = tallies
    return tally


def test_photos_come_from_s3_and_outputs_go_there(
    bucket: Any, plan: Plan, example_photos: list[Path], tmp_path: Path
) -> None:
    for number, file in enumerate(example_photos[:3]):
        with Image.open(file) as picture:
            picture.convert("RGB").resize((64, 48)).save(tmp_path / f"{number}.png")
        bucket.put_file(str(tmp_path / f"{number}.png"), f"films/in/{number}.png")
    first = last(run(["s3://films/in"], plan, Machine(workers=0)))
    assert (first.done, first.skipped, first.failed) == (3, 0, 0)
    bucket.invalidate_cache()
    rows = [json.loads(line) for line in bucket.cat_file("films/out/results.jsonl").splitlines()]
    assert [row["output"] for row in rows] == ["0.png", "1.png", "2.png"]
    bucket.get_file("films/out/2.png", str(tmp_path / "back.png"))
    with Image.open(tmp_path / "back.png") as picture:
        assert picture.mode.startswith("I;16") and picture.size == (64, 48)
    again = last(run(["s3://films/in/*.png"], plan, Machine(workers=0)))
    assert (again.done, again.skipped, again.failed) == (0, 3, 0)


def test_a_bucket_that_is_not_there_is_refused_and_not_made(bucket: Any, plan: Plan) -> None:
    nowhere = replace(plan, target="s3://no-such-bucket/out")
    with pytest.raises(InputError, match="s3://no-such-bucket/out can't be written to: .*bucket"):
        last(run(["s3://films/in"], nowhere, Machine(workers=0)))
    assert not bucket.exists("no-such-bucket")


def test_a_server_that_is_not_there_is_said_quickly(
    bucket: Any, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    type(bucket).clear_instance_cache()
    began = time.monotonic()
    with pytest.raises(InputError, match="s3://films/out can't be written to"):
        last(run(["s3://films/in"], plan, Machine(workers=0)))
    assert time.monotonic() - began < 2 * ANSWER_WITHIN_S
