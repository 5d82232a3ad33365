"""The card beside a painter's weights: from what they were made, how, how good they are, and how to do it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinephoto.learn.card import OUR_PHOTOS, commands, refuse_missing, tables
from kinephoto.learn.pairs import MIXTURE, Motion
from kinephoto.whole_file import written_whole

PARTS = ("vae", "unet", "text_encoder")

LIMITS = """\
- It continues what is around a hole: colours, edges, coarse texture. It does not draw hidden things: no legs behind a
  table, no face behind a hand.
- Holes much wider than those it was trained on are painted in a smaller picture first, and are softer.
- What it paints is made up. It is no evidence of what was there.
- Learnt from everyday photos; drawings, text and regular patterns come out blurred or broken."""


@dataclass(frozen=True)
class PainterTraining:
    """What the weights can't say themselves.

    Attributes:
        steps, hours: of the M-UNet.
        decoder_steps, decoder_hours: of the autoencoder's decoder.
        device: that it ran on, in words.
        seed: of the runs.
        commit: of the code that made the weights.
        settings: of the M-UNet's run, in words.
        numbers: by the title of a table: its header and its rows.
        text: how much the prompt does, measured.
        objects: what else than holes was learnt from, a sentence or more; empty: nothing.
        make_weights, make_numbers: the commands that make them again, one a line.
        photos: data and their terms, Markdown.
    """

    steps: int
    hours: float
    decoder_steps: int
    decoder_hours: float
    device: str
    seed: int
    commit: str
    settings: str
    numbers: Mapping[str, Sequence[Sequence[Any]]]
    text: str
    make_weights: Sequence[str]
    make_numbers: Sequence[str]
    photos: str = OUR_PHOTOS
    objects: str = ""

    def __post_init__(self) -> None:
        refuse_missing(self, ("numbers", "text", "make_weights", "make_numbers", "commit", "device"))


def write_painter_card(folder: Path, training: PainterTraining) -> Path:
    """Write the card beside the folder, under the same name with ``.md``; returns where.

    Raises:
        InputError: the weights can't be read.
    """
    from kinephoto.painter.builtin import loaded

    pipeline = loaded(folder)
    sizes = {name: sum(p.numel() for p in getattr(pipeline, name).parameters()) for name in PARTS}
    stored = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    path = folder.with_name(f"{folder.name}.md")
    with written_whole(path) as beside:
        beside.write_text(painter_card(pipeline, sizes, stored, training), encoding="utf-8")
    return path


def painter_card(pipeline: Any, sizes: Mapping[str, int], stored: int, training: PainterTraining) -> str:
    """The card's text, Markdown.

    Args:
        pipeline: with the configs.
        sizes: parameters of each of ``PARTS``.
        stored: bytes of the weights' files.
        training: what the weights can't say.
    """
    unet, vae = pipeline.unet.config, pipeline.vae.config
    motion, mixture = Motion(), ", ".join(f"{kind} {share:.0%}" for kind, share in MIXTURE.items())
    network = (
        f"{sum(sizes.values()):,} parameters, stored in half precision: {stored / 1e6:.2f} MB. The autoencoder "
        f"({sizes['vae']:,}) codes each {vae.patch_px}×{vae.patch_px} patch as its {vae.latent_channels} leading "
        "principal components; its decoder is convolutional and sees the filled picture and the mask at pixel "
        f"precision. The M-UNet ({sizes['unet']:,}; {'/'.join(map(str, unet.block_out_channels))} channels, variant "
        f"{unet.mask_variant}) predicts {pipeline.scheduler.config.prediction_type} on a cosine schedule of "
        f"{pipeline.scheduler.config.num_train_timesteps} timesteps; z̃ is encoded from the picture "
        f"{'filled from the farther side' if pipeline.config['condition'] == 'filled' else 'with its holes blackened'}"
        f"{', and z_0 is what the photo differs from it by' if pipeline.config['residual_scale'] else ''}. The text "
        f"encoder ({sizes['text_encoder']:,}) is of CLIP's kind, with a byte-level vocabulary of "
        f"{len(pipeline.tokenizer)} pieces of its own."
    )
    holes = (
        f"Cycle-rendered (Eq. 8): {mixture}. A way there and back moves the camera by {motion.sideways[0]} to "
        f"{motion.sideways[1]} of the nearest thing's distance sideways, up to {motion.upwards} times that upwards "
        f"(in one of four the other way round), up to {motion.forwards} forwards or backwards, and turns it by up to "
        f"{motion.turned_deg}° about each axis. `union` is what any of two or three ways loses, `wide` the same grown "
        "by 2 to 8 px, `border` a strip of 2 to 15 % along one or two sides, as a panning camera uncovers it: worlds "
        "are painted at their borders and under silhouettes as well."
    )
    parts = {
        "": "# kinephoto's painter\n\nIt paints what comes into view when the camera moves. `kinephoto animate` uses "
        "it unless another painter is asked for. The weights are licensed under Apache-2.0, like the code; see the "
        "terms of the photos below.",
        "Photos": training.photos
        + "\n\nTheir depth, for the cycle rendering, is that of the teacher of the depth "
        "network, whose card is `depth.md`. The decoder's perceptual losses look through the AlexNet and the VGG16 "
        "that come with the package stlpips-pytorch (trained on ImageNet). ST-LPIPS judges with the same networks; "
        "so of the numbers below only PSNR is independent.",
        "Network": network,
        "Holes": f"{holes} {training.objects}".strip(),
        "Training": f"M-UNet and text encoder: {training.steps:,} steps in {training.hours:.1f} hours "
        f"({training.settings}). Decoder: {training.decoder_steps:,} steps in {training.decoder_hours:.1f} hours. On "
        f"{training.device}, seed {training.seed}, code at commit `{training.commit}`. The files hold running "
        "averages of the weights.",
        "Numbers": tables({title: list(rows) for title, rows in training.numbers.items()}),
        "The prompt": training.text,
        "Make it again": "The weights:\n\n"
        + commands(training.make_weights)
        + "\n\nThe numbers:\n\n"
        + commands(training.make_numbers),
        "Limits": LIMITS,
    }
    return "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in parts.items()) + "\n"
