"""Short digests that tell one file, model or protocol from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_LENGTH = 16
_OF_FOLDERS = (".safetensors", ".json", ".txt")


def digest_json(value: Any) -> str:
    """Return a digest of a JSON-ready value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def digest_files(places: Iterable[Path]) -> str:
    """Return a digest of files, and of the weights and settings in folders, with their names."""
    digest = hashlib.sha256()
    for place in places:
        for path in _inside(place) if place.is_dir() else [place]:
            name = path.relative_to(place) if place.is_dir() else path.name
            digest.update(Path(name).as_posix().encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:_LENGTH]


def _inside(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.suffix in _OF_FOLDERS and p.is_file()]
