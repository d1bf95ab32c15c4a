"""Every array and loss of the released implementation, met to 1e-4 relative in float32.

The steps below are those of one training step, each fed by the ones before, so that errors
may pile up but never cancel by starting afresh from the recorded arrays.
"""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from mcm.diffusion import (
    Prediction,
    SolverGrid,
    boundary_scalings,
    consistency_function,
    convert,
    ddim_step,
    guide,
    l2,
    pseudo_huber,
)
from mcm.motion import MotionRepresentation, make_motion

NAMES = get_args(MotionRepresentation)
Close = Callable[[Tensor, Tensor, str], None]


def predict(
    released: Any, unet: nn.Module, x_t: Tensor, t_b: Tensor, prompt: Tensor, want: Prediction
) -> Tensor:
    level = released.schedule.alpha_sigma(t_b)
    prediction = unet(x_t, t_b, encoder_hidden_states=prompt).sample
    return convert(prediction, x_t, *level, have=released.prediction, want=want)


def student_function(released: Any, x_t: Tensor, t_b: Tensor) -> Tensor:
    prompt = released.arrays["prompt_embeds"]
    x0 = predict(released, released.student, x_t, t_b, prompt, "x0")
    scaling = released.config["timestep_scaling"]
    return consistency_function(released.schedule, x_t, x0, t_b, scaling)


@pytest.fixture(scope="session")
def step(released: Any) -> dict[str, Tensor]:
    """Run one training step up to the two consistency functions."""
    a, schedule = released.arrays, released.schedule
    grid = SolverGrid.evenly(schedule, released.config["num_ddim_timesteps"])
    start_b, previous_b = grid.pair(a["index"])
    x_t = grid.add_noise(a["latents"], a["noise"], a["index"])
    guided: dict[Prediction, Tensor] = {}
    with torch.no_grad():
        for want in ("x0", "epsilon"):
            cond = predict(released, released.teacher, x_t, start_b, a["prompt_embeds"], want)
            empty = a["uncond_prompt_embeds"]
            uncond = predict(released, released.teacher, x_t, start_b, empty, want)
            guided[want] = guide(cond, uncond, a["w"])
        x_prev = ddim_step(guided["x0"], guided["epsilon"], schedule.alpha_sigma(previous_b))
        target = student_function(released, x_prev, previous_b)
    return {
        "start_timesteps": start_b,
        "timesteps": previous_b,
        "noisy_input": x_t,
        "teacher_pred_x0": guided["x0"],
        "teacher_pred_noise": guided["epsilon"],
        "x_prev": x_prev,
        "student_pred": student_function(released, x_t, start_b),
        "target": target,
    }


def motion(released: Any, name: MotionRepresentation) -> nn.Module:
    """Make a representation; the learnable one with the recorded weights."""
    module = make_motion(name, channels=4)
    if name == "learn":
        places = {"layers.0.0": "conv_in", "layers.0.1": "norm", "conv_out": "conv_out"}
        module.load_state_dict(
            {
                f"{ours}.{kind}": released.arrays[f"head.{theirs}.{kind}"]
                for theirs, ours in places.items()
                for kind in ("weight", "bias")
            }
        )
    return module


def test_the_recorded_schedule(released: Any, close: Close) -> None:
    close(released.schedule.alphas_cumprod, released.arrays["alphas_cumprod"], "alphas_cumprod")


def test_the_recorded_solver_grid(released: Any, close: Close) -> None:
    steps = released.config["num_ddim_timesteps"]
    grid = SolverGrid.evenly(released.schedule, steps)
    assert torch.equal(grid.timesteps_n, released.arrays["ddim_timesteps"])
    alpha_n, _ = released.schedule.alpha_sigma(grid.previous_n)
    close(alpha_n**2, released.arrays["ddim_alpha_cumprods_prev"], "ddim_alpha_cumprods_prev")


def test_the_recorded_boundary_scalings(released: Any, close: Close) -> None:
    scalings = boundary_scalings(torch.arange(1000), released.config["timestep_scaling"])
    for name, actual in zip(("c_skip", "c_out"), scalings, strict=True):
        torch.testing.assert_close(actual, released.arrays[name], rtol=1e-6, atol=0)
        close(actual, released.arrays[name], name)


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_motion_representation(
    released: Any, close: Close, name: MotionRepresentation
) -> None:
    expected = released.arrays[f"motion.{name}"]
    actual = motion(released, name)(released.arrays["latents"])
    actual = actual.flatten(0, 1) if name.endswith("cor") else actual
    inside = expected > -1e8
    assert torch.equal(actual > -1e8, inside)
    assert torch.equal(actual[~inside], expected[~inside])
    close(actual[inside], expected[inside], f"motion.{name}")


@pytest.mark.parametrize("name", ["start_timesteps", "timesteps"])
def test_recorded_timesteps(released: Any, step: dict[str, Tensor], name: str) -> None:
    assert torch.equal(step[name], released.arrays[name])


@pytest.mark.parametrize(
    "name",
    ["noisy_input", "teacher_pred_x0", "teacher_pred_noise", "x_prev", "student_pred", "target"],
)
def test_a_recorded_array_of_the_step(
    released: Any, step: dict[str, Tensor], close: Close, name: str
) -> None:
    close(step[name], released.arrays[name], name)


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_losses(
    released: Any, step: dict[str, Tensor], close: Close, name: MotionRepresentation
) -> None:
    module, expected = motion(released, name), released.losses[name]
    student, target = module(step["student_pred"]), module(step["target"])
    huber = pseudo_huber(student, target, released.config["huber_c"])
    close(huber, torch.tensor(expected["huber"]), f"{name}.huber")
    close(l2(student, target), torch.tensor(expected["l2"]), f"{name}.l2")


def test_the_recorded_gradient_norm(released: Any, step: dict[str, Tensor], close: Close) -> None:
    module = motion(released, "diff")
    loss = pseudo_huber(module(step["student_pred"]), module(step["target"]))
    gradients = torch.autograd.grad(
        loss, list(released.student.parameters()), allow_unused=True, retain_graph=True
    )
    norm = torch.stack([g.norm() for g in gradients if g is not None]).norm()
    expected = released.losses["grad_norm_diff_huber"]
    close(norm, torch.tensor(expected), "grad_norm_diff_huber")


def test_the_recorded_self_generated_sample(released: Any, close: Close) -> None:
    a = released.arrays
    last_b = a["ddim_timesteps"][-1].expand(len(a["noise"]))
    with torch.no_grad():
        x0 = predict(released, released.student, a["noise"], last_b, a["prompt_embeds"], "x0")
    close(x0, a["generated_x0"], "generated_x0")
