"""The objective meets the numbers of the released implementation to 1e-4 relative.

The recorded networks stand behind the backbone contract as two separate ones, as in full
fine-tuning: the base is the teacher, every adapter is the student.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import pytest
import torch
from tests.parity.conftest import Released, relative_error
from torch import Tensor

from mcm.backbones.base import BackboneSpec, Condition
from mcm.diffusion import Prediction, convert
from mcm.distillation.batch import DistillBatch
from mcm.distillation.draws import Draws
from mcm.distillation.objective import MotionConsistency, Transition
from mcm.distillation.variant import Variant
from mcm.motion import MotionRepresentation
from mcm.settings import ConsistencySection, MotionSection

HEAD = {"layers.0.0": "conv_in", "layers.0.1": "norm", "conv_out": "conv_out"}
REPRESENTATIONS = get_args(MotionRepresentation)


class RecordedBackbone:
    """The recorded teacher and student behind the contract."""

    def __init__(self, released: Released) -> None:
        channels = released.arrays["latents"].shape[1]
        self.spec = BackboneSpec(
            "recorded", released.prediction, channels, 8, 1, 4, 64, 64, 8, (5, 15), 8.0, (), 77
        )
        self.schedule = released.schedule
        self.released = released
        self.active: str | None = None

    @contextmanager
    def using(self, adapter: str | None) -> Iterator[None]:
        before, self.active = self.active, adapter
        yield
        self.active = before

    def adapter_parameters(self, name: str) -> dict[str, Tensor]:
        return dict(self.released.student.named_parameters())

    def predict(
        self, x_bcthw: Tensor, t_b: Tensor, condition: Condition, want: Prediction = "x0"
    ) -> Tensor:
        unet = self.released.student if self.active else self.released.teacher
        prediction = unet(x_bcthw, t_b, encoder_hidden_states=condition.tokens_bld).sample
        level = self.schedule.alpha_sigma(t_b)
        return convert(prediction, x_bcthw, *level, have=self.spec.prediction, want=want)


def text(tokens_bld: Tensor) -> Condition:
    return Condition(tokens_bld, tokens_bld.mean(1))


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def released(request: pytest.FixtureRequest) -> Released:
    return Released(request.param)


def close(actual: Tensor, expected: Tensor) -> None:
    assert relative_error(actual, expected) < 1e-4


def objective_of(released: Released, name: MotionRepresentation, loss: Any) -> MotionConsistency:
    config = released.config
    consistency = ConsistencySection(
        grid_points=config["num_ddim_timesteps"],
        timestep_scaling=config["timestep_scaling"],
        huber_c=config["huber_c"],
        loss=loss,
        ema_decay=0.0,
    )
    variant = Variant(MotionSection(representation=name), consistency)
    empty = text(released.arrays["uncond_prompt_embeds"][:1])
    objective = MotionConsistency(RecordedBackbone(released), empty, variant)  # type: ignore
    if name == "learn":
        state = {
            f"{ours}.{kind}": released.arrays[f"head.{theirs}.{kind}"]
            for theirs, ours in HEAD.items()
            for kind in ("weight", "bias")
        }
        objective.head.load_state_dict(state)
        objective.head_target.load_state_dict(state)
    return objective


@pytest.fixture(scope="module")
def draws(released: Released) -> Draws:
    a = released.arrays
    yes = torch.ones(len(a["index"]), dtype=torch.bool)
    frames = torch.zeros(len(a["index"]), 1, dtype=torch.long)
    return Draws(yes, yes, a["index"], a["w"], a["noise"], a["index"], frames)


@pytest.fixture(scope="module")
def transition(released: Released, draws: Draws) -> Transition:
    batch = DistillBatch(released.arrays["latents"], text(released.arrays["prompt_embeds"]))
    return objective_of(released, "raw", "huber").trajectories.transition(batch, draws)


@pytest.fixture(scope="module")
def ends(released: Released, transition: Transition) -> tuple[Tensor, Tensor]:
    objective = objective_of(released, "raw", "huber")
    student = objective.student(transition.x_bcthw, transition.start_b, transition.condition)
    return student, objective.target(transition)


def test_empty_prompts_agree(released: Released) -> None:
    rows = released.arrays["uncond_prompt_embeds"]
    assert torch.equal(rows, rows[:1].expand_as(rows))


def test_transition(released: Released, transition: Transition) -> None:
    a = released.arrays
    assert torch.equal(transition.start_b, a["start_timesteps"])
    assert torch.equal(transition.previous_b, a["timesteps"])
    close(transition.x_bcthw, a["noisy_input"])
    close(transition.x_previous_bcthw, a["x_prev"])


def test_student_and_target(released: Released, ends: tuple[Tensor, Tensor]) -> None:
    close(ends[0], released.arrays["student_pred"])
    close(ends[1], released.arrays["target"])


@pytest.mark.parametrize("loss", ["huber", "l2"])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_losses(
    released: Released, ends: tuple[Tensor, Tensor], name: MotionRepresentation, loss: str
) -> None:
    actual = objective_of(released, name, loss).motion_loss(*ends)
    close(actual, torch.tensor(released.losses[name][loss]))


def test_gradient_norm(released: Released, ends: tuple[Tensor, Tensor]) -> None:
    loss = objective_of(released, "diff", "huber").motion_loss(*ends)
    parameters = list(released.student.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    norm = torch.stack([g.norm() for g in gradients if g is not None]).norm()
    close(norm, torch.tensor(released.losses["grad_norm_diff_huber"]))


def test_generated_sample(released: Released) -> None:
    a = released.arrays
    objective = objective_of(released, "raw", "huber")
    last_b = a["ddim_timesteps"][-1].expand(len(a["noise"]))
    with torch.no_grad():
        x0 = objective.student(a["noise"], last_b, text(a["prompt_embeds"]))
    close(x0, a["generated_x0"])
