from __future__ import annotations

import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.learn.compress import input_moments, start_from_teacher, thin
from kinephoto.learn.teacher import Teacher
from kinephoto.scene.depthnet import DepthNet, DepthNetConfig


@pytest.fixture
def skewed() -> tuple[torch.Tensor, torch.Tensor]:
    """A map [40, 32] and 500 inputs whose channels differ a thousandfold in size and depend on each other."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(40, 32, generator=generator)
    mixing = torch.randn(32, 32, generator=generator)
    inputs = torch.randn(500, 32, generator=generator) * torch.logspace(-2, 1, 32) @ mixing
    return weight, inputs


def error_of(weight: torch.Tensor, approximation: torch.Tensor, inputs: torch.Tensor) -> float:
    """Mean squared difference of the outputs."""
    return float((inputs @ (weight - approximation).T).square().mean())


def moment_of(inputs: torch.Tensor) -> torch.Tensor:
    return inputs.T.double() @ inputs.double()


@pytest.mark.parametrize("rank", [1, 4, 12, 24])
def test_thin_is_the_best_map_of_its_rank_on_the_data(skewed, rank):
    weight, inputs = skewed
    up, down = thin(weight, moment_of(inputs), rank)
    found = error_of(weight, up @ down, inputs)
    # Eckart & Young for the outputs themselves: no matrix of that rank is nearer to them.
    values = torch.linalg.svdvals((inputs @ weight.T).double())
    best = float(values[rank:].square().sum() / (500 * 40))
    total = float(values.square().sum() / (500 * 40))
    # The ridge, a ten-thousandth of the inputs' mean square, costs about so much of the whole.
    assert best * 0.9999 <= found <= best + 1e-3 * total
    left, sizes, right = torch.linalg.svd(weight)
    plain = left[:, :rank] * sizes[:rank] @ right[:rank]
    assert found < 0.9 * error_of(weight, plain, inputs)


def test_full_rank_is_exact(skewed):
    weight, inputs = skewed
    up, down = thin(weight, moment_of(inputs), 32)
    # Float32 factors through an ill-conditioned root in float64.
    torch.testing.assert_close(up @ down, weight, atol=1e-4, rtol=1e-4)


def test_inputs_that_are_always_zero_harm_nothing(skewed):
    weight, inputs = skewed
    inputs[:, :3] = 0
    for moment in (moment_of(inputs), torch.zeros(32, 32, dtype=torch.float64)):
        up, down = thin(weight, moment, 8)
        assert torch.isfinite(up @ down).all()


def test_moments_are_those_of_the_layers_inputs_and_the_hooks_are_gone():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    pictures = [torch.randn(5, 3), torch.randn(7, 3)]
    moments = input_moments(net, ["1"], pictures)
    inputs = net[0](torch.cat(pictures)).double()
    torch.testing.assert_close(moments["1"], inputs.T @ inputs, atol=1e-5, rtol=1e-5)
    assert not net[1]._forward_hooks
    with pytest.raises(RuntimeError):
        input_moments(net, ["1"], [torch.randn(2, 9)])
    assert not net[1]._forward_hooks


def pictures(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(1, 3, 56, 56, generator=generator) for _ in range(count)]


def test_a_network_of_full_rank_has_its_teachers_features(teacher_folder, tiny):
    teacher, net = Teacher(teacher_folder), DepthNet(tiny).eval()
    start_from_teacher(net, teacher, pictures())
    # 4×4 tokens is the grid of the stored position codes, 3×5 needs them resized.
    for hw in ((56, 56), (42, 70)):
        rgb = torch.rand(2, 3, *hw)
        with torch.no_grad():
            found, _ = net.features(rgb, (hw[0] // 14, hw[1] // 14))
        for ours, theirs in zip(found, teacher.features(rgb), strict=True):
            # Two blocks in float32 on values of about 1.
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_a_network_of_lower_rank_is_nearer_to_its_teacher_than_a_fresh_one(teacher_folder, tiny):
    teacher = Teacher(teacher_folder)
    thinner = DepthNetConfig(**(tiny.__dict__ | {"ranks": (12, 12, 16)}))
    started, fresh = DepthNet(thinner).eval(), DepthNet(thinner).eval()
    start_from_teacher(started, teacher, pictures())
    rgb = pictures(4)[-1]
    truth = teacher.features(rgb)[-1]
    with torch.no_grad():
        found = [net.features(rgb, (4, 4))[0][-1] for net in (started, fresh)]
    errors = [float((features - truth).square().mean()) for features in found]
    assert errors[0] < 0.5 * errors[1]


def test_a_network_of_another_shape_cannot_start_from_the_teacher(teacher_folder, tiny):
    other = DepthNetConfig(**(tiny.__dict__ | {"blocks": 3}))
    with pytest.raises(InputError, match="2 blocks .* 3"):
        start_from_teacher(DepthNet(other), Teacher(teacher_folder), pictures())


def test_tokens_of_another_shape_cannot_be_compared_with_the_teachers(teacher_folder, tiny):
    teacher = Teacher(teacher_folder)
    teacher.check_fits(tiny)
    with pytest.raises(InputError, match="--feature-steps 0"):
        teacher.check_fits(DepthNetConfig())


def test_the_teachers_disparity_has_the_photos_size_and_is_the_networks(teacher_folder):
    teacher = Teacher(teacher_folder)
    rgb = torch.rand(3, 336, 364)
    found = teacher.disparity(rgb)
    with torch.no_grad():
        # This photo already is as the network sees it.
        expected = teacher.model(pixel_values=teacher.normal(rgb[None])).predicted_depth[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert teacher.disparity(torch.rand(3, 50, 81)).shape == (50, 81)
    assert len(teacher.fingerprint) == 32


def test_a_teacher_that_is_not_there_is_told_in_one_sentence(tmp_path):
    with pytest.raises(InputError, match="no teacher folder .*absent") as error:
        Teacher(tmp_path / "absent")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="holds no teacher that transformers loads") as error:
        Teacher(tmp_path)
    assert "\n" not in str(error.value)


def test_a_teacher_is_loaded_from_safetensors_only(teacher_folder, tmp_path):
    from safetensors.torch import load_file

    (tmp_path / "config.json").write_text((teacher_folder / "config.json").read_text())
    torch.save(load_file(teacher_folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="from safetensors"):
        Teacher(tmp_path)


def test_a_teacher_with_missing_weights_is_refused(teacher_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_text((teacher_folder / "config.json").read_text())
    weights = load_file(teacher_folder / "model.safetensors")
    del weights["backbone.layernorm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="1 tensors are missing, such as backbone.layernorm.weight"):
        Teacher(tmp_path)


def test_another_kind_of_network_is_no_teacher(tmp_path):
    from transformers import GLPNConfig, GLPNForDepthEstimation

    config = GLPNConfig(
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
    )
    GLPNForDepthEstimation(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="of the kind glpn"):
        Teacher(tmp_path)
