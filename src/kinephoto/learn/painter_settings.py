"""What can be set for a run of ``kinephoto train painter``; nothing heavy is imported, so that help comes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from kinephoto.setting import setting


class PainterSettings(BaseModel):
    """What a run of ``kinephoto train painter`` does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: Path = setting(
        ...,
        "Folder of pictures; with manifest.csv its splits are kept, disparity/ holds labels. Or WebDataset shards, "
        "such as 'photos-{000..127}.tar', or the index.json of some.",
        "Data",
    )
    captions: Path | None = setting(
        None, "Captions in COCO's format (captions.json); shards bring their own.", "Data"
    )
    objects: list[Path] = setting(
        [],
        "Objects to paint scenes around: files in COCO's format (instances.json), folders of masks.",
        "Data",
    )
    object_share: float = setting(
        0.5,
        "Share of the crops that are objects without their scene, where there are --objects.",
        "Data",
        ge=0,
        le=1,
    )
    out: Path = setting(
        Path("runs/painter"),
        "Folder for state, log, samples and weights; a run there is gone on with.",
        "Data",
    )
    holes: Path | None = setting(
        None, "Folder that keeps the photos' holes; OUT/holes when not given.", "Data"
    )
    init: str = setting(
        "builtin",
        "Start from: builtin, scratch, a folder of a painter or of Stable Diffusion 1.x, or its id.",
        "Training",
    )
    autoencoder: Path | None = setting(
        None,
        "Folder of an autoencoder for --init scratch; the built-in painter's when not given.",
        "Training",
    )
    variant: Literal["meb", "no-mask", "cross-fusion", "concat"] = setting(
        "meb", "How mask and masked latents come in.", "Training"
    )
    widths: list[int] = setting(
        [64, 128, 192], "Channels of the UNet, level by level, for --init scratch.", "Training"
    )
    steps: int = setting(20000, "Steps of the whole run.", "Training", ge=1, le=100_000_000)
    batch: int = setting(24, "Crops in a step, on each process.", "Training", ge=1, le=4096)
    accumulate: int = setting(1, "Batches whose gradients make one step.", "Training", ge=1, le=1024)
    crop_px: int = setting(
        128, "Side of the crops; a multiple of 32.", "Training", ge=32, le=1024, multiple_of=32
    )
    lr: float = setting(4e-4, "Peak learning rate.", "Training", gt=0, le=0.1, allow_inf_nan=False)
    target: Literal["auto", "epsilon", "v_prediction"] = setting(
        "auto", "What is predicted; the paper has epsilon. auto: v, or what the start predicts.", "Training"
    )
    condition: Literal["auto", "black", "filled"] = setting(
        "auto",
        "What z̃ is encoded from: holes blackened, as in the paper, or filled. auto: filled, or as the start has it.",
        "Training",
    )
    residual: float | None = setting(
        None,
        "z_0 is what the latents differ from z̃ by, divided by this; 0: the latents themselves. 1, or as the start "
        "has it, when not given.",
        "Training",
        ge=0,
        le=100,
    )
    hole_weight: float = setting(
        10.0,
        "How much more a latent counts that is all hole; 0: the paper's, all alike.",
        "Training",
        ge=0,
        le=1e4,
    )
    min_snr: float = setting(
        0.0, "γ of min-SNR weights; 0: none, as in the paper.", "Training", ge=0, le=1000
    )
    text_dropped: float = setting(0.1, "Share of crops whose text is left out.", "Training", ge=0, le=1)
    ema: float = setting(
        0.999, "How slowly the averaged weights, which are kept, follow.", "Training", ge=0, lt=1
    )
    seed: int = setting(0, "The same seed gives the same run.", "Training", ge=0, lt=2**32)
    check_every: int = setting(
        500, "Steps between checks on held-out photos; each one saves.", "Training", ge=1
    )
    device: str = setting("auto", "Where to compute: auto, cpu or cuda.", "Machine")
    threads: int = setting(2, "Threads of the processor.", "Machine", ge=1, le=1024)
    memory_mb: int = setting(
        4096, "What photos from shards and their holes may take, on each process.", "Machine", ge=64
    )
    precision: Literal["auto", "no", "bf16", "fp16"] = setting(
        "auto", "Of the computation; auto is bf16 where the device has it.", "Machine"
    )


class OutpainterSettings(PainterSettings):
    """What a run of ``kinephoto train outpainter`` does: a painter's, with objects."""

    objects: list[Path] = setting(
        [],
        "Objects to paint scenes around: files in COCO's format (instances.json), folders of masks; shards bring "
        "their own.",
        "Data",
    )
    out: Path = setting(
        Path("runs/outpainter"),
        "Folder for state, log, samples and weights; a run there is gone on with.",
        "Data",
    )

    @model_validator(mode="after")
    def _there_are_objects(self) -> OutpainterSettings:
        from kinephoto.learn.tar_places import is_shards

        if not self.objects and not is_shards(self.photos):
            raise PydanticCustomError("objects", "--objects must be given for a folder of photos")
        return self
