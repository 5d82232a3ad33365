from __future__ import annotations

import json

import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.learn.captions import caption_of, new_text_encoder, new_tokenizer, read_captions

NAMES = ["photos/coco/1.webp", "photos/coco/2.webp"]
SAID = ["A dog runs on the beach.", "Two dogs on a beach", "a red bus"] * 3


def write(path, files):
    images = [{"id": i, "file_name": name} for i, name in enumerate(files)]
    notes = [{"id": i, "image_id": i % len(files), "caption": f"caption {i} "} for i in range(3)]
    path.write_text(json.dumps({"images": images, "annotations": notes}))
    return path


def test_captions_are_found_by_the_photo(tmp_path):
    path = write(tmp_path / "captions.json", ["coco/1.webp", "coco/2.webp"])
    assert read_captions(path, NAMES) == {
        "photos/coco/1.webp": ["caption 0", "caption 2"],
        "photos/coco/2.webp": ["caption 1"],
    }


def test_captions_of_missing_photos_are_refused(tmp_path):
    path = write(tmp_path / "captions.json", ["coco/1.webp", "coco/9.webp"])
    with pytest.raises(InputError, match=r"names 1 photos that are not there, such as coco/9\.webp"):
        read_captions(path, NAMES)


@pytest.mark.parametrize("text", ["", "[]", '{"images": []}', '{"images": [1], "annotations": []}'])
def test_other_files_are_no_captions(tmp_path, text):
    path = tmp_path / "captions.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a captions file"):
        read_captions(path, NAMES)
    with pytest.raises(InputError, match="not a captions file"):
        read_captions(tmp_path / "none.json", NAMES)


def test_the_tokenizer_says_back_what_it_read_and_is_saved_whole(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = new_tokenizer(SAID, vocabulary=400)
    ids = tokenizer("Two dogs run").input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "two dogs run"
    # Bytes cover what no caption held.
    assert (
        tokenizer.decode(tokenizer("Ünïcödé 日本").input_ids, skip_special_tokens=True).strip()
        == "ünïcödé 日本"
    )
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("Two dogs run").input_ids == ids


def test_the_text_encoder_tells_texts_apart():
    tokenizer = new_tokenizer(SAID, vocabulary=300)
    encoder = new_text_encoder(tokenizer, width=32, layers=1).eval()
    ids = tokenizer(["a dog", "a bus", ""], padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        states = encoder(ids)[0]
    assert states.shape == (3, tokenizer.model_max_length, 32)
    assert not torch.allclose(states[0], states[1])


def test_captions_are_dropped_and_drawn_evenly():
    captions = {"a": ["one", "two"]}
    draws = [i / 1000 for i in range(1000)]
    found = [caption_of("a", captions, draw, 0.1) for draw in draws]
    assert found.count("") == 100
    assert found.count("one") == found.count("two") == 450
    assert caption_of("b", captions, 0.9, 0.1) == ""
    assert {caption_of("a", captions, draw, 1.0) for draw in draws} == {""}
