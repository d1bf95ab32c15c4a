"""One switch over all formats; a file is whole or not there, and never overwritten unasked.

What is written is marked and signed on the way, see `mcm.safety.publishing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcm.errors import UserError, nearest
from mcm.media import containers, images
from mcm.media.containers import Frames
from mcm.media.metadata import to_text
from mcm.media.places import check_free, outputs_of, replacing
from mcm.safety.formats import sidecar_of

if TYPE_CHECKING:
    from mcm.safety.publishing import Publication

Writer = Callable[[Path, Frames, float, str], None]

_WRITERS: dict[str, Writer] = {
    "mp4": containers.write_mp4,
    "webm": containers.write_webm,
    "gif": images.write_gif,
    "webp": images.write_webp,
    "frames": images.write_frames,
}
FORMATS = {
    "mp4": ".mp4",
    "webm": ".webm",
    "gif": ".gif",
    "webp": ".webp",
    "frames": "",
    "sheet": ".png",
}
"""Every format and the ending of its files; `frames` is a folder, `sheet` a PNG and a JSON."""


ALPHA_FORMATS = ("frames", "webp", "sheet")
"""The formats that hold transparency."""


def find_format(path: Path, format: str | None = None) -> str:
    """Return the format to write: the one asked for, or else that of the path's ending.

    Raises:
        UserError: Neither names a format, or they contradict each other.
    """
    if format is not None and format not in FORMATS:
        guess = nearest(format, FORMATS)
        hint = f"; did you mean {guess}?" if guess else ""
        raise UserError(f"format: got {format!r}, expected one of {', '.join(FORMATS)}{hint}")
    ending = path.suffix.lower()
    if format is None:
        found = [name for name, suffix in FORMATS.items() if suffix and suffix == ending]
        if not found:
            known = ", ".join(suffix for suffix in FORMATS.values() if suffix)
            raise UserError(
                f"{path}: the ending {ending or 'is missing and'} names no format; expected one "
                f"of {known}, or give the format"
            )
        return found[0]
    if FORMATS[format] and ending != FORMATS[format]:
        raise UserError(f"{path}: a file of format {format} ends in {FORMATS[format]}")
    return format


def check_alpha(format: str) -> None:
    """Check that a format holds transparency.

    Raises:
        UserError: It does not.
    """
    if format not in ALPHA_FORMATS:
        raise UserError(
            f"alpha: {format} holds no transparency; write {', '.join(ALPHA_FORMATS[:-1])} or "
            f"{ALPHA_FORMATS[-1]}"
        )


def save_video(
    frames: Frames,
    path: str | Path,
    *,
    fps: float,
    metadata: Mapping[str, Any] | None = None,
    format: str | None = None,
    alpha: bool = False,
    overwrite: bool = False,
    source: Path | None = None,
) -> Path:
    """Write a clip, marked and signed as the policy of `mcm.safety` says.

    Args:
        frames: Frames, uint8, (t, h, w, 3), RGB.
        path: File to write; a folder for `frames`. Missing folders above it are made.
        fps: Frames per second.
        metadata: JSON-ready values to store in the file.
        format: One of `FORMATS`; by default the path's ending says it.
        alpha: Make the plain background transparent, see `mcm.media.matte`.
        overwrite: Replace what stands at ``path``; of folders only those of nothing but frames.
        source: File that was edited to make the clip; its manifest goes into the clip's.

    Returns:
        The path.

    Raises:
        UserError: The path is taken, no format fits, or ``alpha`` is asked for where the format
            holds none or the background is not plain.
        OSError: The disk is full or the folder cannot be written; nothing half is left.
    """
    target = Path(path)
    kind = find_format(target, format)
    check_free(target, kind, overwrite)
    if alpha:
        check_alpha(kind)
        frames = _cut_out(frames)
    target.parent.mkdir(parents=True, exist_ok=True)
    made = _prepared(frames, metadata)
    if kind == "sheet":
        sheet, description = images.sprite_sheet(made.frames, fps, target.stem)
        with replacing(target.with_suffix(".json")) as partial:
            partial.write_bytes(description)
            _write_image(sheet, target, made, source)
    else:
        with replacing(target) as partial:
            _WRITERS[kind](partial, made.frames, fps, to_text(made.metadata))
            _sign(partial, target, made, source)
    return target


def save_image(
    image: Frames,
    path: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    generated: bool = True,
) -> Path:
    """Write an image (h, w, 3) as PNG; arguments and errors as `save_video`.

    ``generated`` is off for what no model made, which is neither marked nor signed.
    """
    target = Path(path)
    check_free(target, "image", overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    if generated:
        made = _prepared(image[None], metadata)
        _write_image(made.frames[0], target, made)
    else:
        with replacing(target) as partial:
            images.write_png(partial, image, to_text(metadata or {}))
    return target


def _cut_out(frames: Frames) -> Frames:
    from mcm.media.matte import cut_out

    return cut_out(frames)


def _prepared(frames: Frames, metadata: Mapping[str, Any] | None) -> Publication:
    from mcm.safety.publishing import prepare

    return prepare(frames, to_text(metadata or {}), metadata or {})


def _write_image(
    image: Frames, target: Path, made: Publication, source: Path | None = None
) -> None:
    with replacing(target) as partial:
        images.write_png(partial, image, to_text(made.metadata))
        _sign(partial, target, made, source)


def _sign(partial: Path, target: Path, made: Publication, source: Path | None) -> None:
    """Sign what was written for ``target``; a manifest that it cannot hold goes beside it."""
    manifest = made.sign(partial, target.name, source)
    beside = sidecar_of(target)
    if manifest is not None:
        with replacing(beside) as file:
            file.write_bytes(manifest)
    elif beside in outputs_of(target, target.suffix[1:]):
        beside.unlink(missing_ok=True)
