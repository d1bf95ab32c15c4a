"""The nodes: load a student, generate and edit with it, and the few-step schedule.

They are of ComfyUI's V3 API. It takes `NODE_CLASS_MAPPINGS` where a module has them and calls
`comfy_entrypoint` elsewhere, so both name the same classes. What a node is called and which inputs
it has stands in saved workflows: neither may change.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import ComfyExtension, io
from torch import Tensor

from mcm.comfyui.tensors import to_frames, to_images, to_mask
from mcm.diffusion import FlowSchedule, VarianceSchedule
from mcm.sampling.clip import Clip
from mcm.sampling.edit import partial_timesteps
from mcm.sampling.loading import load
from mcm.sampling.options import MOST_STEPS
from mcm.sampling.pipeline import VideoModel

CATEGORY = "mcm"
STUDENT = io.Custom("MCM_STUDENT")
_MOST_SEED = 2**32 - 1


class LoadStudent(io.ComfyNode):  # type: ignore[misc]
    """`mcm.load`."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return name, inputs and outputs."""
        return io.Schema(
            node_id="MCMLoadStudent",
            display_name="Load MCM student",
            category=CATEGORY,
            description="Loads a student: an embedded name, a folder, or a published adapter.",
            inputs=[
                io.String.Input("name", default="fluent-mcm"),
                io.Combo.Input("dtype", options=["auto", "float32", "bfloat16", "float16"]),
            ],
            outputs=[STUDENT.Output(display_name="student")],
        )

    @classmethod
    def execute(cls, name: str, dtype: str) -> Any:
        """Load it."""
        return io.NodeOutput(load(name, dtype=dtype))


class Generate(io.ComfyNode):  # type: ignore[misc]
    """`VideoModel.generate`."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return name, inputs and outputs."""
        return io.Schema(
            node_id="MCMGenerate",
            display_name="Generate video (MCM)",
            category=CATEGORY,
            inputs=[
                STUDENT.Input("student"),
                io.String.Input("prompt", multiline=True),
                *_sampling(),
                io.Int.Input("frames", default=0, min=0, max=4096, tooltip="0: the model's own"),
                io.Boolean.Input("loop", default=False),
            ],
            outputs=_clip_outputs(),
        )

    @classmethod
    def execute(
        cls, student: VideoModel, prompt: str, steps: int, seed: int, frames: int, loop: bool
    ) -> Any:
        """Generate."""
        clip = student.generate(prompt, steps=steps, seed=seed, frames=frames or None, loop=loop)
        return _clip_output(clip)


class Edit(io.ComfyNode):  # type: ignore[misc]
    """`VideoModel.edit`."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return name, inputs and outputs."""
        return io.Schema(
            node_id="MCMEdit",
            display_name="Edit video (MCM)",
            category=CATEGORY,
            description="Changes a video to what a prompt says, in few steps. The video is "
            "cropped and resized to the student's own size.",
            inputs=[
                STUDENT.Input("student"),
                io.Image.Input("images"),
                io.String.Input("prompt", multiline=True),
                *_sampling(),
                io.Float.Input("strength", default=0.6, min=0.01, max=1.0, step=0.01),
                io.Mask.Input("mask", optional=True, tooltip="White where the video may change"),
            ],
            outputs=_clip_outputs(),
        )

    @classmethod
    def execute(
        cls,
        student: VideoModel,
        images: Tensor,
        prompt: str,
        steps: int,
        seed: int,
        strength: float,
        mask: Tensor | None = None,
    ) -> Any:
        """Edit."""
        size = student.backbone.spec.height, student.backbone.spec.width
        clip = student.edit(
            to_frames(images, size),
            prompt,
            strength=strength,
            mask_hw=None if mask is None else to_mask(mask, size),
            seed=seed,
            steps=steps,
        )
        return _clip_output(clip)


class Schedule(io.ComfyNode):  # type: ignore[misc]
    """The timesteps of few-step sampling as sigmas, for `SamplerCustom`."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return name, inputs and outputs."""
        return io.Schema(
            node_id="MCMSchedule",
            display_name="MCM few-step schedule",
            category=CATEGORY,
            description="Sigmas of a student that is loaded as LoRA. Sample with lcm (AnimateDiff) "
            "or euler (Wan, LTX), CFG 1.",
            inputs=[
                io.Model.Input("model"),
                io.Int.Input("steps", default=4, min=1, max=MOST_STEPS),
                io.Int.Input("original_steps", default=50, min=1, max=1000),
                io.Float.Input("denoise", default=1.0, min=0.01, max=1.0, step=0.01),
            ],
            outputs=[io.Sigmas.Output(display_name="sigmas")],
        )

    @classmethod
    def execute(cls, model: Any, steps: int, original_steps: int, denoise: float) -> Any:
        """Look the sigmas up in the model's own schedule."""
        sampling = model.get_model_object("model_sampling")
        return io.NodeOutput(sigmas(sampling, steps, original_steps, denoise))


class Extension(ComfyExtension):  # type: ignore[misc]
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[Any]:
        """Return the nodes."""
        return list(NODE_CLASS_MAPPINGS.values())


async def comfy_entrypoint() -> Extension:
    """Return the extension."""
    return Extension()


def sigmas(sampling: Any, steps: int, original_steps: int, denoise: float) -> Tensor:
    """Return the falling sigmas of a student's timesteps and the 0 after them, (n + 1,).

    Args:
        sampling: ComfyUI's `model_sampling`: of a flow model, which has a `shift`, or of one with
            ε- or v-prediction.
        steps: Network steps; n is fewer where ``denoise`` leaves fewer.
        original_steps: Solver grid points of the student's training.
        denoise: Share of the timesteps to use, the least noisy ones.

    Raises:
        UserError: So many steps cannot be chosen.
    """
    if hasattr(sampling, "shift"):
        t_n = partial_timesteps(steps, original_steps, FlowSchedule(), denoise)
        levels = [float(sampling.percent_to_sigma(1 - float(t) / 1000)) for t in t_n]
    else:
        t_n = partial_timesteps(steps, original_steps, VarianceSchedule.from_betas(), denoise)
        levels = sampling.sigma(t_n).tolist()
    return torch.tensor([*levels, 0.0])


def _clip_outputs() -> list[Any]:
    return [io.Image.Output(display_name="images"), io.Float.Output(display_name="fps")]


def _clip_output(clip: Clip) -> Any:
    return io.NodeOutput(to_images(clip), clip.fps)


def _sampling() -> list[Any]:
    return [
        io.Int.Input("steps", default=4, min=1, max=MOST_STEPS),
        io.Int.Input("seed", default=0, min=0, max=_MOST_SEED, control_after_generate=True),
    ]


NODE_CLASS_MAPPINGS: dict[str, Any] = {
    "MCMLoadStudent": LoadStudent,
    "MCMGenerate": Generate,
    "MCMEdit": Edit,
    "MCMSchedule": Schedule,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    name: node.define_schema().display_name for name, node in NODE_CLASS_MAPPINGS.items()
}
