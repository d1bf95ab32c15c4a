"""Backbones from folders in the layout of diffusers, or by the name of an embedded one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mcm.backbones.animatediff import LORA_TARGETS, AnimateDiff
from mcm.backbones.base import BackboneSpec
from mcm.backbones.components import load_component, load_tokenizer, read_json
from mcm.backbones.latents import FrameCodec
from mcm.backbones.text import ClipText
from mcm.backbones.variants import Mode
from mcm.devices import pick_device, pick_dtype
from mcm.diffusion import Prediction
from mcm.errors import UserError, nearest

EMBEDDED = ("fluent",)
_WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
_FAMILIES = {"AnimateDiffPipeline": "animatediff", "StableDiffusionPipeline": "animatediff"}
_PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
_NATIVE: dict[str, Any] = {
    "frames": 16,
    "height": None,
    "width": None,
    "fps": 8,
    "guidance": 7.5,
    "guidance_range": (7.0, 8.0),
    "motion_adapter": None,
}


def load_backbone(
    source: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    mode: Mode = "lora",
    motion_adapter: str | Path | None = None,
) -> AnimateDiff:
    """Load a teacher.

    Args:
        source: Name of an embedded model, or a folder of an `AnimateDiffPipeline`, or of a
            `StableDiffusionPipeline` to which ``motion_adapter`` adds the motion modules. An
            optional `mcm.json` in the folder holds any of frames, height, width, fps, guidance,
            guidance_range (the paper's w) and motion_adapter (relative to the folder).
        device: `auto`, `cpu`, `mps`, `cuda`, `cuda:N`, `xpu` or `xpu:N`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        mode: Whether students are adapters (`lora`) or copies of the network (`full`).
        motion_adapter: Folder of a `MotionAdapter`.

    Raises:
        UserError: The source is unknown, or a component of it is missing, broken or does not
            fit the others; the message names component and folder.
    """
    place = pick_device(device)
    number = pick_dtype(dtype, place)
    folder = _folder_of(source)
    index = _read_index(folder)
    native = _read_native(folder)
    given = motion_adapter or (native["motion_adapter"] and folder / native["motion_adapter"])
    network: Any = _load_network(folder, index, given, number)
    vae: Any = load_component(folder, "vae", _kind(index, "vae", folder), number)
    codec = FrameCodec(vae.to(place, memory_format=torch.channels_last))
    encoder = load_component(folder, "text_encoder", "CLIPTextModel", number).to(place)
    text = ClipText(load_tokenizer(folder, "tokenizer", "CLIPTokenizer"), encoder)
    scheduler = read_json(
        folder / "scheduler" / "scheduler_config.json", "the configuration of a diffusers scheduler"
    )
    _check_fit(folder, network, codec, text)
    spec = _spec(folder, network, codec, text, scheduler, native)
    network.to(place, memory_format=torch.channels_last)
    return AnimateDiff(spec, network, codec, text, scheduler, mode)


def _folder_of(source: str | Path) -> Path:
    if str(source) in EMBEDDED:
        folder = _WEIGHTS / str(source)
        if not folder.is_dir():
            raise UserError(
                f"{source}: the weights of this embedded model are not in this installation "
                f"({folder} is missing); install a release that has them, or train them with "
                "`mcm teacher`"
            )
        return folder
    folder = Path(source).expanduser()
    if not folder.is_dir():
        near = nearest(str(source), EMBEDDED)
        hint = f"; did you mean {near}?" if near else ""
        raise UserError(
            f"{source}: no such model; expected an embedded one ({', '.join(EMBEDDED)}) or a "
            f"folder in the layout of diffusers{hint}"
        )
    return folder


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "model_index.json"
    index = read_json(path, "the index of a folder in the layout of diffusers")
    if index.get("_class_name") not in _FAMILIES:
        raise UserError(
            f"{path}: _class_name: got {index.get('_class_name')!r}, expected one of "
            f"{', '.join(_FAMILIES)}"
        )
    return index


def _read_native(folder: Path) -> dict[str, Any]:
    path = folder / "mcm.json"
    if not path.is_file():
        return _NATIVE
    values = read_json(path, "a JSON object")
    for key in values:
        if key not in _NATIVE:
            near = nearest(key, _NATIVE)
            hint = f"; the nearest known key is {near}" if near else ""
            raise UserError(f"{path}: {key}: unknown key{hint}; known are {', '.join(_NATIVE)}")
    return _NATIVE | values


def _kind(index: Mapping[str, Any], name: str, folder: Path) -> str:
    entry = index.get(name)
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)):
        raise UserError(
            f"{folder / 'model_index.json'}: component {name}: got {entry!r}, expected "
            "[library, class]"
        )
    return entry[1]


def _load_network(
    folder: Path, index: Mapping[str, Any], motion: Path | str | None, dtype: torch.dtype
) -> nn.Module:
    """Load the motion UNet, or make it of an image UNet and motion modules."""
    kind = _kind(index, "unet", folder)
    network: nn.Module = load_component(folder, "unet", kind, dtype)
    if kind == "UNetMotionModel":
        return network
    if motion is None and not (folder / "motion_adapter").is_dir():
        raise UserError(
            f"{folder}: holds an image model and no motion modules; give the folder of a "
            "MotionAdapter as motion_adapter, in the call or in the folder's mcm.json"
        )
    path = Path(motion) if motion is not None else folder / "motion_adapter"
    adapter = load_component(path.parent, path.name, "MotionAdapter", dtype)
    from diffusers import UNetMotionModel

    try:
        joined: nn.Module = UNetMotionModel.from_unet2d(network, adapter).to(dtype)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{path}: does not fit the image model in {folder}: {reason}") from error
    return joined


def _check_fit(folder: Path, network: Any, codec: FrameCodec, text: ClipText) -> None:
    """Raise unless latents and text states have the widths that the network takes."""
    pairs = (
        ("unet: in_channels", network.config.in_channels, "vae", codec.latent_channels),
        (
            "unet: cross_attention_dim",
            network.config.cross_attention_dim,
            "text_encoder",
            text.encoder.config.hidden_size,
        ),
    )
    for field, wanted, component, given in pairs:
        if wanted != given:
            raise UserError(
                f"{folder}: {field} is {wanted}, but component {component} gives {given}; the "
                "components are of different models"
            )


def _spec(
    folder: Path,
    network: Any,
    codec: FrameCodec,
    text: ClipText,
    scheduler: Mapping[str, Any],
    native: Mapping[str, Any],
) -> BackboneSpec:
    kind = scheduler.get("prediction_type", "epsilon")
    if kind not in _PREDICTIONS:
        raise UserError(
            f"{folder / 'scheduler' / 'scheduler_config.json'}: prediction_type: got {kind!r}, "
            f"expected one of {', '.join(_PREDICTIONS)}"
        )
    side = (network.config.sample_size or 64) * codec.spatial_factor
    low, high = native["guidance_range"]
    return BackboneSpec(
        family="animatediff",
        prediction=_PREDICTIONS[kind],
        latent_channels=codec.latent_channels,
        spatial_factor=codec.spatial_factor,
        temporal_factor=1,
        frames=native["frames"],
        height=native["height"] or side,
        width=native["width"] or side,
        fps=native["fps"],
        guidance_range=(float(low), float(high)),
        guidance=float(native["guidance"]),
        lora_targets=LORA_TARGETS,
        max_tokens=text.max_tokens,
    )
