from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.distillation.toy import SHAPE, ToyBackbone, scatter, seeded, texts
from torch import Tensor

from mcm.backbones.base import Condition
from mcm.diffusion import consistency_function, convert, guide
from mcm.distillation.batch import CriticFrames, DistillBatch
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.steps import STUDENT, TARGET
from mcm.settings import Recipe

Make = Callable[[Recipe], MotionConsistency]


IMAGES = {"data": {"images": "toy"}, "consistency": {"image_weight": 0.5}}


def gradients(parameters: Any) -> list[bool]:
    return [bool(p.grad is not None and p.grad.abs().sum() > 0) for p in parameters]


def judged_frames(objective: MotionConsistency, batch: DistillBatch, seed: int = 3) -> CriticFrames:
    """What the appearance critic sees in a step."""
    judged = objective.step(batch, seeded(seed)).judged
    assert judged is not None
    assert judged.frames is not None
    return judged.frames


def test_student_step_trains_student_and_head_only(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    objective = objective_of(recipe_of())
    scatter(objective)
    assert objective.critics.frame is not None
    objective.step(batch, seeded()).total.backward()
    backbone = objective.backbone
    assert all(gradients(backbone.adapter_parameters(STUDENT).values()))
    assert all(gradients(objective.head.parameters()))
    others = [*backbone.adapter_parameters(TARGET).values(), *objective.head_target.parameters()]
    teacher = list(backbone.variants.base.parameters())  # type: ignore[attr-defined]
    assert not any(gradients([*others, *teacher, *objective.critics.frame.parameters()]))


def test_critic_step_trains_the_critic_only(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    objective = objective_of(recipe_of())
    assert objective.critics.frame is not None
    losses = objective.step(batch, seeded())
    assert losses.judged is not None
    calls = objective.backbone.calls  # type: ignore[attr-defined]
    objective.critic_step(losses.judged, seeded())["loss"].backward()
    assert objective.backbone.calls == calls  # type: ignore[attr-defined]
    assert sum(gradients(objective.critics.frame.heads.parameters())) > 4
    student = objective.backbone.adapter_parameters(STUDENT).values()
    assert not any(gradients([*student, *objective.head.parameters()]))


def test_same_seed_same_losses(objective_of: Make, recipe_of: Any, batch: DistillBatch) -> None:
    first, second, other = (
        objective_of(recipe_of()).step(batch, seeded(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first.total, second.total)
    assert not torch.equal(first.total, other.total)


@pytest.mark.parametrize("judged", [False, True])
def test_the_critic_sees_generated_latents_when_asked(
    objective_of: Make, recipe_of: Any, batch: DistillBatch, judged: bool
) -> None:
    settings = {"judge_generated": judged, "real_fraction": 0.5}
    objective = objective_of(recipe_of(trajectories=settings))
    scatter(objective)
    draws = objective.trajectories.draw(batch, seeded(5))
    assert 0 < draws.real_b.sum() < len(batch)
    transition = objective.trajectories.transition(batch, draws)
    jumped = objective.student(transition.x_bcthw, transition.start_b, transition.condition)
    seen = torch.where(draws.real_b[:, None, None, None, None], jumped, transition.x0_bcthw)
    seen = seen if judged else jumped
    wanted = objective.critics.frames(batch, seen, transition.condition, draws)
    frames = judged_frames(objective, batch, 5)
    torch.testing.assert_close(frames.fake.pixels_n3hw, wanted.fake.pixels_n3hw.detach())


def test_captions_are_dropped_on_both_sides_of_the_critic(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    """A caption that is empty on one side alone would tell the sides apart."""
    objective = objective_of(recipe_of(data={"images": "toy", "drop_caption": 1.0}))
    own = batch.condition
    stills = replace(
        batch,
        images_n3hw=torch.zeros(4, 3, 16, 16),
        image_text_nd=own.pooled_bd,
        image_latents_bcthw=batch.latents_bcthw[:, :, :1],
        image_condition=own,
    )
    frames = judged_frames(objective, stills, 3)
    empty = objective.empty.pooled_bd
    assert torch.equal(frames.real.text_nd, empty.expand(4, -1))
    assert torch.equal(frames.fake.text_nd, empty.expand(8, -1))
    draws = objective.trajectories.draw(stills, seeded())
    dropped = objective.trajectories.drop_image_captions(stills, draws).image_condition
    assert dropped is not None
    assert torch.equal(dropped.tokens_bld, objective.empty.tokens_bld.expand(4, -1, -1))
    kept = objective_of(recipe_of(data={"images": "toy"}))
    assert torch.equal(judged_frames(kept, stills, 3).real.text_nd, own.pooled_bd)


def test_real_latents_only_need_no_generation(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    recipe = recipe_of(trajectories={"real_fraction": 1.0}, critic={"weight": 0.0})
    objective = objective_of(recipe)
    objective.step(batch, seeded())
    assert objective.backbone.calls == 3  # type: ignore[attr-defined]


def lcm_loss(objective: MotionConsistency, batch: DistillBatch, generator: Any) -> Tensor:
    """Latent consistency distillation written out: LCM, algorithm 1."""
    backbone: Any = objective.backbone
    schedule, condition = backbone.schedule, batch.condition
    draws = objective.trajectories.draw(batch, generator)
    t = 100 * (draws.index_b + 1) - 1
    s = torch.where(draws.index_b > 0, t - 100, 0)
    x_t = schedule.add_noise(batch.latents_bcthw, draws.noise_bcthw, t)
    level, before = schedule.alpha_sigma(t), schedule.alpha_sigma(s)

    def f(name: str | None, x: Tensor, at: Tensor, text: Condition, want: Any = "x0") -> Tensor:
        with backbone.using(name):
            return backbone.predict(x, at, text, want)

    with torch.no_grad():
        v = guide(f(None, x_t, t, condition, "v"), f(None, x_t, t, objective.empty, "v"), draws.w_b)
        x0, epsilon = (convert(v, x_t, *level, "v", want) for want in ("x0", "epsilon"))
        x_s = before.mix(x0, epsilon)
        target = consistency_function(schedule, x_s, f(TARGET, x_s, s, condition), s)
    student = consistency_function(schedule, x_t, f(STUDENT, x_t, t, condition), t)
    return (((student - target) ** 2 + 1e-6).sqrt() - 1e-3).mean()


def test_raw_latents_and_no_critic_are_lcm(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    recipe = recipe_of(
        motion={"representation": "raw"},
        critic={"weight": 0.0},
        trajectories={"real_fraction": 1.0},
    )
    objective = objective_of(recipe)
    scatter(objective)
    losses = objective.step(batch, seeded())
    assert losses.judged is None
    torch.testing.assert_close(losses.total, lcm_loss(objective, batch, seeded()))


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_target_is_the_moving_average(objective_of: Make, recipe_of: Any, decay: float) -> None:
    recipe = recipe_of(consistency={"ema_decay": decay}, motion={"head_ema": 0.8})
    objective = objective_of(recipe)
    student = objective.backbone.adapter_parameters(STUDENT)["text.bias"]
    target = objective.backbone.adapter_parameters(objective.target_name)["text.bias"]
    head, average = objective.head.conv_out.bias, objective.head_target.conv_out.bias
    start = student.detach().clone()
    with torch.no_grad():
        student += 1.0
        head += 1.0  # type: ignore[operator]
    for _ in range(3):
        objective.update_target()
    torch.testing.assert_close(target.detach(), start + 1 - decay**3)
    torch.testing.assert_close(average.detach(), torch.full((4,), 1 - 0.8**3))  # type: ignore


def test_weights_round_trip(objective_of: Make, recipe_of: Any, batch: DistillBatch) -> None:
    first, second = objective_of(recipe_of()), objective_of(recipe_of())
    scatter(first)
    second.load_weights({name: value.clone() for name, value in first.weights().items()})
    assert torch.equal(first.step(batch, seeded()).total, second.step(batch, seeded()).total)


def test_images_are_the_critics_real_side(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    objective = objective_of(recipe_of())
    own = judged_frames(objective, batch)
    assert own.real.pixels_n3hw.shape == own.fake.pixels_n3hw.shape == (8, 3, 16, 16)
    assert torch.equal(own.real.text_nd, own.fake.text_nd)
    images, captions = torch.zeros(5, 3, 16, 16), texts(range(5)).pooled_bd
    set_ = replace(batch, images_n3hw=images, image_text_nd=captions)
    frames = judged_frames(objective, set_)
    assert torch.equal(frames.real.pixels_n3hw, images)
    assert torch.equal(frames.real.text_nd, captions)
    assert not frames.fake.pixels_n3hw.requires_grad


def test_critic_without_text_sees_none(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    objective = objective_of(recipe_of(critic={"text_conditioned": False}))
    frames = judged_frames(objective, batch)
    assert not frames.real.text_nd.any() and not frames.fake.text_nd.any()


def test_relativistic_critic(objective_of: Make, recipe_of: Any, batch: DistillBatch) -> None:
    objective = objective_of(recipe_of(critic={"loss": "relativistic"}))
    losses = objective.step(batch, seeded())
    assert losses.parts["adversarial"] > 0


@pytest.mark.parametrize("judge_generated", [False, True])
@pytest.mark.parametrize("name", ["critic", "clip_critic"])
def test_a_critic_pulls_no_harder_than_it_may(
    name: str, judge_generated: bool, objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    def student_gradient(**section: float) -> Tensor:
        sections = {"critic": {"weight": 0.0}} | {name: section}
        recipe = recipe_of(**sections, trajectories={"judge_generated": judge_generated})
        objective = objective_of(recipe)
        scatter(objective)
        objective.step(batch, seeded()).total.backward()
        found = objective.backbone.adapter_parameters(STUDENT).values()
        return torch.cat([p.grad.flatten() for p in found if p.grad is not None])

    motion_alone = student_gradient(weight=1e-12)
    free = student_gradient(weight=0.5)
    assert not torch.allclose(free, motion_alone, rtol=1e-3)
    torch.testing.assert_close(student_gradient(weight=0.5, most_pull=1e9), free)
    torch.testing.assert_close(student_gradient(weight=0.5, most_pull=1e-9), motion_alone)
    double = [student_gradient(weight=weight, most_pull=1e-3) for weight in (50.0, 100.0)]
    torch.testing.assert_close(*double)


def test_a_clip_critic_alone_trains_student_and_itself_apart(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    recipe = recipe_of(
        critic={"weight": 0.0}, clip_critic={"weight": 0.5}, trajectories={"judge_generated": True}
    )
    objective = objective_of(recipe)
    assert objective.critics.frame is None
    assert objective.critics.clip is not None
    losses = objective.step(batch, seeded())
    assert losses.judged is not None
    assert losses.judged.frames is None
    motion, clips = (float(losses.parts[name]) for name in ("motion", "clip_adversarial"))
    assert float(losses.total.detach()) == pytest.approx(motion + 0.5 * clips, rel=1e-6)
    losses.total.backward()
    assert any(gradients(objective.backbone.adapter_parameters(STUDENT).values()))
    assert not any(gradients(objective.critics.clip.parameters()))
    student = [p.grad for p in objective.backbone.adapter_parameters(STUDENT).values()]
    before = [None if grad is None else grad.clone() for grad in student]
    said = objective.critic_step(losses.judged, seeded())
    assert set(said) == {"loss", "clip_adversarial", "clip_penalty", "clip_real", "clip_fake"}
    said["loss"].backward()
    assert all(gradients(objective.critics.clip.parameters()))
    for old, new in zip(before, student, strict=True):
        assert new is None if old is None else torch.equal(old, new)


def test_both_critics_add_their_losses(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    both = objective_of(recipe_of(clip_critic={"weight": 0.5}))
    losses = both.step(batch, seeded())
    assert losses.judged is not None
    assert losses.judged.frames is not None
    assert losses.judged.clips is not None
    alone = (replace(losses.judged, clips=None), replace(losses.judged, frames=None))
    apart = [float(both.critic_step(one, seeded())["loss"].detach()) for one in alone]
    together = float(both.critic_step(losses.judged, seeded())["loss"].detach())
    assert together == pytest.approx(sum(apart), rel=1e-3)  # spectral norms move on


def test_a_clip_critic_on_the_teachers_features(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    """Both sides are the teacher's features, of one noise; none of its weights gets a gradient."""
    section = {"weight": 0.5, "backbone": "teacher", "noise": [0.5, 0.5]}
    objective = objective_of(recipe_of(critic={"weight": 0.0}, clip_critic=section))
    scatter(objective)
    losses = objective.step(batch, seeded())
    assert losses.judged is not None
    clips = losses.judged.clips
    assert clips is not None
    draws = objective.trajectories.draw(batch, seeded())
    assert draws.judged_noise_bcthw is not None
    t_b, backbone = torch.full((len(batch),), 500), objective.backbone
    x_bcthw = backbone.schedule.add_noise(batch.latents_bcthw, draws.judged_noise_bcthw, t_b)
    condition = objective.trajectories.transition(batch, draws).condition
    seen = backbone.features(x_bcthw, t_b, condition)
    torch.testing.assert_close(clips.real_bcthw, torch.nn.functional.group_norm(seen, 1))
    assert not torch.equal(clips.real_bcthw, clips.fake_bcthw)
    losses.total.backward()
    assert all(gradients(backbone.adapter_parameters(STUDENT).values()))
    assert not any(gradients(backbone.variants.base.parameters()))  # type: ignore[attr-defined]
    objective.critic_step(losses.judged, seeded())["loss"].backward()
    assert objective.critics.clip is not None
    assert all(gradients(objective.critics.clip.parameters()))


def with_image_latents(batch: DistillBatch) -> DistillBatch:
    latents = torch.randn(5, *SHAPE, generator=seeded(7))[:, :, :1]
    return replace(batch, image_latents_bcthw=latents, image_condition=texts(range(5)))


def test_consistency_of_images_is_that_of_one_noise_at_two_levels(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    """Consistency training written out: no teacher, whole latents, its own draws."""
    sections = {"critic": {"weight": 0.0}, "motion": {"weight": 0.0}, **IMAGES}
    objective = objective_of(recipe_of(**sections))
    scatter(objective)
    batch = with_image_latents(batch)
    losses = objective.step(batch, seeded())
    draws, backbone = objective.trajectories.draw(batch, seeded()), objective.backbone
    schedule = backbone.schedule
    assert draws.image_index_b is not None and draws.image_noise_bcthw is not None
    t = 100 * (draws.image_index_b + 1) - 1
    s = torch.where(draws.image_index_b > 0, t - 100, 0)
    found = []
    for name, at in ((STUDENT, t), (TARGET, s)):
        x_bcthw = schedule.add_noise(batch.image_latents_bcthw, draws.image_noise_bcthw, at)
        with backbone.using(name), torch.no_grad():
            x0 = backbone.predict(x_bcthw, at, texts(range(5)), "x0")
        found.append(consistency_function(schedule, x_bcthw, x0, at))
    expected = (((found[0] - found[1]) ** 2 + 1e-6).sqrt() - 1e-3).mean()
    torch.testing.assert_close(losses.parts["image"], expected)
    torch.testing.assert_close(losses.total.detach(), 0.5 * expected)
    losses.total.backward()
    assert all(gradients(backbone.adapter_parameters(STUDENT).values()))
    assert not any(gradients(backbone.adapter_parameters(TARGET).values()))
    assert not any(gradients(backbone.variants.base.parameters()))  # type: ignore[attr-defined]


def test_images_change_nothing_else_of_a_step(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    still: dict[str, Any] = {"critic": {"augment": []}}
    without = objective_of(recipe_of(**still)).step(batch, seeded())
    with_ = recipe_of(**still, **IMAGES)
    images = objective_of(with_).step(with_image_latents(batch), seeded())
    assert set(images.parts) == {*without.parts, "image"}
    torch.testing.assert_close(images.total, without.total + 0.5 * images.parts["image"])
    unasked = objective_of(recipe_of(**still)).step(with_image_latents(batch), seeded())
    assert torch.equal(unasked.total, without.total)


def test_zero_terminal_snr_is_finite_at_pure_noise(
    objective_of: Make, recipe_of: Any, batch: DistillBatch
) -> None:
    objective = objective_of(recipe_of())
    draws = replace(objective.trajectories.draw(batch, seeded()), index_b=torch.full((4,), 9))
    transition = objective.trajectories.transition(batch, draws)
    assert torch.equal(transition.x_bcthw, draws.noise_bcthw)
    assert transition.x_previous_bcthw.isfinite().all()


def test_toy_is_deterministic() -> None:
    torch.manual_seed(0)
    first = ToyBackbone()
    torch.manual_seed(0)
    assert torch.equal(first.variants.base.time.bias, ToyBackbone().variants.base.time.bias)
