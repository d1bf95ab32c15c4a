"""Build the artwork pack from the unpacked npm packages, deterministically."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from mcm.data.fluent.concepts import CONCEPTS, Concept
from mcm.data.fluent.pack import SPRITE_FPS, SPRITE_SIZE, join_strip
from mcm.errors import UserError, install_hint

ANIMATED_PACKAGES = tuple(f"@lobehub/fluent-emoji-anim-{part}" for part in range(1, 5))
STILLS_PACKAGE = "@lobehub/fluent-emoji-3d"
FLAT_PACKAGE = "@iconify-json/fluent-emoji-flat"
LABELS_PACKAGE = "emojibase-data"

MAX_ANIMATION_FRAMES = 24
EXTRA_GROUPS = (3, 4, 5, 7)
"""Emoji groups whose further stills join the image domain: animals, food, travel, objects."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def build_pack(packages: Path, output: Path) -> Path:
    """Write the artwork pack.

    Args:
        packages: Folder with the npm packages, laid out as ``node_modules``
            (``packages/@lobehub/fluent-emoji-3d/package.json`` …).
        output: The zip file to write.

    Raises:
        UserError: If a package is missing.
    """
    _require_packages(packages)
    index: dict[str, dict[str, int] | dict[str, str]] = {}
    part = output.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        index["animated"] = _write_animations(archive, packages)
        index["stills"] = _write_stills(archive, packages)
        index["flat"] = _write_flat(archive, packages)
        _write(archive, "index.json", json.dumps(index, indent=1, sort_keys=True).encode())
    part.replace(output)
    return output


def _require_packages(packages: Path) -> None:
    for name in (*ANIMATED_PACKAGES, STILLS_PACKAGE, FLAT_PACKAGE, LABELS_PACKAGE):
        if not (packages / name / "package.json").is_file():
            raise UserError(
                f"{packages / name}: npm package not found; run `npm install {name}` "
                f"in {packages.parent} and pass its node_modules folder"
            )


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)


def _write_strip(archive: zipfile.ZipFile, name: str, sprites: list[Image.Image]) -> None:
    buffer = io.BytesIO()
    join_strip(sprites).save(buffer, "WEBP", quality=88, alpha_quality=90, method=6)
    _write(archive, name, buffer.getvalue())


def _write_animations(archive: zipfile.ZipFile, packages: Path) -> dict[str, int]:
    counts = {}
    for concept in CONCEPTS:
        sprites = read_animation(_find_animation(packages, concept.hexcode))
        _write_strip(archive, f"animated/{concept.hexcode}.webp", sprites)
        counts[concept.hexcode] = len(sprites)
    return counts


def _find_animation(packages: Path, hexcode: str) -> Path:
    for name in ANIMATED_PACKAGES:
        path = packages / name / "assets" / f"{hexcode}.webp"
        if path.is_file():
            return path
    raise UserError(f"{hexcode}: no animation of this hexcode in {', '.join(ANIMATED_PACKAGES)}")


def read_animation(path: Path) -> list[Image.Image]:
    """Read an animated WebP at ``SPRITE_FPS``, at most ``MAX_ANIMATION_FRAMES`` frames."""
    image = Image.open(path)
    frames: list[Image.Image] = []
    clock = due = 0.0
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        if clock >= due and len(frames) < MAX_ANIMATION_FRAMES:
            frames.append(_sprite(image))
            due += 1000 / SPRITE_FPS
        image.load()
        clock += float(image.info.get("duration", 42) or 42)
    return frames


def _sprite(image: Image.Image) -> Image.Image:
    return image.convert("RGBA").resize((SPRITE_SIZE, SPRITE_SIZE), Image.Resampling.LANCZOS)


def _write_stills(archive: zipfile.ZipFile, packages: Path) -> dict[str, str]:
    names = {concept.hexcode: concept.name for concept in CONCEPTS}
    names.update(_extra_names(packages, taken=set(names)))
    kept = {}
    for hexcode, name in sorted(names.items()):
        path = packages / STILLS_PACKAGE / "assets" / f"{hexcode}.webp"
        if path.is_file():
            _write_strip(archive, f"stills/{hexcode}.webp", [_sprite(Image.open(path))])
            kept[hexcode] = name
    return kept


def _extra_names(packages: Path, taken: set[str]) -> dict[str, str]:
    data = json.loads((packages / LABELS_PACKAGE / "en" / "data.json").read_text())
    entries = ((entry["hexcode"].lower(), entry) for entry in data)
    return {
        hexcode: entry["label"].lower()
        for hexcode, entry in entries
        if entry.get("group") in EXTRA_GROUPS and hexcode not in taken
    }


def _write_flat(archive: zipfile.ZipFile, packages: Path) -> dict[str, str]:
    kept = {}
    for concept, svg in _flat_drawings(packages):
        sprite = _sprite(Image.open(io.BytesIO(rasterise(svg, 4 * SPRITE_SIZE))))
        _write_strip(archive, f"flat/{concept.hexcode}.webp", [sprite])
        kept[concept.hexcode] = concept.name
    return kept


def _flat_drawings(packages: Path) -> Iterator[tuple[Concept, str]]:
    root = packages / FLAT_PACKAGE
    icons = json.loads((root / "icons.json").read_text())
    by_hexcode = {_bare(k): v for k, v in json.loads((root / "chars.json").read_text()).items()}
    for concept in CONCEPTS:
        body = icons["icons"][by_hexcode[_bare(concept.hexcode)]]["body"]
        box = f"0 0 {icons['width']} {icons['height']}"
        yield concept, f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{body}</svg>'


def _bare(hexcode: str) -> str:
    """Drop the variation selector, which packages write or leave out at will."""
    return hexcode.lower().replace("-fe0f", "")


def rasterise(svg: str, side: int) -> bytes:
    """Render an SVG document to PNG bytes of ``side`` pixels."""
    try:
        import resvg_py
    except ImportError as error:
        raise UserError(
            f"package resvg-py is not installed; it draws the flat style: {install_hint('fluent')}"
        ) from error
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))
