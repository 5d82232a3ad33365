"""What can be set for ``kinephoto pack``; nothing heavy is imported, so that help comes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from kinephoto.setting import setting


class PackSettings(BaseModel):
    """How photos become shards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    captions: Path | None = setting(None, "Captions in COCO's format (captions.json).", "Data")
    objects: list[Path] = setting(
        [],
        "Objects to paint scenes around: files in COCO's format (instances.json), folders of masks.",
        "Data",
    )
    depth: str = setting(
        "builtin",
        "Who labels photos without a label in disparity/: builtin, none, or a folder of a Depth Anything network.",
        "Data",
    )
    shard_mb: int = setting(256, "Size of a shard.", "Shards", ge=1, le=100_000)
    photo_format: Literal["webp", "as-is"] = setting("webp", "How photos are stored.", "Shards")
    quality: int = setting(90, "Of WebP.", "Shards", ge=1, le=100)
    short_side_px: int = setting(
        384, "Larger photos are made smaller; training reads no more than 384.", "Shards", ge=32, le=8192
    )
    seed: int = setting(
        0, "Of the photos' order; neighbours in a folder resemble each other.", "Shards", ge=0
    )
    device: str = setting("cpu", "Where a Depth Anything network computes, such as cuda.", "Machine")
    threads: int = setting(2, "Threads of the processor.", "Machine", ge=1, le=1024)
