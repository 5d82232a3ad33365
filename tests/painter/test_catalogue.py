"""The catalogue: what is listed is true, what is here is checked, and a download brings what is needed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub.errors import GatedRepoError
from safetensors.numpy import save_file

from kinephoto.errors import InputError
from kinephoto.painter import catalogue, painter_names
from kinephoto.painter.catalogue import CATALOGUE, Model, checksum, listed_checksums, named, problems, state

(SD,) = named("sd:stable-diffusion-v1-5/stable-diffusion-v1-5")
(INPAINTING,) = named("hub:stable-diffusion-v1-5/stable-diffusion-inpainting")
(FLUX,) = named("hub:black-forest-labs/FLUX.1-Fill-dev")
(DEPTH,) = named("hub:depth-anything/Depth-Anything-V2-Small-hf")
BUILT_IN_DEPTH = next(model for model in CATALOGUE if model.stem == "depth")


def weights(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"w": np.ones((16, 16), np.float32)}, path)


def pipeline(folder: Path) -> Path:
    """A pipeline's files, its text encoder in two shards, and beside them what nobody needs."""
    weights(folder / "unet" / "diffusion_pytorch_model.safetensors")
    weights(folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    weights(folder / "text_encoder" / "model-00001-of-00002.safetensors")
    weights(folder / "text_encoder" / "model-00002-of-00002.safetensors")
    weights(folder / "everything-in-one-file.safetensors")
    weights(folder / "safety_checker" / "model.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = folder / "text_encoder" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    for part in ("unet", "text_encoder", "safety_checker"):
        (folder / part / "config.json").write_text("{}")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    named_parts = {part: ["library", "Class"] for part in ("unet", "text_encoder", "scheduler")}
    entries = {"_class_name": "StableDiffusionPipeline", "safety_checker": ["library", "Class"]}
    entries |= {"image_encoder": [None, None], "requires_safety_checker": True, **named_parts}
    (folder / "model_index.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    """An empty Hugging Face cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def cached(cache: Path, model: Model) -> Path:
    """The folder where the cache keeps a model's files."""
    repository = cache / ("models--" + model.hub_id.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    folder = repository / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def cached_sd(cache: Path) -> Path:
    return pipeline(cached(cache, SD))


@pytest.fixture
def package(tmp_path: Path, monkeypatch) -> Path:
    """A weights folder of one good file, which is listed."""
    folder = tmp_path / "weights"
    weights(folder / "depth.safetensors")
    listed = {"depth.safetensors": checksum(folder / "depth.safetensors")}
    (folder / "checksums.json").write_text(json.dumps(listed))
    monkeypatch.setattr(catalogue, "weights_folder", lambda: folder)
    return folder


def test_every_name_is_one_that_its_flag_takes():
    families = {name.partition(":")[0] for name in painter_names()} | {"builtin"}
    for model in CATALOGUE:
        family, _, rest = model.name.partition(":")
        assert model.flag in ("--painter", "--depth") and family in families
        assert rest == (model.hub_id or "") and (model.stem == "") == (model.hub_id is not None)
        assert model.licence and model.purpose and model.megabytes > 0 and model.revision


def test_names_are_met_once_by_each_flag():
    keys = [(model.flag, model.name) for model in CATALOGUE]
    assert len(set(keys)) == len(keys)


def test_an_unknown_name_is_refused_with_a_list():
    with pytest.raises(InputError, match="no model 'mona-lisa'.*builtin, sd:.*FLUX"):
        named("mona-lisa")


def test_a_checksum_is_sha_256(tmp_path):
    (tmp_path / "file").write_bytes(b"a" * 3_000_000)
    assert checksum(tmp_path / "file") == hashlib.sha256(b"a" * 3_000_000).hexdigest()


def test_what_comes_with_kinephoto_is_listed_and_whole():
    folder = catalogue.weights_folder()
    here = {p.relative_to(folder).as_posix() for p in folder.rglob("*.safetensors")}
    assert here <= set(listed_checksums())
    assert state(BUILT_IN_DEPTH) == "yes" and problems(BUILT_IN_DEPTH) == []


def test_the_size_of_the_built_in_depth_is_about_what_is_said():
    size = (catalogue.weights_folder() / "depth.safetensors").stat().st_size
    assert abs(size / 1e6 / BUILT_IN_DEPTH.megabytes - 1) < 0.1


@pytest.mark.parametrize("text", [None, "not json", "[1]", '{"depth.safetensors": 3}'])
def test_a_list_of_checksums_that_is_none_is_refused(text, tmp_path):
    if text is not None:
        (tmp_path / "checksums.json").write_text(text)
    with pytest.raises(InputError, match="checksums.json"):
        listed_checksums(tmp_path)


def test_a_built_in_file_of_which_one_bit_is_wrong_is_found(package):
    assert problems(BUILT_IN_DEPTH) == []
    data = bytearray((package / "depth.safetensors").read_bytes())
    data[-1] ^= 1
    (package / "depth.safetensors").write_bytes(data)
    assert state(BUILT_IN_DEPTH) == "yes"
    (problem,) = problems(BUILT_IN_DEPTH)
    assert "depth.safetensors is not the file" in problem


def test_a_built_in_file_that_is_missing_is_found(package):
    (package / "depth.safetensors").unlink()
    assert state(BUILT_IN_DEPTH) == "incomplete"
    assert problems(BUILT_IN_DEPTH) == ["depth.safetensors is missing; reinstall kinephoto"]


def test_a_file_that_is_listed_but_no_safetensors_is_found(package):
    (package / "depth.safetensors").write_bytes(b"something else")
    listed = {"depth.safetensors": checksum(package / "depth.safetensors")}
    (package / "checksums.json").write_text(json.dumps(listed))
    assert "no safetensors file" in problems(BUILT_IN_DEPTH)[0]


def test_built_in_files_may_lie_in_folders(package):
    painter = next(model for model in CATALOGUE if model.stem == "painter")
    assert state(painter) == "no"
    weights(package / "painter" / "unet.safetensors")
    listed = {"painter/unet.safetensors": checksum(package / "painter" / "unet.safetensors")}
    (package / "checksums.json").write_text(json.dumps(listed))
    assert state(painter) == "yes" and problems(painter) == []


def test_an_empty_cache_holds_nothing(cache):
    for model in CATALOGUE:
        if model.hub_id:
            assert state(model) == "no" and problems(model) == [f"{model.hub_id} is not on this machine"]


def test_a_whole_pipeline_in_the_cache_is_found_whole(cached_sd):
    assert problems(SD) == [] and state(SD) == "yes"


@pytest.mark.parametrize(
    "spoil, says",
    [
        (
            lambda f: f.joinpath("unet/diffusion_pytorch_model.safetensors").write_bytes(b"x" * 40),
            "cut short",
        ),
        (lambda f: shutil.rmtree(f / "scheduler"), "scheduler is missing"),
        (lambda f: f.joinpath("text_encoder/model-00002-of-00002.safetensors").unlink(), "00002 is missing"),
        (lambda f: f.joinpath("text_encoder/model.safetensors.index.json").write_text("{}"), "can't be read"),
        (lambda f: [p.unlink() for p in f.glob("unet/*.safetensors")], "unet/*.safetensors is missing"),
        (lambda f: f.joinpath("model_index.json").write_text("{"), "model_index.json can't be read"),
        (lambda f: save_file({}, f / "unet/diffusion_pytorch_model.safetensors"), "is empty"),
    ],
)
def test_what_is_broken_in_the_cache_is_named(spoil, says, cached_sd):
    spoil(cached_sd)
    assert says.replace("00002 is", "00002.safetensors is") in "; ".join(problems(SD))
    assert state(SD) == "incomplete"


def test_weights_that_miss_their_last_bytes_are_found(cached_sd):
    path = cached_sd / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert problems(SD) == ["unet/diffusion_pytorch_model.safetensors is cut short or no safetensors file"]


def test_a_single_network_needs_its_weights(cache):
    folder = cached(cache, DEPTH)
    (folder / "config.json").write_text("{}")
    assert problems(DEPTH) == ["*.safetensors is missing"]
    weights(folder / "model.safetensors")
    assert problems(DEPTH) == [] and state(DEPTH) == "yes"


def test_sd_needs_no_safety_checker_and_hub_does(cache):
    for model in (SD, INPAINTING):
        shutil.rmtree(pipeline(cached(cache, model)) / "safety_checker")
    assert problems(SD) == [] and problems(INPAINTING) == ["safety_checker is missing"]


class Hub:
    """A hub of one repository that is a folder: downloads copy what the patterns allow, as the client picks."""

    def __init__(self, repository: Path, cache_folder: Path) -> None:
        self.repository, self.place, self.asked = repository, cache_folder, []

    def hf_hub_download(self, name, file, revision):
        self.asked.append((name, revision))
        return str(self.repository / file)

    def snapshot_download(self, name, revision, allow_patterns, ignore_patterns):
        from huggingface_hub.utils import filter_repo_objects

        self.asked.append((name, revision))
        files = [p.relative_to(self.repository).as_posix() for p in self.repository.rglob("*") if p.is_file()]
        chosen = filter_repo_objects(files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
        for file in chosen:
            (self.place / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.repository / file, self.place / file)
        return str(self.place)


@pytest.fixture
def hub(tmp_path, cache, monkeypatch):
    def of(model: Model) -> Hub:
        hub = Hub(tmp_path / "repository", cached(cache, model))
        monkeypatch.setattr("huggingface_hub.hf_hub_download", hub.hf_hub_download)
        monkeypatch.setattr("huggingface_hub.snapshot_download", hub.snapshot_download)
        return hub

    return of


@pytest.mark.parametrize("model", [SD, INPAINTING])
def test_fetching_a_pipeline_brings_its_parts_whole_and_nothing_else(model, hub, tmp_path):
    pipeline(tmp_path / "repository")
    repository = hub(model)
    place = catalogue.fetch(model)
    assert state(model) == "yes" and set(repository.asked) == {(model.hub_id, "main")}
    files = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    assert not [name for name in files if name.endswith(".bin") or "fp16" in name or "one-file" in name]
    assert ("safety_checker/model.safetensors" in files) == (model is INPAINTING)


def test_fetching_a_network_brings_its_weights(hub, tmp_path):
    weights(tmp_path / "repository" / "model.safetensors")
    (tmp_path / "repository" / "config.json").write_text("{}")
    (tmp_path / "repository" / "pytorch_model.bin").write_bytes(b"pickle")
    hub(DEPTH)
    place = catalogue.fetch(DEPTH)
    assert state(DEPTH) == "yes" and {p.name for p in place.iterdir()} == {"model.safetensors", "config.json"}


def test_a_gated_model_says_how_to_get_in(monkeypatch):
    def gate(*words, **options):
        # Made without its response, whose type changes from version to version of the hub's client.
        raise GatedRepoError.__new__(GatedRepoError)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", gate)
    with pytest.raises(InputError, match="huggingface.co/black-forest-labs/FLUX.1-Fill-dev.*hf auth login"):
        catalogue.fetch(FLUX)


def test_a_hub_that_cannot_be_reached_is_one_sentence(cache, monkeypatch):
    # A port where nobody listens answers at once, but the hub's client waits before it tries again.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(InputError, match="could not be fetched.*folder") as caught:
        catalogue.fetch(SD)
    assert "\n" not in str(caught.value)


def test_what_comes_with_kinephoto_is_not_fetched():
    with pytest.raises(InputError, match="comes with kinephoto"):
        catalogue.fetch(BUILT_IN_DEPTH)
