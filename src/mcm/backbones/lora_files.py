"""LoRA files: those of diffusers, and PEFT's adapter folders, read and checked against a network.

Diffusers keeps ``unet.<module>.lora_A.weight`` and ``…lora_B.weight`` (or ``transformer.…``) and
says rank and α in the file's header. PEFT keeps ``base_model.model.<module>.…`` in
``adapter_model.safetensors`` and says them in ``adapter_config.json`` beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mcm.backbones.components import check_readable, refuse_pickle, unreadable_weights
from mcm.backbones.json_files import NOTES_FILE, is_number, parse_json, read_json
from mcm.errors import UserError

LORA_FILE = "pytorch_lora_weights.safetensors"
PEFT_FILE, PEFT_CARD = "adapter_model.safetensors", "adapter_config.json"
PEFT_PREFIX = "base_model.model"
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
METADATA = "lora_adapter_metadata"
A, B = ".lora_A.weight", ".lora_B.weight"
_FORMATS = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class LoraFile:
    """The content of a LoRA file for one network.

    Attributes:
        path: Where it was read.
        pairs: (A, B) by module name; W + B·A is the changed weight.
        alpha: α that PEFT's card says; ``None`` for other files.
    """

    path: Path
    pairs: dict[str, tuple[Tensor, Tensor]]
    alpha: float | None = None

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


def read_lora(path: str | Path, network: nn.Module, component: str) -> LoraFile:
    """Read a LoRA file and check every key, shape, format and scale against a network.

    Args:
        path: The file, or a folder with one of diffusers or of PEFT.
        network: Whose modules are changed.
        component: First part of the keys of diffusers, ``unet`` or ``transformer``.

    Raises:
        UserError: The file is missing, broken or no safetensors file, a key, shape or number
            format does not fit (the first is named), or nothing says the scale α/r.
    """
    path = find_file(Path(path))
    of_peft = path.name == PEFT_FILE
    card = _peft_config(path) if of_peft else None
    tensors, header = _read_tensors(path)
    prefix = PEFT_PREFIX if of_peft else component
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for module in dict.fromkeys(_module_name(key, path, prefix, network) for key in tensors):
        keys = [f"{prefix}.{module}{part}" for part in (A, B)]
        for key in keys:
            if key not in tensors:
                raise UserError(f"{path}: {key} is missing; expected A and B of every module")
        a, b = (tensors[key] for key in keys)
        check_pair(path, keys, (a, b), base_weight(network, module))
        pairs[module] = (a, b)
    if not pairs:
        raise UserError(f"{path}: holds no adapter; expected keys such as {prefix}.….lora_A")
    config = _header_config(header, path, component) if card is None else card
    scaled = {name: _scaled(pair, config, name, path) for name, pair in pairs.items()}
    return LoraFile(path, scaled, None if card is None else float(card["lora_alpha"]))


def find_file(path: Path) -> Path:
    """Return the LoRA file that a path or the folder there is.

    Raises:
        UserError: There is none, or only a pickled one.
    """
    names = [name for name in (LORA_FILE, PEFT_FILE) if (path / name).is_file()]
    file = path / (names or [LORA_FILE])[0] if path.is_dir() else path
    pickles = [file] if file.is_file() and file.suffix != ".safetensors" else []
    if path.is_dir() and not names:
        pickles = [p for p in sorted(path.iterdir()) if p.suffix in PICKLED]
    if pickles:
        raise UserError(refuse_pickle(pickles[0]))
    if not file.is_file():
        raise UserError(f"{file}: no such file; expected the LoRA weights of a student")
    return file


def adapter_rank(path: str | Path) -> int:
    """Return the greatest rank in a LoRA file or in the one of a folder.

    Raises:
        UserError: The file is missing, broken or no safetensors file.
    """
    file = find_file(Path(path))
    tensors, _ = _read_tensors(file)
    ranks = [value.shape[0] for key, value in tensors.items() if key.endswith(A)]
    if not ranks:
        raise UserError(f"{file}: holds no adapter; expected keys that end in {A}")
    return int(max(ranks))


def base_weight(network: nn.Module, module: str) -> Tensor | None:
    """Return the weight of a module below any adapters, or ``None`` when there is none."""
    try:
        found: Any = network.get_submodule(module)
    except AttributeError:
        return None
    weight = getattr(getattr(found, "base_layer", found), "weight", None)
    return weight if isinstance(weight, Tensor) else None


def check_pair(
    path: Path, keys: list[str], pair: tuple[Tensor, Tensor], weight: Tensor | None
) -> None:
    """Compare (A, B) with the weight they change: A is (r, in, …), B is (out, r, 1, …).

    Raises:
        UserError: The module is not there, or a shape or number format does not fit.
    """
    if weight is None:
        raise UserError(f"{path}: made for another base: it changes {keys[0]}, which is not there")
    rank = pair[0].shape[0] if pair[0].ndim else 0
    if rank == 0:
        raise UserError(f"{path}: {keys[0]} has shape {tuple(pair[0].shape)}, expected (rank, …)")
    ones = (1,) * (weight.ndim - 2)
    expected = ((rank, *weight.shape[1:]), (weight.shape[0], rank, *ones))
    for key, tensor, shape in zip(keys, pair, expected, strict=True):
        if tensor.dtype not in _FORMATS:
            raise UserError(
                f"{path}: {key} is of {tensor.dtype}; expected float32, float16 or bfloat16. "
                "Convert it, or take the file before it was quantised"
            )
        if not tensor.isfinite().all():
            raise UserError(
                f"{path}: {key} holds numbers that are not finite; the training that made it "
                "failed, or the file is damaged: take an earlier checkpoint"
            )
        if tuple(tensor.shape) != tuple(shape):
            raise UserError(
                f"{path}: made for another base: {key} has shape {tuple(tensor.shape)}, "
                f"expected {tuple(shape)}"
            )


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file and what its header says of the adapter."""
    from safetensors import SafetensorError, safe_open

    check_readable(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            header = (file.metadata() or {}).get(METADATA, "{}")
    except (SafetensorError, ValueError) as error:
        raise UserError(unreadable_weights(path, error)) from None
    return tensors, parse_json(header, f"{path}: {METADATA}", "a JSON object with r and lora_alpha")


def _module_name(key: str, path: Path, prefix: str, network: nn.Module) -> str:
    module = key.removesuffix(A).removesuffix(B)
    if module != key and key.startswith(f"{prefix}."):
        return module.removeprefix(f"{prefix}.")
    hint = ""
    if module != key and base_weight(network, module) is not None:
        hint = f". The keys lack their prefix: write {prefix}. before each"
    elif path.name == PEFT_FILE:
        hint = ": plain LoRA alone can be read, without DoRA, biases or whole modules"
    elif key.startswith(f"{PEFT_PREFIX}."):
        hint = f". These keys are PEFT's: name the file {PEFT_FILE} and put {PEFT_CARD} beside it"
    raise UserError(
        f"{path}: key {key} is not known; expected {prefix}.<module>{A} or …{B}, "
        f"as written by {'PEFT' if prefix == PEFT_PREFIX else 'diffusers'}{hint}"
    )


def _header_config(header: Mapping[str, Any], path: Path, component: str) -> dict[str, Any]:
    """Return rank and α of the header; students of ours have α/r in B, as `mcm.json` tells."""
    mark = f"{component}."
    config = {k.removeprefix(mark): v for k, v in header.items() if k.startswith(mark)}
    if "r" in config and "lora_alpha" in config:
        _check_config(config, f"{path}: {METADATA}")
        return config
    if (path.parent / NOTES_FILE).is_file():
        return {}
    raise UserError(
        f"{path}: nothing says its scale alpha/rank: neither {METADATA} in its header nor "
        f"{NOTES_FILE} beside it. Save it again with the metadata of its adapter, or, if the "
        f"scale is 1, put a {NOTES_FILE} with {{}} beside it"
    )


def _peft_config(path: Path) -> dict[str, Any]:
    card = path.parent / PEFT_CARD
    config = read_json(card, "the card of a PEFT adapter, with r and lora_alpha")
    _check_config(config, str(card))
    kind = config.get("peft_type", "LORA")
    if kind != "LORA" or config.get("use_dora"):
        found = "a DoRA adapter" if kind == "LORA" else f"an adapter of type {kind}"
        raise UserError(f"{card}: is {found}; expected plain LoRA")
    for key, plain in (("bias", "none"), ("modules_to_save", None), ("lora_bias", False)):
        if config.get(key) not in (plain, None, []):
            raise UserError(
                f"{card}: {key}: got {config[key]!r:.60}; plain LoRA alone can be read: train it "
                f"with {key}={plain!r}, or merge it into the network with PEFT"
            )
    return config


def _check_config(config: Mapping[str, Any], where: str) -> None:
    """Make sure that rank, α and their patterns are numbers above 0."""
    for key in ("r", "lora_alpha"):
        if not _is_positive(config.get(key)):
            raise UserError(f"{where}: {key}: got {config.get(key)!r}, expected a number above 0")
    for key in ("rank_pattern", "alpha_pattern"):
        values = config.get(key) or {}
        fits = isinstance(values, dict) and all(map(_is_positive, values.values()))
        if not fits or not all(map(_is_expression, values)):
            raise UserError(
                f"{where}: {key}: got {values!r:.60}, expected numbers above 0 by module names or "
                "regular expressions of them"
            )


def _is_positive(value: object) -> bool:
    return is_number(value) and value > 0


def _is_expression(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def _scaled(
    pair: tuple[Tensor, Tensor], config: Mapping[str, Any], module: str, path: Path
) -> tuple[Tensor, Tensor]:
    """Multiply α/r into B, as the configuration has them for this module."""
    if not config:
        return pair
    a, b = pair
    rank = _of(config.get("rank_pattern"), module, config["r"])
    alpha = _of(config.get("alpha_pattern"), module, config["lora_alpha"])
    if rank != a.shape[0]:
        raise UserError(
            f"{path}: {module} has rank {a.shape[0]}, but its metadata says {rank}; the file and "
            "its metadata are of different adapters"
        )
    return a, b.float() * (alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _of(pattern: Mapping[str, float] | None, module: str, usual: float) -> float:
    """Return the value of a module: that of the first expression for the end of its name (PEFT)."""
    for end, value in (pattern or {}).items():
        if re.match(rf"(?:.*\.)?(?:{end})$", module):
            return value
    return usual
