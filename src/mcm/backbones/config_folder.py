"""A folder of which configurations are read, not weights: models without values, or random ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mcm.backbones.components import (
    broken,
    check_weights,
    component_class,
    component_folder,
    quiet_libraries,
)
from mcm.backbones.folder import PipelineFolder
from mcm.backbones.json_files import is_number, read_json
from mcm.errors import UserError

_CLIP_TOKENS = 77


@dataclass(frozen=True)
class TokenizerSize:
    """What the text encoders ask of a tokenizer before they use it.

    Attributes:
        model_max_length: Longest text in tokens.
    """

    model_max_length: int


@dataclass(frozen=True)
class ConfigFolder(PipelineFolder):
    """A folder of which only the configurations are read; weights are made.

    Attributes:
        context: Where they are made: without values, or random ones by default.
    """

    context: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def building(self) -> AbstractContextManager[Any]:
        """Return the context in which models are put together."""
        return self.context

    def model_at(self, path: Path, kind: str) -> Any:
        """Make a model of a folder's configuration; of weights that are there, headers are read."""
        component_folder(path.parent, path.name, kind)
        check_weights(path, path.name, kind)
        read_json(path / "config.json", f"the configuration of component {path.name} ({kind})")
        maker: Any = component_class(kind)
        try:
            with self.context, _default_dtype(self.dtype), quiet_libraries():
                if hasattr(maker, "load_config"):
                    return maker.from_config(maker.load_config(path)).to(self.dtype)
                return maker(maker.config_class.from_pretrained(path)).to(self.dtype)
        except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
            raise broken(path, path.name, kind, error) from error

    def tokenizer(self, kind: str) -> Any:
        """Return the length of texts in the place of a tokenizer."""
        path = self.path / "tokenizer" / "tokenizer_config.json"
        values = read_json(path, "a tokenizer's configuration") if path.is_file() else {}
        length = values.get("model_max_length", _CLIP_TOKENS)
        if not is_number(length):
            raise UserError(f"{path}: model_max_length: got {length!r}, expected a whole number")
        return TokenizerSize(int(length))


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
