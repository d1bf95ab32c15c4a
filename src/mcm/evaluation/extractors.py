"""Feature networks of the field for real models: I3D or VideoMAE, Inception, CLIP.

Their weights come from local files or folders; nothing is fetched. What each file is and where the
field publishes it is told in the how-to guide on evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mcm.backbones.components import quiet_libraries
from mcm.devices import pick_device
from mcm.errors import UserError
from mcm.evaluation.arrays import pack
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.metric import MeanMetric, Observation, Score

_EXPECTED = "expected the folder that save_pretrained wrote, with safetensors"
_VOCABULARIES = ("tokenizer.json", "vocab.json")
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP_COLOURS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


class I3dFeatures:
    """Features of a clip by the TorchScript I3D (Kinetics-400) that FVD is published with.

    The file's own call resizes to 224 and scales to [-1, 1] (as in StyleGAN-V's evaluation).

    Args:
        weights: The TorchScript file.
        device: Where it runs.
    """

    name = "video_features"

    def __init__(self, weights: Path, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.network = _load_script(weights, "I3D", self.device)

    @torch.inference_mode()
    def observe(self, clip: EvaluationClip) -> Observation:
        """Return ``features`` (1, d)."""
        x_cthw = torch.from_numpy(clip.frames_thwc.copy()).permute(3, 0, 1, 2).float()
        options = {"rescale": True, "resize": True, "return_features": True}
        features = _call_script(self.network, "I3D", x_cthw[None].to(self.device), **options)
        return {"features": pack(features.float().cpu().numpy())}


class VideoMaeFeatures:
    """Features of a clip by VideoMAE (Tong et al., 2022, arXiv 2203.12602): mean of last states.

    Ge et al., *On the Content Bias in Fréchet Video Distance*, 2024 (arXiv 2404.12391), finds it
    to see motion better than I3D does.

    Args:
        weights: Folder of a ``VideoMAEModel`` of transformers.
        device: Where it runs.
    """

    name = "video_features"

    def __init__(self, weights: Path, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.network = _load_pretrained(weights, "VideoMAEModel").to(self.device)

    @torch.inference_mode()
    def observe(self, clip: EvaluationClip) -> Observation:
        """Return ``features`` (1, d)."""
        count = int(self.network.config.num_frames)
        last = len(clip.frames_thwc) - 1
        chosen = np.linspace(0, last, count).round().astype(int)
        side = int(self.network.config.image_size)
        x_tchw = normalised(clip.frames_thwc[chosen], side, *_IMAGENET)
        states_1nd = self.network(x_tchw[None].to(self.device)).last_hidden_state
        return {"features": pack(states_1nd.mean(1).float().cpu().numpy())}


class InceptionFeatures:
    """Features of four frames by the TorchScript Inception that FID is published with.

    Args:
        weights: The TorchScript file (``inception-2015-12-05.pt``); it takes uint8 frames.
        device: Where it runs.
    """

    name = "image_features"

    def __init__(self, weights: Path, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.network = _load_script(weights, "Inception", self.device)

    @torch.inference_mode()
    def observe(self, clip: EvaluationClip) -> Observation:
        """Return ``features`` (k, d) of up to four frames."""
        count = min(4, len(clip.frames_thwc))
        chosen = np.linspace(0, len(clip.frames_thwc) - 1, count).round().astype(int)
        x_kchw = torch.from_numpy(clip.frames_thwc[chosen].copy()).permute(0, 3, 1, 2)
        x_kchw = x_kchw.to(self.device)
        features = _call_script(self.network, "Inception", x_kchw, return_features=True)
        return {"features": pack(features.float().cpu().numpy())}


class ClipSimilarity(MeanMetric):
    """CLIPSIM: mean over frames of 100 × the cosine of frame and prompt.

    Wu et al., *GODIVA*, 2021 (arXiv 2104.14806), with CLIP ViT-B/16 or any other.

    Args:
        weights: Folder of a ``CLIPModel`` of transformers with its tokenizer.
        device: Where it runs.
    """

    name = "clipsim"
    title = "CLIP similarity"

    def __init__(self, weights: Path, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.network = _load_pretrained(weights, "CLIPModel").to(self.device)
        self.tokenizer = _load_tokenizer(weights)

    @torch.inference_mode()
    def score(self, clip: EvaluationClip) -> Score:
        """Return the similarity of a clip."""
        side = int(self.network.config.vision_config.image_size)
        x_tchw = normalised(clip.frames_thwc, side, *_CLIP_COLOURS).to(self.device)
        longest = int(self.network.config.text_config.max_position_embeddings)
        words = self.tokenizer(
            [clip.prompt],
            truncation=True,
            max_length=longest,
            padding=True,
            return_tensors="pt",
        ).to(self.device)
        images = self.network.get_image_features(pixel_values=x_tchw).pooler_output
        text = self.network.get_text_features(**words).pooler_output
        return Score(100 * float(F.cosine_similarity(images, text).mean()))


def normalised(
    frames_thwc: NDArray[np.uint8],
    side: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Tensor:
    """Return frames cropped to the middle square, (t, 3, side, side), (x − mean) / std."""
    x_tchw = torch.from_numpy(frames_thwc.copy()).permute(0, 3, 1, 2).float() / 255
    height, width = x_tchw.shape[2:]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    square = x_tchw[:, :, top : top + least, left : left + least]
    small = F.interpolate(square, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    shape = (1, 3, 1, 1)
    return (small - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)


def _load_script(weights: Path, name: str, device: torch.device) -> Any:
    if not weights.is_file():
        raise UserError(f"extractor {name}: {weights}: no such file; expected TorchScript")
    try:
        return torch.jit.load(str(weights), map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"extractor {name}: {weights}: not TorchScript: {reason:.200}") from None


def _call_script(network: Any, name: str, x: Tensor, **options: bool) -> Tensor:
    """Call TorchScript with the options that the field's file takes.

    Raises:
        UserError: It is another file.
    """
    try:
        features: Tensor = network(x, **options)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"extractor {name}: its file is not the TorchScript that the field uses, which takes "
            f"{', '.join(options)}: {reason:.200}"
        ) from None
    return features


def _load_pretrained(folder: Path, kind: str) -> Any:
    import transformers

    if not folder.is_dir():
        raise UserError(f"extractor {kind}: {folder}: no such folder; expected its saved model")
    loader = getattr(transformers, kind)
    with _telling(kind, folder), quiet_libraries():
        loaded, info = loader.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    lacking = sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"]))
    if lacking:
        raise UserError(
            f"extractor {kind}: {folder}: has no weights of that shape for {lacking[0]}, and "
            f"{len(lacking) - 1} more; random ones would judge. {_EXPECTED.capitalize()}"
        )
    return loaded.eval()


def _load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer beside a model; without its files the library makes one of no words."""
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise UserError(
            f"extractor CLIPModel: {folder}: has no tokenizer ({' or '.join(_VOCABULARIES)}); "
            f"{_EXPECTED}, the tokenizer's as well"
        )
    with _telling("tokenizer", folder):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@contextmanager
def _telling(kind: str, folder: Path) -> Iterator[None]:
    """Turn what the library raises at a folder of the user's, of any class, into one line."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"extractor {kind}: {folder}: cannot be loaded: {reason:.200}; {_EXPECTED}"
        ) from None
