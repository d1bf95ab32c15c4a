"""The teacher of an export, in the number formats in which it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mcm.backbones.components import load_component, stored_dtype
from mcm.backbones.config_folder import ConfigFolder
from mcm.backbones.folder import PipelineFolder
from mcm.backbones.loading import load_folder, open_folder
from mcm.backbones.pipeline import PipelineBackbone

_NETWORKS = ("unet", "transformer", "transformer_2")


@dataclass(frozen=True)
class StoredFolder(PipelineFolder):
    """A folder whose weights keep their number format.

    Attributes:
        whole: Whether text encoder and autoencoder are loaded too; else they have only shapes.
    """

    whole: bool = False

    def model_at(self, path: Path, kind: str) -> Any:
        """Load a model as it is stored; arguments and errors as `load_component`."""
        return load_component(path.parent, path.name, kind, stored_dtype(path))

    def model(self, name: str, *kinds: str) -> Any:
        """Load a model, or make one without values; arguments and errors as in `PipelineFolder`."""
        if self.whole or name in _NETWORKS:
            return super().model(name, *kinds)
        return self._shapes().model_at(self.path / name, self.kind(name, *kinds))

    def tokenizer(self, kind: str) -> Any:
        """Load the tokenizer if the whole folder is wanted, else only its size."""
        return super().tokenizer(kind) if self.whole else self._shapes().tokenizer(kind)

    def _shapes(self) -> ConfigFolder:
        meta = torch.device("meta")
        return ConfigFolder(self.path, self.index, meta, self.dtype, meta)


def load_teacher(path: Path, motion_adapter: Path | None, whole: bool) -> PipelineBackbone:
    """Load a teacher on the CPU in the number format of its network.

    Args:
        path: Its folder.
        motion_adapter: Folder of the motion modules that it lacks.
        whole: Whether text encoder and autoencoder are loaded too.

    Raises:
        UserError: A component is missing, broken or does not fit the others.
    """
    found = open_folder(path, "cpu", "float32")
    network = next((path / name for name in _NETWORKS if (path / name).is_dir()), path)
    folder = StoredFolder(found.path, found.index, found.device, stored_dtype(network), whole)
    return load_folder(folder, motion_adapter=motion_adapter)
