"""Students as files: LoRA that stock diffusers loads, or the whole network, beside `mcm.json`.

A LoRA file holds ``unet.<module>.lora_A.weight`` and ``…lora_B.weight`` (or ``transformer.…``)
with α/r multiplied into B, so that every reader that takes the scale as 1 (diffusers, ComfyUI) is
right. A model of two networks has a file for each: diffusers gives both the same component, so
one file could not tell them apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mcm.backbones.fingerprint import fingerprint
from mcm.backbones.pipeline import PipelineBackbone
from mcm.backbones.variants import LoraVariants
from mcm.errors import UserError

LORA_FILE = "pytorch_lora_weights.safetensors"
NOTES_FILE = "mcm.json"
_METADATA = "lora_adapter_metadata"
_A, _B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class LoraFile:
    """The content of a LoRA file for one network.

    Attributes:
        path: Where it was read.
        pairs: (A, B) by module name; W + B·A is the changed weight.
    """

    path: Path
    pairs: dict[str, tuple[Tensor, Tensor]]

    @property
    def rank(self) -> int:
        """The one rank of all pairs.

        Raises:
            UserError: The ranks differ.
        """
        ranks = {a.shape[0] for a, _ in self.pairs.values()}
        if len(ranks) > 1:
            raise UserError(
                f"{self.path}: ranks {sorted(ranks)} are mixed; expected one rank for all "
                "modules. Merge this adapter into the network instead of keeping it apart"
            )
        return int(ranks.pop())


def save_adapter(
    backbone: PipelineBackbone,
    name: str,
    folder: str | Path,
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write an adapter, or in full mode a copy of the network, and `mcm.json`.

    Args:
        backbone: Holds the adapter.
        name: Of the adapter.
        folder: Made when missing; files of these names in it are replaced.
        notes: Further plain JSON values for `mcm.json`, such as the recipe's digest.

    Returns:
        The folder.

    Raises:
        UserError: There is no such adapter.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"mode": backbone.variants.mode, "family": backbone.spec.family}
    facts["base"] = fingerprint(backbone.variants.base)
    if isinstance(backbone.variants, LoraVariants):
        facts["rank"], facts["alpha"] = backbone.variants.rank_alpha(name)
        _write_lora(backbone, name, facts["alpha"] / facts["rank"], folder)
    else:
        with backbone.using(name):
            networks: dict[str, Any] = dict(backbone.networks())
        for component, network in networks.items():
            network.save_pretrained(folder / component)
    text = json.dumps(facts | dict(notes or {}), indent=2, ensure_ascii=False)
    (folder / NOTES_FILE).write_text(text + "\n", encoding="utf-8")
    return folder


def load_adapter(
    backbone: PipelineBackbone, path: str | Path, name: str, trainable: bool = False
) -> dict[str, Any]:
    """Add an adapter with the weights of a file or folder of `save_adapter`.

    Returns:
        What `mcm.json` says beside it, or an empty dictionary.

    Raises:
        UserError: The file is missing, is no safetensors file or fits another base.
    """
    notes = read_notes(path)
    if not isinstance(backbone.variants, LoraVariants):
        _load_copy(backbone, Path(path), name, trainable)
        return notes
    content = _read_all(backbone, path)
    alpha = float(notes.get("alpha", content.rank))
    backbone.variants.add(name, content.rank, alpha, trainable, targets=list(content.pairs))
    parameters = backbone.adapter_parameters(name)
    with torch.no_grad():
        for module, (a, b) in content.pairs.items():
            parameters[module + _A].copy_(a)
            parameters[module + _B].copy_(b * (content.rank / alpha))
    return notes


def merge_adapter(backbone: PipelineBackbone, path: str | Path) -> dict[str, Any]:
    """Add an adapter to the base weights for good: W ← W + B·A, at no cost in each call.

    Returns:
        What `mcm.json` says beside it, or an empty dictionary.

    Raises:
        UserError: The file is missing, is no safetensors file or fits another base.
    """
    base = backbone.variants.base
    content = _read_all(backbone, path)
    with torch.no_grad():
        for module, (a, b) in content.pairs.items():
            weight = _base_weight(base, module)
            assert weight is not None, module
            change = b.flatten(1).float() @ a.flatten(1).float()
            weight += change.view_as(weight).to(weight.device, weight.dtype)
    return read_notes(path)


def read_notes(path: str | Path) -> dict[str, Any]:
    """Return `mcm.json` of a folder or beside a file, or an empty dictionary.

    Raises:
        UserError: The file is not a JSON object.
    """
    path = Path(path)
    file = (path if path.is_dir() else path.parent) / NOTES_FILE
    if not file.is_file():
        return {}
    try:
        notes = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not valid JSON: {error}") from None
    if not isinstance(notes, dict):
        raise UserError(f"{file}: got {notes!r:.60}, expected a JSON object")
    return notes


def read_lora(path: str | Path, network: nn.Module, component: str) -> LoraFile:
    """Read a LoRA file and check every key and shape against a network.

    Args:
        path: The file, or a folder with `pytorch_lora_weights.safetensors`.
        network: Whose modules are changed.
        component: First part of the keys, ``unet`` or ``transformer``.

    Raises:
        UserError: The file is missing, is no safetensors file, or a key or shape does not fit;
            the first such key is named.
    """
    path = _lora_path(Path(path))
    tensors, scale = _read_tensors(path, component)
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for module in dict.fromkeys(_module_names(tensors, path, component)):
        keys = [f"{component}.{module}{part}" for part in (_A, _B)]
        for key in keys:
            if key not in tensors:
                raise UserError(f"{path}: {key} is missing; expected A and B of every module")
        a, b = (tensors[key] for key in keys)
        _check_pair(path, keys, (a, b), _base_weight(network, module))
        pairs[module] = (a, b * scale)
    if not pairs:
        raise UserError(f"{path}: holds no adapter; expected keys such as {component}.….lora_A")
    return LoraFile(path, pairs)


def _prefixes(backbone: PipelineBackbone) -> dict[str, str]:
    """Return the file of each network and how the names of its modules begin."""
    names = list(backbone.networks())
    if len(names) == 1:
        return {LORA_FILE: ""}
    stem, suffix = LORA_FILE.split(".")
    return {
        f"{stem}_{n}.{suffix}" if n > 1 else LORA_FILE: f"{name}."
        for n, name in enumerate(names, start=1)
    }


def _read_all(backbone: PipelineBackbone, path: str | Path) -> LoraFile:
    """Read the files of all networks: those of a folder, or a file and those beside it."""
    path = Path(path)
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for file, prefix in _prefixes(backbone).items():
        beside = path if file == LORA_FILE else path.with_name(file)
        place = path / file if path.is_dir() else beside
        network = backbone.variants.base.get_submodule(prefix.rstrip("."))
        content = read_lora(place, network, backbone.component)
        pairs |= {prefix + module: pair for module, pair in content.pairs.items()}
    return LoraFile(path, pairs)


def _write_lora(backbone: PipelineBackbone, name: str, scale: float, folder: Path) -> None:
    import diffusers

    pipeline: Any = getattr(diffusers, backbone.pipeline)
    parameters = backbone.adapter_parameters(name).items()
    for file, prefix in _prefixes(backbone).items():
        weights = {
            key.removeprefix(prefix): value.detach().float() * (scale if key.endswith(_B) else 1.0)
            for key, value in parameters
            if key.startswith(prefix)
        }
        weights = {key: value.cpu().contiguous() for key, value in weights.items()}
        layers = {f"{backbone.component}_lora_layers": weights}
        pipeline.save_lora_weights(folder, weight_name=file, **layers)


def _load_copy(backbone: PipelineBackbone, folder: Path, name: str, trainable: bool) -> None:
    from mcm.backbones.components import load_component

    backbone.add_adapter(name, 0, 0.0, trainable)
    with backbone.using(name):
        networks = backbone.networks()
    for component, network in networks.items():
        loaded = load_component(folder, component, type(network).__name__, torch.float32)
        theirs: dict[str, Tensor] = loaded.state_dict()
        for key, value in network.named_parameters():
            if key not in theirs or theirs[key].shape != value.shape:
                got = tuple(theirs[key].shape) if key in theirs else "nothing"
                raise UserError(
                    f"{folder / component}: made for another base: {key}: got {got}, "
                    f"expected {tuple(value.shape)}"
                )
            value.data.copy_(theirs[key])


def _lora_path(path: Path) -> Path:
    file = path / LORA_FILE if path.is_dir() else path
    if file.suffix != ".safetensors":
        raise UserError(
            f"{file}: not a safetensors file; pickled weights can run code when they are read, "
            "so they are refused. Convert the file to safetensors"
        )
    if not file.is_file():
        raise UserError(f"{file}: no such file; expected the LoRA weights of a student")
    return file


def _read_tensors(path: Path, component: str) -> tuple[dict[str, Tensor], float]:
    """Return the tensors of a file and the scale α/r that its header asks for."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            header = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path}: broken or half-downloaded ({error}); fetch it again") from None
    rank, alpha = (header.get(f"{component}.{key}") for key in ("r", "lora_alpha"))
    return tensors, (alpha / rank if rank and alpha else 1.0)


def _module_names(tensors: Mapping[str, Tensor], path: Path, component: str) -> Iterator[str]:
    for key in tensors:
        module = key.removesuffix(_A).removesuffix(_B)
        if module == key or not key.startswith(f"{component}."):
            raise UserError(
                f"{path}: key {key} is not known; expected {component}.<module>{_A} or …{_B}, "
                "as written by diffusers"
            )
        yield module.removeprefix(f"{component}.")


def _base_weight(network: nn.Module, module: str) -> Tensor | None:
    """Return the weight of a module below any adapters, or ``None`` when there is none."""
    try:
        found: Any = network.get_submodule(module)
    except AttributeError:
        return None
    weight = getattr(getattr(found, "base_layer", found), "weight", None)
    return weight if isinstance(weight, Tensor) else None


def _check_pair(
    path: Path, keys: list[str], pair: tuple[Tensor, Tensor], weight: Tensor | None
) -> None:
    """Compare (A, B) with the weight they change: A is (r, in, …), B is (out, r, 1, …)."""
    if weight is None:
        raise UserError(f"{path}: made for another base: it changes {keys[0]}, which is not there")
    rank = pair[0].shape[0]
    ones = (1,) * (weight.ndim - 2)
    expected = ((rank, *weight.shape[1:]), (weight.shape[0], rank, *ones))
    for key, tensor, shape in zip(keys, pair, expected, strict=True):
        if tuple(tensor.shape) != tuple(shape):
            raise UserError(
                f"{path}: made for another base: {key} has shape {tuple(tensor.shape)}, "
                f"expected {tuple(shape)}"
            )
