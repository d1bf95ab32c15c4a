"""The contract, kept by every family alike."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.backbones.family import (
    PROMPTS,
    every_family,
    folder_of,
    inputs,
    predict,
    stock_sample,
    with_student,
)
from tests.backbones.tiny_families import load_tiny

from mcm.backbones.loading import load_backbone
from mcm.diffusion import convert
from mcm.distillation.batch import DistillBatch
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.steps import STUDENT, TARGET
from mcm.distillation.variant import Variant
from mcm.errors import UserError
from mcm.settings import Recipe


@every_family
@torch.no_grad()
def test_predictions_are_of_one_another(family: str) -> None:
    backbone = load_tiny(folder_of(family))
    x, t, condition = inputs(backbone)
    own, level = backbone.spec.prediction, backbone.schedule.alpha_sigma(t)
    x0 = convert(predict(backbone), x, *level, own, "x0")
    torch.testing.assert_close(backbone.predict(x, t, condition), x0)
    assert x0.shape == x.shape


@every_family
@torch.no_grad()
def test_a_sample_does_not_see_its_batch(family: str) -> None:
    backbone = load_tiny(folder_of(family))
    x, t, condition = inputs(backbone)
    alone = backbone.predict(x[1:], t[1:], condition[torch.tensor([1])])
    torch.testing.assert_close(backbone.predict(x, t, condition)[1:], alone, atol=1e-5, rtol=1e-4)


@every_family
def test_text_states_have_the_length_of_the_original(family: str) -> None:
    backbone = load_tiny(folder_of(family))
    condition = backbone.encode_prompt([*PROMPTS, ""])
    assert condition.tokens_bld.shape[:2] == (3, backbone.spec.max_tokens)
    assert condition.pooled_bd.shape == (3, backbone.text.width)
    assert condition.pooled_bd.isfinite().all()
    long = "a fox moving left " * backbone.spec.max_tokens
    assert backbone.cut_prompt(PROMPTS[1]) == ""
    cut = backbone.cut_prompt(long)
    assert cut and long.strip().endswith(cut)


@every_family
@torch.no_grad()
def test_a_new_adapter_is_the_teacher_and_adapters_switch(family: str) -> None:
    backbone = load_tiny(folder_of(family))
    teacher = predict(backbone)
    backbone.add_adapter("student", rank=2, alpha=2.0)
    backbone.add_adapter("target", rank=2, alpha=2.0, trainable=False)
    torch.testing.assert_close(predict(backbone, "student"), teacher, atol=1e-6, rtol=1e-5)
    for parameter in backbone.adapter_parameters("student").values():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    assert (predict(backbone, "student") - teacher).abs().max() > 1e-2
    assert torch.equal(predict(backbone, "target"), predict(backbone))
    torch.testing.assert_close(predict(backbone), teacher, atol=1e-6, rtol=1e-5)


@every_family
def test_gradient_reaches_every_layer_of_the_student(family: str) -> None:
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(3)
        backbone = with_student(family)
        if checkpointed:
            backbone.enable_gradient_checkpointing()
        predict(backbone, "student").square().mean().backward()
        parameters = backbone.adapter_parameters("student")
        dead = [name for name, p in parameters.items() if p.grad is None or not p.grad.any()]
        assert dead == []
        gradients.append([p.grad for p in parameters.values()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, atol=1e-6, rtol=1e-3)


@every_family
def test_bfloat16_stays_close(family: str) -> None:
    half = load_backbone(folder_of(family), "cpu", "bfloat16")
    half.add_adapter("student", 2, 2.0)
    exact = predict(load_tiny(folder_of(family)))
    output = predict(half, "student")
    assert output.dtype == torch.float32
    assert (output - exact).square().mean() < 1e-2 * exact.square().mean()
    output.sum().backward()
    parameters = half.adapter_parameters("student").values()
    assert {p.grad.dtype for p in parameters if p.grad is not None} == {torch.float32}


@every_family
@torch.no_grad()
def test_own_pipeline_shares_weights_and_variant(family: str) -> None:
    backbone = with_student(family)
    pipeline: Any = backbone.to_pipeline()
    assert type(pipeline).__name__ == backbone.pipeline
    for name, network in backbone.networks().items():
        assert getattr(pipeline, name) is network
    results = []
    for adapter in (None, "student"):
        generator = torch.Generator().manual_seed(0)
        with backbone.using(adapter):
            call = {"latents": None, "generator": generator}
            results.append(stock_sample(pipeline, backbone, 2, **call))
    assert all(result.isfinite().all() for result in results)
    assert (results[1] - results[0]).abs().max() > 1e-2


@every_family
def test_a_step_of_distillation_gives_finite_gradients(family: str) -> None:
    recipe = Recipe.model_validate(
        {
            "model": {"teacher": family},
            "data": {"videos": "none", "drop_caption": 0.5},
            "consistency": {"grid_points": 8},
            "critic": {"weight": 0.1, "backbone": "scratch", "width": 8},
            "trainer": {"output": "none", "steps": 1},
        }
    )
    backbone = load_tiny(folder_of(family))
    for name in (STUDENT, TARGET):
        backbone.add_adapter(name, 2, 2.0, trainable=name == STUDENT)
    condition, empty = backbone.encode_prompt(PROMPTS), backbone.encode_prompt([""])
    backbone.free_encoders()
    objective = MotionConsistency(backbone, empty, Variant.of(recipe))
    batch = DistillBatch(torch.randn(2, *backbone.spec.latent_shape()), condition)
    generator = torch.Generator().manual_seed(2)
    losses = objective.step(batch, generator)
    losses.total.backward()
    student = backbone.adapter_parameters(STUDENT).values()
    gradients = [p.grad for p in student if p.grad is not None]
    assert losses.total.isfinite()
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)
    assert losses.judged is not None
    assert objective.critic_step(losses.judged, generator)["loss"].isfinite()


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def spoilt(tmp_path: Path) -> Callable[[str], Path]:
    return lambda family: Path(shutil.copytree(folder_of(family), tmp_path / "copy"))


@every_family
def test_a_missing_network_is_named(family: str, spoilt: Callable[[str], Path]) -> None:
    folder = spoilt(family)
    name = list(load_tiny(folder_of(family)).networks())[-1]
    shutil.rmtree(folder / name)
    with pytest.raises(UserError, match=rf"component {name} \(.*Model\) is missing") as caught:
        load_backbone(folder, "cpu", "float32")
    assert str(folder / name) in str(caught.value)


@every_family
def test_components_of_another_class_are_named(family: str, spoilt: Callable[[str], Path]) -> None:
    folder = spoilt(family)
    edit(folder / "model_index.json", vae=["diffusers", "AutoencoderOobleck"])
    wrong = r"component vae is a AutoencoderOobleck; expected (one of )?Auto"
    with pytest.raises(UserError, match=wrong):
        load_backbone(folder, "cpu", "float32")


@every_family
def test_half_a_file_is_named(family: str, spoilt: Callable[[str], Path]) -> None:
    folder = spoilt(family)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-64])
    with pytest.raises(UserError, match=r"component vae \(.*\) cannot be loaded"):
        load_backbone(folder, "cpu", "float32")
