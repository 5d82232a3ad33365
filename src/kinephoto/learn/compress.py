"""Start the depth network from its teacher: every linear map replaced by the best product of two narrow ones.

For inputs with second moment C = E[x xᵀ] = S Sᵀ the rank-r map W' that changes the output least, in the mean
square, comes from the singular value decomposition of W S: W' = U_r Σ_r V_rᵀ S⁻¹ (Eckart & Young, 1936, in
the metric of the data). The inputs are gathered from photos.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinephoto.errors import InputError
from kinephoto.learn.teacher import Teacher
from kinephoto.scene.depthnet import DepthNet, ThinLinear


def thin(weight: Tensor, moment: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The two factors (up [outs, rank], down [rank, ins]) nearest to ``weight`` on inputs of that moment.

    Args:
        weight: [outs, ins].
        moment: [ins, ins] float64, sum or mean of x xᵀ over inputs x.
        rank: inner width.
    """
    ins = len(moment)
    # Directions that the inputs hardly take must not vanish, nor all of them where the inputs are 0.
    ridge = (1e-4 * moment.trace() / ins).clamp_min(1e-12)
    root = torch.linalg.cholesky(moment + ridge * torch.eye(ins, dtype=moment.dtype))
    left, values, right = torch.linalg.svd(weight.double() @ root, full_matrices=False)
    share = values[:rank].sqrt()
    up = left[:, :rank] * share
    down = share[:, None] * torch.linalg.solve_triangular(root, right[:rank], upper=False, left=False)
    return up.float(), down.float()


def input_moments(model: nn.Module, names: Iterable[str], pictures: Iterable[Tensor]) -> dict[str, Tensor]:
    """Second moments of the inputs of the named linear layers while ``model`` looks at the pictures."""
    moments: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def gather(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            x = inputs[0].reshape(-1, inputs[0].shape[-1]).double().cpu()
            moments[name] = moments.get(name, torch.zeros(())) + x.T @ x

        return gather

    handles = [model.get_submodule(name).register_forward_hook(watch(name)) for name in names]
    try:
        with torch.no_grad():
            for picture in pictures:
                model(picture)
    finally:
        for handle in handles:
            handle.remove()
    return moments


def start_from_teacher(net: DepthNet, teacher: Teacher, pictures: Iterable[Tensor]) -> None:
    """Set the encoder of ``net`` to a compressed copy of the teacher's.

    Args:
        net: its encoder's ``dim``, ``blocks`` and ``heads`` must be the teacher's.
        teacher: the network to compress.
        pictures: [1, 3, h, w] in [0, 1], sides multiples of 14; some dozens suffice.

    Raises:
        InputError: the two differ.
    """
    backbone = teacher.model.backbone
    theirs = backbone.config
    have = (theirs.hidden_size, theirs.num_hidden_layers, theirs.num_attention_heads)
    want = (net.config.dim, net.config.blocks, net.config.heads)
    if have != want:
        raise InputError(
            f"The teacher has {have[0]} channels, {have[1]} blocks and {have[2]} heads, the network {want[0]}, "
            f"{want[1]} and {want[2]}; to start from the teacher they must be the same."
        )
    layers = backbone.encoder.layer
    parts = {
        "qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        "out": ("attention.o_proj",),
        "expand": ("mlp.fc1",),
        "contract": ("mlp.fc2",),
    }
    names = [f"encoder.layer.{i}.{sources[0]}" for i in range(len(layers)) for sources in parts.values()]
    moments = input_moments(backbone, names, map(teacher.normal, pictures))
    blocks: Any = net.encoder.blocks
    with torch.no_grad():
        for number, (layer, block) in enumerate(zip(layers, blocks, strict=True)):
            for part, sources in parts.items():
                linears = [layer.get_submodule(source) for source in sources]
                target: ThinLinear = getattr(block, part)
                moment = moments[f"encoder.layer.{number}.{sources[0]}"]
                up, down = thin(
                    torch.cat([linear.weight for linear in linears]).cpu(), moment, target.down.out_features
                )
                target.up.weight.copy_(up)
                target.down.weight.copy_(down)
                target.up.bias.copy_(torch.cat([linear.bias for linear in linears]))
            block.norm1.load_state_dict(layer.norm1.state_dict())
            block.norm2.load_state_dict(layer.norm2.state_dict())
            block.scale1.copy_(layer.layer_scale1.lambda1)
            block.scale2.copy_(layer.layer_scale2.lambda1)
        embeddings = backbone.embeddings
        net.encoder.patches.load_state_dict(embeddings.patch_embeddings.projection.state_dict())
        places = embeddings.position_embeddings
        net.encoder.whole.copy_(embeddings.cls_token + places[:, :1])
        side = round((places.shape[1] - 1) ** 0.5)
        grid = places[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        net.encoder.positions.copy_(
            F.interpolate(grid, size=net.encoder.positions.shape[-2:], mode="bicubic", antialias=True)
        )
        net.encoder.norm.load_state_dict(backbone.layernorm.state_dict())
