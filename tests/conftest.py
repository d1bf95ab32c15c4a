"""Settings of every test run: one processor thread, seeded chance, no network."""

import os

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
