"""Settings of every test run: one processor thread, seeded chance, no network."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

settings.register_profile("mcm", deadline=None)
settings.load_profile("mcm")


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Certificate, keys and audit log of the tests are the tests' own, and no policy counts."""
    os.environ["MCM_HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ.pop("MCM_POLICY", None)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Networks of the tiny models are the same in every test, whatever ran before."""
    import torch

    torch.manual_seed(0)


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a policy in force."""

    def write(text: str) -> Path:
        path = tmp_path / f"policy-{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(text)
        monkeypatch.setenv("MCM_POLICY", str(path))
        return path

    return write
