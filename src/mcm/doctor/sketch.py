"""A whole training without its weights: the real classes and code, on tensors without values.

The teacher is built from the configurations of its folder. What decides the course of a step
(timesteps, which samples are generated, which frames are judged) has values; weights, latents and
all that is computed from them have only shapes, so that a step takes seconds and no memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mcm.backbones.base import Condition
from mcm.backbones.config_folder import ConfigFolder
from mcm.backbones.folder import PipelineFolder
from mcm.backbones.loading import load_folder, open_folder
from mcm.backbones.pipeline import PipelineBackbone
from mcm.backbones.text import T5Text
from mcm.checks import check_frames, check_size
from mcm.devices import pick_dtype
from mcm.distillation.batch import DistillBatch
from mcm.distillation.begin import add_variants, check_family
from mcm.distillation.feed import image_count
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.steps import STUDENT, TARGET
from mcm.distillation.variant import Variant
from mcm.errors import UserError
from mcm.settings import Recipe


@dataclass(frozen=True)
class Sketch:
    """A training without values.

    Attributes:
        objective: With backbone, student, target, head and critic.
        batch: One batch, as the recipe wants it.
        backbone: Its teacher and student.
        fakes: The mode in which its tensors live.
    """

    objective: MotionConsistency
    batch: DistillBatch
    backbone: PipelineBackbone
    fakes: FakeTensorMode


def sketch(recipe: Recipe, folder: PipelineFolder | None = None) -> Sketch:
    """Build a training's objects without values.

    Args:
        recipe: What to train.
        folder: The teacher's; by default that of the recipe.

    Raises:
        UserError: The teacher's folder lacks something, or the recipe does not fit it.
    """
    fakes = FakeTensorMode(allow_non_fake_inputs=True)
    found = folder or open_teacher(recipe)
    meta = torch.device("meta")
    backbone = load_folder(
        ConfigFolder(found.path, found.index, meta, found.dtype, meta), recipe.student.mode
    )
    check_family(recipe, backbone)
    with meta:
        add_variants(backbone, recipe, values=False)
    for part in (*all_networks(backbone), backbone.codec.autoencoder):
        _take_values(part, fakes)
    for name, value in vars(backbone.codec).items():
        if isinstance(value, Tensor):
            setattr(backbone.codec, name, _bare(value, fakes))
    backbone.codec.free_encoder()
    objective = make_objective(backbone, recipe)
    _take_values(objective, fakes)
    batch = make_batch(backbone, recipe)
    return Sketch(objective, _without_values(batch, fakes), backbone, fakes)


def all_networks(backbone: PipelineBackbone) -> list[nn.Module]:
    """Return the network with its adapters, or in full mode every copy of it."""
    found = [backbone.variants.base]
    if backbone.variants.mode == "full":
        for name in (STUDENT, TARGET):
            with suppress(UserError), backbone.using(name):
                found.append(backbone.network)
    return found


def open_teacher(recipe: Recipe) -> PipelineFolder:
    """Return the folder of a recipe's teacher, with the number format of its run."""
    folder = open_folder(recipe.model.teacher, recipe.model.device, recipe.model.dtype)
    if recipe.model.dtype == "auto" and pick_dtype("auto", folder.device) == torch.float16:
        return PipelineFolder(folder.path, folder.index, folder.device, torch.float32)
    return folder


def make_objective(backbone: PipelineBackbone, recipe: Recipe) -> MotionConsistency:
    """Return the objective of a recipe, whose critic may have features without training."""
    with _critic_weights(recipe) as changed:
        return MotionConsistency(backbone, make_condition(backbone, 1), Variant.of(changed))


def make_batch(backbone: PipelineBackbone, recipe: Recipe) -> DistillBatch:
    """Return a batch of noise in the recipe's sizes."""
    data, spec, count = recipe.data, backbone.spec, recipe.trainer.batch_size
    height, width = data.size or (spec.height, spec.width)
    check_size(height, width, spec.size_step, "data.size")
    if data.frames is not None:
        check_frames(data.frames, spec.frame_step, "data.frames")
    latents = torch.randn(count, *spec.latent_shape(data.frames, height, width))
    condition = make_condition(backbone, count)
    number = image_count(recipe)
    if number == 0:
        return DistillBatch(latents, condition)
    images, text = torch.rand(number, 3, height, width) * 2 - 1, make_condition(backbone, number)
    batch = DistillBatch(latents, condition, images, text.pooled_bd)
    if recipe.consistency.image_weight == 0:
        return batch
    stills = torch.randn(number, *spec.latent_shape(1, height, width))
    return replace(batch, image_latents_bcthw=stills, image_condition=text)


def make_condition(backbone: PipelineBackbone, count: int) -> Condition:
    """Return text states of the model's sizes."""
    text, length = backbone.text, backbone.spec.max_tokens
    masked = isinstance(text, T5Text) and text.padding == "masked"
    mask = torch.ones(count, length, dtype=torch.bool) if masked else None
    tokens = torch.randn(count, length, text.width)
    return Condition(tokens, torch.randn(count, text.width), mask)


def _take_values(module: nn.Module, fakes: FakeTensorMode) -> None:
    """Replace the tensors of a module by ones without values."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                fake = _bare(parameter.detach(), fakes)
                part._parameters[name] = nn.Parameter(fake, parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = _bare(buffer, fakes)


def _bare(tensor: Tensor, fakes: FakeTensorMode) -> Tensor:
    """Return a tensor without values that says it is on the CPU, of one with values or on meta."""
    if not tensor.is_meta:
        return fakes.from_tensor(tensor)
    converter: Any = fakes.fake_tensor_converter
    fake: Tensor = converter.from_meta_and_device(fakes, tensor, torch.device("cpu"))
    return fake


def _without_values(batch: DistillBatch, fakes: FakeTensorMode) -> DistillBatch:
    def bare(tensor: Tensor | None) -> Any:
        return None if tensor is None else _bare(tensor, fakes)

    def of(value: Any) -> Any:
        if isinstance(value, Condition):
            return Condition(bare(value.tokens_bld), bare(value.pooled_bd), bare(value.mask_bl))
        return bare(value)

    return DistillBatch(**{name: of(value) for name, value in vars(batch).items()})


@contextmanager
def _critic_weights(recipe: Recipe) -> Iterator[Recipe]:
    """Give a critic on DINOv2's default weights untrained ones, which need no download."""
    critic = recipe.critic
    if critic.weight == 0 or critic.backbone != "dinov2" or critic.weights is not None:
        yield recipe
        return
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        hidden_size=384, num_attention_heads=6, num_register_tokens=4, image_size=518, patch_size=14
    )
    with tempfile.TemporaryDirectory() as folder:
        Dinov2WithRegistersModel(config).save_pretrained(folder)
        yield recipe.model_copy(update={"critic": critic.model_copy(update={"weights": folder})})
