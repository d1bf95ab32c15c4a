"""Students of tiny models, their exports, and what our pipeline makes of them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import MotionAdapter, UNet2DConditionModel
from safetensors.torch import save_file
from tests.backbones.tiny import WIDTH, make_tiny_animatediff
from tests.backbones.tiny_families import make_tiny
from torch import Tensor

from mcm.backbones.adapters import save_adapter
from mcm.backbones.loading import load_backbone
from mcm.diffusion import FlowSchedule
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.loading import load
from mcm.sampling.samplers import Plan, consistency

PROMPT = "a star going up"
NOTES = {"original_steps": 20, "timestep_scaling": 4.0}

FRESH = """
import json, sys, numpy
for name, readme, out in json.loads(sys.argv[1]):
    text = open(readme).read()
    code = text.split("```python\\n")[1].split("```")[0]
    if "postprocess" in code:
        code = code.replace("postprocess(frames)", 'postprocess(frames, output_type="np")')
    else:
        code = code.replace("guidance_scale=1.0,", 'guidance_scale=1.0, output_type="np",')
    scope = {}
    exec(code, scope)
    numpy.save(out, scope["video"])
assert "mcm" not in sys.modules
"""


def make_teacher(family: str, folder: Path) -> Path:
    """Write a tiny teacher; `image` is an image model with a folder of motion modules."""
    if family == "animatediff":
        return make_tiny_animatediff(folder)
    if family != "image":
        return make_tiny(family, folder)
    make_tiny_animatediff(folder, "kl", "epsilon")
    shutil.rmtree(folder / "unet")
    with torch.random.fork_rng():
        torch.manual_seed(4)
        blocks = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
        UNet2DConditionModel(
            sample_size=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=2,
            **blocks,
        ).save_pretrained(folder / "unet")
        motion = MotionAdapter(
            block_out_channels=(16, 32),
            motion_layers_per_block=1,
            motion_num_attention_heads=2,
            motion_norm_num_groups=8,
            use_motion_mid_block=True,
        )
        for parameter in motion.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.2)
        motion.save_pretrained(folder.parent / "motion")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"_class_name": "StableDiffusionPipeline"}
    index["unet"] = ["diffusers", "UNet2DConditionModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    native = json.loads((folder / "mcm.json").read_text())
    (folder / "mcm.json").write_text(json.dumps(native | {"motion_adapter": "../motion"}))
    return folder


def make_student(family: str, folder: Path) -> Path:
    """Write a run's folder: teacher, stirred student with alpha unlike rank, head."""
    teacher = make_teacher(family, folder / "teacher")
    backbone = load_backbone(teacher, "cpu", "float32")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        backbone.add_adapter("student", rank=2, alpha=5.0)
        for parameter in backbone.adapter_parameters("student").values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    save_adapter(backbone, "student", folder / "student", {"base": str(teacher), **NOTES})
    (folder / "student" / "recipe.yaml").write_text("model: {teacher: tiny}\n")
    (folder / "auxiliary").mkdir()
    save_file({"x": torch.ones(1)}, folder / "auxiliary" / "head.safetensors")
    return folder / "student"


def our_frames(student: Path) -> np.ndarray:
    """Return our pipeline's frames of the cards' clip as floats in [0, 1], (t, h, w, 3)."""
    model = load(str(student), "cpu", "float32")
    backbone = model.backbone
    flow = isinstance(backbone.schedule, FlowSchedule)
    plan = Plan(
        backbone.spec.latent_shape(),
        4,
        20,
        4.0,
        stochasticity=0.0 if flow else 1.0,
    )
    noise = StockNoise((torch.Generator().manual_seed(0),), backbone.spec.family)
    with torch.inference_mode():
        denoiser = Denoiser(backbone, backbone.encode_prompt([PROMPT]))
        pixels = backbone.decode_frames(consistency(denoiser, noise, plan))[0]
    return ((pixels + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).numpy()


class StockNoise(Noise):
    """Noise in the order in which a family's stock pipeline draws it.

    CogVideoX draws frames before channels; ModelScopeT2V does so after its first draw.
    """

    def __init__(self, generators: tuple[torch.Generator, ...], family: str) -> None:
        super().__init__(generators)
        turned = {"cogvideox": (True, True), "modelscope": (False, True)}
        object.__setattr__(self, "turned", list(turned.get(family, (False, False))))

    def draw(self, shape: Sequence[int]) -> Tensor:
        turned: list[bool] = self.__dict__["turned"]
        if not (turned.pop(0) if len(turned) > 1 else turned[0]):
            return super().draw(shape)
        c, t, h, w = shape
        return super().draw((t, c, h, w)).transpose(1, 2)


def run_cards(exports: dict[str, Path], place: Path) -> dict[str, np.ndarray]:
    """Run the code of every export's card in one fresh process and return its frames."""
    jobs = [(name, str(f / "README.md"), str(place / f"{name}.npy")) for name, f in exports.items()]
    command = [sys.executable, "-c", FRESH, json.dumps(jobs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: np.load(out) for name, _, out in jobs}
