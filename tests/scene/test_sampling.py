"""Sampling: exact at pixel centres, smooth between them, and never a colour from another surface."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.scene.sampling import METHODS, Surface, sample
from kinephoto.scene.values import Hits

SIZES = [(1, 1), (1, 6), (2, 3), (4, 4), (5, 5), (17, 23)]


def flat(hw: tuple[int, int]) -> Surface:
    """A surface without depth edges."""
    return Surface.of(np.ones(hw, np.float32), np.ones(hw, bool))


def hits_at(u: np.ndarray, v: np.ndarray, layer: int = 0) -> Hits:
    """A view of one row that looks at these places."""
    u, v = (torch.from_numpy(np.asarray(a, np.float32).reshape(1, -1)) for a in (u, v))
    return Hits(u, v, torch.ones_like(u), torch.full(u.shape, layer, dtype=torch.int16))


def centres(hw: tuple[int, int]) -> Hits:
    v, u = np.mgrid[: hw[0], : hw[1]] + 0.5
    return hits_at(u.ravel(), v.ravel())


def anywhere(hw: tuple[int, int], count: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    # A rasteriser stays below 0.9995 of a pixel.
    u, v = (np.floor(n * random.random(count)) + 0.9995 * random.random(count) for n in hw[::-1])
    return u.astype(np.float32), v.astype(np.float32)


def noise(channels: int, hw: tuple[int, int]) -> torch.Tensor:
    return torch.rand(channels, *hw, generator=torch.Generator().manual_seed(0))


def keys_kernel(x: float) -> float:
    """Keys 1981, eq. 4, with a = -1/2."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def tent(x: float) -> float:
    return max(0.0, 1 - abs(x))


def slow_value(picture: np.ndarray, u: float, v: float, weight) -> np.ndarray:
    """The definition in float64: a weighted sum over all pixels of the picture."""
    across = np.array([weight(u - 0.5 - i) for i in range(picture.shape[2])])
    down = np.array([weight(v - 0.5 - j) for j in range(picture.shape[1])])
    return np.einsum("cji,j,i->c", picture.astype(np.float64), down, across)


@pytest.mark.parametrize("hw", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("method", METHODS)
def test_at_its_centre_a_pixel_has_its_own_value_bit_for_bit(method, channels, hw):
    texture = noise(channels, hw) * 200 - 100
    found = sample(texture, centres(hw), flat(hw), method=method)
    assert torch.equal(found.reshape(texture.shape), texture)


@pytest.mark.parametrize("method", METHODS)
def test_at_its_centre_a_pixel_has_its_own_value_on_any_relief(method):
    hw = (20, 30)
    random = np.random.default_rng(0)
    disparity = np.where(random.random(hw) > 0.8, 1, 0.5).astype(np.float32)
    texture = noise(3, hw)
    found = sample(texture, centres(hw), Surface.of(disparity, np.ones(hw, bool)), method=method)
    assert torch.equal(found.reshape(texture.shape), texture)


@pytest.mark.parametrize(("method", "weight", "border"), [("bilinear", tent, 1), ("bicubic", keys_kernel, 2)])
@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_inside_it_is_the_sum_over_the_kernel(method, weight, border, channels):
    hw = (12, 15)
    texture = noise(channels, hw)
    u, v = anywhere((hw[0] - 2 * border, hw[1] - 2 * border), 400)
    u, v = u + border, v + border
    found = sample(texture, hits_at(u, v), flat(hw), method=method)[:, 0].T
    expected = [slow_value(texture.numpy(), float(a), float(b), weight) for a, b in zip(u, v, strict=True)]
    # Sixteen products of float32 numbers up to 1: a few roundings of 6e-8.
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-7)


def test_nearest_is_the_value_of_the_pixel_that_was_hit():
    hw = (9, 11)
    texture, (u, v) = noise(2, hw), anywhere(hw)
    found = sample(texture, hits_at(u, v), flat(hw), method="nearest")[:, 0]
    assert torch.equal(found, texture[:, v.astype(int), u.astype(int)])


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_ramps_are_kept(method):
    hw = (12, 15)
    rows, columns = np.mgrid[:12, :15] + 0.5
    texture = torch.from_numpy((0.3 + 0.02 * columns + 0.03 * rows).astype(np.float32))[None]
    u, v = anywhere((8, 11))
    u, v = u + 2, v + 2
    found = sample(texture, hits_at(u, v), flat(hw), method=method)[0, 0]
    np.testing.assert_allclose(found, 0.3 + 0.02 * u + 0.03 * v, rtol=0, atol=5e-7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hw", SIZES)
def test_one_colour_stays_one_colour_up_to_the_border(method, hw):
    texture = torch.full((3, *hw), 0.7)
    found = sample(texture, hits_at(*anywhere(hw)), flat(hw), method=method)
    assert (found - 0.7).abs().max() < 3e-7, "weights sum to 1, to a few roundings"


@pytest.mark.parametrize("method", METHODS)
def test_no_colour_crosses_a_depth_edge(method):
    hw = (24, 30)
    disparity = np.full(hw, 0.5, np.float32)
    disparity[6:15, 7:8], disparity[8:16, 12:22] = 1, 0.8
    disparity[19, 3::2] = 0.3
    texture = torch.from_numpy(disparity)[None] * 10
    u, v = anywhere(hw, 20000)
    found = sample(texture, hits_at(u, v), Surface.of(disparity, np.ones(hw, bool)), method=method)[0, 0]
    own = 10 * disparity[v.astype(int), u.astype(int)]
    np.testing.assert_allclose(found, own, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_no_colour_comes_from_pixels_that_do_not_exist(method):
    hw = (24, 30)
    exists = np.random.default_rng(0).random(hw) > 0.2
    exists[10:20, 10:20] = True
    texture = torch.where(torch.from_numpy(exists), 0.25, float("nan"))[None]
    disparity = np.where(exists, np.float32(1), np.float32(np.nan))
    u, v = anywhere(hw, 20000)
    on = exists[v.astype(int), u.astype(int)]
    found = sample(texture, hits_at(u[on], v[on]), Surface.of(disparity, exists), method=method)
    assert (found - 0.25).abs().max() < 1e-7


def test_beside_an_edge_it_is_the_sum_over_the_taps_of_the_own_surface():
    hw = (10, 12)
    disparity = np.where(np.random.default_rng(0).random(hw) > 0.7, 1, 0.5).astype(np.float32)
    texture, (u, v) = noise(3, hw), anywhere(hw, 500)
    surface = Surface.of(disparity, np.ones(hw, bool))
    found = sample(texture, hits_at(u, v), surface, method="bilinear")[:, 0].T
    for value, a, b in zip(found.numpy(), u.astype(float), v.astype(float), strict=True):
        # Beyond the border its last row or column goes on.
        rows, columns = (np.arange(np.floor(x - 0.5), np.floor(x - 0.5) + 2) for x in (b, a))
        weights = np.outer([tent(b - 0.5 - j) for j in rows], [tent(a - 0.5 - i) for i in columns])
        at = np.ix_(rows.clip(0, hw[0] - 1).astype(int), columns.clip(0, hw[1] - 1).astype(int))
        weights *= disparity[at] == disparity[int(b), int(a)]
        expected = (texture.numpy()[:, at[0], at[1]] * weights).sum((1, 2)) / weights.sum()
        np.testing.assert_allclose(value, expected, rtol=0, atol=5e-7)


def test_within_a_surface_near_an_edge_it_stays_smooth():
    hw = (12, 20)
    disparity = np.full(hw, 0.5, np.float32)
    disparity[:, 10:] = 1
    texture = torch.arange(20.0).expand(12, 20)[None].contiguous()
    u = np.linspace(5.5, 9.5, 50)
    found = sample(texture, hits_at(u, np.full(50, 6.2)), Surface.of(disparity, np.ones(hw, bool)))[0, 0]
    np.testing.assert_allclose(found, u - 0.5, rtol=0, atol=1e-5)


def test_a_surface_knows_how_far_each_pixel_may_look():
    disparity = np.full((9, 9), 0.5, np.float32)
    disparity[2:7] = 1
    exists = np.ones((9, 9), bool)
    reach = Surface.of(disparity, exists).reach
    assert reach[:, 4].tolist() == [0, 0, 0, 1, 2, 1, 0, 0, 0], "up to the edges between rows 1, 2 and 6, 7"
    assert reach[4].tolist() == [0, 1, 2, 2, 2, 2, 2, 1, 0], "up to the picture's border"
    exists[4, 8] = False
    assert Surface.of(disparity, exists).reach[4].tolist() == [0, 1, 2, 2, 2, 2, 1, 0, 0], (
        "up to a missing pixel"
    )


@pytest.mark.parametrize("method", METHODS)
def test_bytes_come_back_as_bytes(method):
    hw = (16, 16)
    texture = torch.arange(256, dtype=torch.uint8).reshape(1, *hw)
    found = sample(texture, centres(hw), flat(hw), method=method)
    assert found.dtype == torch.uint8 and torch.equal(found.reshape(1, *hw), texture)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_bytes_are_rounded_and_never_wrap(method):
    hw = (12, 15)
    texture = (noise(3, hw) > 0.5).to(torch.uint8) * 255
    places = hits_at(*anywhere(hw))
    whole = sample(texture, places, flat(hw), method=method)
    exact = sample(texture.float(), places, flat(hw), method=method)
    assert torch.equal(whole, exact.clamp(0, 255).round().to(torch.uint8))
    assert method == "bilinear" or exact.max() > 255, "bicubic overshoots, and had to be cut"


def test_other_layers_pixels_keep_what_is_there():
    hw = (6, 7)
    places = centres(hw)
    layer = torch.arange(42, dtype=torch.int16).reshape(1, 42) % 3 - 1
    places = Hits(places.u, places.v, places.disparity, layer)
    out = torch.full((3, 1, 42), 5.0)
    first = sample(noise(3, hw), places, flat(hw), layer=0, out=out)
    assert first.data_ptr() == out.data_ptr(), "written in place"
    expected = torch.where(layer == 0, noise(3, hw).reshape(3, 1, 42), torch.tensor(5.0))
    assert torch.equal(out, expected)
    fresh = sample(noise(3, hw), places, flat(hw), layer=1)
    assert torch.equal(fresh, torch.where(layer == 1, noise(3, hw).reshape(3, 1, 42), torch.tensor(0.0)))


def test_what_lies_outside_the_hits_may_be_anything():
    hw = (6, 7)
    places = centres(hw)
    layer = torch.where(torch.arange(42) % 2 == 0, 0, -1).to(torch.int16).reshape(1, 42)
    u = torch.where(layer == 0, places.u, torch.tensor(float("nan")))
    v = torch.where(layer == 0, places.v, torch.tensor(-1e30))
    found = sample(noise(3, hw), Hits(u, v, places.disparity, layer), flat(hw))
    assert torch.equal(found, torch.where(layer == 0, noise(3, hw).reshape(3, 1, 42), torch.tensor(0.0)))


def test_an_unknown_method_is_refused():
    with pytest.raises(
        InputError, match="no sampling method 'lanczos'; there are nearest, bilinear, bicubic"
    ):
        sample(noise(3, (4, 4)), centres((4, 4)), flat((4, 4)), method="lanczos")


def test_a_texture_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"texture is \(4, 5\), its layer \(4, 4\)"):
        sample(noise(3, (4, 5)), centres((4, 4)), flat((4, 4)))
