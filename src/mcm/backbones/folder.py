"""A folder in the layout of diffusers: its index, components and what the model is made for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from mcm.backbones.base import BackboneSpec
from mcm.backbones.components import load_component, load_tokenizer, read_json
from mcm.backbones.latents import VideoCodec
from mcm.backbones.text import TextEncoder
from mcm.diffusion import Prediction
from mcm.errors import UserError, nearest

INDEX = "model_index.json"
NATIVE = "mcm.json"
SCHEDULER = Path("scheduler") / "scheduler_config.json"
_PREDICTIONS: dict[str, Prediction] = {
    "epsilon": "epsilon",
    "v_prediction": "v",
    "sample": "x0",
    "flow_prediction": "velocity",
}


@dataclass(frozen=True)
class Native:
    """What a model is made for, as its family says and a folder's `mcm.json` may change.

    Attributes:
        frames: Frames of a clip.
        height: In pixels; ``None`` takes it from the network's configuration.
        width: In pixels; ``None`` as for the height.
        fps: Frames per second.
        guidance: Best guidance scale, in diffusers' convention.
        guidance_range: Range of the paper's w for distillation (diffusers' scale − 1).
        motion_adapter: Folder of a `MotionAdapter`, relative to the model's (AnimateDiff).
    """

    frames: int
    height: int | None
    width: int | None
    fps: int
    guidance: float
    guidance_range: tuple[float, float]
    motion_adapter: str | None = None

    def sized(self, side: int) -> Native:
        """Return the same with a square's height and width where there is none."""
        return replace(self, height=self.height or side, width=self.width or side)

    def spec(
        self,
        family: str,
        prediction: Prediction,
        codec: VideoCodec,
        text: TextEncoder,
        lora_targets: tuple[str, ...],
        spatial_patch: int = 1,
        temporal_patch: int = 1,
    ) -> BackboneSpec:
        """Return the specification of a model with these components."""
        assert self.height is not None and self.width is not None
        return BackboneSpec(
            family=family,
            prediction=prediction,
            latent_channels=codec.latent_channels,
            spatial_factor=codec.spatial_factor,
            temporal_factor=codec.temporal_factor,
            frames=self.frames,
            height=self.height,
            width=self.width,
            fps=self.fps,
            guidance_range=self.guidance_range,
            guidance=self.guidance,
            lora_targets=lora_targets,
            max_tokens=text.max_tokens,
            spatial_patch=spatial_patch,
            temporal_patch=temporal_patch,
        )


@dataclass(frozen=True)
class PipelineFolder:
    """A folder from which components are loaded.

    Attributes:
        path: The folder.
        index: Content of its `model_index.json`.
        device: Where the components go.
        dtype: Number format of their weights.
    """

    path: Path
    index: Mapping[str, Any]
    device: torch.device
    dtype: torch.dtype

    def model(self, name: str, *kinds: str) -> Any:
        """Load a model, on the device.

        Args:
            name: Of the component, such as ``vae``.
            *kinds: Classes that it may have.

        Raises:
            UserError: It is of another class, missing, half there or of other shapes.
        """
        return load_component(self.path, name, self.kind(name, *kinds), self.dtype).to(self.device)

    def kind(self, name: str, *kinds: str) -> str:
        """Return the class of a component, which must be one of ``kinds``.

        Raises:
            UserError: The index does not name the component, or it is of another class.
        """
        entry = self.index.get(name)
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)):
            raise UserError(
                f"{self.path / INDEX}: component {name}: got {entry!r}, expected [library, class]"
            )
        if entry[1] not in kinds:
            raise UserError(
                f"{self.path / name}: component {name} is a {entry[1]}; expected "
                f"{'one of ' * (len(kinds) > 1)}{', '.join(kinds)}"
            )
        return str(entry[1])

    def tokenizer(self, kind: str) -> Any:
        """Load the tokenizer.

        Raises:
            UserError: It is missing or broken.
        """
        return load_tokenizer(self.path, "tokenizer", kind)

    def scheduler(self) -> dict[str, Any]:
        """Return the scheduler's configuration.

        Raises:
            UserError: There is none.
        """
        return read_json(self.path / SCHEDULER, "the configuration of a diffusers scheduler")

    def prediction(self, scheduler: Mapping[str, Any], usual: str = "epsilon") -> Prediction:
        """Return what the network predicts, as the scheduler's configuration says.

        Raises:
            UserError: That is unknown.
        """
        kind = scheduler.get("prediction_type", usual)
        if kind not in _PREDICTIONS:
            raise UserError(
                f"{self.path / SCHEDULER}: prediction_type: got {kind!r}, expected one of "
                f"{', '.join(_PREDICTIONS)}"
            )
        return _PREDICTIONS[kind]

    def native(self, usual: Native) -> Native:
        """Return what the model is made for: the family's values, or those of `mcm.json`.

        Raises:
            UserError: `mcm.json` has an unknown key.
        """
        path = self.path / NATIVE
        values = read_json(path, "a JSON object") if path.is_file() else {}
        known = [field.name for field in fields(Native)]
        for key in values:
            if key not in known:
                near = nearest(key, known)
                hint = f"; the nearest known key is {near}" if near else ""
                raise UserError(f"{path}: {key}: unknown key{hint}; known are {', '.join(known)}")
        if "guidance_range" in values:
            low, high = values["guidance_range"]
            values["guidance_range"] = float(low), float(high)
        return replace(usual, **values)

    def check_fit(self, pairs: Iterable[tuple[str, int, str, int]]) -> None:
        """Compare what components take with what others give.

        Args:
            pairs: The field, what it takes, the other component, and what that gives.

        Raises:
            UserError: A pair differs.
        """
        for field, wanted, component, given in pairs:
            if wanted != given:
                raise UserError(
                    f"{self.path}: {field} is {wanted}, but component {component} gives {given}; "
                    "the components are of different models"
                )
