"""One step, forward and back, of an M-UNet of Stable Diffusion 1.5's size with random weights: shapes and memory.

python benchmarks/stable_diffusion_size.py
"""

from __future__ import annotations

import resource
import time

import torch
from diffusers import UNet2DConditionModel

from kinephoto.painter.munet import MUNet

LATENTS_HW = (64, 64)
TEXT_TOKENS, TEXT_CHANNELS = 77, 768


def main() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    unet = UNet2DConditionModel(
        sample_size=64,
        in_channels=4,
        out_channels=4,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        cross_attention_dim=TEXT_CHANNELS,
        attention_head_dim=8,
    )
    plain = sum(p.numel() for p in unet.parameters())
    munet = MUNet.from_unet(unet)
    del unet
    z, masked = torch.randn(1, 4, *LATENTS_HW), torch.randn(1, 4, *LATENTS_HW)
    mask = torch.ones(1, 1, *LATENTS_HW)
    began = time.perf_counter()
    found = munet(z, 500, torch.randn(1, TEXT_TOKENS, TEXT_CHANNELS), mask, masked).sample
    found.float().square().mean().backward()
    seconds = time.perf_counter() - began
    assert found.shape == z.shape
    without = [name for name, value in munet.named_parameters() if value.grad is None]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    extra = sum(p.numel() for p in munet.parameters()) - plain
    print(f"UNet {plain / 1e6:.1f} M parameters, masked enhanced blocks {extra / 1e6:.1f} M more")
    print(f"{tuple(z.shape)} -> {tuple(found.shape)}; {len(without)} parameters without a gradient")
    print(f"{seconds:.1f} s, {peak:.1f} GiB at most (bfloat16)")


if __name__ == "__main__":
    main()
