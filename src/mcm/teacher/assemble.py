"""Put the trained parts together as a stock diffusers folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from diffusers import AutoencoderDC, DDIMScheduler, UNetMotionModel
from transformers import CLIPTextModel

from mcm.data.fluent.scene import FPS, FRAME_SIZE, FRAMES
from mcm.teacher.denoiser import SCHEDULER

_INDEX = {
    "_class_name": "AnimateDiffPipeline",
    "_diffusers_version": "0.35.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "motion_adapter": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNetMotionModel"],
    "vae": ["diffusers", "AutoencoderDC"],
}


def assemble(
    vae: Path,
    text: Path,
    unet: Path,
    output: Path,
    guidance: float = 5.0,
    guidance_range: tuple[float, float] = (3.0, 5.0),
) -> Path:
    """Write the teacher's folder: the text encoder in float32, all else in float16.

    (Stock loaders keep a text encoder's stored type, but raise the others to float32.)

    Args:
        vae: Folder of the autoencoder.
        text: Folder that holds ``tokenizer`` and ``text_encoder``.
        unet: Folder of the ``UNetMotionModel``.
        output: Folder to write; ``AnimateDiffPipeline.from_pretrained`` loads it.
        guidance: Best guidance scale, in diffusers' convention.
        guidance_range: Range of w for distillation.
    """
    output.mkdir(parents=True, exist_ok=True)
    AutoencoderDC.from_pretrained(vae).half().save_pretrained(output / "vae")
    CLIPTextModel.from_pretrained(text / "text_encoder").save_pretrained(output / "text_encoder")
    UNetMotionModel.from_pretrained(unet).half().save_pretrained(output / "unet")
    shutil.copytree(text / "tokenizer", output / "tokenizer", dirs_exist_ok=True)
    DDIMScheduler(**SCHEDULER).save_pretrained(output / "scheduler")
    _write_json(output / "model_index.json", _INDEX)
    native = {
        "frames": FRAMES,
        "height": FRAME_SIZE,
        "width": FRAME_SIZE,
        "fps": FPS,
        "guidance": guidance,
        "guidance_range": list(guidance_range),
    }
    _write_json(output / "mcm.json", native)
    _forget_origin(output)
    return output


def _forget_origin(folder: Path) -> None:
    """Drop the paths that saving wrote into configurations; make every file readable."""
    for path in folder.rglob("*.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(config, dict) and config.pop("_name_or_path", None) is not None:
            _write_json(path, config)
    for path in folder.rglob("*.*"):
        path.chmod(0o644)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
