"""The numbers of the released implementation, and the networks they were computed with."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet3DConditionModel
from safetensors.torch import load_file
from torch import Tensor

from mcm.diffusion import Prediction, VarianceSchedule

HERE = Path(__file__).parent
PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v"}


@dataclass
class Released:
    """One recorded training step: configuration, arrays, losses and networks."""

    name: str

    @cached_property
    def config(self) -> dict[str, Any]:
        return json.loads((HERE / f"{self.name}.json").read_text())

    @cached_property
    def arrays(self) -> dict[str, Tensor]:
        return load_file(HERE / f"{self.name}.safetensors")

    @cached_property
    def losses(self) -> dict[str, Any]:
        return self.config["losses"]

    @cached_property
    def prediction(self) -> Prediction:
        return PREDICTIONS[self.config["prediction_type"]]

    @cached_property
    def schedule(self) -> VarianceSchedule:
        return VarianceSchedule.from_betas(self.config["beta_schedule"], 0.00085, 0.012)

    @cached_property
    def teacher(self) -> UNet3DConditionModel:
        return self._unet("teacher").requires_grad_(False)

    @cached_property
    def student(self) -> UNet3DConditionModel:
        return self._unet("student")

    def _unet(self, role: str) -> UNet3DConditionModel:
        weights = load_file(HERE / f"{self.name}_unets.safetensors")
        unet = UNet3DConditionModel(**self.config["unet_config"])
        unet.load_state_dict(
            {k.removeprefix(f"{role}."): w for k, w in weights.items() if k.startswith(role)}
        )
        return unet.eval()


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest deviation, relative to the element or, where that is small, to the array's RMS."""
    actual, expected = actual.detach().double(), expected.double()
    assert actual.shape == expected.shape
    scale = torch.maximum(expected.abs(), expected.square().mean().sqrt())
    return float(((actual - expected).abs() / scale.clamp_min(1e-30)).max())


@pytest.fixture(scope="session", params=["epsilon", "v_prediction"])
def released(request: pytest.FixtureRequest) -> Released:
    return Released(request.param)


@pytest.fixture(scope="session")
def close(record_testsuite_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Assert agreement to 1e-4 relative; worst errors go to the JUnit report's properties."""

    def check(actual: Tensor, expected: Tensor, name: str) -> None:
        error = relative_error(actual, expected)
        record_testsuite_property(name, error)
        assert error < 1e-4, f"{name}: relative error {error:.2e}"

    return check
