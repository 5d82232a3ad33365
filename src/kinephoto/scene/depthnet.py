"""The built-in depth network: a small transformer that knows what things are, a decoder that knows where.

A transformer of twelve thin blocks reads the photo at reduced size (its linear maps are products of two
narrow ones, so that a deep network fits into six million parameters). A few convolutions read the photo at
full size. The decoder climbs from the transformer's grid to full resolution and takes the edges from the
convolutions (the fusion decoder of Ranftl et al., Vision Transformers for Dense Prediction, 2021, made thin).
It gives relative inverse depth: near is large, up to scale and shift.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinephoto.errors import InputError
from kinephoto.machine import bfloat16_helps
from kinephoto.whole_file import written_whole

RGB_MEAN = (0.485, 0.456, 0.406)
RGB_DEVIATION = (0.229, 0.224, 0.225)

MOST_TOKENS = 3000
"""Attention takes time with the square of the tokens too: photos longer than about 6 : 1 are seen more coarsely."""

MOST_WRITTEN_TOKENS = 1024
"""Attention that is written out takes memory with the square of the tokens, 50 MB for so many of a photo."""


@dataclass(frozen=True)
class DepthNetConfig:
    """The network's shape; stored beside the weights.

    Attributes:
        dim: channels of a token.
        blocks: transformer blocks.
        heads: attention heads.
        ranks: inner widths of the maps to (queries, keys and values), (attention output), (both of the MLP).
        patch_px: side of the square that becomes a token.
        grid: side of the stored grid of position codes, resized to the photo's grid.
        taps: blocks whose output the decoder reads, counted from 1.
        width: channels at the decoder's coarsest level.
        token_short_side_px: the transformer sees the photo with this short side.
        input_short_side_px: the convolutions see it with this one, which is the output's too.
    """

    dim: int = 384
    blocks: int = 12
    heads: int = 6
    ranks: tuple[int, int, int] = (48, 64, 72)
    patch_px: int = 14
    grid: int = 18
    taps: tuple[int, ...] = (3, 6, 9, 12)
    width: int = 96
    token_short_side_px: int = 308
    input_short_side_px: int = 384

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if name in ("ranks", "taps"):
                whole = isinstance(value, tuple) and all(_is_whole(v, most) for v in value)
            else:
                whole = _is_whole(value, most)
            if not whole:
                raise InputError(
                    f"A depth network's {name} is {value!r}; it must be whole, from 1 to {most}."
                )
        if self.dim % self.heads:
            raise InputError(f"A depth network's {self.heads} heads can't share {self.dim} channels evenly.")
        if len(self.ranks) != 3 or max(self.ranks) > self.dim:
            raise InputError(
                f"A depth network's ranks are {self.ranks}; three are needed, {self.dim} at most."
            )
        if not self.taps or sorted(set(self.taps)) != list(self.taps) or self.taps[-1] > self.blocks:
            raise InputError(
                f"A depth network's taps are {self.taps}; they must rise, to {self.blocks} at most."
            )


# Far above what is of use: a file's header must not ask for any amount of memory.
_MOST = {"dim": 4096, "blocks": 96, "heads": 128, "ranks": 4096, "patch_px": 64, "grid": 256, "taps": 96}
_MOST |= {"width": 4096, "token_short_side_px": 4096, "input_short_side_px": 4096}


def _is_whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


class ThinLinear(nn.Module):
    """A linear map as the product of two narrow ones: rank × (ins + outs) weights instead of ins × outs."""

    def __init__(self, ins: int, outs: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(ins, rank, bias=False)
        self.up = nn.Linear(rank, outs)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention, [B, heads, N, C] each.

    Written out on a processor where gradients are wanted, or in bfloat16: torch's own kernel takes twice as
    long there, forth and back, at the 200 tokens of a training crop, and a fifth longer at a photo's 640.
    """
    tokens = query.shape[-2]
    short = query.dtype == torch.bfloat16 and tokens <= MOST_WRITTEN_TOKENS
    if query.device.type == "cpu" and (torch.is_grad_enabled() or short):
        return (query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)).softmax(-1) @ value
    return F.scaled_dot_product_attention(query, key, value)


class Block(nn.Module):
    """Pre-norm attention and MLP with scaled residuals (LayerScale), as in DINOv2."""

    def __init__(self, config: DepthNetConfig) -> None:
        super().__init__()
        dim, (rank_qkv, rank_out, rank_mlp) = config.dim, config.ranks
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = ThinLinear(dim, 3 * dim, rank_qkv)
        self.out = ThinLinear(dim, dim, rank_out)
        self.scale1 = nn.Parameter(torch.full((dim,), 0.1))
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.expand = ThinLinear(dim, 4 * dim, rank_mlp)
        self.contract = ThinLinear(4 * dim, dim, rank_mlp)
        self.scale2 = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = attention(query, key, value)
        x = x + self.scale1 * self.out(mixed.transpose(1, 2).reshape(batch, tokens, dim))
        return x + self.scale2 * self.contract(F.gelu(self.expand(self.norm2(x))))


class Encoder(nn.Module):
    """The transformer: [B, 3, h, w] normalised rgb, sides multiples of the patch, to four token grids."""

    def __init__(self, config: DepthNetConfig) -> None:
        super().__init__()
        self.config = config
        self.patches = nn.Conv2d(3, config.dim, config.patch_px, stride=config.patch_px)
        self.whole = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.positions = nn.Parameter(torch.zeros(1, config.dim, config.grid, config.grid))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patches(x)
        grid_hw = x.shape[-2:]
        places = F.interpolate(self.positions, size=grid_hw, mode="bicubic", align_corners=False)
        x = (x + places).flatten(2).transpose(1, 2)
        x = torch.cat([self.whole.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
        taps = []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in self.config.taps:
                taps.append(self.norm(x)[:, 1:].transpose(1, 2).unflatten(2, grid_hw))
        return taps


class Residual(nn.Module):
    """Two 3×3 convolutions around which the input passes unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class Step(nn.Module):
    """One step up: enlarge, join with the finer picture features, mix."""

    def __init__(self, coarse: int, fine: int, outs: int) -> None:
        super().__init__()
        self.join = nn.Conv2d(coarse + fine, outs, 3, padding=1)
        self.mix = nn.Conv2d(outs, outs, 3, padding=1)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        x = F.relu(self.join(torch.cat([coarse, fine], dim=1)))
        return F.relu(self.mix(x)) + x


class Decoder(nn.Module):
    """From token grids and the photo at full size to disparity at full size."""

    def __init__(self, config: DepthNetConfig) -> None:
        super().__init__()
        width = config.width
        self.gather = nn.ModuleList(nn.Conv2d(config.dim, width, 1) for _ in config.taps)
        self.coarse = nn.Sequential(Residual(width), Residual(width))
        self.at_half = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.at_quarter = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), Residual(32))
        self.at_eighth = nn.Sequential(nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.ReLU(), Residual(48))
        self.to_eighth = Step(width, 48, 64)
        self.to_quarter = Step(64, 32, 48)
        self.to_half = Step(48, 16, 32)
        # Unfolding 2×2 pixels from channels keeps the costly wide convolutions at half size.
        self.unfold = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.PixelShuffle(2))
        self.to_full = nn.Sequential(nn.Conv2d(11, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))

    def forward(self, taps: list[Tensor], rgb: Tensor) -> Tensor:
        x = self.gather[0](taps[0])
        for gather, tap in zip(self.gather[1:], taps[1:], strict=True):
            x = x + gather(tap)
        x = self.coarse(x)
        half = F.relu(self.at_half(rgb))
        quarter = self.at_quarter(half)
        x = self.to_eighth(x, self.at_eighth(quarter))
        x = self.to_half(self.to_quarter(x, quarter), half)
        x = self.unfold(x)[..., : rgb.shape[-2], : rgb.shape[-1]]
        # In full precision also where the rest isn't: eight bits of disparity would be stairs.
        with torch.autocast(rgb.device.type, enabled=False):
            return self.to_full(torch.cat([x.float(), rgb.float()], dim=1))[:, 0]


class DepthNet(nn.Module):
    """Relative inverse depth from one photo."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: DepthNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or DepthNetConfig()
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)
        # On the processor even where the weights have no memory yet; they aren't in the file.
        mean, deviation = (torch.tensor(v, device="cpu").view(1, 3, 1, 1) for v in (RGB_MEAN, RGB_DEVIATION))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, rgb: Tensor, token_hw: tuple[int, int] | None = None) -> Tensor:
        """[B, 3, H, W] in [0, 1] to [B, H, W], near is large, up to scale and shift."""
        return self.decoder(*self.features(rgb, token_hw))

    def features(self, rgb: Tensor, token_hw: tuple[int, int] | None = None) -> tuple[list[Tensor], Tensor]:
        """The encoder's token grids, each [B, dim, h, w], and the normalised photo."""
        rgb = (rgb - self.mean) / self.deviation
        grid = token_hw or self.token_hw(tuple(rgb.shape[-2:]))
        px = (grid[0] * self.config.patch_px, grid[1] * self.config.patch_px)
        small = rgb
        if px != tuple(rgb.shape[-2:]):
            small = F.interpolate(rgb, size=px, mode="bilinear", align_corners=False, antialias=True)
        return self.encoder(small), rgb

    def token_hw(self, hw: tuple[int, ...]) -> tuple[int, int]:
        """The transformer's grid for a photo of ``hw``: rows and columns of tokens, about ``MOST_TOKENS`` at most."""
        scale = self.config.token_short_side_px / (min(hw) * self.config.patch_px)
        scale = min(scale, (MOST_TOKENS / (hw[0] * hw[1])) ** 0.5)
        return max(1, round(hw[0] * scale)), max(1, round(hw[1] * scale))

    @torch.inference_mode()
    def disparity(self, rgb: Tensor) -> Tensor:
        """Relative inverse depth of a photo: the mean over it and its mirror image.

        A processor with instructions for bfloat16 computes in it, but for the last two convolutions.

        Args:
            rgb: [3, H, W] float in [0, 1], sRGB.

        Returns:
            [h, w] float32 >= 0 with the photo's aspect and a short side of ``input_short_side_px`` (or the
            photo's own when that is smaller), near is large, up to scale and shift.
        """
        device = next(self.parameters()).device
        hw = tuple(rgb.shape[-2:])
        scale = min(1.0, self.config.input_short_side_px / min(hw))
        size = (max(8, round(hw[0] * scale)), max(8, round(hw[1] * scale)))
        x = rgb[None].to(device=device, dtype=torch.float32)
        if size != hw:
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
        half = device.type == "cpu" and bfloat16_helps(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            both = self(torch.cat([x, x.flip(-1)])).float().cpu()
        found = (both[0] + both[1].flip(-1)) / 2
        return found - found.min()


def save_depthnet(net: DepthNet, path: Path, notes: dict[str, Any]) -> None:
    """Write the weights in half precision with their configuration and ``notes`` in the header.

    The file appears whole or not at all; an older one stays until then.
    """
    from safetensors.torch import save

    weights = {name: value.detach().half().contiguous() for name, value in net.state_dict().items()}
    header = {"config": json.dumps(asdict(net.config)), "notes": json.dumps(notes)}
    with written_whole(path) as beside:
        beside.write_bytes(_ordered(save(weights, metadata=header)))


def _ordered(data: bytes) -> bytes:
    """The same safetensors file with its header in alphabetical order: the same weights are the same bytes."""
    # 8 bytes that say the length of the JSON header, the header, then the numbers, which it counts from there.
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def read_config(path: Path | str) -> DepthNetConfig:
    """The shape of a network that ``save_depthnet`` wrote.

    Raises:
        InputError: the file is missing or holds other weights.
    """
    with _opened(path) as file:
        return _config(path, file.metadata())


def load_depthnet(path: Path | str, device: str | torch.device = "cpu") -> DepthNet:
    """Read a network that ``save_depthnet`` wrote.

    Raises:
        InputError: the file is missing or holds other weights.
    """
    with _opened(path) as file:
        config = _config(path, file.metadata())
        # Without memory, so that a wrong header costs none.
        with torch.device("meta"):
            net = DepthNet(config)
        wanted = {name: list(value.shape) for name, value in net.state_dict().items()}
        found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        odd = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        if odd:
            raise InputError(
                f"The weights in {path} don't fit their configuration: {odd[0]} is {found.get(odd[0], 'missing')}, "
                f"it must be {wanted.get(odd[0], 'absent')}."
            )
        weights = {name: file.get_tensor(name).float() for name in wanted}
    net.load_state_dict(weights, assign=True)
    return placed(net, device).eval().requires_grad_(False)


def placed(net: DepthNet, device: str | torch.device) -> DepthNet:
    """The network itself, on a device, channels last: its convolutions then run 1.6 times as fast on a CPU."""
    moved: Any = net
    return moved.to(device, memory_format=torch.channels_last)


@contextmanager
def _opened(path: Path | str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is not a file of depth weights that can be read ({error}).") from None


def _config(path: Path | str, header: dict[str, str] | None) -> DepthNetConfig:
    config: Any
    try:
        config = json.loads((header or {}).get("config", "null"))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise InputError(f"{path} holds no configuration of kinephoto's depth network.")
    unknown = sorted(set(config) - {field.name for field in fields(DepthNetConfig)})
    if unknown:
        raise InputError(f"{path} was made for another depth network: its configuration has {unknown[0]!r}.")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    try:
        return DepthNetConfig(**values)
    except InputError as error:
        raise InputError(f"{path} holds no usable configuration. {error}") from None


def builtin_weights() -> Path:
    """Where the built-in depth weights lie in the installed package."""
    return Path(str(resources.files("kinephoto") / "weights" / "depth.safetensors"))


@lru_cache(maxsize=2)
def load_builtin(device: str = "cpu") -> DepthNet:
    """The built-in depth network, read once per device."""
    return load_depthnet(builtin_weights(), device)


def parameter_count(net: nn.Module) -> int:
    """Number of weights."""
    return sum(math.prod(p.shape) for p in net.parameters())
