"""What can be set for a run of ``kinephoto train autoencoder``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from kinephoto.setting import setting


class AutoencoderSettings(BaseModel):
    """What a run of ``kinephoto train autoencoder`` does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: Path = setting(..., "Folder of pictures with disparity labels.", "Data")
    objects: list[Path] = setting(
        [], "Objects to leave alone without their scene, as for train outpainter; with --painter.", "Data"
    )
    object_share: float = setting(
        0.5, "Share of the crops that are such objects, where there are --objects.", "Data", ge=0, le=1
    )
    out: Path = setting(Path("runs/autoencoder"), "Folder for the weights and the log.", "Data")
    holes: Path | None = setting(None, "Folder that keeps holes; OUT/holes when not given.", "Data")
    init: str = setting("scratch", "Start from: scratch, or a folder of an autoencoder.", "Training")
    painter: Path | None = setting(None, "Folder of a painter whose latents are to be decoded.", "Training")
    steps: int = setting(6000, "Steps of the whole run.", "Training", ge=1, le=10_000_000)
    batch: int = setting(16, "Crops in a step.", "Training", ge=1, le=1024)
    crop_px: int = setting(
        128, "Side of the crops; a multiple of 8.", "Training", ge=32, le=1024, multiple_of=8
    )
    lr: float = setting(5e-4, "Peak learning rate.", "Training", gt=0, le=0.1, allow_inf_nan=False)
    painter_lr: float = setting(
        0.0,
        "Peak learning rate of the painter's M-UNet, which then learns with the decoder, through the last of its "
        "steps; 0 leaves it as it is.",
        "Training",
        ge=0,
        le=0.1,
        allow_inf_nan=False,
    )
    perceptual: float = setting(0.1, "Weight of the perceptual loss by an AlexNet.", "Training", ge=0, le=100)
    perceptual_vgg: float = setting(
        0.0,
        "Weight of the perceptual loss by a VGG16, which makes a step twice as long.",
        "Training",
        ge=0,
        le=100,
    )
    ema: float = setting(
        0.998, "How slowly the averaged weights, which are kept, follow.", "Training", ge=0, lt=1
    )
    seed: int = setting(0, "The same seed gives the same run.", "Training", ge=0, lt=2**32)
    check_every: int = setting(
        250, "Steps between checks on held-out photos; each one saves.", "Training", ge=1
    )
    threads: int = setting(2, "Threads of the processor.", "Machine", ge=1, le=1024)
    half: bool = setting(True, "bfloat16 where it helps.", "Machine")
