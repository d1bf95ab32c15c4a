"""Short digests that tell whether two models hold the same weights."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

_SAMPLES = 16


@torch.no_grad()
def fingerprint(module: nn.Module, half: bool = False) -> str:
    """Return 16 hex digits of the names, shapes and a sample of the values of the base weights.

    Values are rounded to bfloat16, so that a model gives the same digits in float32 and bfloat16.
    LoRA layers do not count.

    Args:
        module: The network.
        half: Round to float16 first, for weights that may have been stored so.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if ".lora_" in name:
            continue
        values = tensor.detach().flatten()
        values = values[:: max(1, values.numel() // _SAMPLES)][:_SAMPLES]
        digest.update(f"{name.replace('.base_layer.', '.')} {tuple(tensor.shape)} ".encode())
        values = values.half() if half else values
        digest.update(values.bfloat16().view(torch.int16).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
