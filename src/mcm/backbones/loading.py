"""Backbones from folders in the layout of diffusers, here or on a hub, or by an embedded name."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcm.backbones.folder import INDEX, PipelineFolder
from mcm.backbones.hub import locate
from mcm.backbones.json_files import read_json
from mcm.backbones.pipeline import PipelineBackbone
from mcm.backbones.variants import Mode
from mcm.devices import pick_device, pick_dtype
from mcm.errors import UserError, nearest

EMBEDDED = ("fluent", "fluent-dit")
_WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
_FAMILIES = {
    "AnimateDiffPipeline": "animatediff",
    "StableDiffusionPipeline": "animatediff",
    "TextToVideoSDPipeline": "modelscope",
    "WanPipeline": "wan",
    "LTXPipeline": "ltx",
    "CogVideoXPipeline": "cogvideox",
}
"""Module with the loader, by ``_class_name`` of `model_index.json`."""


def load_backbone(
    source: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    mode: Mode = "lora",
    motion_adapter: str | Path | None = None,
) -> PipelineBackbone:
    """Load a teacher.

    Args:
        source: Name of an embedded model, a folder, or OWNER/NAME or OWNER/NAME@REVISION of a hub:
            an `AnimateDiffPipeline` (or a `StableDiffusionPipeline` to which ``motion_adapter``
            adds the motion modules), `TextToVideoSDPipeline` (ModelScope), `WanPipeline`,
            `LTXPipeline` or `CogVideoXPipeline`. An optional `mcm.json` in the folder holds any of
            frames, height, width, fps, guidance, guidance_range (the paper's w) and motion_adapter
            (relative to the folder, or of a hub), to say them other than the family's usual.
        device: `auto`, `cpu`, `mps`, `cuda`, `cuda:N`, `xpu` or `xpu:N`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        mode: Whether students are adapters (`lora`) or copies of the network (`full`).
        motion_adapter: Folder of a `MotionAdapter`, for AnimateDiff.

    Raises:
        UserError: The source is unknown, or a component of it is missing, broken or does not
            fit the others; the message names component and folder.
    """
    return load_folder(open_folder(source, device, dtype), mode, motion_adapter)


def open_folder(source: str | Path, device: str = "auto", dtype: str = "auto") -> PipelineFolder:
    """Find a teacher's folder and read its index; arguments and errors as `load_backbone`."""
    place = pick_device(device)
    path = _folder_of(source)
    return PipelineFolder(path, _read_index(path), place, pick_dtype(dtype, place))


def load_folder(
    folder: PipelineFolder, mode: Mode = "lora", motion_adapter: str | Path | None = None
) -> PipelineBackbone:
    """Load a teacher from an opened folder; arguments and errors as `load_backbone`."""
    path, family = folder.path, _FAMILIES[folder.index["_class_name"]]
    options = {} if motion_adapter is None else {"motion_adapter": Path(motion_adapter)}
    if options and family != "animatediff":
        raise UserError(f"motion_adapter: {path} is of family {family}; only animatediff takes one")
    with _collector_paused():
        module = importlib.import_module(f"mcm.backbones.{family}")
        backbone: PipelineBackbone = module.load(folder, mode, **options)
    backbone.source = path
    return backbone


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Spare the collector from looking again and again through what an import makes and keeps.

    Importing the networks' libraries took 3.1 seconds with it and 2.5 without.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
    found = locate(source)
    if found is None:
        near = nearest(str(source), EMBEDDED)
        hint = f"; did you mean {near}?" if near else ""
        raise UserError(
            f"{source}: no such model; expected an embedded one ({', '.join(EMBEDDED)}), a folder "
            f"in the layout of diffusers or OWNER/NAME of a hub{hint}"
        )
    return found


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    index = read_json(path, "the index of a folder in the layout of diffusers")
    if str(index.get("_class_name")) not in _FAMILIES:
        raise UserError(
            f"{path}: _class_name: got {index.get('_class_name')!r}, expected one of "
            f"{', '.join(_FAMILIES)}"
        )
    return index
