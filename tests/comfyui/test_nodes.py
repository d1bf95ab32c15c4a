"""The nodes against stand-ins of the node API: what they declare, and what they give."""

import asyncio
import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.comfyui import stub
from tests.sampling.fake import FRAMES, make_model
from tests.sampling.test_edit import PIXELS, squares, student

from mcm.diffusion import VarianceSchedule
from mcm.errors import UserError

NAMES = ["MCMLoadStudent", "MCMGenerate", "MCMEdit", "MCMSchedule"]


@pytest.fixture(scope="module")
def comfy() -> Iterator[ModuleType]:
    stub.install()
    import mcm.comfyui

    yield mcm.comfyui
    for name in ("comfy_api", "comfy_api.latest", "mcm.comfyui", "mcm.comfyui.nodes"):
        sys.modules.pop(name)


def run(comfy: ModuleType, node: str, **inputs: Any) -> Any:
    return comfy.NODE_CLASS_MAPPINGS[node].execute(**inputs).result


def test_both_ways_of_registering_name_the_same_nodes(comfy: ModuleType) -> None:
    async def ask() -> list[Any]:
        extension = await comfy.comfy_entrypoint()
        assert isinstance(extension, stub.ComfyExtension)
        return await extension.get_node_list()

    assert asyncio.run(ask()) == list(comfy.NODE_CLASS_MAPPINGS.values())
    assert list(comfy.NODE_CLASS_MAPPINGS) == list(comfy.NODE_DISPLAY_NAME_MAPPINGS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_what_the_node_takes(comfy: ModuleType, name: str) -> None:
    node = comfy.NODE_CLASS_MAPPINGS[name]
    schema = node.define_schema()
    assert schema.node_id == name
    parameters = inspect.signature(node.execute).parameters
    assert [port.id for port in schema.inputs] == list(parameters)
    for port in schema.inputs:
        has_default = parameters[port.id].default is not inspect.Parameter.empty
        assert has_default == port.optional, port.id


def test_a_student_is_loaded_by_name(comfy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    model = make_model()

    def load(name: str, dtype: str) -> Any:
        seen.append((name, dtype))
        return model

    monkeypatch.setattr("mcm.comfyui.nodes.load", load)
    assert run(comfy, "MCMLoadStudent", name="fluent-mcm", dtype="auto") == (model,)
    assert seen == [("fluent-mcm", "auto")]


def test_generated_frames_are_the_clip(comfy: ModuleType) -> None:
    model = make_model()
    images, fps = run(
        comfy, "MCMGenerate", student=model, prompt="a fox", steps=2, seed=7, frames=0, loop=False
    )
    assert images.dtype == torch.float32
    clip = model.generate("a fox", steps=2, seed=7)
    assert np.array_equal((images * 255).round().to(torch.uint8).numpy(), clip.frames)
    assert fps == clip.fps


def test_edits_are_those_of_the_model_and_keep_what_the_mask_keeps(comfy: ModuleType) -> None:
    model, frames = student(), squares()
    mask = torch.zeros(1, PIXELS, PIXELS)
    mask[:, :, : PIXELS // 2] = 1
    inputs = {"prompt": "a fox", "steps": 2, "seed": 7, "strength": 0.6}
    images = torch.from_numpy(frames / np.float32(255))
    result, fps = run(comfy, "MCMEdit", student=model, images=images, mask=mask, **inputs)
    ours = model.edit(
        frames, "a fox", steps=2, seed=7, strength=0.6, mask_hw=mask[0].bool().numpy()
    )
    assert np.array_equal((result * 255).round().to(torch.uint8).numpy(), ours.frames)
    assert torch.equal(result[:, :, PIXELS // 2 :], images[:, :, PIXELS // 2 :])
    assert fps == ours.fps


def test_pictures_of_other_sizes_are_fitted(comfy: ModuleType) -> None:
    model = replace(student())
    images = torch.rand(FRAMES, 50, 70, 3)
    inputs = {"prompt": "a fox", "steps": 2, "seed": 7, "strength": 0.6}
    result, _ = run(comfy, "MCMEdit", student=model, images=images, **inputs)
    assert result.shape == (FRAMES, PIXELS, PIXELS, 3)


def test_grey_images_and_masks_of_two_dimensions_are_taken(comfy: ModuleType) -> None:
    model = student()
    inputs = {"student": model, "prompt": "a fox", "steps": 2, "seed": 7, "strength": 0.6}
    grey = torch.rand(FRAMES, PIXELS, PIXELS, 1)
    mask = torch.zeros(PIXELS, PIXELS)
    mask[:, : PIXELS // 2] = 1
    one, _ = run(comfy, "MCMEdit", images=grey, mask=mask, **inputs)
    same, _ = run(comfy, "MCMEdit", images=grey.expand(-1, -1, -1, 3), mask=mask[None], **inputs)
    assert torch.equal(one, same)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images": torch.zeros(8, 8, 3)}, r"images: got the shape \(8, 8, 3\), expected"),
        ({"images": torch.zeros(2, 8, 8, 2)}, "images: got the shape .* 1, 3 or 4 channels"),
        ({"images": torch.zeros(0, 8, 8, 3)}, "images: got the shape"),
        ({"mask": torch.zeros(1, 1, 8, 8)}, r"mask: got the shape \(1, 1, 8, 8\), expected"),
        ({"mask": torch.zeros(0, 8, 8)}, "mask: got the shape"),
    ],
)
def test_tensors_of_other_shapes_are_named(
    comfy: ModuleType, wrong: dict[str, torch.Tensor], message: str
) -> None:
    images = torch.zeros(FRAMES, PIXELS, PIXELS, 3)
    inputs = {"prompt": "a fox", "steps": 2, "seed": 7, "strength": 0.6, "images": images}
    with pytest.raises(UserError, match=message):
        run(comfy, "MCMEdit", student=student(), **{**inputs, **wrong})


def test_every_strength_of_the_slider_works(comfy: ModuleType) -> None:
    [port] = [
        port
        for port in comfy.NODE_CLASS_MAPPINGS["MCMEdit"].define_schema().inputs
        if port.id == "strength"
    ]
    images = torch.zeros(FRAMES, PIXELS, PIXELS, 3)
    inputs = {"student": student(), "prompt": "a fox", "steps": 4, "seed": 7, "images": images}
    result, _ = run(comfy, "MCMEdit", strength=port.keywords["min"], **inputs)
    assert len(result) == FRAMES
    assert len(schedule(comfy, Flow(), denoise=0.01)) == 2


class Discrete:
    """ComfyUI's `ModelSamplingDiscrete`: σ/α of whole timesteps."""

    def __init__(self) -> None:
        bars = VarianceSchedule.from_betas("linear").alphas_cumprod
        self.table = ((1 - bars) / bars).sqrt()

    def sigma(self, timestep: torch.Tensor) -> torch.Tensor:
        return self.table[timestep.long()]


class Flow:
    """ComfyUI's `ModelSamplingDiscreteFlow`."""

    shift = 3.0

    def percent_to_sigma(self, percent: float) -> float:
        u = 1 - percent
        return self.shift * u / (1 + (self.shift - 1) * u)


def schedule(comfy: ModuleType, sampling: Any, **inputs: Any) -> list[float]:
    model = SimpleNamespace(get_model_object=lambda name: {"model_sampling": sampling}[name])
    values = {"steps": 4, "original_steps": 50, "denoise": 1.0, **inputs}
    [sigmas] = run(comfy, "MCMSchedule", model=model, **values)
    found: list[float] = sigmas.tolist()
    return found


def test_sigmas_are_those_of_the_students_timesteps(comfy: ModuleType) -> None:
    sampling = Discrete()
    wanted = sampling.sigma(torch.tensor([999, 759, 499, 259])).tolist()
    assert schedule(comfy, sampling) == pytest.approx([*wanted, 0])
    half = sampling.sigma(torch.tensor([499, 259])).tolist()
    assert schedule(comfy, sampling, steps=2, denoise=0.5) == pytest.approx([*half, 0])


def test_sigmas_of_flow_models_have_their_shift(comfy: ModuleType) -> None:
    expected = [3 * u / (1 + 2 * u) for u in (1.0, 0.76, 0.5, 0.26)]
    assert schedule(comfy, Flow()) == pytest.approx([*expected, 0])
