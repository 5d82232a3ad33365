"""What every test may ask for: photos, the folder of further data, the same numbers each time."""

from __future__ import annotations

import os

# Before torch and numba look, here and in the processes that tests start: small pictures and networks gain nothing
# by a second thread, and on a busy machine wait for it; the second core has tests of its own.
os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

import random
from pathlib import Path

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]


def _shared_folder() -> Path:
    return Path(os.environ.get("KINEPHOTO_SHARED", REPOSITORY.parent / "shared"))


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("shared") and not (_shared_folder() / "data").is_dir():
        pytest.skip(f"needs {_shared_folder().name}/data; KINEPHOTO_SHARED says where it is")
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def same_numbers_each_time() -> None:
    """Tests that forget to seed their generator still repeat."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  what third parties draw from
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder with pyproject.toml."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with further photos and scenes; tests that ask for it are marked ``shared``."""
    if not (_shared_folder() / "data").is_dir():
        pytest.skip(f"needs {_shared_folder().name}/data; KINEPHOTO_SHARED says where it is")
    return _shared_folder()


@pytest.fixture(scope="session")
def example_photo() -> Path:
    """A free photo of a person, 512×512 px."""
    return REPOSITORY / "examples" / "astronaut.jpg"


@pytest.fixture(scope="session")
def example_photos() -> list[Path]:
    """All free photos of the repository."""
    return sorted((REPOSITORY / "examples").glob("*.jpg"))
