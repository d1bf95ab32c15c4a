"""Writing of LoRA files as stock diffusers reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mcm.backbones.components import stock_class
from mcm.backbones.lora_files import A, B
from mcm.backbones.pipeline import PipelineBackbone


def save_lora(
    backbone: PipelineBackbone,
    pairs: Mapping[str, tuple[Tensor, Tensor]],
    folder: Path,
    file: str,
) -> None:
    """Write (A, B) of one network as stock diffusers reads them, with α = r in the header.

    Args:
        backbone: Says the pipeline's class and the name of the network in it.
        pairs: By module name; W + B·A is the changed weight.
        folder: Made when missing.
        file: Name of the file.
    """
    pipeline, network = stock_class(backbone.pipeline), backbone.component
    weights = {module + A: a for module, (a, _) in pairs.items()}
    weights |= {module + B: b for module, (_, b) in pairs.items()}
    weights = {key: value.cpu().contiguous() for key, value in weights.items()}
    ranks = {module: a.shape[0] for module, (a, _) in pairs.items()}
    rank = max(ranks.values())
    others = {module: other for module, other in ranks.items() if other != rank}
    header: dict[str, Any] = {"r": rank, "lora_alpha": rank, "target_modules": sorted(pairs)}
    if others:
        header |= {"rank_pattern": others, "alpha_pattern": others}
    layers = {f"{network}_lora_layers": weights, f"{network}_lora_adapter_metadata": header}
    pipeline.save_lora_weights(folder, weight_name=file, **layers)
    _sort_header(folder / file)


def _sort_header(path: Path) -> None:
    """Put the metadata of a safetensors file in order, so that equal weights are equal bytes."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = dict(sorted(header.pop("__metadata__", {}).items()))
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])
