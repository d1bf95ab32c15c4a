from pathlib import Path

import pytest
import torch
from tests.backbones.tiny import FRAMES, load_tiny, make_tiny_animatediff
from torch import Tensor

from mcm.backbones.animatediff import AnimateDiff


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with AutoencoderDC, v-prediction and zero terminal SNR."""
    return make_tiny_animatediff(tmp_path_factory.mktemp("dc"))


@pytest.fixture(scope="session")
def tiny_teacher_kl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with AutoencoderKL and ε-prediction, and no mcm.json."""
    return make_tiny_animatediff(tmp_path_factory.mktemp("kl"), "kl", "epsilon", None)


@pytest.fixture
def backbone(tiny_teacher: Path) -> AnimateDiff:
    return load_tiny(tiny_teacher)


@pytest.fixture
def latents() -> Tensor:
    return torch.randn(2, 4, FRAMES, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def timesteps() -> Tensor:
    return torch.tensor([999, 321])
