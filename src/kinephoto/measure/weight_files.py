"""Files of weights that a user names: tensors by name, read without running anything in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinephoto.errors import InputError


def read_weights(file: Path) -> dict[str, Tensor]:
    """Tensors by name, of a .safetensors file or of a .pth file, which is read without running anything in it.

    Raises:
        InputError: no such file, or something else.
    """
    if not file.is_file():
        raise InputError(f"There is no file of weights {file}.")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise kinds of their own
        kind = "unsafe or broken" if isinstance(error, pickle.UnpicklingError) else "broken"
        raise InputError(
            f"{file} is {kind}, or no file of tensors; .safetensors and .pth are read."
        ) from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{file} is no state dict: tensors by their names are needed.")
    return found
