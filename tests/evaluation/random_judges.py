from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from mcm.evaluation.feature_nets import ClipNet, FrameNet
from mcm.evaluation.features import Vocabulary


def save_features(folder: Path) -> Path:
    """Write feature networks of random weights, as `mcm judges` would."""
    torch.manual_seed(0)
    words = ["fox"]
    networks = {"frames": FrameNet(), "clips": ClipNet(len(Vocabulary(words)))}
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in networks.items():
        state = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
        save_file({k: v.contiguous() for k, v in state.items()}, folder / f"{name}.safetensors")
    (folder / "clips.json").write_text(json.dumps({"words": words}))
    return folder
