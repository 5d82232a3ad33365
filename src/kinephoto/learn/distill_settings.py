"""What can be set for a run of ``kinephoto train depth``; nothing heavy is imported, so that help comes at once."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator, model_validator
from pydantic_core import PydanticCustomError

from kinephoto.setting import setting

FEWEST_TOKENS, MOST_TOKENS = 2, 64


class DistillSettings(BaseModel):
    """What a run of ``kinephoto train depth`` does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: Path = setting(
        ...,
        "Folder of pictures; with manifest.csv its splits are kept, disparity/ holds labels. Or WebDataset shards, "
        "such as 'photos-{000..127}.tar', or the index.json of some.",
        "Data",
    )
    out: Path = setting(
        Path("runs/depth"),
        "Folder for the state, the log, labels and the weights; a run there is gone on with.",
        "Data",
    )
    teacher: Path | None = setting(
        None, "Folder of a Depth Anything network: for labels, features and --init teacher.", "Data"
    )
    init: str = setting("builtin", "Start from: builtin, teacher, scratch, or a file of weights.", "Training")
    steps: int = setting(12000, "Steps of the whole run.", "Training", ge=1, le=10_000_000)
    feature_steps: int = setting(
        3000, "First steps, which also match the teacher's features.", "Training", ge=0, le=10_000_000
    )
    encoder_steps: int = setting(
        0,
        "The first of them match nothing else: the decoder rests, and a step takes half the time.",
        "Training",
        ge=0,
        le=10_000_000,
    )
    kept_steps: int = setting(
        0,
        "Show the crops of so many steps again and again, with the teacher's features kept in out/features "
        "(5 MB a step, for 8 crops of 14 tokens). 0 draws new crops for every step.",
        "Training",
        ge=0,
        le=10_000_000,
    )
    crop_labels: bool = setting(
        False,
        "While features are matched, the label is what the teacher sees in the very crop, not its part of the "
        "photo's.",
        "Training",
    )
    mix: float = setting(
        0.0, "Share of crops that are blended with another crop; needs --crop-labels.", "Training", ge=0, le=1
    )
    batch: int = setting(8, "Crops in a step.", "Training", ge=1, le=1024)
    lr: float = setting(
        4e-4,
        "Peak learning rate of the encoder; the decoder's is 2.5 times it.",
        "Training",
        gt=0,
        le=0.1,
        allow_inf_nan=False,
    )
    tokens: list[int] = setting(
        [14, 16, 20],
        "Side of the crops in tokens of 14 px, stage by stage; repeat it for each stage.",
        "Training",
        min_length=1,
        max_length=16,
    )
    ema: float = setting(
        0.999, "How slowly the averaged weights, which are kept, follow.", "Training", ge=0, lt=1
    )
    seed: int = setting(0, "The same seed gives the same run.", "Training", ge=0, lt=2**32)
    check_every: int = setting(
        500, "Steps between checks on the held-out photos; each one saves.", "Training", ge=1
    )
    device: str = setting("cpu", "Where to compute, such as cuda.", "Machine")
    threads: int = setting(2, "Threads of the processor.", "Machine", ge=1, le=1024)
    half: bool = setting(True, "bfloat16 where it helps.", "Machine")

    @field_validator("tokens")
    @classmethod
    def _tokens_fit_a_crop(cls, tokens: list[int]) -> list[int]:
        if not all(FEWEST_TOKENS <= side <= MOST_TOKENS for side in tokens):
            raise PydanticCustomError(
                "tokens",
                "Each side must be from {fewest} to {most} tokens",
                {"fewest": FEWEST_TOKENS, "most": MOST_TOKENS},
            )
        return tokens

    @model_validator(mode="after")
    def _mixed_crops_have_labels(self) -> DistillSettings:
        if self.crop_labels and (self.teacher is None or self.feature_steps == 0):
            raise PydanticCustomError("labels", "--crop-labels needs --teacher FOLDER and --feature-steps")
        if self.mix and not self.crop_labels:
            raise PydanticCustomError("mix", "--mix needs --crop-labels: a photo's label fits no blend")
        return self

    @model_validator(mode="after")
    def _features_serve_a_purpose(self) -> DistillSettings:
        if self.encoder_steps > self.feature_steps or (self.encoder_steps and self.teacher is None):
            raise PydanticCustomError(
                "encoder_steps", "--encoder-steps needs --teacher FOLDER and as many --feature-steps"
            )
        if self.kept_steps and (self.teacher is None or self.crop_labels):
            raise PydanticCustomError(
                "kept_steps", "--kept-steps needs --teacher FOLDER, without --crop-labels"
            )
        return self
