"""How much a prompt does: the painter's loss with a photo's own caption, with another photo's, and with none.

    python benchmarks/painter_prompt.py --photos PHOTOS --captions PHOTOS/coco/captions.json

Photos with captions of the split `test`; four crops each, noise and timesteps the same for all three. Beside it the
change of the painted hole, in 8-bit steps, from no prompt to the caption and to another photo's, at two guidances.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from kinephoto.learn.bank import HoleBank
from kinephoto.learn.captions import read_captions
from kinephoto.learn.diffusion import loss_of, noised, tokens_of
from kinephoto.learn.hole_crops import HoleBatch, hole_batch
from kinephoto.learn.painter_settings import PainterSettings
from kinephoto.learn.photos import read_labelled, split_of
from kinephoto.learn.trainee import Trainee
from kinephoto.measure.report import markdown_table, write_results
from kinephoto.painter.builtin import STEPS, STRENGTH, builtin_folder, loaded

CROPS_PER_PHOTO, CROP_PX = 4, 128
GUIDANCES = (0.0, 3.0)


@torch.no_grad()
def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    names = split_of(options.photos, "test")
    every = [name for split in ("train", "held-out") for name in split_of(options.photos, split)]
    captions = read_captions(options.captions, [*every, *names])
    chosen = [name for name in names if name in captions][: options.most_photos]
    settings = PainterSettings(photos=options.photos, captions=options.captions)
    pipeline = loaded(options.painter)
    trainee = Trainee(pipeline.unet, pipeline.text_encoder)
    bank = HoleBank(None, variants=1)
    losses: dict[str, list[torch.Tensor]] = {"own caption": [], "another's": [], "none": []}
    changes: dict[str, list[float]] = {}
    for number, name in enumerate(chosen):
        photo = read_labelled(options.photos, name)
        if not len(bank.holes(photo).known):
            continue
        keys = [(1, number, i) for i in range(CROPS_PER_PHOTO)]
        batch = hole_batch([photo], bank.holes, CROP_PX, keys)
        seen = noised(batch, keys, pipeline, {}, settings)
        other = chosen[(number + 7) % len(chosen)]
        texts = {"own caption": captions[name][0], "another's": captions[other][0], "none": ""}
        for kind, text in texts.items():
            tokens = tokens_of(pipeline.tokenizer, [text] * CROPS_PER_PHOTO)
            losses[kind].append(loss_of(trainee, type(seen)(**(vars(seen) | {"tokens": tokens}))))
        for key, change in changed(pipeline, batch, texts).items():
            changes.setdefault(key, []).append(change)
    means = {kind: float(torch.cat(found).mean()) for kind, found in losses.items()}
    paired = torch.cat(losses["none"]) - torch.cat(losses["own caption"])
    error = float(paired.std() / len(paired) ** 0.5)
    print(markdown_table(["prompt", "loss"], [[k, v] for k, v in means.items()], 4))
    print(f"none minus own caption: {float(paired.mean()):.4f} ± {1.96 * error:.4f}")
    moved = {key: sum(found) / len(found) for key, found in changes.items()}
    print(markdown_table(["prompt against none", "8-bit steps"], [[k, v] for k, v in moved.items()], 2))
    if options.out:
        write_results(options.out, {"loss": means, "paired_95": 1.96 * error, "change": moved})


def changed(pipeline, batch: HoleBatch, texts: Mapping[str, str]) -> dict[str, float]:
    """Mean absolute change in the holes, 8-bit steps, by prompt and guidance."""
    found = {}
    for guidance in GUIDANCES:
        pictures = {
            kind: pipeline(
                batch.rgb,
                batch.known,
                fill=batch.filled,
                steps=STEPS,
                strength=STRENGTH,
                guidance=guidance,
                prompt=text,
                seed=list(range(len(batch.names))),
            )
            for kind, text in texts.items()
        }
        for kind in ("own caption", "another's"):
            change = (pictures[kind] - pictures["none"]).abs().mean(1)[~batch.known]
            found[f"{kind}, guidance {guidance:g}"] = 255 * float(change.mean())
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of single photos, manifest.csv")
    parser.add_argument("--captions", type=Path, required=True, help="COCO's captions.json")
    parser.add_argument("--painter", type=Path, default=builtin_folder(), help="folder of a painter")
    parser.add_argument("--most-photos", type=int, default=92)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON with everything")
    return parser.parse_args()


if __name__ == "__main__":
    main()
