"""Teacher, student and target as variants of one network.

`LoraVariants` keeps one network in memory: the base weights are the teacher and each variant is
a LoRA adapter. `FullVariants` keeps a copy of the network for each variant.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol

from torch import nn

from mcm.errors import UserError

Mode = Literal["lora", "full"]


class Variants(Protocol):
    """The variants of a network, of which one is active; ``None`` is the base, the teacher.

    Attributes:
        mode: How variants are stored.
        module: The network to run for the active variant.
    """

    mode: Mode
    module: nn.Module

    @property
    def active(self) -> str | None:
        """Name of the active variant."""

    @property
    def base(self) -> nn.Module:
        """The network that holds the teacher's weights."""

    def add(self, name: str, rank: int, alpha: float, trainable: bool) -> None:
        """Add a variant that is equal to the base."""

    def using(self, name: str | None) -> AbstractContextManager[None]:
        """Make a variant active inside the context."""

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Return the parameters of a variant by module name."""


class LoraVariants:
    """Variants as LoRA adapters (Hu et al., 2021, arXiv 2106.09685): W + (α/r)·B·A.

    Adapters are kept in float32 whatever the format of the base weights. Switching between
    them leaves ``requires_grad`` alone, so that an optimizer keeps its parameters.
    """

    mode: Mode = "lora"

    def __init__(self, network: nn.Module, targets: Sequence[str]) -> None:
        """Freeze a network.

        Args:
            network: Holds the base weights; becomes ``module``.
            targets: Suffixes of the names of the modules that adapters change.
        """
        self.module = network.requires_grad_(False)
        self._base = network
        self._targets = list(targets)
        self._trainable: dict[str, bool] = {}
        self._scales: dict[str, tuple[int, float]] = {}
        self._active: str | None = None
        self._worn: str | None = None
        self._layers: list[Any] = []

    @property
    def active(self) -> str | None:
        """Name of the active adapter."""
        return self._active

    @property
    def base(self) -> nn.Module:
        """The network, whichever way ``module`` wraps it."""
        return self._base

    def rank_alpha(self, name: str) -> tuple[int, float]:
        """Return (r, α) of an adapter."""
        _check_known(name, self._trainable)
        return self._scales[name]

    def add(
        self,
        name: str,
        rank: int,
        alpha: float,
        trainable: bool,
        targets: Sequence[str] | None = None,
    ) -> None:
        """Add an adapter with B = 0; ``targets`` are module names other than the usual.

        Raises:
            UserError: The name is taken.
        """
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.tuners_utils import BaseTunerLayer

        _check_free(name, self._trainable)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets or self._targets))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            inject_adapter_in_model(config, self._base, name)
        self._trainable[name], self._scales[name] = trainable, (rank, alpha)
        self._layers = [m for m in self._base.modules() if isinstance(m, BaseTunerLayer)]
        self.cast_inputs(False)
        for parameter in self.parameters(name).values():
            parameter.data = parameter.data.float()
        for adapter, learns in self._trainable.items():
            for parameter in self.parameters(adapter).values():
                parameter.requires_grad_(learns)
        self._switch(self._active)

    def wear(self, name: str) -> None:
        """Let the teacher have an adapter: ``using(None)`` is base and adapter from now on.

        Raises:
            UserError: There is no such adapter.
        """
        _check_known(name, self._trainable)
        self._worn = name
        self._switch(self._active)

    @contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Make an adapter active inside the context; ``None`` is the teacher.

        Raises:
            UserError: There is no such adapter.
        """
        _check_known(name, self._trainable)
        before = self._active
        self._switch(name)
        try:
            yield
        finally:
            self._switch(before)

    def cast_inputs(self, enabled: bool) -> None:
        """Let adapters cast their inputs to float32, as a half base needs it outside autocast.

        Autocast would cast the copy back at once, and keep one more for the gradient.
        """
        for layer in self._layers:
            layer.cast_input_dtype_enabled = enabled

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Return the parameters of an adapter, as ``<module>.lora_A.weight`` and ``…lora_B…``."""
        _check_known(name, self._trainable)
        marks = (f".lora_A.{name}.weight", f".lora_B.{name}.weight")
        return {
            key.replace(f".{name}.weight", ".weight"): parameter
            for key, parameter in self._base.named_parameters()
            if key.endswith(marks)
        }

    def _switch(self, name: str | None) -> None:
        """Set the layers' own flags; PEFT's setters would also freeze and unfreeze adapters."""
        shown = name or self._worn
        for layer in self._layers:
            layer._disable_adapters = shown is None
            if shown is not None:
                layer._active_adapter = [shown]
        self._active = name


class FullVariants:
    """Variants as copies of the network, in float32."""

    mode: Mode = "full"

    def __init__(self, network: nn.Module) -> None:
        self._networks: dict[str | None, nn.Module] = {None: network.requires_grad_(False)}
        self._active: str | None = None

    @property
    def active(self) -> str | None:
        """Name of the active copy."""
        return self._active

    @property
    def base(self) -> nn.Module:
        """The teacher."""
        return self._networks[None]

    @property
    def module(self) -> nn.Module:
        """The active network."""
        return self._networks[self._active]

    @module.setter
    def module(self, network: nn.Module) -> None:
        self._networks[self._active] = network

    def add(self, name: str, rank: int, alpha: float, trainable: bool) -> None:
        """Add a copy of the teacher; ``rank`` and ``alpha`` say nothing here.

        Raises:
            UserError: The name is taken.
        """
        _check_free(name, self._networks)
        network = copy.deepcopy(self.base).float()
        self._networks[name] = network.requires_grad_(trainable)

    @contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Make a copy active inside the context.

        Raises:
            UserError: There is no such copy.
        """
        _check_known(name, self._networks)
        before, self._active = self._active, name
        try:
            yield
        finally:
            self._active = before

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Return all parameters of a copy by name."""
        _check_known(name, self._networks)
        return dict(self._networks[name].named_parameters())


def _check_free(name: str, taken: dict[str, Any] | dict[str | None, Any]) -> None:
    if name in taken:
        raise UserError(f"adapter {name!r}: already there; choose another name")


def _check_known(name: str | None, known: dict[str, Any] | dict[str | None, Any]) -> None:
    if name is not None and name not in known:
        names = ", ".join(sorted(key for key in known if key)) or "none"
        raise UserError(f"adapter {name!r}: not there; this model has: {names}")
