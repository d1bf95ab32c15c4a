"""Find out what kind of data the user brought."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from mcm.data.folders import TABLE_NAMES, FolderSource, find_table
from mcm.data.samples import SampleSource
from mcm.data.shards import ShardSource
from mcm.errors import UserError, nearest

_REMOTE_SIGNS = ("://", "pipe:")


def open_source(
    place: str | Path | Sequence[str], captions: str | Path | None = None
) -> SampleSource:
    """Open a data set by its place.

    Args:
        place: A folder with `captions.csv` or `captions.jsonl`; such a table itself; a folder of
            tars, also in folders inside; a tar; a pattern of tars with braces
            (`shard-{000000..000009}.tar`) or wildcards (`shards/*.tar`); an address that
            webdataset opens; or a list of these tars, patterns and addresses.
        captions: CSV or JSONL table of the files in the folder `place`.

    Raises:
        UserError: Nothing is there, or it is neither shards nor a folder with captions.
    """
    if captions is not None:
        if isinstance(place, (str, Path)) and Path(place).is_dir():
            return FolderSource(captions, root=place)
        raise UserError(f"{place}: not a folder; captions describe the files of a folder")
    if not isinstance(place, (str, Path)):
        return ShardSource([shard for part in place for shard in _expand(part)])
    path = Path(place)
    if path.is_dir():
        return _open_folder(path)
    if path.suffix.lower() in (".csv", ".jsonl"):
        return FolderSource(path)
    return ShardSource(_expand(str(place)))


def _open_folder(folder: Path) -> SampleSource:
    table = find_table(folder)
    if table is not None:
        return FolderSource(table)
    shards = sorted(folder.rglob("*.tar"))
    if not shards:
        raise UserError(
            f"{folder}: holds neither {' nor '.join(TABLE_NAMES)} nor tar files; "
            "give one of them, or name the table with captions"
        )
    return ShardSource([str(shard) for shard in shards])


def _expand(pattern: str) -> list[str]:
    """Expand braces and wildcards; every local tar must be there."""
    from webdataset.shardlists import expand_urls

    shards: list[str] = []
    for name in expand_urls(pattern):
        if any(sign in name for sign in _REMOTE_SIGNS):
            shards.append(name)
            continue
        found = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else [name]
        shards += found
        if not found or not Path(found[0]).is_file():
            raise UserError(_not_found(name))
    return shards


def _not_found(name: str) -> str:
    folder = Path(name).parent
    siblings = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    near = nearest(Path(name).name, siblings)
    hint = f"the nearest is {folder / near}" if near else "check the path"
    return f"{name}: no such data; {hint}"
