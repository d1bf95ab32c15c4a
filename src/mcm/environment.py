"""What a report of a problem or of a measurement should say about the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import psutil

from mcm import __version__

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors", "av")


def describe() -> dict[str, str]:
    """Return versions, processors, memory and accelerators, by name, in a fixed order."""
    memory = psutil.virtual_memory()
    return {
        "mcm": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: _version(name) for name in PACKAGES},
        "processors": str(os.cpu_count()),
        "memory": f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free",
        "accelerators": ", ".join(accelerators()) or "none",
    }


def accelerators() -> list[str]:
    """Return the accelerators that torch can use, such as `cuda:0 NVIDIA A100`."""
    import torch

    found = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    if torch.xpu.is_available():
        found += [
            f"xpu:{i} {torch.xpu.get_device_name(i)}" for i in range(torch.xpu.device_count())
        ]
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
