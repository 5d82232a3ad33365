"""``kinephoto models`` lists, fetches and verifies, with exit codes that scripts can trust."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kinephoto.app.cli import main
from kinephoto.errors import InputError
from kinephoto.painter import catalogue

DEPTH = "hub:depth-anything/Depth-Anything-V2-Small-hf"
Answer = tuple[int, str, str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    """An empty Hugging Face cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def models(cache: Path, monkeypatch, capsys) -> Callable[..., Answer]:
    """Run ``kinephoto models`` with these words: exit code, output and errors."""

    def call(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["kinephoto", "models", *words])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return call


def put_into(cache: Path) -> Path:
    """The depth network's folder in the cache, with weights of nothing."""
    repository = cache / "models--depth-anything--Depth-Anything-V2-Small-hf"
    folder = repository / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (folder / "config.json").write_text("{}")
    save_file({"w": np.ones(9, np.float32)}, folder / "model.safetensors")
    return folder


def error_of(answer: Answer) -> str:
    (line,) = answer[2].splitlines()
    assert line.startswith("Error: ") and answer[0] == 2 and answer[1] == ""
    return line


def row_of(answer: Answer, name: str) -> str:
    (row,) = [line for line in answer[1].splitlines() if f"{name}  " in line]
    return row


def test_the_list_has_every_model_with_size_licence_and_whether_it_is_here(models, cache) -> None:
    put_into(cache)
    answer = models("list")
    assert answer[0] == 0 and answer[2] == ""
    assert len(answer[1].splitlines()) == 1 + len(catalogue.CATALOGUE)
    for model in catalogue.CATALOGUE:
        assert model.licence in row_of(answer, f"{model.flag} {model.name}")
    assert "100 MB       yes" in row_of(answer, DEPTH)
    assert "33.7 GB      no" in row_of(answer, "hub:black-forest-labs/FLUX.1-Fill-dev")


def test_the_list_says_what_is_incomplete(models, cache) -> None:
    (put_into(cache) / "model.safetensors").write_bytes(b"")
    assert " incomplete " in row_of(models("list"), DEPTH)


def test_fetch_says_the_licence_before_it_downloads(models, monkeypatch, tmp_path, capsys) -> None:
    said_before: list[str] = []

    def download(name: str, **options: object) -> str:
        said_before.append(capsys.readouterr().err)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    code, _, after = models("fetch", DEPTH)
    assert code == 0 and "Apache-2.0" in said_before[0] and f"--depth {DEPTH}" in after


def test_fetch_offline_is_refused(models, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *words, **options: pytest.fail("asked"))
    assert "--offline" in error_of(models("fetch", DEPTH, "--offline"))


def test_fetch_of_what_is_built_in_has_nothing_to_do(models) -> None:
    code, _, said = models("fetch", "builtin")
    assert code == 0 and "comes with kinephoto" in said


def test_a_download_that_fails_is_one_sentence_and_exit_code_2(models, monkeypatch) -> None:
    def fail(model: catalogue.Model) -> Path:
        raise InputError("It could not be fetched.")

    monkeypatch.setattr(catalogue, "fetch", fail)
    code, _, said = models("fetch", DEPTH)
    assert code == 2 and said.splitlines()[-1] == "Error: It could not be fetched."


@pytest.mark.parametrize("verb", ["fetch", "verify"])
def test_an_unknown_name_is_refused_with_the_names_there_are(verb, models) -> None:
    assert DEPTH in error_of(models(verb, "mona-lisa"))


def test_verify_finds_what_is_here_whole(models, cache) -> None:
    put_into(cache)
    code, said, _ = models("verify")
    assert code == 0 and "--depth builtin: whole\n" in said and f"--depth {DEPTH}: whole\n" in said
    assert "FLUX" not in said, "what is not here is nobody's fault"


@pytest.mark.parametrize("words", [(), (DEPTH,)])
def test_verify_fails_for_a_file_that_is_cut_short(words, models, cache) -> None:
    weights = put_into(cache) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    code, said, errors = models("verify", *words)
    assert code == 1 and errors == ""
    assert f"--depth {DEPTH}: model.safetensors is cut short or no safetensors file\n" in said


def test_verify_fails_for_a_built_in_file_that_is_another(models, monkeypatch) -> None:
    monkeypatch.setattr(catalogue, "checksum", lambda path: "0" * 64)
    code, said, _ = models("verify", "builtin")
    assert code == 1 and "--depth builtin: depth.safetensors is not the file" in said


def test_verify_of_what_is_not_here_says_how_to_get_it(models) -> None:
    assert f"kinephoto models fetch {DEPTH}" in error_of(models("verify", DEPTH))
