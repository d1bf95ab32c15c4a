"""A folder in the layout of diffusers: its index and its components."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mcm.backbones.components import load_component, load_tokenizer
from mcm.backbones.json_files import NOTES_FILE, read_json, read_notes
from mcm.backbones.native import SAMPLING, TRAINED, Native
from mcm.diffusion import FlowSchedule, Prediction, VarianceSchedule
from mcm.errors import UserError

INDEX = "model_index.json"
SCHEDULER = Path("scheduler") / "scheduler_config.json"
_PREDICTIONS: dict[str, Prediction] = {
    "epsilon": "epsilon",
    "v_prediction": "v",
    "sample": "x0",
    "flow_prediction": "velocity",
}


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

    def building(self) -> AbstractContextManager[Any]:
        """Return the context in which models are put together from loaded ones."""
        return nullcontext()

    def model_at(self, path: Path, kind: str) -> Any:
        """Load a model from a folder of its own; arguments and errors as `load_component`."""
        return load_component(path.parent, path.name, kind, self.dtype)

    def model(self, name: str, *kinds: str) -> Any:
        """Load a model, on the device.

        Args:
            name: Of the component, such as ``vae``.
            *kinds: Classes that it may have.

        Raises:
            UserError: It is of another class, missing, half there or of other shapes.
        """
        return self.model_at(self.path / name, self.kind(name, *kinds)).to(self.device)

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
        """Return the scheduler's configuration, as the network was trained with it.

        A merged student's folder has a few-step scheduler for others; `mcm.json` keeps the one of
        the training.

        Raises:
            UserError: There is none.
        """
        sampling = read_notes(self.path).get(SAMPLING)
        if isinstance(sampling, dict) and isinstance(sampling.get(TRAINED), dict):
            return dict(sampling[TRAINED])
        return read_json(self.path / SCHEDULER, "the configuration of a diffusers scheduler")

    def variance_schedule(self, scheduler: Mapping[str, Any]) -> VarianceSchedule:
        """Return the noise schedule of a configuration.

        Raises:
            UserError: A value of it cannot be; the message names the file.
        """
        with self._naming_file():
            return VarianceSchedule.from_scheduler_config(scheduler)

    def flow_schedule(
        self, scheduler: Mapping[str, Any], tokens: int | None = None
    ) -> FlowSchedule:
        """Return the flow of a configuration; arguments as `FlowSchedule.from_scheduler_config`.

        Raises:
            UserError: A value of it cannot be; the message names the file.
        """
        with self._naming_file():
            return FlowSchedule.from_scheduler_config(scheduler, tokens)

    @contextmanager
    def _naming_file(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            raise UserError(f"{self.path / SCHEDULER}: {error}") from None

    def prediction(self, scheduler: Mapping[str, Any], usual: str = "epsilon") -> Prediction:
        """Return what the network predicts, as the scheduler's configuration says.

        Raises:
            UserError: That is unknown.
        """
        kind = scheduler.get("prediction_type", usual)
        if not isinstance(kind, str) or kind not in _PREDICTIONS:
            raise UserError(
                f"{self.path / SCHEDULER}: prediction_type: got {kind!r}, expected one of "
                f"{', '.join(_PREDICTIONS)}"
            )
        return _PREDICTIONS[kind]

    def native(self, usual: Native) -> Native:
        """Return what the model is made for: the family's values, or those of `mcm.json`.

        Raises:
            UserError: `mcm.json` has an unknown key or a value that does not fit.
        """
        return usual.changed(read_notes(self.path), self.path / NOTES_FILE)

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
