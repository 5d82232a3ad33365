from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from kinephoto.errors import InputError
from kinephoto.scene import depthnet
from kinephoto.scene.depthnet import (
    MOST_TOKENS,
    DepthNet,
    DepthNetConfig,
    attention,
    builtin_weights,
    load_depthnet,
    parameter_count,
    read_config,
    save_depthnet,
)

TINY = DepthNetConfig(
    dim=32,
    blocks=2,
    heads=2,
    ranks=(8, 8, 8),
    grid=4,
    taps=(1, 2),
    width=16,
    token_short_side_px=56,
    input_short_side_px=64,
)


@pytest.fixture
def net() -> DepthNet:
    torch.manual_seed(0)
    net = DepthNet(TINY).eval().requires_grad_(False)
    # Fresh position codes are 0, which would hide a mistake about them.
    net.encoder.positions.normal_()
    return net


@pytest.fixture
def saved(net, tmp_path) -> Path:
    save_depthnet(net, tmp_path / "depth.safetensors", {"steps": 7})
    return tmp_path / "depth.safetensors"


def test_the_default_network_has_six_million_weights_and_fits_twelve_megabytes(tmp_path):
    with torch.device("meta"):
        assert parameter_count(DepthNet()) <= 6_000_000
    save_depthnet(DepthNet(), tmp_path / "depth.safetensors", {})
    # MiB: of this a fifth of a percent is the header, with the names of the tensors.
    assert (tmp_path / "depth.safetensors").stat().st_size <= 12 * 2**20


@pytest.mark.parametrize("hw", [(64, 64), (64, 96), (71, 45), (14, 14), (9, 200)])
def test_there_is_a_value_for_every_pixel(net, hw):
    found = net(torch.rand(2, 3, *hw))
    assert found.shape == (2, *hw)
    assert torch.isfinite(found).all()


def test_the_whole_network_learns(net):
    net.train().requires_grad_(True)
    net(torch.rand(1, 3, 56, 56)).square().mean().backward()
    still = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()]
    assert not still


def test_a_picture_of_a_batch_equals_the_picture_alone(net):
    rgb = torch.rand(3, 3, 64, 80)
    # Float32, sums in another order.
    torch.testing.assert_close(net(rgb)[1], net(rgb[1:2])[0], atol=1e-5, rtol=1e-5)


def test_attention_written_out_equals_torchs():
    query, key, value = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0))
    with torch.enable_grad():
        found = attention(query, key, value)
    torch.testing.assert_close(found, F.scaled_dot_product_attention(query, key, value), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("hw", "expected"),
    [((128, 128), (64, 64)), ((128, 192), (64, 96)), ((300, 200), (96, 64)), ((40, 60), (40, 60))],
)
def test_disparity_keeps_the_aspect_and_never_enlarges(net, hw, expected):
    assert net.disparity(torch.rand(3, *hw)).shape == expected


@pytest.mark.parametrize("rgb", [torch.zeros(3, 70, 90), torch.ones(3, 70, 90), torch.rand(3, 70, 90)])
def test_disparity_is_finite_and_never_negative(net, rgb):
    found = net.disparity(rgb)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert float(found.min()) == 0


def test_disparity_is_the_same_every_time(net):
    rgb = torch.rand(3, 90, 70)
    assert torch.equal(net.disparity(rgb), net.disparity(rgb.clone()))


@pytest.mark.parametrize("width_px", [70, 71, 150])
def test_the_mirror_image_has_the_mirrored_disparity(net, width_px):
    rgb = torch.rand(3, 90, width_px)
    found = net.disparity(rgb)
    # Sums in another order, in bfloat16 where the processor has it.
    off = 0.02 * float(found.max())
    torch.testing.assert_close(net.disparity(rgb.flip(2)), found.flip(1), atol=off, rtol=0)


def test_bfloat16_changes_disparity_little_and_leaves_no_stairs(net, monkeypatch):
    ramp = torch.linspace(0, 1, 200).expand(3, 150, 200).contiguous()
    found = {}
    for half in (False, True):
        monkeypatch.setattr(depthnet, "bfloat16_helps", lambda device, half=half: half)
        found[half] = net.disparity(ramp)
    assert found[True].dtype == torch.float32
    assert not torch.equal(found[False], found[True])
    torch.testing.assert_close(found[True], found[False], rtol=0, atol=0.02 * float(found[False].max()))
    # Eight bits have 256 steps to an octave; a picture of thousands of pixels has more values than that.
    assert len(found[True].unique()) > 0.5 * found[True].numel()


def test_disparity_does_not_touch_the_photo(net):
    rgb = torch.rand(3, 90, 70)
    before = rgb.clone()
    net.disparity(rgb)
    assert torch.equal(rgb, before)


def test_what_is_saved_comes_back(net, saved):
    again = load_depthnet(saved)
    assert again.config == TINY == read_config(saved)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float()), name
    rgb = torch.rand(3, 64, 64)
    # Half precision keeps eleven bits of each weight.
    torch.testing.assert_close(again.disparity(rgb), net.disparity(rgb), atol=0.01, rtol=0.05)


def test_saving_again_gives_the_same_bytes(net, saved, tmp_path):
    # Eight times, since safetensors puts the header's entries in any order.
    for number in range(8):
        save_depthnet(net, tmp_path / f"{number}.safetensors", {"steps": 7})
        assert (tmp_path / f"{number}.safetensors").read_bytes() == saved.read_bytes()


def test_saving_replaces_the_file_and_leaves_no_other(saved):
    save_depthnet(load_depthnet(saved), saved, {})
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_loading_leaves_the_random_numbers_of_others_alone(saved):
    state = torch.get_rng_state()
    load_depthnet(saved)
    assert torch.equal(torch.get_rng_state(), state)


def rewritten(saved: Path, weights: dict | None = None, **header: str) -> None:
    """The file with other weights, or another header."""
    kept = load_file(saved)
    given = {"config": json.dumps(asdict(TINY))} | header
    save_file(kept if weights is None else weights, saved, metadata=given)


def configured(**changes: object) -> str:
    return json.dumps(asdict(TINY) | changes)


HEADERS = {
    "no JSON": ("{", "holds no configuration"),
    "a list": ("[1]", "holds no configuration"),
    "an unknown key": (configured(wings=2), "has 'wings'"),
    "a word for a number": (configured(dim="wide"), "dim is 'wide'"),
    "a negative number": (configured(blocks=-1), "blocks is -1"),
    "an endless number": (configured(blocks=10**9), "blocks is 1000000000"),
    "a fraction": (configured(width=16.5), "width is 16.5"),
    "a truth": (configured(grid=True), "grid is True"),
    "a number for a list": (configured(taps=3), "taps is 3"),
    "two ranks": (configured(ranks=[8, 8]), "three are needed"),
    "ranks above the width": (configured(ranks=[8, 8, 64]), "32 at most"),
    "a tap that isn't there": (configured(taps=[1, 5]), "taps are"),
    "taps that fall": (configured(taps=[2, 1]), "taps are"),
    "heads that can't share": (configured(heads=5), "5 heads"),
    "another network's": (configured(width=24), r"don't fit .*bias is \[16\], it must be \[24\]"),
    "more blocks": (configured(blocks=3, taps=[1, 3]), "is missing, it must be"),
    "fewer blocks": (configured(blocks=1, taps=[1]), "it must be absent"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_wrong_configuration_is_told_in_one_sentence(saved, case):
    config, says = HEADERS[case]
    rewritten(saved, config=config)
    with pytest.raises(InputError, match=says) as error:
        load_depthnet(saved)
    assert "\n" not in str(error.value)
    assert saved.name in str(error.value)


def test_weights_of_other_networks_are_refused(saved):
    save_file({"weight": torch.zeros(2)}, saved)
    with pytest.raises(InputError, match="holds no configuration of kinephoto's depth network"):
        load_depthnet(saved)
    with pytest.raises(InputError, match="holds no configuration of kinephoto's depth network"):
        read_config(saved)


@pytest.mark.parametrize("spoil", ["missing", "empty", "text", "cut off", "folder"])
def test_a_file_that_is_no_safetensors_is_told_in_one_sentence(saved, spoil):
    content = saved.read_bytes()
    saved.unlink()
    if spoil == "folder":
        saved.mkdir()
    elif spoil != "missing":
        saved.write_bytes({"empty": b"", "text": b"no weights at all", "cut off": content[:-100]}[spoil])
    with pytest.raises(InputError, match="not a file of depth weights that can be read") as error:
        load_depthnet(saved)
    assert "\n" not in str(error.value)


class Bomb:
    """Unpickled as code, it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickled_weights_are_never_loaded(tmp_path):
    torch.save({"weight": Bomb(tmp_path / "exploded")}, tmp_path / "depth.safetensors")
    with pytest.raises(InputError, match="not a file of depth weights"):
        load_depthnet(tmp_path / "depth.safetensors")
    assert not (tmp_path / "exploded").exists()


def test_the_weights_in_the_package_are_of_the_default_network():
    assert read_config(builtin_weights()) == DepthNetConfig()
    weights = load_depthnet(builtin_weights()).state_dict().values()
    assert all(bool(torch.isfinite(value).all()) for value in weights)


def test_long_photos_are_seen_more_coarsely_not_by_ever_more_tokens():
    net = DepthNet()
    assert net.token_hw((480, 640)) == net.token_hw((240, 320))
    for hw in ((16, 320), (320, 16), (500, 8000)):
        rows, columns = net.token_hw(hw)
        assert rows * columns <= 1.1 * MOST_TOKENS
        assert max(rows, columns) / min(rows, columns) == pytest.approx(max(hw) / min(hw), rel=0.1)
