"""Where depth comes from, and what its numbers mean."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera
from kinephoto.scene.depth import FLOOR, estimate_depth, normalised, read_disparity
from kinephoto.scene.depthnet import RGB_DEVIATION, RGB_MEAN
from kinephoto.scene.values import Capture, Disparity, Photo


def photo(hw: tuple[int, int] = (48, 64), **capture) -> Photo:
    rgb = torch.rand(3, *hw, generator=torch.Generator().manual_seed(0))
    return Photo(rgb, Camera.from_field_of_view(hw), Capture(**capture))


def ramp(hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Near at the bottom."""
    return np.linspace(0, 1, hw[0], dtype=np.float32)[:, None].repeat(hw[1], 1)


def test_convention_near_is_large(tmp_path: Path) -> None:
    values = estimate_depth(photo(), ramp()).numpy()
    assert values.shape == (48, 64) and values[-1].min() > values[0].max()


def test_convention_the_nearest_is_one() -> None:
    for metric in (False, True):
        values = normalised(Disparity(torch.from_numpy(3 + 5 * ramp((200, 200))), metric))
        assert np.percentile(values.numpy(), 99) == pytest.approx(1, abs=1e-5)


def test_convention_relative_disparity_becomes_floor_to_one() -> None:
    values = normalised(Disparity(torch.from_numpy(100 - 7 * ramp((200, 200))))).numpy()
    assert np.percentile(values, 1) == pytest.approx(FLOOR, abs=1e-4) and values.min() == pytest.approx(FLOOR)
    assert np.percentile(values, 99) == pytest.approx(1, abs=1e-5)
    other = normalised(Disparity(torch.from_numpy(2.0 - ramp((200, 200))))).numpy()
    assert values == pytest.approx(other, abs=1e-4)  # scale and shift of a relative map mean nothing


def test_convention_metric_disparity_keeps_its_ratios() -> None:
    given = torch.from_numpy(0.2 + ramp((200, 200)))
    values = normalised(Disparity(given, metric=True))
    assert torch.allclose(values / values[0, 0], given / given[0, 0], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_convention_white_is_near(tmp_path: Path, dtype) -> None:
    peak = np.iinfo(dtype).max
    cv2.imwrite(str(tmp_path / "depth.png"), (ramp() * peak).astype(dtype))
    values = estimate_depth(photo(), tmp_path / "depth.png").numpy()
    assert values[-1].min() > 0.95 and values[0].max() < 0.1
    assert np.corrcoef(values.ravel(), ramp().ravel())[0, 1] > 0.999


def test_a_constant_depth_is_a_plane(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.full((48, 64), 7.0))
    assert bool((estimate_depth(photo(), tmp_path / "flat.npy").values == 1).all())


def test_a_few_odd_pixels_do_not_make_a_constant_map_wild() -> None:
    values = np.zeros((100, 100), np.float32)
    values[0, 0] = 5.0
    found = normalised(Disparity(torch.from_numpy(values)))
    assert float(found.max()) == pytest.approx(1) and float(found.min()) == pytest.approx(FLOOR)


def test_depth_of_another_size_comes_at_the_photos() -> None:
    found = estimate_depth(photo((96, 128)), ramp((24, 32)))
    assert found.values.shape == (96, 128)
    assert np.corrcoef(found.numpy().ravel(), ramp((96, 128)).ravel())[0, 1] > 0.999


def test_a_source_is_whatever_has_the_method() -> None:
    class Ramp:
        def disparity(self, rgb: torch.Tensor) -> Disparity:
            return Disparity(torch.from_numpy(ramp(tuple(rgb.shape[1:]))), source="ramp")

    found = estimate_depth(photo(), Ramp())
    assert found.source == "ramp" and found.values.shape == (48, 64)


def test_depth_that_came_with_the_photo_is_used_when_asked_for() -> None:
    found = estimate_depth(photo(embedded_disparity=torch.from_numpy(ramp((12, 16)))), "embedded")
    assert found.source == "embedded" and found.values.shape == (48, 64)
    with pytest.raises(InputError, match="brings no depth"):
        estimate_depth(photo(name="beach.jpg"), "embedded")


def test_a_transformers_folder_is_a_source(tmp_path: Path) -> None:
    """A tiny random network that transformers itself has written."""
    from transformers import DPTConfig, DPTForDepthEstimation

    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        is_hybrid=False,
    )
    torch.manual_seed(1)
    DPTForDepthEstimation(config).save_pretrained(tmp_path / "tiny")
    found = estimate_depth(photo((40, 56)), str(tmp_path / "tiny"))
    assert found.source == "folder tiny" and found.values.shape == (40, 56) and not found.metric


def test_depth_pro_sees_its_own_square_and_gives_inverse_depth(tmp_path: Path) -> None:
    """A tiny random one; what transformers calls its predicted depth is inverted by its own processor."""
    from transformers import DepthProConfig, DepthProForDepthEstimation

    from kinephoto.scene.depth_networks import TransformersDepth

    vit = {"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    vit |= {"image_size": 32, "patch_size": 8}
    encoders = {f"{name}_model_config": dict(vit) for name in ("image", "patch", "fov")}
    torch.manual_seed(0)
    network = DepthProForDepthEstimation(
        DepthProConfig(
            patch_size=32,
            fusion_hidden_size=16,
            intermediate_hook_ids=[1, 0],
            intermediate_feature_dims=[16, 16],
            scaled_images_feature_dims=[16, 16, 16],
            merge_padding_value=1,
            **encoders,
        )
    ).eval()
    network.save_pretrained(tmp_path / "tiny")
    rgb = torch.rand(3, 128, 128)
    found = TransformersDepth(tmp_path / "tiny").disparity(rgb)
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (RGB_MEAN, RGB_DEVIATION))
    with torch.no_grad():
        inverse = network(((rgb - mean) / deviation)[None]).predicted_depth[0]
    assert found.metric and float(inverse.std()) > 0
    torch.testing.assert_close(found.values, inverse)
    # Of another shape and size: squeezed into the square, and back.
    assert estimate_depth(photo((40, 56)), tmp_path / "tiny").values.shape == (40, 56)


@pytest.mark.shared
@pytest.mark.slow
def test_the_teachers_folder_is_a_source(shared: Path, example_photo: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    from kinephoto.scene.photo import read_photo

    folder = tmp_path / "teacher"
    subprocess.run(
        [sys.executable, str(shared / "teacher" / "unpack.py"), str(folder)], check=True, capture_output=True
    )
    found = estimate_depth(read_photo(example_photo), folder).numpy()
    person, wall = found[250:400, 180:280].mean(), found[20:120, 380:500].mean()
    assert person > 2 * wall


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("nan.npy", np.full((48, 64), np.nan), "3072 values that are not finite"),
        ("deep.npy", np.zeros((4, 48, 64)), "is 4×48×64; it must be one plane"),
        ("words.npy", np.full((48, 64), "far"), "it must hold numbers"),
        ("other.npy", np.zeros((64, 48)), "is 48×64 and the photo 64×48; they must have the same aspect"),
        (
            "coloured.png",
            np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8),
            "is a coloured",
        ),
    ],
)
def test_depth_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, name: str, content, says: str
) -> None:
    file = tmp_path / name
    np.save(file, content) if file.suffix == ".npy" else cv2.imwrite(str(file), content)
    with pytest.raises(InputError, match=says) as caught:
        estimate_depth(photo(), file)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_depth_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "text.npy").write_text("not an array")
    for name, says in (
        ("text.png", "not a picture"),
        ("text.npy", "not a NumPy array"),
        ("none.png", "no depth file"),
    ):
        with pytest.raises(InputError, match=says):
            read_disparity(tmp_path / name)
    with pytest.raises(
        InputError, match="There is no depth source 'sonar'; there are auto, builtin, embedded"
    ):
        estimate_depth(photo(), "sonar")
    (tmp_path / "folder").mkdir()
    for name in ("config.json", "model.safetensors"):
        with pytest.raises(InputError, match=f"holds no depth network: there is no {name} in it"):
            estimate_depth(photo(), tmp_path / "folder")
        (tmp_path / "folder" / name).write_text('{"model_type": "bert"}')
    with pytest.raises(
        InputError, match=r"transformers can load; its config.json .* must be whole"
    ) as refused:
        estimate_depth(photo(), tmp_path / "folder")
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="--offline forbids"):
        estimate_depth(photo(), "hub:nobody/nothing", offline=True)
    for floor in (1.5, "0.1", None):
        with pytest.raises(InputError, match="must be a number between 0 and 1"):
            estimate_depth(photo(), ramp(), floor=floor)


def test_what_is_no_source_and_gives_no_disparity_is_one_sentence() -> None:
    class Plain:
        def disparity(self, rgb: torch.Tensor) -> torch.Tensor:
            return rgb[0]

    for source, says in (
        (3, r"The depth source is 3; it must be a name, a file, an array, or have a method disparity\(rgb\)"),
        (photo(), "The depth source is an object of type Photo"),
        (Plain(), "The depth source gave an object of type Tensor; its method disparity"),
    ):
        with pytest.raises(InputError, match=says):
            estimate_depth(photo(), source)
