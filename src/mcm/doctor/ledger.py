"""An account of every tensor operation: the bytes that live at once, and what was computed."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
"""Of the CPU, which the counter of floating-point operations does not know."""


@dataclass(frozen=True)
class Shape:
    """A tensor without its values."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Operation:
    """A call of the tensor library: the function, and its arguments with shapes for tensors.

    Attributes:
        flops: Floating-point operations of a product of matrices, a convolution or attention; 0 of
            all that only moves or maps numbers.
    """

    function: Any
    arguments: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...]
    flops: int


class Ledger(TorchDispatchMode):
    """Follows the storages of all tensors made inside, from birth to death.

    Attributes:
        live: Bytes that live now.
        peak: Most bytes that lived at once.
        operations: How often each operation was called, those that only look at tensors left out.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self.operations: Counter[Operation] = Counter()
        self._known: set[int] = set()

    def hold(self, module: nn.Module) -> None:
        """Count the weights of a module."""
        for tensor in (*module.parameters(), *module.buffers()):
            self._follow(tensor)

    def restart(self) -> None:
        """Begin a new account of operations and peak; what lives, lives on."""
        self.peak = self.live
        self.operations.clear()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function and enter it into the account."""
        kwargs = dict(kwargs or {})
        result = func(*args, **kwargs)
        if not getattr(func, "is_view", False):
            options = tuple(sorted(_frozen(kwargs).items()))
            operation = Operation(func, _frozen(args), options, _flops(func, args, kwargs, result))
            self.operations[operation] += 1
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._follow(value)
        return result

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


class _Options(dict[str, Any]):
    """Keyword arguments on their way into a tuple."""


def _flops(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
    """Return the floating-point operations of a call; 0 if it is no product."""
    packet = function.overloadpacket
    if packet is _ATTENTION:
        return int(sdpa_flop_count(*(tensor.shape for tensor in args[:3])))
    if packet is _ATTENTION_BACKWARD:
        return int(sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4])))
    count = flop_registry.get(packet)
    return 0 if count is None else int(count(*args, **kwargs, out_val=result))


def _frozen(value: Any) -> Any:
    """Return arguments as something that can be a key, with shapes for tensors."""
    if isinstance(value, Tensor):
        return Shape(tuple(value.shape), tuple(value.stride()), value.dtype)
    if isinstance(value, dict):
        return _Options((key, _frozen(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    return value
