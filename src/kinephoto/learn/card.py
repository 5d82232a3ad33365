"""The card beside a file of depth weights: from what they were made, how, how good they are, and how to do it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinephoto.errors import InputError
from kinephoto.scene.depthnet import DepthNetConfig, load_depthnet, parameter_count
from kinephoto.whole_file import written_whole

Numbers = Mapping[str, "float | str | Mapping[str, float | str]"]

OUR_PHOTOS = """\
2,421 photos, short side about 320 px, from public collections. One in 24 (101) was kept out to choose between
checkpoints; 301 others, the split `test`, were used for no choice, only for the numbers below.

| collection | photos | terms, as far as they are known |
| --- | --- | --- |
| MSCOCO | 691 | Flickr photos, each under a Creative Commons licence of its own, many of them non-commercial |
| OSIE | 563 | stimuli published under MIT; the photos come from Flickr and Google, whose authors may keep rights |
| PASCAL-S (PASCAL VOC) | 452 | Flickr's terms of use; research use is customary |
| BSDS500 | 341 | non-commercial research and education |
| Flickr8k | 140 | non-commercial research and education |
| MIT1003 | 78 | Flickr Creative Commons and LabelMe, research use |
| Urban100 | 65 | Flickr Creative Commons, licence per photo not stated |
| ImageNet samples | 58 | non-commercial research and education; copyright stays with the photographers |
| Kodak suite | 20 | released for unrestricted use |
| Detectron demo | 8 | work of the United States government |
| elementary OS wallpapers | 5 | per photo, mostly CC0 or Unsplash |

Nothing was cleared with the rights holders. Many of these photos are from sets for non-commercial research: the
weights hold none of them, but whoever uses the weights should know."""

OUR_TEACHER = """\
Depth Anything V2 Small (Apache-2.0) with one tensor of 239 refitted for this project: the coarsest level's
`neck.reassemble_stage.layers.3.resize.weight`. It is not the published network, and published scores don't hold
for it. The refit saw sparse points and disparities of LLFF, COLMAP, Middlebury and ETH3D scenes, and none of
RealEstate10K: of the scenes in the numbers below, only RealEstate10K's judge teacher and student fairly."""

LIMITS = """\
- Relative inverse depth of one picture, up to scale and shift: no metres, and nothing is stable from one video
  frame to the next.
- What the teacher gets wrong is learnt as well: mirrors, glass, pictures in pictures, reflections on water.
- Outlines are as fine as {input} px on the short side allow; what is thinner (wires, hair, twigs) may be missed.
- Learnt from photos of everyday scenes. Drawings, microscopy, X-rays and pictures from the air are guesses.
- Not for measuring, steering or anything where a wrong distance can hurt somebody."""


@dataclass(frozen=True)
class DepthTraining:
    """What the weights can't say themselves.

    Attributes:
        steps: of training.
        hours: it took.
        device: that it ran on, in words, such as "two cores of a server".
        seed: of the run.
        commit: of the code that made the weights.
        numbers: measured: a name and its value, or a table's title and its rows.
        make_weights: the commands that make the weights again, one a line.
        make_numbers: the commands that make the numbers again.
        start: what the encoder began as.
        photos: data and their terms, Markdown.
        teacher: who labelled them, and under what licence, Markdown.
    """

    steps: int
    hours: float
    device: str
    seed: int
    commit: str
    numbers: Numbers
    make_weights: Sequence[str]
    make_numbers: Sequence[str]
    start: str = "a low-rank copy of the teacher's, fitted to the inputs it sees"
    photos: str = OUR_PHOTOS
    teacher: str = OUR_TEACHER

    def __post_init__(self) -> None:
        refuse_missing(self, ("numbers", "make_weights", "make_numbers", "commit", "device"))


def refuse_missing(training: object, names: Sequence[str]) -> None:
    """Raise InputError where a card's training lacks one of these; commands must be a list of lines."""
    for name in names:
        value = getattr(training, name)
        if not value or (name.startswith("make_") and isinstance(value, str)):
            raise InputError(f"A card needs {name}; it is {value!r}.")


def write_depth_card(weights: Path, training: DepthTraining) -> Path:
    """Write the card beside the weights, under the same name with ``.md``; returns where.

    Raises:
        InputError: the weights can't be read.
    """
    net = load_depthnet(weights)
    text = depth_card(net.config, parameter_count(net), weights.stat().st_size, training)
    path = weights.with_suffix(".md")
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


def depth_card(config: DepthNetConfig, parameters: int, file_bytes: int, training: DepthTraining) -> str:
    """The card's text, Markdown."""
    ranks = "/".join(map(str, config.ranks))
    parts = {
        "": "# kinephoto's depth network\n\nFrom one photo to relative inverse depth: near is large. "
        "`kinephoto depth` and `kinephoto animate` use it where no larger network is on the machine. "
        "The weights are licensed under Apache-2.0, like the code; see the terms of the photos below.",
        "Photos": training.photos,
        "Teacher": training.teacher,
        "Network": f"{parameters:,} parameters, stored in half precision: {file_bytes / 1e6:.2f} MB. A transformer of "
        f"{config.blocks} blocks ({config.dim} channels, {config.heads} heads, linear maps of rank {ranks}) reads the "
        f"photo at a short side of {config.token_short_side_px} px in tokens of {config.patch_px} px; convolutions "
        f"read it at {config.input_short_side_px} px; a decoder ({config.width} channels at its coarsest) joins both.",
        "Training": f"The encoder began as {training.start}. {training.steps:,} steps in {training.hours:.1f} hours "
        f"on {training.device}, seed {training.seed}, code at commit `{training.commit}`. The file holds the "
        "running average of the weights.",
        "Numbers": _tables(training.numbers),
        "Make it again": "The weights:\n\n"
        + commands(training.make_weights)
        + "\n\nThe numbers:\n\n"
        + commands(training.make_numbers),
        "Limits": LIMITS.format(input=config.input_short_side_px),
    }
    return "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in parts.items()) + "\n"


def _tables(numbers: Numbers) -> str:
    """Single values in one table, those with rows of their own in one each."""
    single: dict[str, float | str] = {}
    tables = []
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            tables.append(f"**{name}**\n\n{_table(value)}")
        else:
            single[name] = value
    return "\n\n".join([_table(single)] * bool(single) + tables)


def _table(rows: Mapping[str, float | str]) -> str:
    lines = [f"| {name} | {_in_digits(value)} |" for name, value in rows.items()]
    return "\n".join(["| measure | value |", "| --- | --- |", *lines])


def _in_digits(value: float | str) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def commands(lines: Sequence[str]) -> str:
    """A block of commands, one a line."""
    return "\n".join(["```sh", *lines, "```"])


def tables(rows: Mapping[str, Sequence[Sequence[object]]]) -> str:
    """Tables under their titles; the first row of each is its header."""
    parts = []
    for title, (header, *rest) in rows.items():
        lines = [header, ["---"] * len(header), *rest]
        cells = ["| " + " | ".join(_in_digits(c) for c in line) + " |" for line in lines]  # type: ignore[arg-type]
        parts.append("\n".join([f"**{title}**", "", *cells]))
    return "\n\n".join(parts)
