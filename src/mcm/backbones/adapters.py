"""Students as files: LoRA that stock diffusers loads, or the whole network, beside `mcm.json`.

In a LoRA file α/r is multiplied into B and the header says α = r, so that every reader is right,
also one that takes the scale as 1 (ComfyUI). A model of two networks has a file for each: diffusers
gives both the same component, so one file could not tell them apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mcm.backbones.components import share_weights
from mcm.backbones.fingerprint import fingerprint
from mcm.backbones.json_files import NOTES_FILE, is_number, read_notes
from mcm.backbones.lora_files import (
    LORA_FILE,
    A,
    B,
    LoraFile,
    base_weight,
    read_lora,
)
from mcm.backbones.lora_save import save_lora
from mcm.backbones.pipeline import PipelineBackbone
from mcm.backbones.variants import LoraVariants
from mcm.errors import UserError

_OF_HALF = "base_fingerprint_half"


def save_adapter(
    backbone: PipelineBackbone,
    name: str,
    folder: str | Path,
    notes: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write an adapter, or in full mode a copy of the network, and `mcm.json`.

    Args:
        backbone: Holds the adapter.
        name: Of the adapter.
        folder: Made when missing; files of these names in it are replaced.
        notes: Further plain JSON values for `mcm.json`, such as the recipe's digest.
        dtype: Number format of an adapter's file.

    Returns:
        The folder.

    Raises:
        UserError: There is no such adapter.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"mode": backbone.variants.mode, "family": backbone.spec.family}
    facts["base_fingerprint"] = fingerprint(backbone.variants.base)
    facts[_OF_HALF] = fingerprint(backbone.variants.base, half=True)
    if isinstance(backbone.variants, LoraVariants):
        facts["rank"], facts["alpha"] = backbone.variants.rank_alpha(name)
        _write_lora(backbone, name, facts["alpha"] / facts["rank"], folder, dtype)
    else:
        with backbone.using(name):
            networks: dict[str, Any] = dict(backbone.networks())
        for component, network in networks.items():
            network.save_pretrained(folder / component)
    text = json.dumps(facts | dict(notes or {}), indent=2, ensure_ascii=False)
    (folder / NOTES_FILE).write_text(text + "\n", encoding="utf-8")
    share_weights(folder / NOTES_FILE)
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
    alpha = notes.get("alpha", content.rank)
    if not is_number(alpha) or alpha <= 0:
        raise UserError(f"{path}: {NOTES_FILE}: alpha: got {alpha!r}, expected a number above 0")
    backbone.variants.add(name, content.rank, alpha, trainable, targets=list(content.pairs))
    parameters = backbone.adapter_parameters(name)
    _put(content, parameters, 0, content.rank / alpha)
    return notes


def add_sum(
    backbone: PipelineBackbone, paths: Sequence[str | Path], name: str, rank: int, alpha: float
) -> None:
    """Add a trainable adapter that begins as the sum of others: their A and B side by side.

    What is left of the rank begins as nothing, and is free to learn.

    Raises:
        UserError: A file is missing, is no safetensors file or fits another base, changes a
            module that students leave alone, or all ranks together are more than ``rank``.
    """
    contents = [_read_all(backbone, path) for path in paths]
    total = sum(content.rank for content in contents)
    if total > rank:
        ranks = " + ".join(str(content.rank) for content in contents)
        raise UserError(
            f"student.rank: got {rank}, but the adapters of student.init have {ranks} = {total}; "
            f"set student.rank={total} or more"
        )
    backbone.add_adapter(name, rank, alpha, trainable=True)
    parameters, start = backbone.adapter_parameters(name), 0
    for content in contents:
        if unknown := [module for module in content.pairs if module + A not in parameters]:
            raise UserError(
                f"{content.path}: changes {unknown[0]}, which students of this family leave "
                "alone; it cannot be part of student.init"
            )
        _put(content, parameters, start, rank / alpha)
        start += content.rank


def merge_adapter(backbone: PipelineBackbone, path: str | Path) -> dict[str, Any]:
    """Add an adapter to the base weights for good: W ← W + B·A, at no cost in each call.

    Returns:
        What `mcm.json` says beside it, or an empty dictionary.

    Raises:
        UserError: The file is missing, is no safetensors file or fits another base.
    """
    base, notes = backbone.variants.base, read_notes(path)
    content = _read_all(backbone, path)
    with torch.no_grad():
        for module, (a, b) in content.pairs.items():
            weight = base_weight(base, module)
            assert weight is not None, module
            change = b.flatten(1).float() @ a.flatten(1).float()
            weight.copy_(weight.float() + change.view_as(weight).to(weight.device))
    return notes


def read_adapter(backbone: PipelineBackbone, path: str | Path) -> dict[str, LoraFile]:
    """Read the LoRA of each network, by the name of its file.

    Args:
        backbone: The teacher, which everything is checked against.
        path: A folder, or the first network's file with the others beside it.

    Raises:
        UserError: A file is missing or broken, or fits another base.
    """
    path, notes = Path(path), read_notes(path)
    _check_base(backbone, notes, path)
    found: dict[str, LoraFile] = {}
    for file, prefix in _prefixes(backbone).items():
        network = backbone.variants.base.get_submodule(prefix.rstrip("."))
        beside = (path if path.is_dir() else path.parent) / file
        place = path if file == LORA_FILE else beside
        found[file] = read_lora(place, network, backbone.component)
        _check_rank(found[file], notes)
    return found


def _check_base(backbone: PipelineBackbone, notes: Mapping[str, Any], path: str | Path) -> None:
    """Refuse an adapter that was trained on other weights, where shapes alone would fit.

    Weights that were rounded to float16, on loading or when they were stored, are known by a digest
    of their own, which older students do not tell.
    """
    wanted, rounded = notes.get("base_fingerprint"), notes.get(_OF_HALF)
    if wanted is None or (rounded is None and backbone.dtype == torch.float16):
        return
    found = fingerprint(backbone.variants.base)
    if wanted != found and rounded != fingerprint(backbone.variants.base, half=True):
        raise UserError(
            f"{path}: made for another base: it was trained on weights with digest {wanted}, and "
            f"those of this teacher have {found}. Give the teacher it was trained on, or remove "
            f"base_fingerprint from its {NOTES_FILE} to try it on this one"
        )


def _check_rank(content: LoraFile, notes: Mapping[str, Any]) -> None:
    """Refuse a file whose rank or α is not that of `mcm.json`, which would then mislead."""
    wanted = notes.get("rank")
    if wanted is not None and content.rank != wanted:
        raise UserError(
            f"{content.path}: has rank {content.rank}, but {NOTES_FILE} beside it says rank "
            f"{wanted!r} and alpha {notes.get('alpha')!r}; the two are of different students"
        )
    alpha = notes.get("alpha", content.alpha)
    if content.alpha not in (None, content.rank, alpha):  # α = r: it is in B, as we export it
        raise UserError(
            f"{content.path}: its card says alpha {content.alpha}, but {NOTES_FILE} beside it "
            f"{alpha!r}; take it out of {NOTES_FILE}"
        )


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
    """Read the files of all networks as one, modules named as in the whole."""
    prefixes = _prefixes(backbone)
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for file, content in read_adapter(backbone, path).items():
        pairs |= {prefixes[file] + module: pair for module, pair in content.pairs.items()}
    return LoraFile(Path(path), pairs)


def _write_lora(
    backbone: PipelineBackbone, name: str, scale: float, folder: Path, dtype: torch.dtype
) -> None:
    parameters = backbone.adapter_parameters(name)
    modules = [key.removesuffix(A) for key in parameters if key.endswith(A)]
    for file, prefix in _prefixes(backbone).items():
        pairs = {
            module.removeprefix(prefix): (
                parameters[module + A].detach().to(dtype),
                (parameters[module + B].detach().float() * scale).to(dtype),
            )
            for module in modules
            if module.startswith(prefix)
        }
        save_lora(backbone, pairs, folder, file)


@torch.no_grad()
def _put(content: LoraFile, parameters: Mapping[str, Tensor], start: int, scale: float) -> None:
    """Copy (A, scale·B) into an adapter's parameters, from a row of A and column of B on."""
    end = start + content.rank
    for module, (a, b) in content.pairs.items():
        parameters[module + A][start:end] = a
        parameters[module + B][:, start:end] = b * scale


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
