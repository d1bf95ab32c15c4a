from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from tests.distillation.toy import SHAPE, scatter, seeded
from torch import Tensor

from mcm.distillation.batch import DistillBatch
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.steps import STUDENT
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.samplers import Plan, consistency
from mcm.settings import Recipe

Make = Callable[[Recipe], MotionConsistency]


def test_only_the_samples_drawn_are_generated(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    objective = objective_of(recipe_of(trajectories={"self_generation_steps": 2}))
    real_b = torch.tensor([True, False, True, False])
    draws = replace(objective.trajectories.draw(batch, seeded()), real_b=real_b)
    clean = objective.trajectories.clean_latents(batch.latents_bcthw, batch.condition, draws)
    assert torch.equal(clean[real_b], batch.latents_bcthw[real_b])
    with objective.backbone.using(STUDENT), torch.no_grad():
        denoiser = Denoiser(objective.backbone, batch.condition[~real_b])
        noise = Noise.from_seeds(draws.seeds_b[~real_b].tolist())
        expected = consistency(denoiser, noise, Plan(SHAPE, 2, 10))
    torch.testing.assert_close(clean[~real_b], expected)


def test_only_the_last_step_of_judged_latents_learns(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    settings = {"self_generation_steps": [3], "judge_generated": True, "real_fraction": 0.0}
    objective = objective_of(recipe_of(trajectories=settings, motion={"weight": 0.0}))
    scatter(objective)
    draws = objective.trajectories.draw(batch, seeded())
    ends = objective.trajectories.clean_latents(batch.latents_bcthw, batch.condition, draws)
    inputs = []
    with objective.backbone.using(STUDENT), torch.no_grad():
        denoiser = Denoiser(objective.backbone, batch.condition)

        def watch(x_bcthw: Tensor, t: Tensor, want: Any) -> Tensor:
            inputs.append((x_bcthw, t))
            return denoiser(x_bcthw, t, want)

        watch.schedule = denoiser.schedule  # type: ignore[attr-defined]
        noise = Noise.from_seeds(draws.seeds_b.tolist())
        consistency(watch, noise, Plan(SHAPE, 3, 10))  # type: ignore[arg-type]
    x_bcthw, t = inputs[-1]
    again = objective.student(x_bcthw, t.expand(len(x_bcthw)), batch.condition)
    torch.testing.assert_close(ends, again)
    parameters = list(objective.backbone.adapter_parameters(STUDENT).values())
    found = torch.autograd.grad(ends.square().sum(), parameters)
    pairs = zip(found, torch.autograd.grad(again.square().sum(), parameters), strict=True)
    for ours, expected in pairs:
        torch.testing.assert_close(ours, expected)


def test_segments_are_compared_where_they_end(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    """Within a segment DDIM leads to its end; what is there already stays; the last is clean."""
    settings = {"consistency": {"segments": 5, "grid_points": 10}}
    objective = objective_of(recipe_of(**settings, trajectories={"self_generation_steps": 5}))
    scatter(objective)
    index_b = torch.tensor([9, 8, 0, 1])
    draws = replace(objective.trajectories.draw(batch, seeded()), index_b=index_b)
    transition = objective.trajectories.transition(batch, draws)
    assert transition.end_b.tolist() == [7, 7, -1, -1]
    x0 = objective.student(transition.x_bcthw, transition.start_b, transition.condition)
    target = objective.target(transition)
    ours, theirs = objective.trajectories.arrivals(transition, x0, target)
    schedule, grid = objective.backbone.schedule, objective.trajectories.grid
    for row in (0, 1):
        now = schedule.alpha_sigma(transition.start_b[row])
        end = schedule.alpha_sigma(grid.timesteps_n[7])
        epsilon = (transition.x_bcthw[row] - now.alpha * x0[row]) / now.sigma
        torch.testing.assert_close(ours[row], end.alpha * x0[row] + end.sigma * epsilon)
    torch.testing.assert_close(theirs[1], transition.x_previous_bcthw[1])
    assert torch.equal(ours[2:], x0[2:]) and torch.equal(theirs[2:], target[2:])


def test_one_segment_is_the_whole_trajectory(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    objective = objective_of(recipe_of())
    transition = objective.trajectories.transition(
        batch, objective.trajectories.draw(batch, seeded())
    )
    x0 = torch.randn(SHAPE).expand(len(batch), *SHAPE)
    assert (transition.end_b == -1).all()
    ours, theirs = objective.trajectories.arrivals(transition, x0, -x0)
    assert torch.equal(ours, x0) and torch.equal(theirs, -x0)


def test_segments_are_sampled_without_fresh_noise(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    steps = {"self_generation_steps": 2}
    objective = objective_of(recipe_of(consistency={"segments": 2}, trajectories=steps))
    scatter(objective)
    found = objective.trajectories.generate([5], SHAPE, batch.condition[:1], 2)
    with objective.backbone.using(STUDENT), torch.no_grad():
        denoiser = Denoiser(objective.backbone, batch.condition[:1])
        plan = Plan(SHAPE, 2, 10, stochasticity=0.0)
        expected = consistency(denoiser, Noise.from_seeds([5]), plan)
    torch.testing.assert_close(found, expected)


def test_numbers_of_steps_are_drawn(objective_of: Make, recipe_of: Any, batch: Any) -> None:
    objective = objective_of(recipe_of(trajectories={"self_generation_steps": [1, 2, 4]}))
    drawn = {
        objective.trajectories.draw(batch, seeded(seed)).generation_steps for seed in range(30)
    }
    assert drawn == {1, 2, 4}
    plain = objective_of(recipe_of(trajectories={"self_generation_steps": 4}))
    assert plain.trajectories.draw(batch, seeded()).generation_steps == 4


def test_dropped_captions_become_the_empty_prompt(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    objective = objective_of(recipe_of())
    keep_b = torch.tensor([True, False, True, True])
    draws = replace(objective.trajectories.draw(batch, seeded()), keep_b=keep_b)
    condition = objective.trajectories.transition(batch, draws).condition
    assert torch.equal(condition.tokens_bld[1], objective.empty.tokens_bld[0])
    assert torch.equal(condition.pooled_bd[1], objective.empty.pooled_bd[0])
    assert torch.equal(condition.tokens_bld[keep_b], batch.condition.tokens_bld[keep_b])


def test_without_a_teacher_critic_nothing_more_is_drawn(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    first = objective_of(recipe_of()).trajectories.draw(batch, seeded())
    section = {"weight": 0.5, "backbone": "teacher"}
    second = objective_of(recipe_of(clip_critic=section)).trajectories.draw(batch, seeded())
    assert first.judged_noise_bcthw is None
    assert torch.equal(first.noise_bcthw, second.noise_bcthw)
    assert torch.equal(first.frames_bl, second.frames_bl)
    assert 0 <= second.judged_level <= 0.7
