from pathlib import Path

import pytest
import torch
from tests.backbones.tiny import PROMPTS, load_tiny
from torch import Tensor

from mcm.backbones.animatediff import AnimateDiff
from mcm.backbones.base import Condition
from mcm.backbones.variants import LoraVariants, Mode
from mcm.errors import UserError


def stir(backbone: AnimateDiff, name: str) -> None:
    """Give an adapter values of its own."""
    with torch.no_grad():
        for parameter in backbone.adapter_parameters(name).values():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)


@pytest.fixture(params=["lora", "full"])
def pair(request: pytest.FixtureRequest, tiny_teacher: Path) -> AnimateDiff:
    mode: Mode = request.param
    backbone = load_tiny(tiny_teacher, mode)
    backbone.add_adapter("student", rank=2, alpha=4.0)
    backbone.add_adapter("target", rank=2, alpha=4.0, trainable=False)
    return backbone


def run(backbone: AnimateDiff, name: str | None, latents: Tensor, t: Tensor) -> Tensor:
    with backbone.using(name):
        return backbone.predict(latents, t, backbone.encode_prompt(PROMPTS), "v")


def test_a_new_adapter_is_the_teacher(
    pair: AnimateDiff, backbone: AnimateDiff, latents: Tensor, timesteps: Tensor
) -> None:
    alone = run(backbone, None, latents, timesteps)
    for name in (None, "student", "target"):
        torch.testing.assert_close(run(pair, name, latents, timesteps), alone, atol=1e-6, rtol=1e-5)


def test_variants_do_not_touch_each_other(
    pair: AnimateDiff, latents: Tensor, timesteps: Tensor
) -> None:
    teacher = run(pair, None, latents, timesteps)
    target = run(pair, "target", latents, timesteps)
    stir(pair, "student")
    student = run(pair, "student", latents, timesteps)
    assert (student - teacher).abs().max() > 1e-2
    assert torch.equal(run(pair, None, latents, timesteps), teacher)
    assert torch.equal(run(pair, "target", latents, timesteps), target)
    assert torch.equal(run(pair, "student", latents, timesteps), student)


def test_contexts_nest_and_end(pair: AnimateDiff) -> None:
    with pair.using("student"):
        with pair.using(None):
            assert pair.variants.active is None
        assert pair.variants.active == "student"
        with pytest.raises(ZeroDivisionError), pair.using("target"):
            _ = 1 / 0
        assert pair.variants.active == "student"
    assert pair.variants.active is None


def test_gradient_reaches_the_student_alone(
    pair: AnimateDiff, latents: Tensor, timesteps: Tensor
) -> None:
    stir(pair, "student")
    student = pair.adapter_parameters("student")
    assert all(parameter.requires_grad for parameter in student.values())
    output = run(pair, "student", latents, timesteps)
    with torch.no_grad():
        goal = run(pair, "target", latents, timesteps) + run(pair, None, latents, timesteps)
    (output - goal).square().mean().backward()
    assert all(parameter.requires_grad for parameter in student.values())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.values())
    target = pair.adapter_parameters("target").values()
    assert all(p.grad is None and not p.requires_grad for p in target)
    ours = {id(parameter) for parameter in student.values()}
    others = [p for p in pair.variants.base.parameters() if id(p) not in ours]
    assert all(p.grad is None and not p.requires_grad for p in others)


def test_student_and_target_have_the_same_names(pair: AnimateDiff) -> None:
    student, target = (pair.adapter_parameters(name) for name in ("student", "target"))
    assert student.keys() == target.keys()
    assert all(student[key].shape == target[key].shape for key in student)
    assert not {id(p) for p in student.values()} & {id(p) for p in target.values()}


def test_an_adapter_reaches_image_motion_and_residual_layers(tiny_teacher: Path) -> None:
    backbone = load_tiny(tiny_teacher)
    backbone.add_adapter("student", rank=2, alpha=2.0)
    names = list(backbone.adapter_parameters("student"))
    for part in (".attentions.", ".motion_modules.", ".resnets.0.conv1.", ".ff.net.2."):
        assert any(part in name for name in names), part
    assert not any("proj_in" in name or "proj_out" in name for name in names)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_recomputation_runs_at_the_forward_pass_variant(
    tiny_teacher: Path, mode: Mode, latents: Tensor, timesteps: Tensor
) -> None:
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        backbone = load_tiny(tiny_teacher, mode)
        if checkpointed:
            backbone.enable_gradient_checkpointing()
        backbone.add_adapter("student", rank=2, alpha=2.0)
        torch.manual_seed(1)
        stir(backbone, "student")
        output = run(backbone, "student", latents, timesteps)
        output.square().mean().backward()
        parameters = backbone.adapter_parameters("student").values()
        gradients.append([parameter.grad for parameter in parameters])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, atol=1e-6, rtol=1e-4)


def test_the_network_can_be_wrapped(pair: AnimateDiff, latents: Tensor, timesteps: Tensor) -> None:
    class Wrapper(torch.nn.Module):
        calls = 0

        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *args: Tensor) -> object:
            self.calls += 1
            return self.inner(*args)

    with pair.using("student"):
        pair.network = wrapper = Wrapper(pair.network)
    run(pair, "student", latents, timesteps)
    assert wrapper.calls == 1


def test_names_are_checked(pair: AnimateDiff) -> None:
    with pytest.raises(UserError, match="'student': already there"):
        pair.add_adapter("student", rank=2, alpha=2.0)
    with pytest.raises(UserError, match="'pupil': not there; this model has: student, target"):
        pair.adapter_parameters("pupil")
    with pytest.raises(UserError, match="'pupil': not there"), pair.using("pupil"):
        pass


def test_condition_of_one_prompt_serves_a_batch(
    backbone: AnimateDiff, latents: Tensor, timesteps: Tensor
) -> None:
    one: Condition = backbone.encode_prompt(PROMPTS[:1])
    expected = backbone.predict(latents, timesteps, Condition.cat([one, one]))
    torch.testing.assert_close(backbone.predict(latents, timesteps, one.expand(2)), expected)


def test_a_teacher_wears_an_adapter_and_students_do_not(
    tiny_teacher: Path, latents: Tensor, timesteps: Tensor
) -> None:
    backbone = load_tiny(tiny_teacher)
    bare = run(backbone, None, latents, timesteps)
    for name in ("worn", "student"):
        backbone.add_adapter(name, rank=2, alpha=2.0)
    stir(backbone, "worn")
    worn = run(backbone, "worn", latents, timesteps)
    assert isinstance(backbone.variants, LoraVariants)
    backbone.variants.wear("worn")
    assert (worn - bare).abs().max() > 1e-2
    assert torch.equal(run(backbone, None, latents, timesteps), worn)
    torch.testing.assert_close(run(backbone, "student", latents, timesteps), bare)
    with pytest.raises(UserError, match="not there"):
        backbone.variants.wear("another")
