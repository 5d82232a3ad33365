"""Captions of photos, and a small text encoder of one's own for them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinephoto.errors import InputError
from kinephoto.learn.photos import reason

VOCABULARY = 3072
LONGEST = 24
"""Tokens of a prompt, beginning and end included; what is longer is cut."""
START, END = "<|startoftext|>", "<|endoftext|>"


def read_captions(path: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """The captions of each photo, by its name; photos without any are left out.

    Args:
        path: COCO's captions.json, with ``images`` and ``annotations``.
        names: of all photos there are, relative to their folder; a leading ``photos/`` doesn't count.

    Raises:
        InputError: the file can't be read, or names photos that there aren't.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        said = [(files[each["image_id"]], str(each["caption"]).strip()) for each in content["annotations"]]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a captions file in COCO's format ({reason(error)}).") from None
    by_short = {name.removeprefix("photos/"): name for name in names}
    missing = sorted({file for file, _ in said} - set(by_short))
    if missing:
        raise InputError(f"{path} names {len(missing)} photos that are not there, such as {missing[0]}.")
    found: dict[str, list[str]] = defaultdict(list)
    for file, caption in said:
        if caption:
            found[by_short[file]].append(caption)
    return dict(found)


def new_tokenizer(captions: Iterable[str], vocabulary: int = VOCABULARY) -> Any:
    """A byte-level BPE tokenizer with these captions' commonest pieces; the same captions give the same one."""
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 0), (END, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=END,
        model_max_length=LONGEST,
    )


def new_text_encoder(tokenizer: Any, width: int = 128, layers: int = 2) -> Any:
    """A CLIP-type text encoder of that width, with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            max_position_embeddings=LONGEST,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def caption_of(name: str, captions: Mapping[str, Sequence[str]], draw: float, dropped: float) -> str:
    """One of the photo's captions, or nothing: for ``draw`` below ``dropped``, and where there is none.

    Args:
        name: of the photo.
        captions: by name.
        draw: in [0, 1).
        dropped: share of crops whose text is left out (Ho and Salimans, Classifier-free guidance, 2022).
    """
    own = captions.get(name, ())
    if draw < dropped or not own:
        return ""
    return own[int((draw - dropped) / (1 - dropped) * len(own))]
