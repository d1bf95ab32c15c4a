"""Where a model runs and in which number format, from what the user said or `auto`."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from functools import cache
from time import perf_counter

import torch

from mcm.errors import UserError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_M_MMAP_THRESHOLD = -3
"""The parameter of glibc's `mallopt`."""
_LARGE = 1 << 20


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of a name; `auto` takes CUDA, then MPS, then XPU, then the CPU.

    Raises:
        UserError: The name is none of `auto`, `cpu`, `mps`, `cuda`, `cuda:N`, `xpu`, `xpu:N`, or
            this machine does not have that device.
    """
    counts = _counts()
    if name == "auto":
        return torch.device(next(kind for kind, count in counts.items() if count))
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d+)?", name):
        raise UserError(
            f"device: got {name!r}, expected auto, cpu, mps, cuda, cuda:N, xpu or xpu:N"
        )
    device = torch.device(name)
    if (device.index or 0) >= counts[device.type]:
        there = ", ".join(kind for kind, count in counts.items() if count)
        raise UserError(f"device: {name} is not on this machine, which has {there}; use auto")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the number format of a name; `auto` takes the fastest that the device has built in.

    That is bfloat16 where the hardware computes in it, else float16 on MPS and older CUDA
    devices, else float32.

    Raises:
        UserError: The name is none of `auto`, `float32`, `bfloat16`, `float16`.
    """
    if name == "auto":
        return _best_dtype(device)
    if name not in DTYPES:
        raise UserError(f"dtype: got {name!r}, expected auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def best_autocast(device: torch.device) -> torch.autocast:
    """Return a context that computes in bfloat16 where the device has it built in."""
    enabled = pick_dtype("auto", device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given; for honest timings."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def return_freed_memory() -> bool:
    """Have this process give freed tensors on the CPU back to the system; return whether it will.

    glibc keeps freed blocks of up to 32 MiB for later. Where the tensors of a network differ in
    size, little of it fits again, and a process holds gibibytes more than lives in it. Now blocks
    of 1 MiB or more come from the system and go back to it, which takes time. The environment's
    ``MALLOC_MMAP_THRESHOLD_`` goes before.
    """
    if not sys.platform.startswith("linux") or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _LARGE))


def _counts() -> dict[str, int]:
    """Devices of each kind, the preferred kind first."""
    return {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "xpu": torch.xpu.device_count(),
        "cpu": 1,
    }


def _best_dtype(device: torch.device) -> torch.dtype:
    match device.type:
        case "cuda":
            major, _ = torch.cuda.get_device_capability(device)
            return torch.bfloat16 if major >= 8 else torch.float16
        case "mps":
            return torch.float16
        case "xpu":
            return torch.bfloat16
    return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32


@cache
def cpu_has_tiles() -> bool:
    """Return whether the CPU multiplies matrices in bfloat16 by tiles (AMX)."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


@cache
def _cpu_has_bfloat16() -> bool:
    capabilities = getattr(torch.backends.cpu, "get_cpu_capability", str)()
    if cpu_has_tiles():
        return True
    avx512 = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    return bool(avx512 and "AVX512" in capabilities) and _cpu_bfloat16_is_faster()


def _cpu_bfloat16_is_faster() -> bool:
    """Time small products: AVX512_BF16 without AMX is twice to half as fast as float32."""
    factors = [torch.ones(512, 512, dtype=kind) for kind in (torch.float32, torch.bfloat16)]
    seconds: list[list[float]] = [[], []]
    for _ in range(8):
        for x, past in zip(factors, seconds, strict=True):
            start = perf_counter()
            x @ x
            past.append(perf_counter() - start)
    return min(seconds[1]) < min(seconds[0])
